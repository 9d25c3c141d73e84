"""What the report is made of: cells, tables, figures and sections."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field

from utils.compare.paired import Comparison
from utils.figures.style import drawing, rendered
from utils.report.findings import Finding
from utils.schema import Result
from utils.tasks import About


@dataclass(frozen=True)
class Cell:
    """What a table shows, and what it is sorted by. prompt: the key of a text that is shown once it is asked for."""

    text: str
    value: float | str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class Table:
    """headers: (text, whether its cells are numbers). foot: rows that stay below whatever the order."""

    caption: str
    headers: list[tuple[str, bool]]
    rows: list[list[Cell]]
    foot: list[list[Cell]] = field(default_factory=list)

    def sorts_by(self, column: int) -> bool:
        """Whether the rows have values in a column."""
        return any(row[column].value is not None for row in self.rows)


@dataclass(frozen=True)
class Section:
    """What the report shows of a task.

    lead: what the numbers are, under the question. tables: the first stands above the figures, and note says how to
    read it. figures: as `drawn` gives them. notes: what is left out, and why.
    results: what it was made of. comparison: of these results, None where they are not compared item by item.
    views: for each encoder, the items that it gets most wrong. prompts: the texts that the cells refer to.
    map: the taxonomy's, as the page's script takes it.
    """

    about: About
    lead: str
    tables: list[Table]
    figures: list[dict]
    findings: list[Finding]
    notes: list[str]
    results: list[Result]
    note: str = ""
    comparison: Comparison | None = None
    views: list[tuple[str, Table]] = field(default_factory=list)
    prompts: dict[str, str] = field(default_factory=dict)
    map: dict | None = None


def drawn(figures: Callable[[], dict], caption: Callable[[str], str]) -> list[dict]:
    """Each figure as a data URI for light ground and for dark, with a caption that says what it shows.

    figures: makes them by name. caption: of a name.
    """
    found: dict[str, dict] = {}
    for theme in ("light", "dark"):
        with drawing(dark=theme == "dark"):
            for stem, figure in figures().items():
                encoded = base64.b64encode(rendered(figure, "svg")).decode()
                found.setdefault(stem, {"caption": caption(stem), "in_tables": not stem.endswith("curve")})[theme] = (
                    f"data:image/svg+xml;base64,{encoded}"
                )
    return list(found.values())
