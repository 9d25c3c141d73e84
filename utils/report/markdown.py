"""The report as Markdown."""

from collections.abc import Sequence

from utils.report.parts import Section, Table
from utils.report.tables import summary_table
from utils.tables import flat, markdown_text


def render_markdown(name: str, sections: Sequence[Section]) -> str:
    """The averages, findings and tables as Markdown, for a README."""
    parts = [f"# Safe-Embed on {name}"]
    if name == "sample":
        parts.append("**SAMPLE: scores on the small set bundled here, not on the paper's data.**")
    summary = summary_table(sections)
    if summary is not None:
        parts.append(_markdown_table(summary))
    findings = [finding for section in sections for finding in section.findings]
    parts += [f"- **{finding.heading}.** {markdown_text(finding.text)}" for finding in findings]
    for section in sections:
        parts.append(f"## {section.about.title}\n\n{section.about.question} {section.lead}")
        parts += [f"- **{point.heading}.** {markdown_text(point.text)}" for point in section.points]
        parts += [_markdown_table(table) for table in section.tables[:1]]
        parts += [_collapsed(table) if table.is_long else _markdown_table(table) for table in section.tables[1:]]
        parts += [markdown_text(note) for note in (section.note, *section.notes) if note]
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    return f"{table.caption}\n\n{_body(table)}"


def _collapsed(table: Table) -> str:
    summary = f"{markdown_text(table.caption)} ({len(table.rows)} rows)"
    return f"<details><summary>{summary}</summary>\n\n{_body(table)}\n\n</details>"


def _body(table: Table) -> str:
    rows = [[cell.text for cell in row] for row in [*table.rows, *table.foot]]
    columns = [(text, [row[at] for row in rows]) for at, (text, _) in enumerate(table.headers)]
    return flat(columns, "pipe", ["right" if is_number else "left" for _, is_number in table.headers])
