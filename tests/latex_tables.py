"""Reads LaTeX tables back: their captions, labels and cells."""

import re

SIGNS = {
    "$\\pm$": "±",
    "$\\leq$": "≤",
    "$-$": "-",
    "$<$": "<",
    "$>$": ">",
    "\\%": "%",
    "\\_": "_",
    "\\&": "&",
    "--": "-",
}


def tables_in(text):
    """(caption, label, rows of cells) of each table. A cell is (its text, whether it is bold).

    Fails if a row has a different number of cells than the table has columns, or if braces are not paired.
    """
    found = []
    for table in re.findall(r"\\begin\{table\}(.*?)\\end\{table\}", text, flags=re.DOTALL):
        bare = re.sub(r"\\[{}]", "", table)
        assert bare.count("{") == bare.count("}")
        [caption] = re.findall(r"^\\caption\{(.*)\}$", table, flags=re.MULTILINE)
        [label] = re.findall(r"^\\label\{(.*)\}$", table, flags=re.MULTILINE)
        [columns] = re.findall(r"\\begin\{tabular\}\{(l[lr]+)\}", table)
        assert [table.count(f"\\{rule}") for rule in ("toprule", "bottomrule")] == [1, 1]
        rows = []
        for line in table.splitlines():
            if line.endswith("\\\\"):
                cells = re.split(r"(?<!\\)&", line.removesuffix("\\\\"))
                assert len(cells) == len(columns)
                rows.append([plain(cell.strip()) for cell in cells])
        found.append((caption, label, rows))
    return found


def plain(cell):
    bold = re.fullmatch(r"\\textbf\{(.*)\}", cell)
    text = bold[1] if bold else cell
    for sign, meant in SIGNS.items():
        text = text.replace(sign, meant)
    return text, bool(bold)
