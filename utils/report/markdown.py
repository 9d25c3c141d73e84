"""The report as Markdown."""

from collections.abc import Sequence
from dataclasses import replace

from utils.report.parts import Section
from utils.report.tables import summary_table
from utils.tables import Table, markdown_table, markdown_text


def render_markdown(name: str, sections: Sequence[Section]) -> str:
    """The averages, findings and tables as Markdown, for a README."""
    parts = [f"# Safe-Embed on {name}"]
    if name == "sample":
        parts.append("**SAMPLE: scores on the small set bundled here, not on the paper's data.**")
    summary = summary_table(sections)
    if summary is not None:
        parts.append(markdown_table(summary))
    findings = [finding for section in sections for finding in section.findings]
    parts += [f"- **{finding.heading}.** {markdown_text(finding.text)}" for finding in findings]
    for section in sections:
        parts.append(f"## {section.about.title}\n\n{section.about.question} {section.lead}")
        parts += [f"- **{point.heading}.** {markdown_text(point.text)}" for point in section.points]
        parts += [markdown_table(table) for table in section.tables[:1]]
        parts += [_collapsed(table) if table.is_collapsed else markdown_table(table) for table in section.tables[1:]]
        parts += [markdown_text(note) for note in (section.note, *section.notes) if note]
    return "\n\n".join(parts) + "\n"


def _collapsed(table: Table) -> str:
    summary = f"{markdown_text(table.caption)} ({len(table.rows)} rows)"
    return f"<details><summary>{summary}</summary>\n\n{markdown_table(replace(table, caption=''))}\n\n</details>"
