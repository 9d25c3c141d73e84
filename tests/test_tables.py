"""Numbers as the tables print them, and one table in every form."""

import csv
import io

import pytest

from Safety_Detection.shown import tables as transfer_tables
from Safety_Detection.shown.differences import Compared
from utils import tables
from utils.data.catalogue import group_title
from utils.results.tables import Measured, measured_tables
from utils.schema import Difference, Metric
from utils.tables import Cell, Table, of_rows


@pytest.mark.parametrize(
    ("value", "printed", "with_sign"),
    [
        (0.0004, "0.000", "0.000"),
        (-0.0004, "0.000", "0.000"),
        (0.0, "0.000", "0.000"),
        (-0.0, "0.000", "0.000"),
        # The first values on either side that do not round to zero.
        (0.0006, "0.001", "+0.001"),
        (-0.0006, "-0.001", "-0.001"),
        (12.3456, "12.346", "+12.346"),
        (None, "-", "-"),
    ],
)
def test_what_rounds_to_zero_has_no_sign(value, printed, with_sign):
    assert tables.number(value) == printed
    assert tables.signed(value) == with_sign


def test_the_number_of_decimals_decides_what_rounds_to_zero():
    assert tables.signed(-0.004, decimals=2) == "0.00" and tables.signed(-0.004) == "-0.004"
    assert [*map(tables.p_text, (0.00004, 0.0123, 1.0, None))] == ["<0.001", "0.012", "1.000", "-"]


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (-0.0004, -0.1, 0.1, "0.000 ±0.100"),  # half of 0.1 - (-0.1) is 0.1
        (-0.0004, None, None, "0.000"),
        # Sides of 0.046 and 0.054 differ by less than a tenth of 0.1; of 0.044 and 0.056 by more.
        (0.5, 0.454, 0.554, "0.500 ±0.050"),
        (0.5, 0.456, 0.556, "0.500 [0.456, 0.556]"),
        (0.0, 0.0, 0.088, "0.000 [0.000, 0.088]"),  # "±0.044" would say that it may be below 0 and not above 0.044
        (0.5, 0.4995, 0.5004, "0.500 ±0.000"),  # too narrow to be printed
    ],
)
def test_a_value_with_its_interval_and_one_that_is_not_symmetric_by_its_ends(value, low, high, text):
    assert tables.with_interval(Metric("m", "g", value, 9, "higher", low, high)) == text


def test_a_difference_with_its_interval():
    assert tables.with_reach(Difference(-0.02, -0.05, 0.01, 0.2)) == "-0.020 ±0.030"
    assert tables.with_reach(Difference(-0.02)) == "-0.020" and tables.with_reach(None) == "-"


def test_equal_detectors_print_no_signed_zero():
    of = Compared("a -> a", "one", "two", Difference(-0.0004, -0.001, 0.0002, 0.9), 1.0)
    [row] = transfer_tables.differences_table([of], "encoders").rows
    assert [cell.text for cell in row] == ["a -> a", "0.000 ±0.001", "0.900", "1.000"]


def table(columns=2, **more):
    """Two rows and a foot of numbers, named by a set."""
    headings = ["set", *(f"encoder {i}" for i in range(1, columns + 1))]
    rows = [[name, *[Metric("m", "g", 0.5, 9, "higher", 0.4, 0.6)] * columns] for name in ("a|b", "c")]
    return of_rows("A caption", headings, rows, [["mean", *[-0.25] * columns]], **more)


def test_text_has_a_rule_above_the_foot_and_numbers_on_the_right():
    assert tables.text_table(table(notes=["a note"])).splitlines() == [
        "A caption",
        "",
        "set      encoder 1     encoder 2",
        "----  ------------  ------------",
        "a|b   0.500 ±0.100  0.500 ±0.100",
        "c     0.500 ±0.100  0.500 ±0.100",
        "----  ------------  ------------",
        "mean        -0.250        -0.250",
        "",
        "a note",
    ]


@pytest.mark.parametrize(
    ("spans", "parts"),
    # 4 for the names and 14 for each column with the blanks before it: 5 columns are 74 wide, 6 would be 88.
    [((), [4, 3]), ((3, 3, 1), [3, 4]), ((2, 2, 2, 1), [4, 3]), ((5, 1, 1), [5, 2]), ((5, 2), [5, 2])],
)
def test_what_is_too_wide_is_in_parts_that_each_name_the_rows(spans, parts):
    blocks = tables.text_table(table(7, spans=spans)).split("\n\n")[1:]
    assert [block.splitlines()[0].count("encoder") for block in blocks] == parts
    assert all(block.splitlines()[2].startswith("a|b ") for block in blocks)
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 80


def test_a_turned_table_has_columns_as_rows():
    """The second column of those that stay together is named after the first; the columns of `foot` come last."""
    rows = [["a", 3, 0.5, 0.01, 0.25, 0.1], ["b", 4, 0.75, None, 1.0, 0.2]]
    made = of_rows("", ["type", "n", "One", "p", "Two", "chance"], rows, keys=2, spans=[2, 1, 1])
    turned = made.turned("encoder", ["n", "chance"])
    assert turned.headings == ["encoder", "a", "b"]
    shown = [[[cell.text for cell in row] for row in part] for part in (turned.rows, turned.foot)]
    assert shown[0] == [["One", "0.500", "0.750"], ["One: p", "0.010", "-"], ["Two", "0.250", "1.000"]]
    assert shown[1] == [["n", "3", "4"], ["chance", "0.100", "0.200"]]


def test_of_more_than_three_encoders_each_has_a_row():
    metrics = {group: Metric("m", group, 0.5, 9, "lower", chance=0.1) for group in ("a", "b", "average")}
    differences = {group: (Difference(-0.1, -0.2, 0.0, 0.03), 0.04) for group in metrics}
    several = [Measured("Reference", metrics), *(Measured(f"E{i}", metrics, differences) for i in range(3))]
    of_three, of_four = (measured_tables("M", "type", several[:n], label="tab:m") for n in (3, 4))
    shown = [(table.headings, [row[0].text for row in (*table.rows, *table.foot)]) for table in (*of_three, *of_four)]
    columns = ["type", "E0 minus Reference", "p", "E1 minus Reference", "p"]
    assert shown[0] == (["type", "n", "Reference", "E0", "E1", "chance"], ["a", "b", "average"])
    assert shown[1] == (columns, ["a", "b", "average"])
    assert shown[2] == (["encoder", "a", "b", "average"], ["Reference", "E0", "E1", "E2", "n", "chance"])
    names = [name for i in range(3) for name in (f"E{i}", f"E{i}: p")]
    assert shown[3] == (["minus Reference", "a", "b", "average"], names)
    assert [table.caption for table in of_four] == ["M", "M; differences from Reference"]
    assert [[cell.text for cell in row[1:2]] for row in of_four[1].rows[:2]] == [["-0.100 ±0.100"], ["0.040"]]


def test_names_and_headings_that_leave_no_room_are_broken_into_lines():
    name = "a name of many words that goes on and on, beside which there is no room for any number"
    made = Table("", ["name", "the numbers of an encoder"], [[Cell(name[:78]), Cell("0.500 ±0.100", 0.5)]])
    lines = tables.text_table(made).splitlines()
    assert max(map(len, lines)) <= 80 and [len(lines[0].split()), lines[0].split()[-1]] == [3, "numbers"]
    # The numbers take 12 and two blanks before them, which leaves 66 for the name.
    assert " ".join(line[:66].strip() for line in lines[4:]) == name[:78].strip()


def test_markdown_is_escaped_and_the_best_is_bold():
    best = Table("a < b", ["set", "p|q"], [[Cell("a|b"), Cell("<0.001", 0.0, is_best=True)]], notes=["one", "two."])
    assert tables.markdown_table(best).splitlines() == [
        "a &lt; b",
        "",
        "| set  |          p\\|q |",
        "|:-----|--------------:|",
        "| a\\|b | **&lt;0.001** |",
        "",
        "one. two. Bold: the best value.",
    ]


def test_latex_has_the_notes_in_its_caption_and_a_label_for_each_part():
    assert tables.latex_table(table(1, notes=["50 % of it"], label="tab:a")).splitlines() == [
        "\\begin{table}",
        "\\centering\\small",
        "\\caption{A caption. 50~\\% of it.}",
        "\\label{tab:a}",
        "\\begin{tabular}{lr}",
        "\\toprule",
        "set & encoder 1 \\\\",
        "\\midrule",
        "a$|$b & 0.500 $\\pm$0.100 \\\\",
        "c & 0.500 $\\pm$0.100 \\\\",
        "\\midrule",
        "mean & $-$0.250\\phantom{ $\\pm$0.000} \\\\",
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    wide = tables.latex_table(table(9, label="tab:a"))
    assert "\\label{tab:a-1}" in wide and "\\label{tab:a-2}" in wide and wide.count("\\end{table*}") == 2


def test_numbers_are_below_each_other_whatever_follows_them():
    """In LaTeX by a blank as wide as the widest interval with its mark; as text by blanks for what a mark lacks."""
    column = [Cell("0.50 ±0.10", 0.5, mark="**"), Cell("-0.25 ±0.20", -0.25), Cell("0.75", 0.75, mark="*"), Cell("-")]
    made = Table("", ["name", "x"], [[Cell(name), cell] for name, cell in zip("abcd", column, strict=True)])
    cells = [line.split(" & ")[1] for line in tables.latex_table(made).splitlines() if line[:1] in set("abcd")]
    blank = "\\phantom{ $\\pm$0.00**} \\\\"
    assert cells == [
        "0.50 $\\pm$0.10** \\\\",
        f"$-$0.25\\rlap{{ $\\pm$0.20}}{blank}",
        f"0.75\\rlap{{*}}{blank}",
        f"--{blank}",
    ]
    assert [line.rstrip() for line in tables.text_table(made).splitlines()[2:]] == [
        "a      0.50 ±0.10**",
        "b     -0.25 ±0.20",
        "c            0.75*",
        "d               -",
    ]


def test_a_column_is_of_numbers_if_all_its_cells_are():
    texts = {"0.5 ±0.1": True, "<0.001": True, "-": True, "12 %": True, "-0.0 [-0.1, 0.1]": True, "": True,
             "a": False, "yes": False, "3x": False}  # fmt: skip
    made = Table("", ["name", *texts], [[Cell("1"), *map(Cell, texts)]])
    assert made.alignment == ["left", *("right" if number else "left" for number in texts.values())]
    assert Table("", ["", "id"], [[Cell(""), Cell("12", "12")]]).alignment == ["left", "left"], "a name, not a number"


def test_a_note_of_several_tables_is_under_the_last_of_them():
    first, second = table(notes=["of both", "of one"]), table(notes=["of both"])
    text = tables.rendered([first, "A paragraph.", second], "text")
    assert text.count("of both") == 1 and text.index("of one") < text.index("A paragraph.") < text.index("of both")
    assert tables.rendered([first, second], "latex").count("of both") == 2


def test_csv_reads_back_as_it_was_and_holds_no_formula():
    rows = [["=1+1", "+1", "-x", "@a", "\tb", "a=b", "", None, -0.5, 3, 'x, "y"\nz']]
    written = tables.csv_table(of_rows("", [f"column {j}" for j in range(11)], rows))
    heading, *read = csv.reader(io.StringIO(written, newline=""))
    assert len(heading) == 11
    assert read == [["'=1+1", "'+1", "'-x", "'@a", "'\tb", "a=b", "", "", "-0.5", "3", 'x, "y"\nz']]


def test_a_name_of_the_users_keeps_its_underscores():
    assert group_title("figurative_language") == "figurative language"
    assert group_title("self_harm") == "self_harm"


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("R&D_1: 50 % of $5 #2 {x}", "R\\&D\\_1: 50~\\% of \\$5 \\#2 \\{x\\}"),
        ("a\\b~c^d|e", "a\\textbackslash{}b\\textasciitilde{}c\\textasciicircum{}d$|$e"),
        ("-0.050 ±0.010, p ≤0.02 or <0.001", "$-$0.050 $\\pm$0.010, p $\\leq$0.02 or $<$0.001"),
        ("gte-7b, E5-2", "gte-7b, E5-2"),
        ("a -> b", "a -$>$ b"),
        ("-", "--"),
    ],
)
def test_what_latex_would_read_as_a_command_is_escaped(text, latex):
    assert tables.latex_text(text) == latex
