"""The paper's two tables and ours, cell by cell, for its eleven encoders; and which of those can run here.

Computes no embedding: scripts/reproduce.sh runs the evaluations between `plan` and `table`.
"""

import csv
import difflib
import io
import sys
import textwrap
from argparse import SUPPRESS
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils import config, machine, tables
from utils.encoders import paper_figures, registry
from utils.files import shown_path
from utils.results import read_result, result_path
from utils.schema import InputError, Metric, Result

FORMATS = ("text", "markdown", "csv")
TABLES = tuple(tables.PAPER_FIGURES_OF)  # (task, metric)
VERDICTS = ("within rounding", "within the interval", "differs")
# The paper prints three decimals, its average similarities too.
HALF_UNIT = 0.0005
FLOAT_NOISE = 1e-9


@dataclass(frozen=True)
class Cell:
    """A cell of the paper's tables and ours. rounding: by how much the two may differ if ours is the paper's."""

    task: str
    metric: str
    group: str
    ours: Metric
    paper: float
    rounding: float

    @property
    def difference(self) -> float:
        """Ours minus the paper's."""
        return self.ours.value - self.paper

    @property
    def verdict(self) -> str:
        """One of VERDICTS; without an interval only the first or the last."""
        if abs(self.difference) <= self.rounding + FLOAT_NOISE:
            return VERDICTS[0]
        if self.ours.low is not None and self.ours.low <= self.paper <= self.ours.high:
            return VERDICTS[1]
        return VERDICTS[2]


@dataclass(frozen=True)
class Reproduction:
    """An encoder's results of both tasks and the cells they make beside the paper's."""

    name: str
    results: tuple[Result, ...]
    cells: tuple[Cell, ...]

    @property
    def label(self) -> str:
        return self.results[0].encoder.label

    @property
    def verdict(self) -> str:
        """That of the worst cell."""
        return max((cell.verdict for cell in self.cells), key=VERDICTS.index)

    def count(self, verdict: str) -> int:
        """How many cells have this verdict."""
        return sum(cell.verdict == verdict for cell in self.cells)


def rounding_of(metric: str, value: float, baseline: float | None) -> float:
    """By how much `value` may differ from the paper's figure if the paper's encoder gave the very same cosines.

    value: our mean; baseline: the paper's average similarity, as printed. The figure itself is rounded by half a unit h
    of its last decimal at most. Normalized similarity also has the paper's b in it, which we know rounded only: with x
    the mean cosine and b* unrounded, (x - b) / (1 - b) and (x - b*) / (1 - b*) are (1 - value) |b - b*| / (1 - b*)
    apart, which is h (1 - value) / (1 - b - h) at most. A mean over types has the same bound, as each is linear in x.
    """
    if metric == "normalized_similarity":
        return HALF_UNIT + HALF_UNIT * (1 - value) / (1 - baseline - HALF_UNIT)
    return HALF_UNIT


def read_reproduction(name: str, out: Path, dtype: str = "auto") -> Reproduction:
    """One of the paper's encoders from its result files in `out`: as it is registered, or in the dtype asked for.

    Raises InputError if one is missing, or was computed in another setting than the paper's.
    """
    results, cells = [], []
    again = f"run: source scripts/reproduce.sh {name}"
    for task, metric in TABLES:
        path = result_path(out, "paper", task, name)
        found = [path] if path.is_file() else []
        if dtype not in ("auto", registry()[name]["dtype"]):
            found += [one for one in path.parent.glob(f"{path.stem}@*.json") if "+" not in one.stem]
            found = [one for one in found if read_result(one).encoder.dtype == dtype]
        if not found:
            raise InputError(f"{name}: no result in {shown_path(path.parent)}; {again}")
        path = max(found, key=lambda one: one.stat().st_mtime_ns)
        result = read_result(path)
        groups = [row.group for row in result.metrics if row.metric == metric]
        paper = tables.papers_figures(result, metric, groups)
        if paper is None:
            raise InputError(
                f"{shown_path(path)}: not computed as the paper did (weights, data, k, average similarity or "
                f"instruction); {again}"
            )
        b = None if result.settings["baseline"] is None else result.settings["baseline"]["value"]
        results.append(result)
        for group, figure in zip(groups, paper, strict=True):
            if figure is not None:
                ours = result.metric(metric, group)
                cells.append(Cell(task, metric, group, ours, figure, rounding_of(metric, ours.value, b)))
    return Reproduction(name, tuple(results), tuple(cells))


def chosen_encoders(names: Sequence[str]) -> list[str]:
    """Those of the paper's encoders, all of them if none is named. Raises InputError for any other."""
    for name in names:
        if name not in paper_figures():
            near = difflib.get_close_matches(name, paper_figures(), n=3, cutoff=0.4) or list(paper_figures())
            raise InputError(f"{name}: none of the paper's eleven encoders; nearest: {', '.join(near)}")
    return list(dict.fromkeys(names)) or list(paper_figures())


def plan_table(obstacles: dict[str, list[machine.Obstacle]], dtype: str) -> str:
    """The encoders, what they need and what keeps them from running, as text of 80 columns."""
    needed = {name: machine.memory_needed(name, dtype) for name in obstacles}
    columns = [
        ("encoder", list(obstacles)),
        ("size", [registry()[name]["parameters"] if needed[name] else "-" for name in obstacles]),
        ("memory", [machine.gigabytes(needed[name]) if needed[name] else "-" for name in obstacles]),
        ("runs here", ["no" if found else "yes" for found in obstacles.values()]),
        ("why not", [", ".join(one.short for one in found) for found in obstacles.values()]),
    ]
    sentences = dict.fromkeys(f"{one.short}: {one.sentence}" for found in obstacles.values() for one in found)
    lines = [
        textwrap.fill(line, tables.WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for line in sentences
    ]
    note = "memory: estimated; the weights and a fifth more, and 1 GB for the program"
    return "\n".join([tables.render(columns, len(columns), None), "", note, *lines])


def rendered(reproductions: Sequence[Reproduction], form: str, earlier: Sequence[str] = ()) -> str:
    """Reproductions as text of 80 columns, as Markdown or as CSV: each encoder's cells, then all of their averages.

    earlier: the names of those whose results are of an earlier run.
    """
    if form == "csv":
        return _csv(reproductions)
    bold = "**" if form == "markdown" else ""
    parts = []
    for one in reproductions:
        parts.append(f"{bold}{_heading(one)}{', by an earlier run' if one.name in earlier else ''}{bold}")
        parts.extend(_cells(one, metric, form) for _, metric in TABLES)
    cells = len(reproductions[0].cells)
    parts.append(f"{bold}averages, and the verdicts of the {cells} cells of both tables{bold}")
    parts.append(_summary(reproductions, form))
    note = (
        "diff: ours minus the paper's. within rounding: explained by the decimals that\n"
        "the paper prints; within the interval: the paper's figure lies in our 95 %\n"
        "interval, which says how a score varies with other prompts; on the same prompts\n"
        "a faithful run should be within rounding. An encoder's verdict is that of its\n"
        "worst cell; largest: its largest difference, up or down."
    )
    return "\n\n".join([*parts, note])


def _heading(one: Reproduction) -> str:
    dtype, registered = one.results[0].encoder.dtype, registry()[one.name]["dtype"]
    other = f" (not {registered})" if dtype != registered else ""
    return f"{one.label} ({one.name}), {dtype}{other}, {max(r.created for r in one.results)[:10]}"


def _cells(one: Reproduction, metric: str, form: str) -> str:
    cells = [cell for cell in one.cells if cell.metric == metric]
    title = f"{metric.replace('_', ' ')}{' at 10' if metric == 'categorical_purity' else ''}"
    columns = [
        (title, [cell.group for cell in cells]),
        ("ours", [tables.with_interval(cell.ours) for cell in cells]),
        ("paper", [tables.number(cell.paper) for cell in cells]),
        ("diff", [f"{cell.difference:+.3f}" for cell in cells]),
        ("verdict", [cell.verdict for cell in cells]),
    ]
    if form == "markdown":
        return tables.flat(columns, "pipe")
    return tables.render(columns, 1, rule_before=len(cells) - 1)


def _summary(reproductions: Sequence[Reproduction], form: str) -> str:
    left = [("encoder", [one.label for one in reproductions])]
    blocks = []
    for _, metric in TABLES:
        averages = [
            next(cell for cell in one.cells if (cell.metric, cell.group) == (metric, "average"))
            for one in reproductions
        ]
        blocks.append(
            [
                (metric.split("_")[1], [tables.number(cell.ours.value) for cell in averages]),
                ("paper", [tables.number(cell.paper) for cell in averages]),
                ("diff", [f"{cell.difference:+.3f}" for cell in averages]),
            ]
        )
    counts = zip(("rounding", "interval", "differ"), VERDICTS, strict=True)
    blocks.append(
        [
            *((head, [str(one.count(verdict)) for one in reproductions]) for head, verdict in counts),
            ("largest", [f"{max(abs(cell.difference) for cell in one.cells):.3f}" for one in reproductions]),
            ("verdict", [one.verdict for one in reproductions]),
        ]
    )
    if form == "markdown":
        return tables.flat([*left, *(column for block in blocks for column in block)], "pipe")
    return tables.blocks(left, blocks)


def _csv(reproductions: Sequence[Reproduction]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["encoder", "task", "metric", "group", "ours", "low", "high", "paper", "difference", "rounding", "verdict"]
    )
    for one in reproductions:
        for cell in one.cells:
            writer.writerow(
                [one.name, cell.task, cell.metric, cell.group, cell.ours.value, cell.ours.low, cell.ours.high,
                 cell.paper, cell.difference, cell.rounding, cell.verdict]
            )  # fmt: skip
    return text.getvalue().rstrip("\n")


def _read_journal(path: Path) -> dict[str, str]:
    """What scripts/reproduce.sh ran: an encoder's name to why it failed, empty if it did not."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return dict(line.split("\t", 1) for line in lines)


def _plan(names: Sequence[str], device: str, dtype: str) -> int:
    obstacles = machine.obstacles(names, device, dtype)
    print(f"{plan_table(obstacles, dtype)}\n", file=sys.stderr)
    for name, found in obstacles.items():
        if not found:
            print(name)
    return 0


def _table(names: Sequence[str], out: Path, dtype: str, form: str, journal: Path | None) -> int:
    ran = None if journal is None else _read_journal(journal)
    compared, reasons = [], []
    for name in names:
        try:
            compared.append(read_reproduction(name, out, dtype))
        except InputError as error:
            # Of one that did not run here there need not be a result; the plan has said why.
            if ran is None or ran.get(name) == "":
                reasons.append(str(error))
    done = [one.name for one in compared]
    if ran is not None:
        reasons.extend(f"{name} failed: {ran[name]}" for name in names if ran.get(name))
        done = [name for name in done if ran.get(name) == ""]
    if compared:
        print(rendered(compared, form, [one.name for one in compared if one.name not in done]), flush=True)
    left = [name for name in names if name not in done]
    if not left:
        return 0
    for reason in reasons:
        print(reason, file=sys.stderr)
    print(
        f"incomplete: {len(left)} of {len(names)} not run and compared ({', '.join(left)}); the reasons stand above",
        file=sys.stderr,
    )
    return 3


def main(argv: Sequence[str] | None = None) -> int:
    """The paper's eleven encoders: runs those that can run here on the paper's data, and sets the paper's two tables
    beside ours. (`python -m utils.reproduce table` runs none; `plan` names those that can run.)"""
    from utils.cli import Parser, device_and_dtype, run

    usage = "scripts/reproduce.sh [ENCODER ...] [--device DEVICE] [--dtype DTYPE] [--out FOLDER] [--no-cache]"
    flags = Parser(usage=f"{usage} [--format FORMAT]", description=main.__doc__, allow_abbrev=False)
    flags.add_argument("command", choices=("plan", "table"), help=SUPPRESS)
    flags.add_argument("encoders", nargs="*", metavar="ENCODER", help="which of the eleven (default: all)")
    flags.add_argument("--device", metavar="DEVICE", help="auto, cuda, mps or cpu (variable DEVICE)")
    flags.add_argument("--dtype", metavar="DTYPE", help="auto, float32, bfloat16 or float16 (variable DTYPE)")
    flags.add_argument("--out", metavar="FOLDER", help="folder of the result files (variable OUT)")
    flags.add_argument("--no-cache", action="store_true", help="neither read nor write the embedding store")
    flags.add_argument("--format", metavar="FORMAT", default="text", help="text, markdown or csv")
    flags.add_argument("--ran", metavar="FILE", type=Path, help=SUPPRESS)  # what the script has run

    def work() -> int:
        arguments = flags.parse_intermixed_args(argv)
        names = chosen_encoders(arguments.encoders)
        device, dtype = device_and_dtype(arguments)
        if arguments.format not in FORMATS:
            raise InputError(f"--format {arguments.format}: give one of {', '.join(FORMATS)}")
        if arguments.command == "plan":
            return _plan(names, device, dtype)
        return _table(names, config.results_directory(arguments.out), dtype, arguments.format, arguments.ran)

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
