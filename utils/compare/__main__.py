"""The command line of the comparison."""

import sys
from collections.abc import Sequence
from pathlib import Path

from utils import config
from utils.compare.gates import breaches, parsed_gate
from utils.compare.paired import compare_read, parts_of, read_files, scores_of
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
    from utils.cli import Parser, note, run, show, whole

    flags = Parser(prog="python -m utils.compare", description=main.__doc__, allow_abbrev=False)
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
        "than the reference's by more than TOLERANCE: auroc=0.02 or recall_at_fpr=0.01:0.05 (the share of unsafe "
        "prompts found at 1 %% false positives) for the means across, others and ordinary traffic of detection, or "
        "the headline metric of a different task for its average; 2 if a gate can't be evaluated; may be given "
        "several times",
    )
    flags.add_argument(
        "--seed", metavar="N", type=whole(0), default=42, help="seed of the resamples of detection (default 42)"
    )

    def work() -> int:
        arguments = flags.parse_args(argv)
        seed = arguments.seed
        others = _folders(arguments.others) if arguments.others else []
        for folder in others:
            if not folder.is_dir():
                raise InputError(f"--with {shown_path(folder)}: no such folder; name one that holds results")
        outs = list(dict.fromkeys([*_folders(arguments.out), *others]))
        gates, evaluated, worse = list(map(parsed_gate, arguments.gate)), set(), []
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
                for part in parts_of(files, arguments.reference or next(iter(arguments.encoders), None)):
                    first, *more = [arguments.metric] if arguments.metric else [None, *TASKS[task].beside_headline]
                    read = read_files(part, first, arguments.reference)
                    scores, headline, reference, again = read
                    for metric in (headline, *(one for one in more if all(one in s.result.items for s in scores))):
                        of = [scores_of(one.result, metric) for one in scores] if metric != headline else scores
                        unranked = without_rank([one.result for one in of], metric, outs)
                        comparison = compare_read(of, metric, reference, again, seed, unranked)
                        parts.append(rendered(comparison, arguments.format))
                    if arguments.format == "csv" and comparison.note:
                        note(comparison.note)
                    for gate in gates:
                        if gate.task == task:
                            evaluated.add(gate)
                            worse += breaches(gate, *read[:3], seed)
            except InputError as error:
                refused.append((task, error))
                continue
            said = _provenance([path for path in files if any(path.is_relative_to(folder) for folder in others)])
            if arguments.format in ("text", "markdown"):
                parts[-1] = "\n\n".join([parts[-1], *said])
            elif said:
                print(*map(printable, said), sep="\n", file=sys.stderr)
        if not parts:
            for _, error in (*refused, *absent):
                raise error
            there = ", ".join(map(shown, datasets(outs))) or "none"
            on = f" on {shown(Path(arguments.data).name)} (there are some on {there})" if arguments.data else ""
            raise InputError(
                f"{', '.join(map(shown_path, outs))}: no task has results of two encoders{on}; run one with "
                "--model A,B first"
            )
        if arguments.format == "csv":
            parts = [parts[0], *(part.split("\n", 1)[1] for part in parts[1:])]
        show(("\n" if arguments.format == "csv" else "\n\n\n").join(parts))
        for task, error in (*absent, *refused):
            note(f"without {task}: {error}")
        for line in worse:
            note(line)
        for gate in gates:
            why = dict([*absent, *refused]).get(gate.task)
            if gate not in evaluated or gate.task in dict(refused):
                raise InputError(
                    f"--gate {gate.text}: can't be evaluated: {why or f'no two results of {gate.task} were compared'}"
                )
        if worse:
            return 1
        # An encoder need not have been evaluated on every task, but results that can't be compared are incomplete.
        return 3 if refused else 0

    return run(work)


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
