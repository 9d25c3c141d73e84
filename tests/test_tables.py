"""Numbers as the tables print them."""

import csv
import io
import re

import pytest

from Safety_Detection.shown import tables as transfer_tables
from Safety_Detection.shown.differences import Compared
from utils import tables
from utils.compare.paired import Cell, Comparison
from utils.compare.rendered import rendered
from utils.data.catalogue import group_title
from utils.schema import Difference, Metric


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


def test_a_value_with_its_interval():
    # Half of 0.1 - (-0.1) is 0.1.
    assert tables.with_interval(Metric("m", "g", -0.0004, 9, "higher", -0.1, 0.1)) == "0.000 ±0.100"
    assert tables.with_interval(Metric("m", "g", -0.0004, 9, "higher")) == "0.000"


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        # Sides of 0.046 and 0.054 differ by less than a tenth of 0.1; of 0.044 and 0.056 by more.
        (0.5, 0.454, 0.554, "0.500 ±0.050"),
        (0.5, 0.456, 0.556, "0.500 [0.456, 0.556]"),
        (0.0, 0.0, 0.088, "0.000 [0.000, 0.088]"),  # "±0.044" would say that it may be below 0 and not above 0.044
        (0.5, 0.4995, 0.5004, "0.500 ±0.000"),  # too narrow to be printed
    ],
)
def test_an_interval_that_is_not_symmetric_is_shown_by_its_ends(value, low, high, text):
    assert tables.with_interval(Metric("m", "g", value, 9, "higher", low, high)) == text


def test_a_difference_with_its_interval():
    assert tables.with_reach(Difference(-0.02, -0.05, 0.01, 0.2)) == "-0.020 ±0.030"
    assert tables.with_reach(Difference(-0.02)) == "-0.020" and tables.with_reach(None) == "-"


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
def test_a_comparison_of_equals_prints_no_signed_zero(form):
    metric = Metric("categorical_purity", "average", -0.0004, 9, "higher", -0.0003, 0.0004)
    cells = [
        Cell("average", "one", metric),
        Cell("average", "two", metric, Difference(-0.0004, -0.001, 0.0002, 1.0), 0.004, 1.0),
    ]
    labels, ranks = {"one": "One", "two": "Two"}, {"one": 1, "two": 1}
    comparison = Comparison("safety_taxonomy", "categorical_purity", "paper", "one", labels, cells, ranks, {})
    text = rendered(comparison, form).replace("$", "")
    assert "-0.00" not in text and "+0.00" not in text
    assert "0.000 to 0.000" in text and [line for line in text.splitlines() if "Two" in line and " 0.00 " in line]


def test_equal_detectors_print_no_signed_zero():
    of = Compared("a -> a", "one", "two", Difference(-0.0004, -0.001, 0.0002, 0.9), 1.0)
    assert re.split(" {2,}", transfer_tables.differences_table([of]).splitlines()[-1]) == [
        "a -> a", "0.000 ±0.001", "0.900", "1.000"
    ]  # fmt: skip


def test_csv_reads_back_as_it_was_and_holds_no_formula():
    rows = [["=1+1", "+1", "-x", "@a", "\tb", "a=b", "", None, -0.5, 3, 'x, "y"\nz']]
    written = tables.csv_text([f"column {j}" for j in range(11)], rows)
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
