"""The command line of the comparison."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from utils import config
from utils.cli import Parser, note, run, show, whole
from utils.compare.gates import Gate, breaches, parsed_gate
from utils.compare.paired import comparing, read_files, scores_of
from utils.compare.rendered import rendered
from utils.files import shown_path
from utils.results.find import datasets, find_results
from utils.results.ranked import without_rank
from utils.results.reference import FOLDER
from utils.results.result_file import read_result
from utils.results.signature import signature
from utils.schema import InputError, printable, shown
from utils.tasks import TASKS

FORMATS = ("text", "markdown", "csv", "latex")


def main(argv: Sequence[str] | None = None) -> int:
    """Compares encoders that have been evaluated, task by task."""
    flags = Parser(prog="python -m utils.compare", description=main.__doc__)
    flags.add_argument("encoders", nargs="*", metavar="ENCODER", help="the first is the reference (default: all)")
    flags.add_argument("--reference", metavar="ENCODER", help="what the others are compared with")
    flags.add_argument(
        "--data",
        metavar="NAME",
        help="dataset of the results, a name or a file, or several with commas between (default the paper's)",
    )
    flags.add_argument("--task", metavar="TASK", choices=tuple(TASKS), help="one task only: %(choices)s")
    flags.add_argument("--metric", metavar="METRIC", help="default the task's headline metric")
    flags.add_argument(
        "--format", metavar="FORMAT", choices=FORMATS, default="text", help="text, markdown, csv or latex"
    )
    flags.add_argument(
        "--out",
        metavar="FOLDER",
        action="append",
        help="folder of the result files, or several, separated by commas or one flag each (variable OUT)",
    )
    flags.add_argument(
        "--with",
        dest="others",
        metavar="FOLDER",
        action="append",
        help=f"a folder of results of other people, each named with its provenance (ours are in {FOLDER})",
    )
    flags.add_argument(
        "--gate",
        metavar="METRIC=TOLERANCE",
        action="append",
        default=[],
        help="exit with status 1, and a line on standard error for each, if METRIC of an encoder or guard is worse "
        "than the reference's by more than TOLERANCE: auroc=0.02, recall_at_fpr=0.01:0.05 (the share of unsafe "
        "prompts found at 1 %% false positives), or flagged_unsafe, flagged_safe or f1=0.05 (at the own threshold of "
        "each) for the means across, others and ordinary traffic of detection, or the headline metric of a different "
        "task for its average; 2 if a gate can't be evaluated; may be given several times",
    )
    flags.add_argument(
        "--seed", metavar="N", type=whole(0), default=42, help="seed of the resamples of detection (default 42)"
    )

    return run(lambda: _compare(flags.parse_args(argv)))


@dataclass
class _Compared:
    """What a run has compared. parts: what is shown. refused, absent: tasks that are not compared, with the reason."""

    parts: list[str] = field(default_factory=list)
    refused: dict[str, InputError] = field(default_factory=dict)
    absent: dict[str, InputError] = field(default_factory=dict)
    gates_met: set[Gate] = field(default_factory=set)  # looked at, whatever they say
    worse: list[str] = field(default_factory=list)


def _compare(arguments: argparse.Namespace) -> int:
    """Shows the comparisons, and returns the exit status."""
    others = _folders(arguments.others) if arguments.others else []
    for folder in others:
        if not folder.is_dir():
            raise InputError(f"--with {shown_path(folder)}: no such folder; name one that holds results")
    outs = list(dict.fromkeys([*_folders(arguments.out), *others]))
    gates, compared = list(map(parsed_gate, arguments.gate)), _Compared()
    for task in [arguments.task] if arguments.task else TASKS:
        wanted = list(dict.fromkeys([*arguments.encoders, *filter(None, [arguments.reference])]))
        try:
            files = find_results(outs, arguments.data, task, wanted if arguments.encoders else [])
        except InputError as error:
            compared.absent[task] = error
            continue
        if len(files) < 2:
            continue
        try:
            _compare_task(task, files, outs, arguments, gates, compared)
        except InputError as error:
            compared.refused[task] = error
            continue
        provenance = _provenance([path for path in files if any(path.is_relative_to(folder) for folder in others)])
        if arguments.format in ("text", "markdown"):
            compared.parts[-1] = "\n\n".join([compared.parts[-1], *provenance])
        elif provenance:
            print(*map(printable, provenance), sep="\n", file=sys.stderr)
    if not compared.parts:
        raise _nothing(compared, outs, arguments.data)
    _show(compared, arguments.format)
    for gate in gates:
        if gate not in compared.gates_met or gate.task in compared.refused:
            why = (compared.absent | compared.refused).get(gate.task, f"no two results of {gate.task} were compared")
            raise InputError(f"--gate {gate.text}: can't be evaluated: {why}")
    if compared.worse:
        return 1
    # An encoder need not have been evaluated on every task, but results that can't be compared are incomplete.
    return 3 if compared.refused else 0


def _compare_task(
    task: str,
    files: Sequence[Path],
    outs: Sequence[Path],
    arguments: argparse.Namespace,
    gates: Sequence[Gate],
    compared: _Compared,
) -> None:
    """Adds the comparisons of a task's results, and what its gates say. Raises InputError if they can't be compared."""
    about, how = TASKS[task], comparing(TASKS[task])
    for part in how.parts(files, arguments.reference or next(iter(arguments.encoders), None)):
        if len(part) < 2:
            continue
        more = () if arguments.metric else about.beside_headline
        scores, headline, reference, again = read_files(part, arguments.metric, arguments.reference)
        for metric in (headline, *(one for one in more if all(one in s.result.items for s in scores))):
            chosen = [scores_of(one.result, metric) for one in scores] if metric != headline else scores
            unranked = without_rank([one.result for one in chosen], metric, outs)
            comparison = replace(how.compare(chosen, metric, reference, arguments.seed, unranked), note=again)
            compared.parts.append(rendered(comparison, arguments.format))
        if arguments.format == "csv" and comparison.note:
            note(comparison.note)
        for gate in gates:
            if gate.task == task:
                compared.gates_met.add(gate)
                compared.worse += breaches(gate, scores, headline, reference, arguments.seed)


def _nothing(compared: _Compared, outs: Sequence[Path], data: str | None) -> InputError:
    """Why nothing was compared."""
    for error in (*compared.refused.values(), *compared.absent.values()):
        return error
    there = ", ".join(map(shown, datasets(outs))) or "none"
    on = f" on {shown(Path(data).name)} (there are some on {there})" if data else ""
    return InputError(
        f"{', '.join(map(shown_path, outs))}: no task has results of two encoders{on}; run one with --model A,B first"
    )


def _show(compared: _Compared, form: str) -> None:
    """Prints the comparisons, which tasks are left out, and which gates are not met."""
    parts = compared.parts
    if form == "csv":
        parts = [parts[0], *(part.split("\n", 1)[1] for part in parts[1:])]
    show(("\n" if form == "csv" else "\n\n\n").join(parts))
    for task, error in (*compared.absent.items(), *compared.refused.items()):
        note(f"without {task}: {error}")
    for line in compared.worse:
        note(line)


def _provenance(files: Sequence[Path]) -> list[str]:
    """What other people's results depend on, when they were made, and by which commit: one text, or none."""
    lines = []
    for path in files:
        result = read_result(path)
        lines += [
            f"{shown_path(path)}, of {result.created[:10]}, commit {(result.environment.get('commit') or '?')[:7]}",
            f"  {signature(result)}",
        ]
    return ["\n".join(lines)] if lines else []


def _folders(texts: Sequence[str] | None) -> list[Path]:
    """The folders that `--out` names, each once."""
    if not texts:
        return [config.results_directory()]
    parts = [part for text in texts for part in ([text] if config.callers_path(text).is_dir() else text.split(","))]
    return list(dict.fromkeys(config.results_directory(part.strip()) for part in parts if part.strip()))


if __name__ == "__main__":
    sys.exit(main())
