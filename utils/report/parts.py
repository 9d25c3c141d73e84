"""What the report is made of: figures and sections."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field

from utils.compare.paired import Comparison
from utils.figures.style import drawing, rendered
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


def drawn(figures: Callable[[], dict], caption: Callable[[str], str], wide: bool = False) -> list[dict]:
    """Each figure as data URIs for a light and a dark background, with its caption.

    figures: returns figures by name. caption: the caption of a name. wide: whether each has a row to
    itself, and scrolls where the page is narrow.
    """
    found: dict[str, dict] = {}
    for theme in ("light", "dark"):
        with drawing(dark=theme == "dark"):
            for stem, figure in figures().items():
                encoded = base64.b64encode(rendered(figure, "svg")).decode()
                where = "" if stem.endswith("curve") else "this section"
                known = {"caption": caption(stem), "in_tables": where, "wide": wide}
                found.setdefault(stem, known)[theme] = f"data:image/svg+xml;base64,{encoded}"
    return list(found.values())
