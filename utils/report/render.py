"""The report as a page that opens from disk without a network."""

from collections.abc import Sequence
from pathlib import Path

from utils.figures.tasks import figures_of
from utils.files import write_whole
from utils.report.findings import FLOOR
from utils.report.gather import Section, section_findings
from utils.report.items import item_views, map_data_of
from utils.report.markdown import render_markdown
from utils.report.parts import PlainSection, drawn
from utils.report.provenance import provenance_of
from utils.report.tables import has_intervals, headline_table, more_tables, summary_table
from utils.tasks import FIGURE_CAPTIONS, HEADLINES, TITLES

PAGE = Path(__file__).with_name("template")


def write_report(
    out: Path, name: str, sections: Sequence[Section], plain: Sequence[PlainSection] = ()
) -> tuple[Path, Path]:
    """Writes `<out>/<name>/report.html` and `report.md`, each whole or not at all; returns both paths."""
    page, twin = out / name / "report.html", out / name / "report.md"
    write_whole(page, render_page(name, sections, plain))
    write_whole(twin, render_markdown(name, sections, plain))
    return page, twin


def render_page(name: str, sections: Sequence[Section], plain: Sequence[PlainSection] = ()) -> str:
    """The page: HTML with its styles, scripts, figures and data inside, and nothing outside."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    mapped = next((section for section in sections if section.maps), None)
    prompts: dict[str, str] = {}
    content = [_content(section, prompts) for section in sections]
    every = [*sections, *plain]
    labels = {r.encoder.name: r.encoder.label for section in every for r in section.results}
    plotly = ""
    if mapped is not None:
        from plotly.offline import get_plotlyjs

        plotly = get_plotlyjs()
    return environment.get_template("page.html").render(
        shown_name={"paper": "the paper's data", "sample": "the bundled sample"}.get(name, name),
        is_sample=name == "sample",
        labels=[label for name, label in labels.items() if name != FLOOR] or list(labels.values()),
        created=max(result.created for section in every for result in section.results)[:10],
        findings=[finding for section in every for finding in section_findings(section)],
        summary=summary_table(sections) if sections else None,
        sections=content,
        plain=plain,
        provenance=provenance_of(every),
        notes=[note for section in every for note in section.notes],
        k=next((s.results[0].settings["top_k"] for s in sections if s.task == "safety_taxonomy"), None),
        prompts=prompts,
        map_data=None if mapped is None else map_data_of(mapped, prompts),
        css=Markup((PAGE / "page.css").read_text(encoding="utf-8")),
        script=Markup((PAGE / "page.js").read_text(encoding="utf-8")),
        plotly=Markup(plotly),
    )


def _content(section: Section, prompts: dict[str, str]) -> dict:
    """What the template shows of a section; the texts it refers to go into `prompts`."""
    title, question, _ = TITLES[section.task]
    return {
        "task": section.task,
        "title": title,
        "question": question,
        "better": section.results[0].metric(HEADLINES[section.task], "average").better,
        "metric": HEADLINES[section.task].replace("_", " "),
        "n": section.results[0].dataset_items,
        "reference": None if section.comparison is None else section.comparison.labels[section.comparison.reference],
        "figures": _figures(section),
        "tables": [headline_table(section), *more_tables(section)],
        "views": item_views(section, prompts),
        "has_map": bool(section.maps),
        "map_encoders": [one.label for one in section.maps],
        "map_ids": section.maps[0].ids if section.maps else (),
        "map_is_part": bool(section.maps) and len(section.maps[0].ids) < section.results[0].dataset_items,
    }


def _figures(section: Section) -> list[dict]:
    """The section's figures with a caption for each that says what it shows."""
    group = "type" if section.task == "safety_challenging" else "category"
    interval = " with its 95 % interval" if has_intervals(section) else ""
    metric = HEADLINES[section.task].replace("_", " ")

    def caption(stem: str) -> str:
        text = FIGURE_CAPTIONS[stem.removeprefix(f"{section.task}_")].format(group=group, interval=interval)
        text = f"{metric}: {text}" if stem.endswith(("heatmap", "average")) else text
        return f"{text[0].upper()}{text[1:]}"

    return drawn(lambda: figures_of(section.results, section.items), caption)
