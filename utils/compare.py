"""Encoders beside one another: each score with its interval, differences with p-values, and a ranking that ties.

Reads result files and the items beside them; computes no embedding.
"""

import csv
import io
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from utils import config, tables, transfer
from utils.files import shown_path
from utils.find import find_results, named
from utils.likeness import refuse_unlike, side_by_side
from utils.metrics.uncertainty import effect_size, holm, resampled_p_value, sign_flip_p_value
from utils.results import read_with_items
from utils.schema import InputError, Metric, Result
from utils.tables import p_text

HEADLINES = {
    "safety_challenging": "normalized_similarity",
    "safety_contrast": "boundary_similarity",
    "safety_taxonomy": "categorical_purity",
}
TASKS = (*HEADLINES, transfer.TASK)
FORMATS = ("text", "markdown", "csv", "latex")
FLIPS = 20_000
ALPHA = 0.05


@dataclass(frozen=True)
class Scores:
    """An encoder's result, with its items, and the values of one metric, n for n items; none of detection."""

    result: Result
    values: Sequence[float] = ()


@dataclass(frozen=True)
class Cell:
    """One encoder and one group: its score, and its difference to the reference's on the same items.

    difference, effect_size, p: None for the reference itself. p of averages is corrected by Holm over all pairs of
    encoders, as the ranks are, and that of other groups over all other differences to the reference.
    """

    group: str
    encoder: str
    metric: Metric
    difference: float | None = None
    effect_size: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A task's encoders compared by one metric.

    ranked_by: the group of the averages. ranks: encoder to one more than the number of encoders that are better by the
    test of their averages.
    average_p: the p-values of that test, by pair of encoders in the order of `labels`, Holm-corrected over all pairs.
    note: what else is to be said under the table.
    """

    task: str
    metric: str
    dataset: str
    reference: str
    labels: dict[str, str]
    cells: list[Cell]
    ranks: dict[str, int]
    average_p: dict[tuple[str, str], float]
    ranked_by: str = "average"
    note: str = ""


def compare(scores: Sequence[Scores], metric: str, reference: str, seed: int = 42) -> Comparison:
    """Compares results of one task with a reference, by paired sign-flip permutation tests on the same items.

    An encoder's rank is one more than the number of encoders that are better than it by the test of their averages,
    Holm-corrected over all pairs; the other p-values are corrected over all differences to the reference but those of
    the averages. Raises InputError, naming the reason, if the results can't be compared.
    """
    refuse_unlike([one.result for one in scores])
    names = [s.result.encoder.name for s in scores]
    by_name = dict(zip(names, scores, strict=True))
    first = scores[0]
    groups = np.array(list(first.result.items.values())[1], dtype=object)
    values = {name: np.array(by_name[name].values) for name in names}
    shown = [m.group for m in first.result.metrics if m.metric == metric and _weights(groups, m.group) is not None]

    def test(one: str, other: str, group: str) -> tuple[float, float, float]:
        weights = _weights(groups, group)
        chosen = weights > 0
        differences = values[one][chosen] - values[other][chosen]
        p = sign_flip_p_value(differences, weights[chosen], FLIPS, seed)
        return float(differences @ weights[chosen]), effect_size(differences), p

    return _compared(scores, metric, reference, shown, "average", test)


def compare_detectors(scores: Sequence[Scores], metric: str, reference: str, seed: int = 42) -> Comparison:
    """Compares the areas under the ROC curve of one detector on several encoders, by paired bootstrap of whole groups.

    scores: results with their items. Ranks are by the mean over pairs of different sets, of one set by that set.
    Otherwise as `compare` does.
    """
    refuse_unlike([one.result for one in scores])
    kind = metric.split("/")[1]
    groups = [m.group for m in scores[0].result.metrics if m.metric == metric]
    ranked_by = transfer.ACROSS if transfer.ACROSS in groups else transfer.WITHIN
    n = len(scores)
    resamples = transfer.resamples_for(max((len(groups) - 1) * (n - 1), n * (n - 1) // 2))
    areas = transfer.areas([(one.result, kind) for one in scores], resamples, seed)
    by_name = {one.result.encoder.name: of for one, of in zip(scores, areas, strict=True)}

    def test(one: str, other: str, group: str) -> tuple[float, None, float]:
        (a, drawn), (b, others) = by_name[one][group], by_name[other][group]
        return a - b, None, resampled_p_value(a - b, drawn - others)

    return _compared(scores, metric, reference, groups, ranked_by, test)


def _compared(
    scores: Sequence[Scores], metric: str, reference: str, shown: Sequence[str], ranked_by: str, test: Callable
) -> Comparison:
    """The comparison by `test`: two encoders and a group to their difference, its effect size or None, and p-value."""
    first = scores[0]
    by_name = {one.result.encoder.name: one for one in scores}
    names = list(by_name)
    better = next(m.better for m in first.result.metrics if m.metric == metric)
    others = [name for name in names if name != reference]
    tested = {(name, group): test(name, reference, group) for name in others for group in shown}
    secondary = [key for key in tested if key[1] != ranked_by]
    corrected = dict(zip(secondary, holm([tested[key][2] for key in secondary]), strict=True))
    pairs = {pair: test(*pair, ranked_by) for pair in combinations(names, 2)}
    average_p = dict(zip(pairs, holm([p for _, _, p in pairs.values()]), strict=True))
    for name in others:
        corrected[name, ranked_by] = next(p for pair, p in average_p.items() if set(pair) == {name, reference})
    cells = []
    for group in shown:
        for name in names:
            row = by_name[name].result.metric(metric, group)
            if name == reference:
                cells.append(Cell(group, name, row))
            else:
                difference, effect, _ = tested[name, group]
                cells.append(Cell(group, name, row, difference, effect, corrected[name, group]))
    worse_than = dict.fromkeys(names, 0)
    for pair, p in average_p.items():
        if p <= ALPHA:
            one_is_better = (pairs[pair][0] < 0) == (better == "lower")
            worse_than[pair[1] if one_is_better else pair[0]] += 1
    return Comparison(
        task=first.result.task,
        metric=metric,
        dataset=first.result.dataset_name,
        reference=reference,
        labels={name: by_name[name].result.encoder.label for name in names},
        cells=cells,
        ranks={name: 1 + number for name, number in worse_than.items()},
        average_p=average_p,
        ranked_by=ranked_by,
    )


def compare_files(files: Sequence[Path], metric: str | None, reference: str | None, seed: int = 42) -> Comparison:
    """Compares the results in files of one task.

    metric: the task's headline if None. reference: an encoder as `find_results` takes it, the first if None.
    Raises InputError if a file is missing or none of ours, or if the results can't be compared.
    """
    of_detection = files[0].parent.name == transfer.TASK
    results = [transfer.read(path) if of_detection else read_with_items(path) for path in files]
    results, note = side_by_side(results, files)
    first = results[0]
    names = {path: result.encoder.name for path, result in zip(files, results, strict=True)}
    chosen = first.encoder.name
    if reference is not None:
        matching = [reference] if reference in names.values() else [names[path] for path in named(files, reference)]
        if len(matching) != 1:
            raise InputError(
                f"--reference {reference}: {'several results' if matching else 'no result'} of {first.task} (there "
                f"are: {', '.join(matching or names.values())}); name one"
            )
        chosen = matching[0]
    if metric is None and of_detection:
        metric = transfer.metric_of("auroc", transfer.headline_kind(first))
    metric = metric or HEADLINES[first.task]
    scores = [scores_of(result, metric) for result in results]
    compared = (compare_detectors if of_detection else compare)(scores, metric, chosen, seed)
    return replace(compared, note=note)


def _weights(groups: np.ndarray, group: str) -> np.ndarray | None:
    """What each item counts in a group's mean, (n,); None for a group that is none of these items'."""
    if group == "overall":
        return np.full(len(groups), 1 / len(groups))
    if group == "average":
        names, inverse, sizes = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
        return 1 / len(names) / sizes[inverse]
    chosen = groups == group
    return chosen / chosen.sum() if chosen.any() else None


def scores_of(result: Result, metric: str) -> Scores:
    """A result, with its items, and its items' values of `metric`. Raises InputError if it has no such scores."""
    name = f"{result.encoder.name} on {result.task}"
    if result.task == transfer.TASK:
        kinds = [kind for kind in transfer.kinds_of(result) if kind not in transfer.CONTROLS]
        has = [transfer.metric_of("auroc", kind) for kind in kinds]
    else:
        has = [column for column in result.items if any(m.metric == column for m in result.metrics)]
    if metric not in has:
        raise InputError(f"--metric {metric}: {name} has no such scores (it has: {', '.join(has)})")
    if result.task == transfer.TASK:
        return Scores(result)
    try:
        return Scores(result, [float(value) for value in result.items[metric]])
    except ValueError:
        raise InputError(f"{name}: '{metric}' is not a number for every item; run the task again") from None


def _datasets(outs: Sequence[Path]) -> str:
    names = {path.parent.parent.name for out in outs for task in TASKS for path in out.glob(f"*/{task}/*.json")}
    return ", ".join(sorted(names)) or "none"


def rendered(comparison: Comparison, form: str) -> str:
    """A comparison as text of 80 columns, or as Markdown, LaTeX (booktabs) or CSV."""
    if form == "csv":
        return _csv(comparison)
    of_detectors = comparison.task == transfer.TASK
    title = f"{comparison.task.replace('_', '-')}: {comparison.metric.replace('_', ' ').replace('auroc/', 'AUROC of ')}"
    better = comparison.cells[0].metric.better
    head = f"{title}, {better} is better; data: {comparison.dataset}"
    effect = "" if of_detectors else "; d: Cohen's d of the pairs"
    ranked = comparison.ranked_by
    note = (
        f"diff: minus {comparison.labels[comparison.reference]}{effect}\n"
        f"p: paired {'bootstrap of groups' if of_detectors else 'sign-flip test'}, corrected by Holm: of '{ranked}'\n"
        "over all pairs of encoders, else over the other rows of the table\n"
        f"rank: one more than the number of encoders better at 0.05 by '{ranked}'"
    )
    if comparison.note:
        note += f"\n{comparison.note if form == 'markdown' else textwrap.fill(comparison.note, tables.WIDTH)}"
    average = {cell.encoder: cell for cell in comparison.cells if cell.group == ranked}
    order = sorted(average, key=lambda name: (comparison.ranks[name], average[name].metric.value * _sign(better)))
    ranking = [
        [
            comparison.labels[name],
            str(comparison.ranks[name]),
            tables.number(average[name].metric.value),
            _interval(average[name].metric),
            _signed(average[name].difference),
            "-" if average[name].effect_size is None else f"{average[name].effect_size:+.2f}",
            p_text(average[name].p),
        ]
        for name in order
    ]
    headers = ["encoder", "rank", ranked, "95 % interval", "diff", "d", "p"]
    if of_detectors:
        del headers[5]
        ranking = [[*row[:5], row[6]] for row in ranking]
    groups = list(dict.fromkeys(cell.group for cell in comparison.cells))
    heading = {"safety_challenging": "type", transfer.TASK: "trained -> tested"}.get(comparison.task, "category")
    left = [(heading, groups)]
    summaries = sum(" -> " not in group for group in groups) if of_detectors else 2
    columns = []
    for name in comparison.labels:
        mine = {cell.group: cell for cell in comparison.cells if cell.encoder == name}
        block = [(comparison.labels[name], [tables.with_interval(mine[group].metric) for group in groups])]
        if name != comparison.reference:
            block.append(("diff", [_signed(mine[group].difference) for group in groups]))
            block.append(("p", [p_text(mine[group].p) for group in groups]))
        columns.append(block)
    ranks = [(header, [row[i] for row in ranking]) for i, header in enumerate(headers)]
    if form == "text":
        table = tables.blocks(left, columns, rule_before=len(groups) - summaries)
        return f"{head}\n\n{tables.blocks(ranks[:2], [[column] for column in ranks[2:]])}\n\n{table}\n\n{note}"
    flat = [*left, *(column for block in columns for column in block)]
    if form == "latex":
        comment = "\n".join(f"% {line}" for line in [head, *note.splitlines()])
        parts = [tables.flat(part, "latex_booktabs").replace("±", "$\\pm$") for part in (ranks, flat)]
        return "\n\n".join([comment, *(re.sub(r"(?<!\w)-(?=\d\.)", "$-$", part) for part in parts)])
    return "\n\n".join([f"**{head}**", tables.flat(ranks, "pipe"), tables.flat(flat, "pipe"), note.replace("\n", "; ")])


def _csv(comparison: Comparison) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["task", "dataset", "metric", "group", "encoder", "n", "value", "low", "high", "reference", "difference",
         "effect_size", "p_holm", "rank"]
    )  # fmt: skip
    for cell in comparison.cells:
        rank = comparison.ranks[cell.encoder] if cell.group == comparison.ranked_by else None
        writer.writerow(
            [comparison.task, comparison.dataset, comparison.metric, cell.group, cell.encoder, cell.metric.n,
             cell.metric.value, cell.metric.low, cell.metric.high, comparison.reference, cell.difference,
             cell.effect_size, cell.p, rank]
        )  # fmt: skip
    return text.getvalue().rstrip("\n")


def _sign(better: str) -> int:
    return 1 if better == "lower" else -1


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _interval(metric: Metric) -> str:
    return "-" if metric.low is None else f"{metric.low:.3f} to {metric.high:.3f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Compares encoders that have been evaluated, task by task."""
    from utils.cli import Parser, run, whole_number

    flags = Parser(prog="python -m utils.compare", description=main.__doc__, allow_abbrev=False)
    flags.add_argument("encoders", nargs="*", metavar="ENCODER", help="which, the first the reference (default: all)")
    flags.add_argument("--reference", metavar="ENCODER", help="what the others are compared with")
    flags.add_argument("--data", metavar="NAME", help="results on which data, a name or a file (default the paper)")
    flags.add_argument("--task", metavar="TASK", choices=TASKS, help="one task only: %(choices)s")
    flags.add_argument("--metric", metavar="METRIC", help="default the task's headline metric")
    flags.add_argument("--format", metavar="FORMAT", default="text", help="text, markdown, csv or latex")
    flags.add_argument(
        "--out",
        metavar="FOLDER",
        action="append",
        help="folder of the result files, several with commas between or one flag each (variable OUT)",
    )
    flags.add_argument("--seed", metavar="N", default="42", help="seed of the permutation test (default 42)")

    def work() -> int:
        arguments = flags.parse_args(argv)
        if arguments.format not in FORMATS:
            raise InputError(f"--format {arguments.format}: give one of {', '.join(FORMATS)}")
        seed = whole_number(arguments.seed, "--seed", least=0)
        outs = _folders(arguments.out)
        parts, refused, absent = [], [], []
        for task in [arguments.task] if arguments.task else TASKS:
            wanted = list(dict.fromkeys([*arguments.encoders, *filter(None, [arguments.reference])]))
            try:
                files = find_results(outs, arguments.data, task, wanted if arguments.encoders else [])
            except InputError as error:
                absent.append((task, error))
                continue
            if len(files) < 2:
                continue
            try:
                comparison = compare_files(files, arguments.metric, arguments.reference, seed)
            except InputError as error:
                refused.append((task, error))
                continue
            parts.append(rendered(comparison, arguments.format))
            if arguments.format == "csv" and comparison.note:
                print(comparison.note, file=sys.stderr)
        if not parts:
            for _, error in (*refused, *absent):
                raise error
            on = f" on {arguments.data} (there are some on {_datasets(outs)})" if arguments.data else ""
            raise InputError(
                f"{', '.join(map(shown_path, outs))}: no task has results of two encoders{on}; run one with "
                "--model A,B first"
            )
        if arguments.format == "csv":
            parts = [parts[0], *(part.split("\n", 1)[1] for part in parts[1:])]
        print(("\n" if arguments.format == "csv" else "\n\n\n").join(parts), flush=True)
        for task, error in (*absent, *refused):
            print(f"without {task}: {error}", file=sys.stderr)
        # An encoder need not have been evaluated on every task; what is there and can't be compared is incomplete.
        return 3 if refused else 0

    return run(work)


def _folders(texts: Sequence[str] | None) -> list[Path]:
    """The folders that `--out` names, each once."""
    if not texts:
        return [config.results_directory()]
    parts = [part for text in texts for part in ([text] if config.callers_path(text).is_dir() else text.split(","))]
    return list(dict.fromkeys(config.results_directory(part.strip()) for part in parts if part.strip()))


if __name__ == "__main__":
    sys.exit(main())
