"""Encoders beside one another: each score with its interval, differences with p-values, and a ranking that ties.

Reads result files and the items beside them; computes no embedding.
"""

import csv
import io
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from utils import config, tables, transfer
from utils.results import read_items, read_result
from utils.schema import InputError, Metric, Result
from utils.sources import FORMATS as FORMATS_OF_TASKS
from utils.sources import dataset_stem, find, shown_path
from utils.tables import p_text
from utils.uncertainty import effect_size, holm, resampled_p_value, sign_flip_p_value

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
    """An encoder's result with its per-item scores of one metric. items: id to (group, value), in order."""

    result: Result
    path: Path
    items: dict[str, tuple[str, float]]


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


def compare(scores: Sequence[Scores], metric: str, reference: str, seed: int = 42) -> Comparison:
    """Compares results of one task with a reference, by paired sign-flip permutation tests on the same items.

    An encoder's rank is one more than the number of encoders that are better than it by the test of their averages,
    Holm-corrected over all pairs; the other p-values are corrected over all differences to the reference but those of
    the averages. Raises InputError, naming the reason, if the results can't be compared.
    """
    refuse_unlike(scores)
    names = [s.result.encoder.name for s in scores]
    by_name = dict(zip(names, scores, strict=True))
    first = scores[0]
    groups = np.array([group for group, _ in first.items.values()], dtype=object)
    values = {name: np.array([value for _, value in by_name[name].items.values()]) for name in names}
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
    refuse_unlike(scores)
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


def _weights(groups: np.ndarray, group: str) -> np.ndarray | None:
    """What each item counts in a group's mean, (n,); None for a group that is none of these items'."""
    if group == "overall":
        return np.full(len(groups), 1 / len(groups))
    if group == "average":
        names, inverse, sizes = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
        return 1 / len(names) / sizes[inverse]
    chosen = groups == group
    return chosen / chosen.sum() if chosen.any() else None


def refuse_unlike(scores: Sequence[Scores]) -> None:
    """Raises InputError, naming the reason, if results of one task can't be compared with the first of them."""
    first = scores[0]
    for other in scores[1:]:
        pair = f"{first.result.encoder.name} and {other.result.encoder.name} on {first.result.task}"

        def refuse(what: str, one: object, two: object, pair: str = pair) -> None:
            if one != two:
                raise InputError(f"{pair}: other {what} ({one} and {two}); run both again with the same")

        a, b = first.result, other.result
        refuse("data", *(", ".join(f"{f.name} {f.sha256[:12]}" for f in r.dataset_files) for r in (a, b)))
        refuse("number of items", a.dataset_items, b.dataset_items)
        refuse("k", a.settings["top_k"], b.settings["top_k"])
        refuse("threshold", a.settings["threshold"], b.settings["threshold"])
        if a.task == transfer.TASK:  # who is trained on what
            refuse("seed", a.settings["seed"], b.settings["seed"])
        if not any(is_fitted(r) for r in (a, b)):
            refuse("kind of baseline", *(_kind_of_baseline(r) for r in (a, b)))
        if [(i, g) for i, (g, _) in first.items.items()] != [(i, g) for i, (g, _) in other.items.items()]:
            raise InputError(f"{pair}: other items; run both again with the same data and --limit")


def is_fitted(result: Result) -> bool:
    """Whether an encoder is fitted on the evaluated prompts, as TF-IDF is; its average similarity is always its own."""
    return result.encoder.backend == "scikit-learn"


def _kind_of_baseline(result: Result) -> str | None:
    """Which of the definitions the average similarity follows; the paper's figures are means over BeaverTails."""
    baseline = result.settings["baseline"]
    if baseline is None:
        return None
    return "beavertails" if baseline["source"] == "paper" else baseline["source"]


def read_scores(path: Path, metric: str | None) -> tuple[Scores, str]:
    """A result file with its items' scores of `metric` (the task's headline if None), and the metric's name.

    Raises InputError if a file is missing, is none of ours, or has no such scores.
    """
    result = read_result(path)
    if result.task == transfer.TASK:
        return _read_detectors(path, metric)
    metric = metric or HEADLINES[result.task]
    rows = read_items(path)
    shown = shown_path(path.with_name(f"{path.stem}.items.csv"))
    columns = list(rows[0])
    if metric not in columns:
        has = ", ".join(column for column in columns[2:] if any(m.metric == column for m in result.metrics))
        raise InputError(f"--metric {metric}: {shown} has no such scores (it has: {has})")
    try:
        items = {row["id"]: (row[columns[1]], float(row[metric])) for row in rows}
    except (TypeError, ValueError):
        raise InputError(f"{shown}: '{metric}' is not a number in every row; run the task again") from None
    return Scores(result, path, items), metric


def _read_detectors(path: Path, metric: str | None) -> tuple[Scores, str]:
    result = transfer.read(path)
    metric = metric or transfer.metric_of("auroc", transfer.headline_kind(result))
    known = [transfer.metric_of("auroc", kind) for kind in transfer.kinds_of(result) if kind not in transfer.CONTROLS]
    if metric not in known:
        raise InputError(f"--metric {metric}: {shown_path(path)} has no such scores (it has: {', '.join(known)})")
    columns = (result.items[name] for name in ("id", "set", "label"))
    return Scores(result, path, {i: (name, float(label)) for i, name, label in zip(*columns, strict=True)}), metric


def find_results(out: Path, dataset: str | None, task: str, encoders: Sequence[str]) -> list[Path]:
    """Result files of a task: of the encoders named, in that order, or all there are.

    dataset: a name, or a file of the task's format; None takes the paper's, else the only one. Raises InputError if a
    result is missing.
    """
    if dataset is not None and task == transfer.TASK:  # sets and files with commas between, as the task itself takes
        parts = [dataset] if config.callers_path(dataset).is_file() else dataset.split(",")
        paths = [config.callers_path(part.strip()) for part in parts]
        names = [dataset_stem(path) if path.is_file() else path.name for path in paths]
        dataset = "+".join(dict.fromkeys(names))
    elif dataset is not None and config.callers_path(dataset).is_file():
        dataset = find(FORMATS_OF_TASKS[task], dataset).name
    folders = sorted(path for path in out.glob(f"*/{task}") if any(path.glob("*.json")))
    if dataset is None:
        names = [path.parent.name for path in folders]
        if not names:
            return []
        if "paper" not in names and len(names) > 1:
            raise InputError(f"--data: there are results on {', '.join(names)}; name one")
        dataset = "paper" if "paper" in names else names[0]
    folder = out / dataset / task
    found = {path.stem: path for path in sorted(folder.glob("*.json"))}
    files = []
    for name in encoders:
        stem = name.replace("/", "--").replace(":", "--")
        if stem not in found:
            there = ", ".join(found) or "none"
            raise InputError(
                f"{name}: no result in {shown_path(folder)} (there are: {there}); run the task with it first"
            )
        files.append(found[stem])
    return files or list(found.values())


def _datasets(out: Path) -> str:
    names = {path.parent.parent.name for task in TASKS for path in out.glob(f"*/{task}/*.json")}
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
    flags.add_argument("--out", metavar="FOLDER", help="folder of the result files (variable OUT)")
    flags.add_argument("--seed", metavar="N", default="42", help="seed of the permutation test (default 42)")

    def work() -> None:
        arguments = flags.parse_args(argv)
        if arguments.format not in FORMATS:
            raise InputError(f"--format {arguments.format}: give one of {', '.join(FORMATS)}")
        seed = whole_number(arguments.seed, "--seed", least=0)
        out = config.results_directory(arguments.out)
        parts = []
        for task in [arguments.task] if arguments.task else TASKS:
            wanted = list(dict.fromkeys([*arguments.encoders, *filter(None, [arguments.reference])]))
            try:
                files = find_results(out, arguments.data, task, wanted if arguments.encoders else [])
            except InputError as error:
                # all.sh leaves detection out, so that an encoder with results of the other tasks may have none of it.
                if task != transfer.TASK or not parts:
                    raise
                print(f"without {task}: {error}", file=sys.stderr)
                continue
            if len(files) < 2:
                continue
            scores, metric = [], arguments.metric
            for path in files:
                one, metric = read_scores(path, metric)
                scores.append(one)
            names = [one.result.encoder.name for one in scores]
            reference = arguments.reference or names[0]
            if reference not in names:
                raise InputError(f"--reference {reference}: no result of {task} (there are: {', '.join(names)})")
            compared = compare_detectors if task == transfer.TASK else compare
            parts.append(rendered(compared(scores, metric, reference, seed), arguments.format))
        if not parts:
            on = f" on {arguments.data} (there are some on {_datasets(out)})" if arguments.data else ""
            raise InputError(
                f"{shown_path(out)}: no task has results of two encoders{on}; run one with --model A,B first"
            )
        if arguments.format == "csv":
            parts = [parts[0], *(part.split("\n", 1)[1] for part in parts[1:])]
        print(("\n" if arguments.format == "csv" else "\n\n\n").join(parts))

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
