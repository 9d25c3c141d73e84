"""Puts a guard of any kind, whose scores are given in a file, beside the detectors on the same prompts."""

import math
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from Safety_Detection.protocol.evaluation import Pairing
from Safety_Detection.protocol.measure import Measures
from Safety_Detection.sets import labelled_sets, naming
from Safety_Detection.sets.labelled_files import add_label, label_of
from Safety_Detection.sets.labelled_set import README, parsed_label
from Safety_Detection.sets.labelled_sets import LabelledDataset
from Safety_Detection.shown import reading
from Safety_Detection.shown import tables as transfer_tables
from Safety_Detection.shown.guards import on_same_prompts
from Safety_Detection.task import MOST_RESAMPLES, TASK
from utils import cli, config
from utils.data.reading import form_of, opened, read_columns, refuse_unreadable
from utils.data.reading import rows as file_rows
from utils.data.text import normalized
from utils.encoders.registry import known_encoders
from utils.files import check_writable, sha256_of, shown_path
from utils.results import result_file
from utils.results.program import environment
from utils.schema import EmbeddingStats, EncoderInfo, InputError, Metric, Result, shown
from utils.tables import Table, rendered

LATENCIES = ("median_milliseconds", "p95_milliseconds")
REMEDY = "fix the row or leave it out"


@dataclass(frozen=True)
class Given:
    """What a guard says of n prompts of a dataset.

    rows: n, their indices in the dataset, ascending. scores: float64 (n,), higher for unsafe. flags: bool (n,), None if
    the file has none. milliseconds: float64 (n,), None if the file has none.
    """

    rows: np.ndarray
    scores: np.ndarray
    flags: np.ndarray | None
    milliseconds: np.ndarray | None


def read_scores(path: Path, dataset: LabelledDataset) -> Given:
    """The scores in a CSV or JSON-lines file with the columns `id` or `prompt`, `score`, and optionally others.

    Prompts are matched by `id`, with or without the name of their set before it; by `row`, as `score` writes it beside
    an empty `id`; or by `prompt` without regard to case and white space: a score then counts for every row of the
    dataset with that prompt. Raises InputError, naming the row, for an unknown or repeated prompt and for a value that
    is no number.
    """
    refuse_unreadable(path, f"--scores {path.name}", "give a CSV or JSON-lines file of scores")
    key_column = _key_column(path)
    columns = read_columns(path, ("score", *filter(None, [key_column])), README, ("flagged", "milliseconds"),
                           ("id", "row"), ("score", "flagged", "milliseconds"))  # fmt: skip
    file = path.name
    if key_column is None:
        raise InputError(f"{file}: no column 'id' with ids such as {dataset.ids[0]}, nor a column 'prompt'; add one")
    by_prompt = key_column == "prompt"
    places: dict[str, list[int]] = {}
    for i, key in enumerate(map(normalized, dataset.texts["prompt"]) if by_prompt else dataset.ids):
        places.setdefault(key, []).append(i)
    if not by_prompt:  # the ids of a file of the data, as it has them
        short = Counter(item.partition(":")[2] for item in dataset.ids)
        for i, item in enumerate(dataset.ids):
            if short[item.partition(":")[2]] == 1:
                places.setdefault(item.partition(":")[2], [i])
    seen: dict[tuple[int, ...], int] = {}
    rows: list[tuple[int, int]] = []  # (of the dataset, of the file)
    for i, cell in enumerate(columns[key_column]):
        key, what = (normalized(cell), "its prompt") if by_prompt else (cell, f"{key_column} {shown(cell)}")
        if key not in places:
            raise InputError(f"{file}: row {i + 1}: {what} is not in the data; name its set with --data or {REMEDY}")
        its = tuple(places[key])
        if its in seen:
            raise InputError(f"{file}: row {i + 1}: {what} is that of row {seen[its] + 1} too; score each prompt once")
        seen[its] = i
        rows += [(row, i) for row in its]
    rows.sort()
    order = [i for _, i in rows]

    def numbers(column: str, least: float) -> np.ndarray:
        return np.array([_number(text, file, row, column, least) for row, text in enumerate(columns[column], 1)])[order]

    flags = None
    if "flagged" in columns:
        said = [parsed_label(text, file, row, "'flagged'") for row, text in enumerate(columns["flagged"], 1)]
        flags = np.array(said, dtype=bool)[order]
    milliseconds = numbers("milliseconds", 0) if "milliseconds" in columns else None
    return Given(np.array([row for row, _ in rows]), numbers("score", -math.inf), flags, milliseconds)


def _key_column(path: Path) -> str | None:
    """The column that says which prompt a row scores, None if there is none."""
    with opened(path) as stream:
        names, lines = file_rows(stream, form_of(path) or "csv", path.name)
        first = next(lines, None)
    if "id" in names and "row" in names and first is not None and not str(first.cells.get("id", "")).strip():
        return "row"
    return next((name for name in ("id", "prompt") if name in names), None)


def _number(text: str, file: str, row: int, column: str, least: float) -> float:
    value = cli.decimal(text)
    if not (math.isfinite(value) and value >= least):
        kind = "a number" if least == -math.inf else "a number of at least 0"
        raise InputError(f"{file}: row {row}: '{column}' is not {kind}; {REMEDY}")
    return value


def whole_sets(dataset: LabelledDataset, given: Given) -> tuple[Given, list[str]]:
    """What is said of the sets all of whose classes have scores, and a sentence on each other set.

    Raises InputError if there is no such set.
    """
    labels, notes, without = np.array(dataset.labels), [], []
    for name in dataset.group_order:
        there = set(labels[np.intersect1d(dataset.rows(name), given.rows)].tolist())
        lacks = [word for label, word in ((1, "unsafe"), (0, "safe"))
                 if label in labels[dataset.rows(name)] and label not in there]  # fmt: skip
        if lacks:
            without.append(name)
            notes.append(f"without {name}: none of its {' and '.join(lacks)} prompts has a score")
    if len(without) == len(dataset.group_order):
        raise InputError(f"--scores: {notes[0].removeprefix('without ')}; score prompts of each class of a set")
    keep = ~np.isin(np.array(dataset.groups, dtype=object)[given.rows], without)
    flags, milliseconds = (None if one is None else one[keep] for one in (given.flags, given.milliseconds))
    return Given(given.rows[keep], given.scores[keep], flags, milliseconds), notes


def tested(dataset: LabelledDataset, given: Given) -> Iterator[Pairing]:
    """A guard on every set of a dataset of the prompts that it has scored, then crossed, on sets of two families."""
    for name in dataset.group_order:
        its = dataset.rows(name)
        flags = None if given.flags is None else given.flags[its]
        yield Pairing(naming.GIVEN, name, naming.GUARD, its, given.scores[its], flags)
    for unsafe, safe in dataset.crossings:
        its = np.concatenate([dataset.rows(unsafe), dataset.rows(safe)])
        yield Pairing(naming.GIVEN, unsafe, naming.GUARD, its, given.scores[its], against=safe)


def result_of(
    name: str, path: Path, dataset: LabelledDataset, given: Given, threshold: float | None, seed: int
) -> Result:
    """The result of a guard, with its items: the prompts that it has scored.

    Latencies are given without intervals: they depend on the machine and the hour more than on the prompts.
    """
    scored = labelled_sets.only(dataset, given.rows.tolist())
    measures = Measures(scored, MOST_RESAMPLES, seed)
    for one in tested(scored, given):
        measures.add(one)
    metrics = [*measures.rows, *measures.means()]
    items = {
        "id": list(scored.ids), "set": list(scored.groups), "label": list(scored.labels),
        "group": list(scored.clusters), "type": list(scored.types),
        f"{naming.GUARD}/{naming.GIVEN}": given.scores.tolist(),
    }  # fmt: skip
    if given.flags is not None:
        items[naming.flagged_column(naming.GUARD, naming.GIVEN)] = given.flags.astype(int).tolist()
    if given.milliseconds is not None:
        items["milliseconds"] = given.milliseconds.tolist()
        for metric, value in zip(LATENCIES, np.quantile(given.milliseconds, [0.5, 0.95]).tolist(), strict=True):
            metrics.append(Metric(metric, naming.GIVEN, value, len(scored), "lower", detector=naming.GUARD))
    left = Counter(dataset.groups)
    left.subtract(scored.groups)
    digest = sha256_of(path)
    return Result(
        task=TASK.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=0.0,
        encoder=EncoderInfo(name, name, path.name, digest, 0, "", None, "", naming.GIVEN, digest[:32]),
        dataset_name=dataset.name,
        dataset_files=dataset.files,
        dataset_items=len(scored),
        settings={"top_k": None, "threshold": threshold, "bootstrap": MOST_RESAMPLES, "seed": seed, "baseline": None,
                  "unscored": {one: number for one, number in left.items() if number}},
        embedding=EmbeddingStats(len(scored), len(set(scored.texts["prompt"])), 0, 0, 0.0),
        metrics=tuple(metrics),
        environment=environment(None),
        items=items,
    )  # fmt: skip


def tables(result: Result, encoders: Sequence[Result]) -> list[Table | str]:
    """A guard's numbers, the encoders' headline detector beside it on the same prompts if there are any."""
    name, unscored = result.encoder.label, result.settings["unscored"]
    parts: list[Table | str] = [
        f"{TASK.title}: {name}, its scores as given",
        f"data: {result.dataset_name}, {result.dataset_items} prompts scored",
    ]
    if unscored:
        sets = ", ".join(f"{number} of {one}" for one, number in unscored.items())
        parts.append(f"not scored and left out: {sum(unscored.values())} ({sets})")
    slow = [result.value(metric, naming.GIVEN, detector=naming.GUARD) for metric in LATENCIES]
    if None not in slow:
        parts.append(f"latency: median {slow[0]:.0f} ms, 95th percentile {slow[1]:.0f} ms")
    parts += [*_beside(result, encoders), *transfer_tables.guard_tables(result)]
    if encoders:
        parts.append(f"python -m utils.compare {name} {encoders[0].encoder.name} tests the differences")
    return parts


def _beside(result: Result, encoders: Sequence[Result]) -> list[Table | str]:
    """The guard's metrics beside those of the encoders, and a sentence; nothing if no two classes are scored."""
    if not (reading.sets_of(result) or reading.crossings_of(result)):
        return []
    alone = transfer_tables.beside_table(on_same_prompts([result])[0])
    if not encoders:
        return [alone]
    try:
        together, note = on_same_prompts([result, *encoders])
    except InputError as error:
        return [alone, f"not beside an encoder: {error}"]
    return [transfer_tables.beside_table(together), note]


def check_name(name: str, path: Path) -> None:
    """Raises InputError if a guard can't be called so. path: of its result."""
    if name is None or not re.fullmatch(r"\w[\w.:/-]*", name):
        raise InputError(f"--name {shown(name)}: give the guard a name of letters, digits and . : / - _")
    taken = name in known_encoders()
    if not taken and path.exists():
        taken = not reading.is_guard(result_file.read_result(path))
    if taken:
        raise InputError(f"--name {name}: is the name of an encoder; give the guard a different one")


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    """Puts a guard of any kind (a moderation API, a classifier, an LLM judge) beside the detectors.

    Reads its scores from a file and writes a result file, which compare and the report show beside the encoders'.
    """
    flags = cli.Parser(prog="python -m Safety_Detection.guards", description=main.__doc__)
    flags.add_argument(
        "--scores",
        metavar="FILE",
        required=True,
        help="CSV or JSON lines with id (set:id, as in the items) or prompt, score (higher for unsafe), and optionally "
        "flagged and milliseconds",
    )
    flags.add_argument("--name", metavar="NAME", required=True, help="what to call the guard")
    flags.add_argument("--data", metavar="DATA", help="the sets, as evaluate takes them (variable DATA)")
    add_label(flags)
    flags.add_argument(
        "--threshold", metavar="T", type=cli.real(), help="flag scores of at least T, in place of the column flagged"
    )
    flags.add_argument("--out", metavar="FOLDER", help="folder of the result files (variable OUT)")
    flags.add_argument("--seed", metavar="N", type=cli.whole(0), default=42, help="seed of the resamples (default 42)")
    flags.add_argument("--quiet", action="store_true", help="print the tables and nothing else")

    arguments = flags.parse_args(argv)
    threshold = arguments.threshold
    out = config.results_directory(cli.chosen(arguments, "out")[0])
    dataset, _ = labelled_sets.load(cli.chosen(arguments, "data")[0], label=label_of(arguments))
    path = result_file.result_path(out, dataset.name, TASK.name, arguments.name)
    check_name(arguments.name, path)
    check_writable(path.parent)
    scores = config.callers_path(arguments.scores)
    given, notes = whole_sets(dataset, read_scores(scores, dataset))
    if threshold is not None:
        given = replace(given, flags=given.scores >= threshold)
    result = result_of(arguments.name, scores, dataset, given, threshold, arguments.seed)
    result_file.write_result(result, out)
    encoders, others = reading.alike([one for one in sorted(path.parent.glob("*.json")) if one != path])
    for sentence in () if arguments.quiet else (*notes, *others, f"wrote {shown_path(path)}"):
        cli.note(sentence)
    cli.show(rendered(tables(result, encoders), "text"))


if __name__ == "__main__":
    sys.exit(main())
