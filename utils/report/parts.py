"""What a page of the report is made of: cells, tables, figures, and sections that need nothing else."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field

from utils.figures.style import drawing, rendered
from utils.report.findings import Finding
from utils.schema import Result


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
class PlainSection:
    """A task that is shown by its own tables and figures. lead: what the numbers are, under the question.

    figures: as `drawn` gives them. results: what it was made of.
    """

    task: str
    title: str
    question: str
    lead: str
    tables: list[Table]
    figures: list[dict]
    findings: list[Finding]
    notes: list[str]
    results: list[Result]


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
