"""Evaluates encoders, and the controls beside them, on tasks: results reused, or computed and written."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from utils.embed.embedder import Embedder, truncation
from utils.encoders import registry
from utils.evaluation.evaluation import Evaluation, differences, is_of_more
from utils.evaluation.settings import Settings
from utils.files import check_writable, shown_path
from utils.results import find
from utils.results.program import NO_DEVICE
from utils.results.result_file import result_path
from utils.schema import CONTROLS, Dataset, InputError, Result
from utils.store.embeddings import EmbeddingStore, default_path
from utils.tasks import Task


def evaluate_encoders(
    tasks: Sequence[Task], datasets: dict[str, Dataset], settings: Settings, note: Callable[[str], None]
) -> dict[str, list[Result]]:
    """The results by name of the task: of each encoder in turn, which is loaded once for all tasks, then the controls.

    datasets: by name of the task. note: called with each sentence that the user should read.
    """
    specs = [find.told_by_folder(registry.resolve(name, settings.encoder), name) for name in settings.models]
    for task in tasks:
        check(task, datasets[task.name], settings)
        check_writable(result_path(settings.out, datasets[task.name].name, task.name, "x").parent)
    store = EmbeddingStore(default_path()) if settings.use_store else None
    results: dict[str, list[Result]] = {task.name: [] for task in tasks}
    for spec in specs:
        embedder = Embedder(spec, store, show_progress=not settings.quiet and sys.stderr.isatty(), note=note)
        for task in tasks:
            evaluation = Evaluation(task, settings, datasets[task.name], embedder)
            results[task.name].append(_encoders_result(evaluation, note))
        embedder.close()
    # Written like any other result, so that comparison, figures and report have the controls too. A number given as an
    # encoder's average similarity does not apply to them.
    own = replace(settings, baseline="own")
    for control in (registry.resolve(name) for name in CONTROLS if name not in {spec.name for spec in specs}):
        embedder = Embedder(control, store)
        for task in tasks:
            # Detection has controls of its own that know nothing: prompt length and shuffled labels.
            if control.name in task.controls:
                results[task.name] += _controls_result(Evaluation(task, own, datasets[task.name], embedder), note)
    return results


def check(task: Task, dataset: Dataset, settings: Settings) -> None:
    """Raises InputError for a setting that does not fit the data or this machine, before it is asked what is there."""
    task.check(dataset, settings)
    if settings.encoder.device not in ("auto", "cpu"):  # which are everywhere, so that torch need not be imported
        from utils.encoders.loaders import choose_devices

        choose_devices(settings.encoder.device)


def _encoders_result(evaluation: Evaluation, note: Callable[[str], None]) -> Result:
    """The result of an encoder: that of its file if the same evaluation wrote it, else computed and written there."""
    path = shown_path(evaluation.path)
    result = evaluation.reused() if evaluation.settings.use_store else None
    if result is not None:
        device = result.environment["device"]
        where = "" if device == NO_DEVICE else f" ({device})"
        name = evaluation.embedder.spec.name
        note(f"{name}: reused {path} of {result.created[:10]}{where}; --no-cache computes it again")
        if result.embedding.truncated:
            note(truncation(result.embedding, result.encoder))
        return result
    result = evaluation.computed(note)
    different = differences(evaluation.there(), result)
    evaluation.write(result)
    note(f"wrote {path}{f', which replaces a result with {different}' if different else ''}")
    return result


def _controls_result(evaluation: Evaluation, note: Callable[[str], None]) -> list[Result]:
    """The result of a control, reused or computed as an encoder's; none if it can't be computed.

    A result that is there of more items of the same data is not replaced.
    """
    label = evaluation.embedder.spec.label
    result = evaluation.reused() if evaluation.settings.use_store else None
    if result is not None:
        return [result]
    try:
        result = evaluation.computed()
    except InputError as error:
        note(f"without the control {label}: {error}")
        return []
    there = evaluation.there()
    if is_of_more(there, result):
        note(f"kept the {label} result that is there, as it is of more items")
        return [result]
    different = differences(there, result)
    if different:
        note(f"the {label} result replaces one with {different}")
    evaluation.write(result)
    return [result]
