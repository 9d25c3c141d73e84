"""The results on one dataset as a page that opens from disk without a network, and its tables as Markdown."""

import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.compare import (
    HEADLINES,
    Comparison,
    compare,
    find_results,
    p_text,
    scores_of,
)
from utils.data.catalogue import CARDS, FORMATS, JAILBREAKBENCH, OPENAI_MODERATION, XSTEST
from utils.data.loading import load_evaluated
from utils.data.sources import dataset_name
from utils.detection_report import detection_section
from utils.figures import category_styles, figures_of
from utils.files import shown_path, write_whole
from utils.find import told_apart
from utils.findings import FLOOR, Finding, findings_of, leader
from utils.likeness import of_one_kind, refuse_unlike
from utils.metrics.embedding import OVERLAP_BINS
from utils.page import Cell, PlainSection, Table, drawn
from utils.projection import TaxonomyMap, taxonomy_maps
from utils.results import read_with_items, rows_of
from utils.schema import Dataset, InputError, Metric, Result, escaped
from utils.tables import WIDTH, flat, markdown_text, number, papers_figures, with_interval
from utils.transfer import TASK as DETECTION

PAGE = Path(__file__).with_name("report_page")
# What the report takes of the flags of an evaluation; scripts/all_tasks.py hands them on.
TAKES = {
    "encoder": "the same as --model",
    "model": "encoders that come first, with commas between; the others are those with results like theirs "
    "(variable MODEL; default all-minilm-l6-v2)",
    "data": "results on which data, a name or a file (variable DATA; default that of the newest result)",
    "baseline": "of results by several average similarities, those by this one (variable BASELINE; default auto)",
    "out": "folder of the result files, and of the report (variable OUT; default results)",
    "quiet": "print where the report is and nothing else",
}
SEED = 42
WORST = 15
TITLES = {
    "safety_challenging": (
        "Safety-Challenging",
        "Does the encoder tell an unsafe prompt from a safe one that shares its words?",
        (("pairwise_accuracy", "average"), ("triplet_accuracy", "average")),
    ),
    "safety_contrast": (
        "Safety-Contrast",
        "How near to an unsafe prompt can a small safe edit stay?",
        (("mean_similarity", "average"), ("pairwise_accuracy", "average"), ("triplet_accuracy", "average")),
    ),
    "safety_taxonomy": (
        "Safety-Taxonomy",
        "Do unsafe prompts of one category lie together?",
        (("silhouette", "overall"), ("nmi", "overall")),
    ),
}
NUMBERS = {
    "safety_challenging": ("normalized_similarity", "triplet_accuracy"),
    "safety_contrast": ("boundary_similarity", "mean_word_overlap"),
    "safety_taxonomy": ("categorical_purity", "silhouette"),
}
FIGURE_CAPTIONS = {
    "heatmap": "by {group}, an encoder a row; the last column is the average",
    "average": "the average of each encoder{interval}, best first",
    "accuracy_curve": "pairwise accuracy at every threshold",
    "overlap": "boundary similarity by word overlap of original and edit{interval}",
    "purity_against_k": "average Categorical Purity against the number of neighbours{interval}, and chance",
}


@dataclass(frozen=True)
class Section:
    """A task's results, comparable ones only, with all that is made of them.

    dataset: None where the prompts can't be had; notes say why, and which results are left out.
    """

    task: str
    results: list[Result]
    items: list[list[dict]]
    comparison: Comparison | None
    dataset: Dataset | None
    maps: list[TaxonomyMap]
    notes: list[str]


def gather(
    out: Path, name: str, first: Sequence[str], reference: str | None, data: str | None, choice: str | float = "auto"
) -> list[Section]:
    """The sections of a report on the dataset `name`: of each task the results like the newest; others are noted.

    first: encoders that come first, in that order, and whose results others have to be like. reference: what the others
    are compared with, TF-IDF if None. data: where the prompts lie, if they are neither the paper's nor the sample.
    choice: of the average similarity, whose results go before others of the same encoder.
    Raises InputError if there is nothing.
    """
    sections: list[Section] = []
    without: list[str] = []  # what is said of tasks none of whose results can be read
    for task in HEADLINES:
        notes: list[str] = []
        results, paths = [], []
        for path in find_results([out], name, task, (), choice) if (out / name / task).is_dir() else []:
            try:
                results.append(read_with_items(path, [HEADLINES[task], *NUMBERS[task]]))
                paths.append(path)
            except InputError as error:
                notes.append(f"Left out: {error}.")
        if not results:
            without += notes
            continue
        results = told_apart(results, paths)
        anchor = max(results, key=lambda one: (_name(one) in first, _name(one) != FLOOR, one.created))
        alike = [anchor]
        for one in results:
            try:
                refuse_unlike([*alike, one])
                alike += [] if one is anchor else [one]
            except InputError as error:
                notes.append(f"Left out: {error}.")
        alike, again = of_one_kind(alike)
        if again:
            notes.append(f"{again[0].upper()}{again[1:]}.")
        order = {encoder: i for i, encoder in enumerate(first)}
        alike.sort(key=lambda one, order=order: (order.get(_name(one), len(order) + (_name(one) == FLOOR)), _name(one)))
        sections.append(_section(task, alike, notes, reference, data))
    if not sections:
        raise _nothing(out / name, without)
    sections[0].notes.extend(without)
    return sections


def gather_all(
    out: Path, name: str, first: Sequence[str], reference: str | None, data: str | None, choice: str | float = "auto"
) -> tuple[list[Section], list[PlainSection]]:
    """The sections of the tasks that are compared item by item, and those of tasks that are shown in their own way.

    Raises InputError if there is neither.
    """
    section, why = detection_section(out, name, first)
    plain = [] if section is None else [section]
    if not any((out / name / task).is_dir() for task in HEADLINES):
        if plain:
            return [], plain
        if why:
            raise _nothing(out / name, why)
    sections = gather(out, name, first, reference, data, choice)
    sections[0].notes.extend(why)
    return sections, plain


def _nothing(folder: Path, why: Sequence[str]) -> InputError:
    said = f" ({why[0].rstrip('.')})" if why else ""
    remedy = "run a task first, such as scripts/safety_taxonomy.sh"
    return InputError(f"{shown_path(folder)}: no results to report{said}; {remedy}")


def _name(result: Result) -> str:
    return result.encoder.name


def _section(task: str, results: list[Result], notes: list[str], reference: str | None, data: str | None) -> Section:
    items = [rows_of(result) for result in results]
    names = [result.encoder.name for result in results]
    comparison = None
    if len(results) > 1:
        chosen = reference or (FLOOR if FLOOR in names else names[0])
        if chosen not in names:
            raise InputError(f"--reference {chosen}: no such result of {task} (there are: {', '.join(names)})")
        scores = [scores_of(result, HEADLINES[task]) for result in results]
        comparison = compare(scores, HEADLINES[task], chosen, SEED)
    baselines = {result.settings["baseline"]["source"] for result in results if result.settings["baseline"]}
    if len(baselines) > 1:
        notes.append(
            f"{TITLES[task][0]}: the average similarity b is of {' and '.join(sorted(baselines))}; see Provenance."
        )
    dataset = None
    maps: list[TaxonomyMap] = []
    try:
        dataset = load_evaluated(FORMATS[task], results[0], data)
        if task == "safety_taxonomy":
            maps = taxonomy_maps(results, items, dataset, lambda note: notes.append(f"{note[0].upper()}{note[1:]}."))
    except InputError as error:
        notes.append(f"Without the prompts' texts: {error}.")
    return Section(task, results, items, comparison, dataset, maps, notes)


def newest_dataset(out: Path) -> str:
    """The dataset of the result that was written last. Raises InputError if there is none."""
    files = [path for task in (*HEADLINES, DETECTION) for path in out.glob(f"*/{task}/*.json")]
    if not files:
        raise InputError(
            f"{shown_path(out)}: no results to report; run a task first, such as scripts/safety_taxonomy.sh"
        )
    return max(files, key=lambda path: path.stat().st_mtime_ns).parent.parent.name


def _has_results(folder: Path) -> bool:
    return any(next((folder / task).glob("*.json"), None) for task in HEADLINES)


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
        summary=_summary(sections) if sections else None,
        sections=content,
        plain=plain,
        provenance=_provenance(every),
        notes=[note for section in every for note in section.notes],
        k=next((s.results[0].settings["top_k"] for s in sections if s.task == "safety_taxonomy"), None),
        prompts=prompts,
        map_data=None if mapped is None else _map_data(mapped, prompts),
        css=Markup((PAGE / "page.css").read_text(encoding="utf-8")),
        script=Markup((PAGE / "page.js").read_text(encoding="utf-8")),
        plotly=Markup(plotly),
    )


def section_findings(section: Section | PlainSection) -> list[Finding]:
    """What a section's results say, in words."""
    if isinstance(section, PlainSection):
        return section.findings
    return findings_of(section.results, section.comparison)


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
        "tables": [_group_table(section), *_more_tables(section)],
        "views": _views(section, prompts),
        "has_map": bool(section.maps),
        "map_encoders": [one.label for one in section.maps],
        "map_ids": section.maps[0].ids if section.maps else (),
        "map_is_part": bool(section.maps) and len(section.maps[0].ids) < section.results[0].dataset_items,
    }


def _figures(section: Section) -> list[dict]:
    """The section's figures with a caption for each that says what it shows."""
    group = "type" if section.task == "safety_challenging" else "category"
    interval = " with its 95 % interval" if _has_intervals(section) else ""
    metric = HEADLINES[section.task].replace("_", " ")

    def caption(stem: str) -> str:
        text = FIGURE_CAPTIONS[stem.removeprefix(f"{section.task}_")].format(group=group, interval=interval)
        text = f"{metric}: {text}" if stem.endswith(("heatmap", "average")) else text
        return f"{text[0].upper()}{text[1:]}"

    return drawn(lambda: figures_of(section.results, section.items), caption)


def _has_intervals(section: Section) -> bool:
    return all(r.metric(HEADLINES[section.task], "average").low is not None for r in section.results)


def _summary(sections: Sequence[Section]) -> Table:
    """Encoders by the headline metrics of all tasks."""
    columns = [(section, HEADLINES[section.task]) for section in sections]
    names = list(dict.fromkeys(r.encoder.name for section in sections for r in section.results))
    label = {r.encoder.name: r.encoder.label for section in sections for r in section.results}
    rows = []
    for name in names:
        row = [Cell(label[name], label[name])]
        for section, metric in columns:
            result = next((r for r in section.results if r.encoder.name == name), None)
            row.append(_metric_cell(None if result is None else result.metric(metric, "average")))
            rank = None if section.comparison is None or result is None else section.comparison.ranks[name]
            row.append(Cell("-" if rank is None else str(rank), rank))
        rows.append(row)
    headers = [("encoder", False)]
    for section, metric in columns:
        better = "↓" if section.results[0].metric(metric, "average").better == "lower" else "↑"
        headers += [(f"{metric.replace('_', ' ')} {better}", True), ("rank", True)]
    interval = ", with half the width of their 95 % intervals" if all(map(_has_intervals, sections)) else ""
    return Table(f"Averages over types or categories{interval}", headers, rows)


def _metric_cell(metric: Metric | None) -> Cell:
    return Cell(with_interval(metric), None if metric is None else metric.value)


def _group_table(section: Section) -> Table:
    """The headline metric by type or category: each encoder's score, its difference to the reference, and p.

    Beside one of the paper's encoders, computed as the paper did, stand the paper's figure and ours minus it.
    """
    metric = HEADLINES[section.task]
    first = section.results[0]
    bins = OVERLAP_BINS if section.task == "safety_contrast" else ()
    rows = [m for m in first.metrics if m.metric == metric and m.group not in bins]
    cells = {} if section.comparison is None else {(c.encoder, c.group): c for c in section.comparison.cells}
    groups = [m.group for m in rows]
    papers = {result.encoder.name: papers_figures(result, metric, groups) for result in section.results}
    headers = [("type" if section.task == "safety_challenging" else "category", False), ("n", True)]
    for result in section.results:
        headers.append((result.encoder.label, True))
        if section.comparison is not None and result.encoder.name != section.comparison.reference:
            headers += [("difference", True), ("p", True)]
        if papers[result.encoder.name] is not None:
            headers += [("paper", True), ("minus paper", True)]
    extras = [extra for extra in ("chance", "ceiling") if getattr(rows[0], extra) is not None]
    headers += [(extra, True) for extra in extras]
    body, foot = [], []
    for at, m in enumerate(rows):
        row = [Cell(m.group.replace("_", " "), m.group), Cell(str(m.n), m.n)]
        for result in section.results:
            row.append(_metric_cell(result.metric(metric, m.group)))
            if section.comparison is not None and result.encoder.name != section.comparison.reference:
                cell = cells[result.encoder.name, m.group]
                row += [Cell(f"{cell.difference:+.3f}", cell.difference), Cell(p_text(cell.p), cell.p)]
            if papers[result.encoder.name] is not None:
                row += _paper_cells(result.value(metric, m.group), papers[result.encoder.name][at])
        row += [Cell(number(getattr(m, extra)), getattr(m, extra)) for extra in extras]
        (foot if m.group in ("average", "overall") else body).append(row)
    caption = f"{metric.replace('_', ' ')}, {rows[0].better} is better"
    return Table(caption[0].upper() + caption[1:], headers, body, foot)


def _paper_cells(ours: float | None, paper: float | None) -> list[Cell]:
    difference = None if ours is None or paper is None else ours - paper
    return [Cell(number(paper), paper), Cell("-" if difference is None else f"{difference:+.3f}", difference)]


def _more_tables(section: Section) -> list[Table]:
    """The metrics beside the headline, and for Safety-Contrast the headline by word overlap."""
    wanted = [(metric, group) for metric, group in TITLES[section.task][2]]
    if section.task == "safety_taxonomy":
        names = dict.fromkeys(m.metric for m in section.results[0].metrics if "@" in m.metric)
        headline = f"categorical_purity@{section.results[0].settings['top_k']}"
        wanted = [(name, "average") for name in names if name != headline] + wanted
    tables = [_rows_of(f"Other metrics of {TITLES[section.task][0]}", section, wanted)]
    if section.task == "safety_contrast":
        by_bin = [(metric, group) for metric in ("boundary_similarity", "mean_similarity") for group in OVERLAP_BINS]
        tables.insert(0, _rows_of("Similarity by word overlap of original and edit", section, by_bin))
    return tables


def _rows_of(caption: str, section: Section, wanted: Sequence[tuple[str, str]]) -> Table:
    first = section.results[0]
    present = [row for row in wanted if first.metric(*row) is not None]
    with_chance = any(first.metric(*row).chance is not None for row in present)
    headers = [("metric", False), ("better", False), *((r.encoder.label, True) for r in section.results)]
    rows = []
    for metric, group in present:
        shown = f"{metric.replace('_', ' ')} ({group})"
        row = [Cell(shown, shown), Cell(first.metric(metric, group).better, first.metric(metric, group).better)]
        row += [_metric_cell(result.metric(metric, group)) for result in section.results]
        if with_chance:
            chance = first.metric(metric, group).chance
            row.append(Cell(number(chance), chance))
        rows.append(row)
    return Table(caption, [*headers, *([("chance", True)] if with_chance else [])], rows)


def _views(section: Section, prompts: dict[str, str]) -> list[tuple[str, Table]]:
    """For each encoder, the items that it gets most wrong. Texts are put into `prompts`, cells hold their keys."""
    view = {
        "safety_challenging": _worst_pairs,
        "safety_contrast": _nearest_edits,
        "safety_taxonomy": _most_misplaced,
    }[section.task]

    def prompt(item: str, column: str) -> Cell:
        key = f"{section.task} {item} {column}"
        if section.dataset is None or item not in section.dataset.ids:
            return Cell("not at hand")
        if key not in prompts:
            prompts[key] = section.dataset.texts[column][section.dataset.ids.index(item)]
        return Cell("", prompt=key)

    best = leader(section.results)
    pairs = sorted(zip(section.results, section.items, strict=True), key=lambda pair: pair[0] is not best)
    return [(result.encoder.label, view(section, result, rows, prompt)) for result, rows in pairs]


def _number_cell(text: str) -> Cell:
    return Cell("-" if text == "" else f"{float(text):.3f}", None if text == "" else float(text))


def _worst_pairs(section: Section, result: Result, rows: list[dict], prompt: Callable) -> Table:
    worst = sorted(rows, key=lambda row: -float(row["normalized_similarity"]))[:WORST]
    body = [
        [
            Cell(row["id"], row["id"]),
            Cell(row["type"].replace("_", " "), row["type"]),
            _number_cell(row["normalized_similarity"]),
            _number_cell(row["triplet_accuracy"]),
            prompt(row["id"], "unsafe_prompt"),
            prompt(row["id"], "safe_prompt"),
        ]
        for row in worst
    ]
    headers = [("id", False), ("type", False), ("normalized similarity", True), ("triplet accuracy", True),
               ("unsafe prompt", False), ("safe twin", False)]  # fmt: skip
    return Table(f"The {len(body)} pairs that {result.encoder.label} tells apart least", headers, body)


def _nearest_edits(section: Section, result: Result, rows: list[dict], prompt: Callable) -> Table:
    worst = sorted(rows, key=lambda row: -float(row["boundary_similarity"]))[:WORST]
    body = [
        [
            Cell(row["id"], row["id"]),
            Cell(row["category"], row["category"]),
            _number_cell(row["boundary_similarity"]),
            _number_cell(row["mean_word_overlap"]),
            prompt(row["id"], "original_prompt"),
            prompt(row["id"], f"prompt_#{row['nearest_edit']}") if row.get("nearest_edit") else Cell("not recorded"),
        ]
        for row in worst
    ]
    headers = [("id", False), ("category", False), ("boundary similarity", True), ("mean word overlap", True),
               ("original", False), ("nearest safe edit", False)]  # fmt: skip
    return Table(f"The {len(body)} originals with the nearest safe edit for {result.encoder.label}", headers, body)


def _most_misplaced(section: Section, result: Result, rows: list[dict], prompt: Callable) -> Table:
    worst = sorted(rows, key=lambda row: (float(row["categorical_purity"]), float(row["silhouette"])))[:WORST]
    category = {row["id"]: row["category"] for row in rows}
    body = [
        [
            Cell(row["id"], row["id"]),
            Cell(row["category"], row["category"]),
            _number_cell(row["categorical_purity"]),
            _number_cell(row["silhouette"]),
            prompt(row["id"], "question"),
            Cell(category.get(row["nearest_id"], "-"), category.get(row["nearest_id"])),
            prompt(row["nearest_id"], "question"),
        ]
        for row in worst
    ]
    headers = [("id", False), ("category", False), ("categorical purity", True), ("silhouette", True),
               ("prompt", False), ("category of the nearest", False), ("nearest prompt", False)]  # fmt: skip
    return Table(f"The {len(body)} prompts that {result.encoder.label} misplaces most", headers, body)


def _map_data(section: Section, prompts: dict[str, str]) -> dict:
    """The maps for the page's script. Neighbours and categories go by position among `ids`."""
    first = section.maps[0]
    place = {item: i for i, item in enumerate(first.ids)}
    order = [group for group in section.dataset.group_order if group in set(first.categories)]
    text_of = dict(zip(section.dataset.ids, section.dataset.texts["question"], strict=True))
    category_of = dict(zip(section.dataset.ids, section.dataset.groups, strict=True))
    nearest = [[[place.get(j, j) for j in row[:5]] for row in one.nearest] for one in section.maps]
    elsewhere = {j for rows in nearest for row in rows for j in row if isinstance(j, str)}
    for item in [*first.ids, *sorted(elsewhere)]:
        prompts[f"{section.task} {item} question"] = text_of[item]
    styles = category_styles(order)
    return {
        "task": section.task,
        "ids": first.ids,
        "categories": [{"name": name, "color": styles[name][0], "mark": styles[name][1]} for name in order],
        "category": [order.index(name) for name in first.categories],
        "elsewhere": {item: category_of[item] for item in sorted(elsewhere)},
        "encoders": [
            {
                "label": one.label,
                "trustworthiness": round(one.trustworthiness, 3),
                "points": [[round(float(x), 3), round(float(y), 3)] for x, y in one.points],
                "nearest": rows,
            }
            for one, rows in zip(section.maps, nearest, strict=True)
        ],
    }


def _title(section: Section | PlainSection) -> str:
    return section.title if isinstance(section, PlainSection) else TITLES[section.task][0]


def _origin(file: str, sha256: str, dataset: str) -> dict:
    """Where an evaluated file comes from, and under which licence, as far as its digest or name tells."""
    for card in (*CARDS, XSTEST, OPENAI_MODERATION):
        if card.sha256 == sha256:
            return {"source": card.source, "licence": card.licence, "citation": card.citation}
    if file.startswith(JAILBREAKBENCH["path"]):
        hub = f"Hugging Face {JAILBREAKBENCH['path']}"
        return {"source": hub, "licence": JAILBREAKBENCH["licence"], "citation": JAILBREAKBENCH["citation"]}
    if dataset == "sample":
        return {"source": "bundled with this project", "licence": "Apache-2.0", "citation": ""}
    return {"source": "given by its user", "licence": "not known here", "citation": ""}


def _provenance(sections: Sequence[Section | PlainSection]) -> dict:
    """What was evaluated, with what, where: rows of (heading, value) for each data file and each result."""
    files = []
    for section in sections:
        for file in section.results[0].dataset_files:
            known = _origin(file.name, file.sha256, section.results[0].dataset_name)
            files.append({"task": _title(section), **vars(file), **known})
    encoders = []
    for section in sections:
        for result in section.results:
            b = result.settings["baseline"]
            encoders.append(
                {
                    "task": _title(section),
                    "encoder": vars(result.encoder),
                    "baseline": "-" if b is None else f"{b['value']:.3f} ({b['source']})",
                    "created": result.created,
                    "device": result.environment.get("device", "-"),
                    "truncated": result.embedding.truncated,
                    "settings": {key: value for key, value in result.settings.items() if key != "baseline"},
                    "commit": result.environment.get("commit"),
                }
            )
    newest = max((r for section in sections for r in section.results), key=lambda r: r.created)
    return {"files": files, "encoders": encoders, "environment": newest.environment}


def render_markdown(name: str, sections: Sequence[Section], plain: Sequence[PlainSection] = ()) -> str:
    """The findings and tables once more, to be pasted into a README."""
    parts = [f"# Safe-Embed on {name}"]
    if name == "sample":
        parts.append("**SAMPLE: scores on the small set bundled here, not on the paper's data.**")
    findings = [finding for section in (*sections, *plain) for finding in section_findings(section)]
    parts += [f"- **{finding.heading}.** {markdown_text(finding.text)}" for finding in findings]
    if sections:
        parts.append(_markdown_table(_summary(sections)))
    for section in sections:
        parts.append(f"## {TITLES[section.task][0]}\n\n{TITLES[section.task][1]}")
        parts += [_markdown_table(table) for table in (_group_table(section), *_more_tables(section))]
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


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the report of the results on one dataset: a page, and its tables as Markdown."""
    from utils.cli import parser, run, settings_from

    takes = {**TAKES, "reference": "what the others are compared with (default tfidf)"}
    flags = parser("utils.report", main.__doc__, takes)
    flags.add_argument("--reference", metavar="ENCODER")

    def work() -> None:
        arguments = flags.parse_args(argv)
        settings = settings_from(arguments)
        name = newest_dataset(settings.out) if settings.data == "auto" else dataset_name(settings.data)
        asked = (arguments.reference, settings.data, settings.baseline)
        sections, plain = gather_all(settings.out, name, settings.models, *asked)
        page, twin = write_report(settings.out, name, sections, plain)
        others = sorted(path.name for path in settings.out.iterdir() if path.name != name and _has_results(path))
        if others and settings.data == "auto":
            print(f"there are results on {', '.join(others)} too; --data NAME reports them", file=sys.stderr)
        for section in (*sections, *plain):
            for sentence in section.notes:
                print(escaped(sentence), file=sys.stderr)
        if not settings.quiet:
            for section in (*sections, *plain):
                for finding in section_findings(section):
                    print(textwrap.fill(f"{finding.heading}: {finding.text}", WIDTH, subsequent_indent="  "))
        print(f"report on {name}: {shown_path(page)} (open it in a browser)\ntables: {shown_path(twin)}")

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
