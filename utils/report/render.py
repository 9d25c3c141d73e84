"""The report as a page that opens from disk without a network."""

from collections.abc import Sequence
from pathlib import Path

from utils.figures.plane import description_of, plane_of, points_of, titles
from utils.files import write_whole
from utils.report.markdown import render_markdown
from utils.report.parts import Section, drawn
from utils.report.provenance import provenance_of
from utils.report.tables import summary_table
from utils.results.ranked import why_no_rank
from utils.schema import CONTROLS, Result
from utils.tables import INTERVAL
from utils.tasks import TASKS

PAGE = Path(__file__).with_name("template")


def write_report(out: Path, name: str, sections: Sequence[Section]) -> tuple[Path, Path]:
    """Writes `<out>/<name>/report.html` and `report.md`, each whole or not at all; returns both paths."""
    page, twin = out / name / "report.html", out / name / "report.md"
    write_whole(page, render_page(name, sections))
    write_whole(twin, render_markdown(name, sections))
    return page, twin


def render_page(name: str, sections: Sequence[Section]) -> str:
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
    results = [result for section in sections for result in section.results]
    labels = {result.encoder.name: result.encoder.label for result in results}
    map_data = next((section.map for section in sections if section.map), None)
    has_unranked = any(section.comparison and section.comparison.unranked for section in sections)
    plotly = ""
    if map_data is not None:
        from plotly.offline import get_plotlyjs

        plotly = get_plotlyjs()
    return environment.get_template("page.html").render(
        shown_name={"paper": "the paper's data", "sample": "the bundled sample"}.get(name, name),
        is_sample=name == "sample",
        labels=[label for encoder, label in labels.items() if encoder not in CONTROLS] or list(labels.values()),
        created=max(result.created for result in results)[:10],
        summary=summary_table(sections),
        first_figure=_plane(results) or _first_figure(sections),
        sections=sections,
        interval=INTERVAL,
        why_no_rank=why_no_rank() if has_unranked else "",
        notes=list(dict.fromkeys(note for section in sections for note in section.notes)),
        definitions=_definitions(sections, True),
        more_definitions=_definitions(sections, False),
        provenance=provenance_of(sections),
        prompts={key: text for section in sections for key, text in section.prompts.items()},
        map_data=map_data,
        css=Markup((PAGE / "page.css").read_text(encoding="utf-8")),
        script=Markup((PAGE / "page.js").read_text(encoding="utf-8")),
        plotly=Markup(plotly),
    )


def _definitions(sections: Sequence[Section], by_items: bool) -> dict[str, str]:
    """What the metrics of the tasks are: of all tasks of items, or of those other tasks that have a section."""
    shown = {section.about.name: section.results[0] for section in sections}
    found: dict[str, str] = {}
    for task in TASKS.values():
        if task.by_items == by_items and (by_items or task.name in shown):
            k = f" (k = {shown[task.name].settings['top_k']})" if task.uses_top_k and task.name in shown else ""
            found |= {name: text.format(k=k) for name, text in task.definitions.items()}
    return found


def _plane(results: Sequence[Result]) -> dict | None:
    """The plane of topics and safety; None without."""
    if not points_of(results):
        return None
    labels = list(dict.fromkeys(result.encoder.label for result in results))
    [figure] = drawn(lambda style: plane_of(results, style, labels), lambda stem: description_of(results))
    return {**figure, "in_tables": titles(results)}


def _first_figure(sections: Sequence[Section]) -> dict | None:
    """The figure of averages if there is no plane: of the task of topics, or else the first task; None without one."""
    found = [
        (bool(s.about.knows_topics), f)
        for s in sections
        for f in s.figures
        if "average of each encoder" in f["caption"]
    ]
    return max(found, key=lambda one: one[0])[1] if found else None
