"""The report as Markdown."""

from collections.abc import Sequence

from utils.report.gather import Section, section_findings
from utils.report.parts import PlainSection, Table
from utils.report.tables import headline_table, more_tables, summary_table
from utils.tables import flat, markdown_text
from utils.tasks import TITLES


def render_markdown(name: str, sections: Sequence[Section], plain: Sequence[PlainSection] = ()) -> str:
    """The findings and tables once more, to be pasted into a README."""
    parts = [f"# Safe-Embed on {name}"]
    if name == "sample":
        parts.append("**SAMPLE: scores on the small set bundled here, not on the paper's data.**")
    findings = [finding for section in (*sections, *plain) for finding in section_findings(section)]
    parts += [f"- **{finding.heading}.** {markdown_text(finding.text)}" for finding in findings]
    if sections:
        parts.append(_markdown_table(summary_table(sections)))
    for section in sections:
        parts.append(f"## {TITLES[section.task][0]}\n\n{TITLES[section.task][1]}")
        parts += [_markdown_table(table) for table in (headline_table(section), *more_tables(section))]
        if section.comparison is not None:
            reference = markdown_text(section.comparison.labels[section.comparison.reference])
            parts.append(
                f"difference: minus {reference}; p: paired sign-flip test, corrected by Holm: of the average over all "
                "pairs of encoders, else over the other rows of the table"
            )
        parts += [markdown_text(note) for note in section.notes]
    for section in plain:
        parts.append(f"## {section.title}\n\n{section.question} {section.lead}")
        parts += [_markdown_table(table) for table in section.tables]
        parts += [markdown_text(note) for note in section.notes]
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    rows = [[cell.text for cell in row] for row in [*table.rows, *table.foot]]
    columns = [(text, [row[at] for row in rows]) for at, (text, _) in enumerate(table.headers)]
    body = flat(columns, "pipe", ["right" if is_number else "left" for _, is_number in table.headers])
    return f"{table.caption}\n\n{body}"
