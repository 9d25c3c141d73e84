"""What the report is made of: figures and sections."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product

from utils.compare.paired import Comparison
from utils.figures.style import COLUMN, PAPER, SCREEN, Style, drawing, rendered
from utils.report.findings import Finding
from utils.schema import Result
from utils.tables import Table
from utils.tasks import Task


@dataclass(frozen=True)
class Section:
    """The report's section on a task.

    lead: a sentence on the numbers. points: findings that come before the tables. tables: the first is above the
    figures. note: how to read the first table, and what a reader should know about the data.
    figures: as returned by `drawn`. notes: what is left out, and why. results: those that the section shows.
    variants: results that only a table of variants shows.
    comparison: of these results, None if they are not compared item by item.
    views: for each encoder, the items that it gets most wrong. prompts: the texts that the cells refer to.
    map: of the taxonomy, for the page's script.
    """

    about: Task
    lead: str
    tables: list[Table]
    figures: list[dict]
    findings: list[Finding]
    notes: list[str]
    results: list[Result]
    variants: list[Result] = field(default_factory=list)
    note: str = ""
    points: list[Finding] = field(default_factory=list)
    comparison: Comparison | None = None
    views: list[tuple[str, Table]] = field(default_factory=list)
    prompts: dict[str, str] = field(default_factory=dict)
    map: dict | None = None


def drawn(figures: Callable[[Style], dict], caption: Callable[[str], str], wide: bool = False) -> list[dict]:
    """Each figure as data URIs for a light and a dark background, with its caption, and `narrow` for a narrow screen.

    A figure that has no form of a paper's column has none for a narrow screen.
    figures: returns figures by name. caption: the caption of a name. wide: whether each has a row to
    itself, and scrolls where the page is narrow.
    """
    found: dict[str, dict] = {}
    for theme, style in product(("light", "dark"), (SCREEN, PAPER)):
        with drawing(theme == "dark", style):
            for stem, figure in figures(style).items():
                if style is PAPER and figure.get_figwidth() > COLUMN:
                    continue
                where = "" if stem.endswith("curve") else "this section"
                known = {"caption": caption(stem), "in_tables": where, "wide": wide, "narrow": {}}
                form = found.setdefault(stem, known)
                encoded = base64.b64encode(rendered(figure, "svg")).decode()
                (form if style is SCREEN else form["narrow"])[theme] = f"data:image/svg+xml;base64,{encoded}"
    return list(found.values())
