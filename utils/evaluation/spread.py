"""How much an encoder's score depends on the instruction before each text, beside the interval of the score."""

import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace

from utils.encoders import registry
from utils.evaluation.settings import Settings
from utils.evaluation.task import Task
from utils.results.signature import signature
from utils.schema import Dataset, InputError, Metric, Result
from utils.tables import WIDTH, blocks, number, with_interval

# Four instructions in the forms that encoders are trained with; none is that of a particular encoder.
OTHERS = (
    "query: ",
    "Represent this sentence: ",
    "Instruct: Find texts that mean the same.\nQuery: ",
    "task: sentence similarity | query: ",
)


def prompts_of(documented: str) -> list[tuple[str, str]]:
    """(name, instruction) of those that are tried: the documented one if there is one, none, and four others."""
    found = [("documented", documented)] if documented else []
    return [*found, ("none", ""), *[(f"other {i}", text) for i, text in enumerate(OTHERS, 1) if text != documented]]


def headline(task: Task, result: Result) -> Metric:
    """The number that the spread is of: the average of the headline metric; in detection the mean within sets."""
    name = task.about.headline
    found = result.metric(name, "average")
    if found is not None:
        return found
    kind = next(m.detector for m in result.metrics if m.metric.startswith(f"{name}/"))
    for group in ("ordinary traffic", "others", "within"):
        for preferred in (f"{name}/logistic_regression", f"{name}/{kind}"):
            if result.metric(preferred, group) is not None:
                return result.metric(preferred, group)
    raise InputError(f"--prompt-spread: {task.name} gave no average to compare; evaluate without it")


def spread(task: Task, dataset: Dataset, settings: Settings, result_of: Callable, note: Callable[[str], object]) -> str:
    """Evaluates each encoder under every instruction; returns the tables and what they mean. Nothing is written.

    result_of: (task, settings, dataset, embedder, note) to a Result.
    """
    from utils.embed.embedder import Embedder
    from utils.store import embeddings as store

    kept = store.EmbeddingStore(store.default_path()) if settings.use_store else None
    parts = []
    for name in settings.models:
        documented = registry.resolve(name, settings.encoder).prompt
        tried: list[tuple[str, str, Metric]] = []
        lines = []
        for title, text in prompts_of(documented):
            spec = registry.resolve(name, replace(settings.encoder, prompt=text))
            embedder = Embedder(spec, kept, not settings.quiet and sys.stderr.isatty(), note)
            result = result_of(task, settings, dataset, embedder, note)
            embedder.close()
            tried.append((title, text, headline(task, result)))
            lines.append(signature(result))
        parts.append(
            "\n\n".join(
                [_table(task, name, tried), _meaning(tried), "\n".join(["what the numbers depend on:", *lines])]
            )
        )
    return "\n\n\n".join(parts)


def _table(task: Task, name: str, tried: Sequence[tuple[str, str, Metric]]) -> str:
    columns = [
        [(tried[0][2].group, [with_interval(metric) for _, _, metric in tried])],
        [("instruction", [repr(text) for _, text, _ in tried])],
    ]
    better = tried[0][2].better
    title = textwrap.fill(
        f"{task.about.title}: {task.about.metric} of {name} by instruction, {better} is better", WIDTH
    )
    return f"{title}\n\n{blocks([('', [title for title, _, _ in tried])], columns)}"


def _meaning(tried: Sequence[tuple[str, str, Metric]]) -> str:
    values = [metric.value for _, _, metric in tried]
    width = max(values) - min(values)
    halves = [(metric.high - metric.low) / 2 for _, _, metric in tried if metric.low is not None]
    beside = f"; half the width of the 95 % interval: at most {number(max(halves))}" if halves else ""
    return textwrap.fill(
        f"Spread over instructions: {number(width)} ({number(min(values))} to {number(max(values))}){beside}. A "
        f"difference between encoders that is smaller than {number(max(width, *halves, 0.0))} is not one.",
        WIDTH,
    )
