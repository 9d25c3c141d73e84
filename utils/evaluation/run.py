"""Runs a task: data in, scores, result files and tables out."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from utils import cli
from utils.cli import run
from utils.encoders import registry
from utils.evaluation.settings import Settings, parser, settings_from, settings_of
from utils.schema import OWN, Baseline, Dataset, InputError, Result, is_word_overlap, printable, shown
from utils.tables import INTERVAL
from utils.tasks import Task


def evaluate(task: Task, argv: Sequence[str] | None = None) -> int:
    """Runs a task for each encoder asked for: embeds, scores, writes result files, prints the tables."""

    def work() -> int:
        settings = settings_of(task, "evaluate", f"{task.title}: {task.question}", argv)
        dataset, found = task.data(settings)
        sample = [f"using the bundled sample, {found.how}"] if found.name == "sample" else []
        for sentence in (*sample, *dataset.notes) if not settings.quiet else ():
            cli.note(sentence)
        if settings.prompt_spread:
            from utils.evaluation.spread import spread

            note = (lambda sentence: None) if settings.quiet else cli.note
            cli.show(spread(task, dataset, settings, result_of, note))
            return 0
        return _evaluate([task], {task.name: dataset}, settings)

    return run(work)


def evaluate_all(tasks: Sequence[Task], program: str, argv: Sequence[str] | None = None, show_data: bool = True) -> int:
    """Runs several tasks as `evaluate` does each, and loads every encoder once for all of them.

    show_data: whether to print each task's data sheet first; --quiet leaves it out too.
    """
    flags = parser(program, f"{', '.join(task.title for task in tasks)}: one after the other.")

    def work() -> int:
        settings = settings_from(flags.parse_args(argv))
        datasets = {}
        for task in tasks:
            datasets[task.name], found = task.data(settings)
            if show_data and not settings.quiet:
                print(printable(task.data_sheet(datasets[task.name], found)), file=sys.stderr)
        return _evaluate(tasks, datasets, settings)

    return run(work)


def show_data(task: Task, argv: Sequence[str] | None = None) -> int:
    """Loads a task's data as its evaluation would, and prints what they are, where, and under which licence.

    Takes the evaluation's flags, so that a script can pass the same flags to both steps.
    """

    def work() -> None:
        about = f"{task.title}: finds its data or fetches them, and checks them."
        settings = settings_of(task, "build_data", about, argv)
        dataset, found = task.data(settings)
        if not settings.quiet:
            cli.show(task.data_sheet(dataset, found))

    return run(work)


def _evaluate(tasks: Sequence[Task], datasets: dict[str, Dataset], settings: Settings) -> int:
    from utils import files
    from utils.embed.embedder import Embedder
    from utils.results import find, result_file
    from utils.results.ranked import without_rank
    from utils.results.reference import reference_table
    from utils.results.signature import signature
    from utils.store import embeddings as store

    said: set[str] = set()

    def note(sentence: str) -> None:
        if not settings.quiet and sentence not in said:  # a sentence that holds for every task is printed once
            cli.note(sentence)
        said.add(sentence)

    specs = [find.told_by_folder(registry.resolve(name, settings.encoder), name) for name in settings.models]
    for task in tasks:
        dataset = datasets[task.name]
        task.check(dataset, settings)
        files.check_writable(result_file.result_path(settings.out, dataset.name, task.name, "x").parent)
    kept = store.EmbeddingStore(store.default_path()) if settings.use_store else None

    done: dict[str, list[Result]] = {task.name: [] for task in tasks}
    for spec in specs:
        embedder = Embedder(spec, kept, show_progress=not settings.quiet and sys.stderr.isatty(), note=note)
        for task in tasks:
            result = result_of(task, settings, datasets[task.name], embedder, note)
            name = find.kept_as(spec, settings.baseline if task.uses_baseline else "auto")
            path = result_file.result_path(settings.out, result.dataset_name, task.name, name)
            other = _other_than(path, result)
            result_file.write_result(result, settings.out, name)
            note(f"wrote {files.shown_path(path)}{f', which replaces a result with {other}' if other else ''}")
            done[task.name].append(result)
        embedder.close()
    # Written like any other result, so that comparison, figures and report have the controls too. A number given as an
    # encoder's average similarity does not apply to them.
    own = replace(settings, baseline="own")
    controls = dict.fromkeys(name for task in tasks for name in task.controls)
    for control in (registry.resolve(name) for name in controls if name not in {spec.name for spec in specs}):
        embedder = Embedder(control, kept)
        for task in tasks:
            if control.name not in task.controls:
                continue
            try:
                result = result_of(task, own, datasets[task.name], embedder, lambda sentence: None)
            except InputError as error:
                note(f"without the control {control.label}: {error}")
                continue
            done[task.name].append(result)
            path = result_file.result_path(settings.out, result.dataset_name, task.name, control.name)
            if _is_of_more(path, result):
                note(f"kept the {control.label} result that is there, as it is of more items")
                continue
            other = _other_than(path, result)
            if other:
                note(f"the {control.label} result replaces one with {other}")
            result_file.write_result(result, settings.out)

    parts = []
    for task in tasks:
        dataset = datasets[task.name]
        parts.append(f"{_heading(task, dataset, done[task.name])}\n{task.table(done[task.name])}")
        parts[-1] += _without_interval(done[task.name][0])
        signatures = "\n".join(signature(result) for result in done[task.name])
        parts[-1] += f"\n\nwhat the numbers depend on:\n{signatures}"
        beside = reference_table(
            done[task.name], lambda results, task=task: without_rank(results, task.headline, [settings.out])
        )
        if beside:
            parts[-1] += f"\n\n{beside}"
        if dataset.name == "sample":
            parts[-1] += f"\n\nSAMPLE: scores on the small set bundled here, not on {task.published} data."
    cli.show("\n\n\n".join(parts))
    return 0


def _there(path: Path) -> Result | None:
    """The result at `path`; None if there is none that this version reads."""
    from utils.results.result_file import read_result

    try:
        return read_result(path)
    except InputError:
        return None


def _is_of_more(path: Path, result: Result) -> bool:
    """Whether the result file at `path` is of the same data and of more items."""
    there = _there(path)
    if there is None:
        return False
    same = {file.sha256 for file in there.dataset_files} == {file.sha256 for file in result.dataset_files}
    return same and there.dataset_items > result.dataset_items


def _other_than(path: Path, result: Result) -> str:
    """How the result file at `path` differs from `result`, which replaces it; '' if it does not."""
    there = _there(path)
    if there is None:
        return ""
    other = []
    if there.encoder.label != result.encoder.label:
        other.append(f"encoder {there.encoder.label}")
    elif there.encoder.fingerprint != result.encoder.fingerprint:
        other.append("different weights or a different recipe")
    if [file.sha256 for file in there.dataset_files] != [file.sha256 for file in result.dataset_files]:
        other.append("different data")
    if there.dataset_items != result.dataset_items:
        other.append(f"{there.dataset_items} items")

    def said(value: object) -> object:
        if isinstance(value, dict):  # an average similarity
            return value["value"] if value["source"] == "given" else value["source"]
        return ",".join(value) if isinstance(value, list) else value

    for name, value in there.settings.items():
        if said(value) != said(result.settings.get(name)):
            other.append(f"{name} {said(value)}")
    return ", ".join(other)


def result_of(task: Task, settings: Settings, dataset: Dataset, embedder, note: Callable[[str], None]) -> Result:
    """The result of one encoder: an earlier one if it is stored, else computed from its vectors."""
    from utils.embed.embedder import fitted_later, truncation
    from utils.evaluation import baseline, kept_results
    from utils.metrics.influence import average_similarity_influence
    from utils.results import result_file

    start = time.perf_counter()
    spec, kept = embedder.spec, embedder.store
    choices = {
        "top_k": settings.top_k if task.uses_top_k else None,
        "threshold": settings.threshold if task.uses_baseline else None,
        "bootstrap": settings.bootstrap,
        "seed": settings.seed,
        **settings.own,
    }

    def name(source: str | None) -> str:
        return kept_results.name_of(task.name, dataset, {**choices, "baseline": source})

    source = baseline.settled_source(settings.baseline, spec, kept) if kept and task.uses_baseline else None
    if kept and (source or not task.uses_baseline):
        known = kept_results.recall(kept, spec, name(source), task.package, dataset)
        if known is not None:
            note(f"{spec.name}: the scores are stored too; --no-cache computes them again")
            if known.embedding.truncated:
                note(truncation(known.embedding, known.encoder))
            seconds = round(time.perf_counter() - start, 3)
            if task.uses_baseline:  # more may be known by now
                averages = {**known.average_similarities, **baseline.known_elsewhere(spec, kept)}
                known = replace(known, average_similarities=averages)
            return replace(
                known,
                created=_now(),
                seconds=seconds,
                embedding=replace(known.embedding, seconds=seconds),
                environment=result_file.environment(None),
            )
    columns, n = list(dataset.texts), len(dataset)
    texts = [text for column in columns for text in dataset.texts[column]]
    ids = [f"id {i} ({column})" for column in columns for i in dataset.ids]
    embedded = fitted_later(spec, texts) if task.fits_words and is_word_overlap(spec) else embedder.embed(texts, ids)
    vectors = {}
    if embedded.matrix is not None:
        vectors = {column: embedded.matrix[i * n : (i + 1) * n] for i, column in enumerate(columns)}
    average: Baseline | None = None
    averages: dict[str, float] = {}
    moved: np.ndarray | None = None
    if task.uses_baseline:
        groups = dataset.groups * len(columns)
        average = baseline.choose_baseline(settings.baseline, embedder, embedded.matrix, groups, note)
        averages = baseline.average_similarities(average, embedder, embedded.matrix, groups)
        if "own" in averages:
            moved = average_similarity_influence(embedded.matrix, groups, np.tile(np.arange(n), len(columns)))
    scores = task.score(dataset, vectors, average, settings, moved)
    cut = embedded.truncated.reshape(len(columns), n).sum(axis=0)
    result = Result(
        task=task.name,
        created=_now(),
        seconds=round(time.perf_counter() - start, 3),
        encoder=embedded.info,
        dataset_name=dataset.name,
        dataset_files=dataset.files,
        dataset_items=n,
        settings={**choices, "baseline": None if average is None else vars(average)},
        embedding=embedded.stats,
        metrics=tuple(scores.metrics),
        environment=result_file.environment(embedded.device),
        average_similarities=averages,
        items={**scores.items, "truncated": cut.tolist()},
        influence=scores.influence if moved is None else {**scores.influence, OWN: moved.astype(np.float32)},
    )
    if kept:
        if average is not None:
            source = f"given {settings.baseline!r}" if average.source == "given" else average.source
        kept_results.remember(kept, spec, name(source), task.package, result)
    return result


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _without_interval(result: Result) -> str:
    """Which means have no interval although intervals were asked for, and why; '' if there are none."""
    if not result.settings["bootstrap"]:
        return ""
    alone = [m for m in result.metrics if m.low is None and m.n == 1]
    names = dict.fromkeys(f"{m.metric.replace('_', ' ')} of {shown(m.group)}" for m in alone)
    lines = [f"no interval: {name}, which is of one item, nor a mean over it" for name in names]
    return "\n\n" + "\n".join(lines) if lines else ""


def _heading(task: Task, dataset: Dataset, done: Sequence[Result]) -> str:
    name = {"paper": task.published, "sample": "bundled SAMPLE"}.get(dataset.name, shown(dataset.name))
    lines = [task.title, task.question, f"data: {name}, {len(dataset)} items"]
    if task.uses_baseline:
        for result in done:
            b = result.settings["baseline"]
            lines.append(f"average similarity of {shown(result.encoder.label)}: {b['value']:z.3f} ({b['source']})")
    if done[0].settings["bootstrap"]:
        lines += [INTERVAL, f"(bootstrap {task.resampled})"]
    return "\n".join([*lines, ""])
