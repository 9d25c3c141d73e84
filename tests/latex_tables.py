"""Reads LaTeX tables back, and compiles them where there is a TeX."""

import re
import shutil
import subprocess

import pytest

# A page as tables are made for: text of 6.8 inches in columns of 3.3.
DOCUMENT = r"""\documentclass[twocolumn,10pt]{article}
\usepackage[textwidth=6.8in,textheight=9in,columnsep=0.2in]{geometry}
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""
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
    for table in re.findall(r"\\begin\{table\*?\}(.*?)\\end\{table\*?\}", text, flags=re.DOTALL):
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


def too_wide(text, folder):
    """What is wider than its column or the page, in a document of two columns; skips without a TeX."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex (Debian: apt-get install texlive-latex-recommended)")
    (folder / "paper.tex").write_text(DOCUMENT.replace("%s", text))
    run = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"], cwd=folder, capture_output=True
    )
    log = (folder / "paper.log").read_text(errors="replace")
    assert run.returncode == 0, log[-2000:]
    return [line for line in log.splitlines() if line.startswith("Overfull")]
