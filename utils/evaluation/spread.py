"""How much encoders' scores, and the differences between encoders, depend on the instruction before each text."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from utils.embed.embedder import Embedder
from utils.encoders import registry
from utils.evaluation.encoders import check
from utils.evaluation.evaluation import Evaluation
from utils.evaluation.settings import Settings
from utils.metrics.uncertainty import ALPHA, holm
from utils.results.likeness import of_one_kind
from utils.results.signature import signature
from utils.schema import Dataset, Difference, EncoderSpec, InputError, Metric, Result
from utils.store.embeddings import EmbeddingStore, default_path
from utils.tables import number, of_columns, p_text, paragraph, rendered, text_table, with_interval, with_reach
from utils.tasks import Task

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
    """The number that the spread is of: the average of the headline metric, unless the task has another one."""
    found = task.spread_of(result) if task.spread_of else result.metric(task.headline, "average")
    if found is None:
        raise InputError(f"--prompt-spread: {task.name} gave no average to compare; evaluate without it")
    return found


def spread(task: Task, dataset: Dataset, settings: Settings, note: Callable[[str], object]) -> str:
    """Evaluates each encoder under every instruction; returns the tables and what they mean. Nothing is written.

    Several encoders are compared with the first one under each instruction.
    """
    check(task, dataset, settings)
    kept = EmbeddingStore(default_path()) if settings.use_store else None
    documented = {name: registry.resolve(name, settings.encoder).prompt for name in settings.models}
    prompts = {name: prompts_of(text) for name, text in documented.items()}
    specs = {(name, text): _spec(name, text, settings) for name, pairs in prompts.items() for _, text in pairs}
    results = []
    for spec in specs.values():
        embedder = Embedder(spec, kept, not settings.quiet and sys.stderr.isatty(), note)
        results.append(Evaluation(task, settings, dataset, embedder).computed(note))
        embedder.close()
    results, again = of_one_kind(results)
    found = dict(zip(specs, results, strict=True))
    parts = []
    for name, pairs in prompts.items():
        tried = [(title, text, headline(task, found[name, text])) for title, text in pairs]
        lines = [signature(found[name, text]) for _, text in pairs]
        depends = "\n".join(["what the numbers depend on:", *lines])
        parts.append("\n\n".join([_table(task, name, tried), _meaning(tried), depends]))
    if len(documented) > 1:
        parts.append(_compared(task, documented, found))
    if again:
        parts.append(paragraph(again))
    return "\n\n\n".join(parts)


def _spec(name: str, text: str, settings: Settings) -> EncoderSpec:
    try:
        return registry.resolve(name, replace(settings.encoder, prompt=text))
    except InputError:
        raise InputError(f"--prompt-spread: {name} takes no instruction; leave it out") from None


def _table(task: Task, name: str, tried: Sequence[tuple[str, str, Metric]]) -> str:
    columns = [
        ("", [title for title, _, _ in tried]),
        (tried[0][2].group, [with_interval(metric) for _, _, metric in tried]),
        ("instruction", [repr(text) for _, text, _ in tried]),
    ]
    better = tried[0][2].better
    title = f"{task.title}: {task.metric} of {name} by instruction, {better} is better"
    return text_table(of_columns(columns, caption=title))


def _meaning(tried: Sequence[tuple[str, str, Metric]]) -> str:
    values = [metric.value for _, _, metric in tried]
    width = max(values) - min(values)
    intervals = [(metric.low, metric.high) for _, _, metric in tried]
    halves = [(high - low) / 2 for low, high in intervals if low is not None and high is not None]
    beside = f"; half the width of the 95 % interval: at most {number(max(halves))}" if halves else ""
    return paragraph(
        f"Spread over instructions: {number(width)} ({number(min(values))} to {number(max(values))}){beside}."
    )


def _compared(task: Task, documented: dict[str, str], found: dict[tuple[str, str], Result]) -> str:
    """Each encoder minus the first one under every instruction, and whether that depends on the instruction.

    documented: encoder to its documented instruction, or ''. found: (encoder, instruction) to the result.
    """
    first, *others = documented
    of = headline(task, found[first, ""])
    same = {"none": "", **{f"other {i}": text for i, text in enumerate(OTHERS, 1)}}
    instructions = {"documented": documented} if any(documented.values()) else {}
    instructions |= {title: dict.fromkeys(documented, text) for title, text in same.items()}
    differences = {
        title: task.differences([found[name, text] for name, text in texts.items()], of)
        for title, texts in instructions.items()
    }
    rows = [
        (name, title, pairs[i])
        for i, name in enumerate(others)
        for title, pairs in differences.items()
        # Two documented instructions that are the same and one of the others would count twice.
        if title != "documented" or documented[name] != documented[first] or documented[name] not in same.values()
    ]
    corrected = holm([difference.p for _, _, difference in rows])
    columns = [
        ("encoder", [name for name, _, _ in rows]),
        ("instruction", [title for _, title, _ in rows]),
        ("difference", [with_reach(difference) for _, _, difference in rows]),
        ("p", [p_text(difference.p) for _, _, difference in rows]),
        ("p (Holm)", [p_text(p) for p in corrected]),
    ]
    note = "± half the width of the 95 % interval; p: of the same distribution; p (Holm): corrected over the rows"
    if "documented" in instructions:
        note += "; documented: each encoder with its own instruction, or with none if it has none"
    held = [
        _held(name, first, [(title, one, p) for (of_row, title, one), p in zip(rows, corrected, strict=True)
                            if of_row == name])
        for name in others
    ]  # fmt: skip
    title = f"{task.title}: {task.metric} ({of.group}) of each encoder minus that of {first}"
    table = of_columns(columns, caption=title, keys=2, notes=[note])
    return rendered([table, *held], "text")


def _held(name: str, first: str, rows: Sequence[tuple[str, Difference, float | None]]) -> str:
    """Whether the sign and the significance of a difference are the same under every instruction.

    rows: instruction, difference, and its corrected p.
    """
    told: dict[str, list[str]] = {}
    for title, difference, p in rows:
        direction = "lower" if difference.value < 0 else "higher"
        told.setdefault(direction if p is not None and p < ALPHA else "not told apart", []).append(title)
    if len(told) > 1:
        under = "; ".join(f"{what} under {', '.join(titles)}" for what, titles in told.items())
        return f"Whether {name} differs from {first} depends on the instruction: {under}."
    [what] = told
    if what == "not told apart":
        return f"{name} and {first} are told apart under no instruction."
    return f"{name} is {what} than {first} under every instruction, with a corrected p below {ALPHA}."
