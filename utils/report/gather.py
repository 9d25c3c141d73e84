"""Gathers the results on one dataset that can be compared, task by task."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.compare.paired import Comparison, compare, scores_of
from utils.data.loading import load_evaluated
from utils.files import shown_path
from utils.report.findings import FLOOR, place
from utils.results.find import datasets, find_results, folded, told_apart
from utils.results.likeness import of_one_kind, refuse_unlike
from utils.results.ranked import without_rank
from utils.results.result_file import read_with_items
from utils.schema import CONTROLS, Dataset, InputError, Result, shown
from utils.tasks import FIRST_SCRIPT, TASKS, Task, tasks_by_items


@dataclass(frozen=True)
class Evidence:
    """A task's comparable results, with everything that a section of the report needs.

    results: one of each encoder. variants: results that differ from one of those in dtype or instruction only, each
    after that one. beside: comparisons by the other metrics that encoders are compared by. unranked: encoders that have
    no rank, with the reason. dataset: None if the prompts are not available. notes: the reasons, and which results are
    left out.
    """

    about: Task
    results: list[Result]
    variants: list[tuple[Result, Result]]
    comparison: Comparison | None
    beside: list[Comparison]
    unranked: dict[str, str]
    dataset: Dataset | None
    maps: Sequence
    notes: list[str]


def gather(
    out: Path, name: str, first: Sequence[str], reference: str | None, data: str | None, choice: str | float = "auto"
) -> list[Evidence]:
    """The evidence for a report on the dataset `name`: of each task the results comparable with the newest.

    first: encoders that come first, in that order, and with whose results the others must be comparable. reference:
    the encoder that the others are compared with, TF-IDF if None. data: the file of the prompts, unless they are the
    paper's or the sample. choice: the average similarity whose results are preferred.
    Raises InputError if there are no results.
    """
    gathered: list[Evidence] = []
    without: list[str] = []  # the notes of tasks without a readable result
    for about in tasks_by_items():
        task = about.name
        notes: list[str] = []
        results, paths = [], []
        for path in find_results([out], name, task, (), choice) if (out / name / task).is_dir() else []:
            try:
                results.append(read_with_items(path, [about.headline, *about.item_scores]))
                paths.append(path)
            except InputError as error:
                notes.append(f"Left out: {error}.")
        if not results:
            without += notes
            continue
        results = told_apart(results, paths)
        anchor = max(results, key=lambda one: (_name(one) in first, _name(one) not in CONTROLS, one.created))
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
        alike, variants = folded(alike, first)
        notes += folded_away(variants)
        alike.sort(key=lambda one: place(_name(one), first))
        gathered.append(_evidence(about, alike, variants, notes, reference, data, out))
    if not gathered:
        raise nothing(out / name, without)
    gathered[0].notes.extend(without)
    return gathered


def beside_headline(results: Sequence[Result]) -> list[str]:
    """The other metrics that encoders are compared by, of those that all results have."""
    wanted = TASKS[results[0].task].beside_headline
    return [metric for metric in wanted if all(result.metric(metric, "average") for result in results)]


def folded_away(variants: Sequence[tuple[Result, Result]]) -> list[str]:
    """A sentence on the variants of encoders that have no row of their own; none without any."""
    labels = ", ".join(variant.encoder.label for _, variant in variants)
    return [f"In a table of variants at the end of each section, and not ranked: {labels}."] if variants else []


def nothing(folder: Path, why: Sequence[str]) -> InputError:
    said = f" ({why[0].rstrip('.')})" if why else ""
    remedy = f"run a task first, such as {FIRST_SCRIPT}"
    others = datasets([folder.parent])
    if others and not why:
        remedy = f"there are some on {', '.join(map(shown, others))}: name one with --data, or {remedy}"
    return InputError(f"{shown_path(folder)}: no results to report{said}; {remedy}")


def _name(result: Result) -> str:
    return result.encoder.name


def _evidence(
    about: Task,
    results: list[Result],
    variants: list[tuple[Result, Result]],
    notes: list[str],
    reference: str | None,
    data: str | None,
    out: Path,
) -> Evidence:
    names = [result.encoder.name for result in results]
    comparison, beside, unranked = None, [], without_rank(results, about.headline, [out])
    if len(results) > 1:
        chosen = reference or (FLOOR if FLOOR in names else names[0])
        if chosen not in names:
            raise InputError(f"--reference {chosen}: no such result of {about.name} (there are: {', '.join(names)})")
        comparison, *beside = (
            compare([scores_of(result, metric) for result in results], metric, chosen, ranked)
            for metric, ranked in ((about.headline, unranked), *((metric, None) for metric in beside_headline(results)))
        )
    baselines = {result.settings["baseline"]["source"] for result in results if result.settings["baseline"]}
    if len(baselines) > 1:
        notes.append(
            f"{about.title}: the average similarity b is from {' and '.join(sorted(baselines))}; Provenance says whose."
        )
    dataset = None
    maps: Sequence = ()
    try:
        dataset = load_evaluated(results[0], data)
        if about.maps is not None:
            maps = about.maps(results, dataset, lambda note: notes.append(f"{note[0].upper()}{note[1:]}."))
    except InputError as error:
        notes.append(f"Without the prompts' texts: {error}.")
    return Evidence(about, results, variants, comparison, beside, unranked, dataset, maps, notes)


def newest_dataset(out: Path) -> str:
    """The dataset of the result that was written last. Raises InputError if there is none."""
    files = [path for task in TASKS for path in out.glob(f"*/{task}/*.json")]
    if not files:
        raise InputError(f"{shown_path(out)}: no results to report; run a task first, such as {FIRST_SCRIPT}")
    return max(files, key=lambda path: path.stat().st_mtime_ns).parent.parent.name
