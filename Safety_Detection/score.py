"""Scores prompts with a saved detector: a file as a stream, or standard input a line at a time."""

import argparse
import contextlib
import csv
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from Safety_Detection.guardrail import saved
from Safety_Detection.guardrail.guard import WITHOUT_PROBABILITY, Guard
from Safety_Detection.guardrail.score_parts import parts_of
from Safety_Detection.guardrail.score_vectors import EmbeddedCorpus
from Safety_Detection.guardrail.scoring import (
    COLUMNS,
    FORMS,
    PART_LINES,
    Scorer,
    bar_of,
    lines_of,
    lines_of_parquet,
    refuse_json_as_text,
)
from Safety_Detection.guardrail.splitting import WHOLE
from utils import cli, config
from utils.data import reading
from utils.data.parquet import ParquetFile
from utils.data.text import CHANGES
from utils.files import replacing, sha256_of
from utils.parts import Unfinished, unchanged
from utils.schema import InputError, one_line

if TYPE_CHECKING:
    from tqdm import tqdm

# A part of the output ends after PART_LINES lines, or after so many seconds where they take longer.
PART_SECONDS = 300.0
AS_THEY_WERE = (
    "note: the detector normalizes texts, and these were embedded as they are, so characters that can't be seen, "
    "look-alike and spaced letters may hide words from it"
)


@cli.command
def main(argv: Sequence[str] | None = None) -> int | None:
    """Scores prompts with a detector that `python -m Safety_Detection.fit` has saved."""
    flags = cli.Parser(prog="python -m Safety_Detection.score", description=main.__doc__)
    saved.add_detector(flags)
    flags.add_argument(
        "--input",
        metavar="FILE",
        help=".csv, .jsonl or .txt, also .gz, .bz2, .zst; .parquet; - for standard input",
    )
    flags.add_argument(
        "--vectors", metavar="FOLDER", help="score what python -m utils.embed wrote instead; loads no encoder"
    )
    flags.add_argument(
        "--format", metavar="FORM", choices=FORMS, help=f"{', '.join(FORMS)} (default by the file's name; - is text)"
    )
    flags.add_argument("--output", metavar="FILE", help=f"CSV of {', '.join(COLUMNS)} (default standard output)")
    flags.add_argument("--column", metavar="NAME", help="column of the prompts (default prompt)")
    flags.add_argument("--id-column", metavar="NAME", help="column of the ids (default id, if there is one)")
    flags.add_argument("--threads", metavar="N", type=cli.whole(1), help=cli.THREADS)
    flags.add_argument(
        "--explain",
        metavar="N",
        type=cli.whole(1),
        default=0,
        help="name the N nearest prompts trained on, and say what is unlike all of them",
    )
    flags.add_argument(
        "--unfamiliar", action="store_true", help="say what is unlike all prompts trained on, as --explain"
    )
    saved.add_threshold(flags)
    flags.add_argument("--probability", action="store_true", help="add the probability that a prompt is unsafe")
    flags.add_argument("--quiet", action="store_true", help="no progress, no summary")

    arguments = flags.parse_args(argv)
    if arguments.vectors is None:
        path, form = _input(arguments)
    else:
        for flag in ("input", "format", "column", "id_column", "threads"):
            if getattr(arguments, flag) is not None:
                raise InputError(f"--vectors: goes without --{flag.replace('_', '-')}; leave that out")
        path, form = config.callers_path(arguments.vectors), "vectors"
    if arguments.base_rate is not None and not arguments.probability:
        raise InputError("--base-rate: changes probabilities only; add --probability, or leave it out")
    folder, output = config.callers_path(arguments.detector), None
    if arguments.output not in (None, "-"):
        output = saved.output_path("--output", arguments.output, {"detector": folder, "vectors": path}, [path])
    device = cli.device(arguments)
    nearest = arguments.explain
    detector = saved.load(folder, arguments.model, device, arguments.trust_remote_code)
    if detector.outdated and not arguments.quiet:
        cli.note(detector.outdated)
    if nearest > detector.about["trained_on"]["prompts"]:
        raise InputError(f"--explain {nearest}: the detector was fitted on fewer prompts; give a smaller number")
    if arguments.probability and detector.calibration is None:
        raise InputError(f"--probability: the detector {arguments.detector} {WITHOUT_PROBABILITY}")
    threshold = saved.threshold_of(arguments, detector)
    guard = Guard(detector, threshold, form == "vectors", arguments.base_rate, arguments.threads)
    scorer = Scorer(guard, nearest, arguments.probability, arguments.unfamiliar)
    try:
        with contextlib.ExitStack() as stack:
            if path is not None and form == "vectors":
                source = _vectors(path, detector)
            else:
                source = _texts(arguments, path, form, stack)
            bar = stack.enter_context(bar_of(source.total, source.unit, arguments.quiet or path is None))
            if output is None or source.file is None:
                _in_one(scorer, source, output, bar, at_once=path is None)
            else:
                made_by = {
                    "--input" if form != "vectors" else "--vectors": sha256_of(source.file),
                    "--detector": detector.about["card_sha256"],
                    "--format": form,
                    "--column": arguments.column,
                    "--id-column": arguments.id_column,
                    "--explain": nearest,
                    "--unfamiliar": arguments.unfamiliar or None,
                    "--threshold": guard.threshold,
                    "--probability": arguments.probability or None,
                    "--base-rate": arguments.base_rate,
                    "column of incidents": guard.matches or None,
                    "column of false alarms": guard.allows or None,
                }
                _in_parts(scorer, source, source.file, output.resolve(), made_by, bar)
    except Unfinished as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 3
    guard.close()
    if not arguments.quiet:
        counts = scorer.counts
        cut = f", {counts['cut']} of them longer than the encoder reads and cut off" if counts["cut"] else ""
        changed = ", ".join(f"{name} in {counts[name]}" for name in CHANGES if counts[name])
        changed = changed and f"; normalized: {changed}"
        print(f"scored {counts['scored']} of {counts['lines']} lines{cut}{changed}", file=sys.stderr)
    return 3 if scorer.counts["faults"] else 0


def _input(arguments: argparse.Namespace) -> tuple[Path | None, str]:
    """The file that is scored, None for standard input, and its format."""
    if arguments.input is None:
        raise InputError("--input: missing; give a file of prompts, - for standard input, or --vectors")
    form = _form(arguments.input, arguments.format)
    path = None if arguments.input == "-" else config.callers_path(arguments.input)
    if path is not None and (path.is_dir() or not path.exists()):
        raise InputError(f"--input {arguments.input}: {'is a folder' if path.is_dir() else 'no such file'}")
    if path is not None and path.is_file() and not path.stat().st_size:
        raise InputError(f"--input {arguments.input}: the file is empty; give it prompts to score")
    return path, form


@dataclass(frozen=True)
class Source:
    """What is scored.

    file: which must not change meanwhile, None if it can be read only once. total: its bytes (unit B) or rows (unit
    row), None if unknown. batches: of a scorer, the columns of all lines but so many.
    """

    file: Path | None
    total: int | None
    unit: str
    batches: Callable[[Scorer, int], Iterator[list[tuple]]]


def _vectors(folder: Path, detector: saved.SavedDetector) -> Source:
    if detector.reading != WHOLE:
        raise InputError(
            "--vectors: are of whole texts, and the detector reads their sentences too; give --input, or fit with "
            "--read whole"
        )
    found = EmbeddedCorpus(folder, detector.spec)
    if detector.normalize:
        print(AS_THEY_WERE, file=sys.stderr)

    def batches(scorer: Scorer, start: int) -> Iterator[list[tuple]]:
        scorer.read += start
        return scorer.score_vectors(found.batches(start, len(detector.probe)))

    return Source(found.manifest, found.rows, "row", batches)


def _texts(arguments: argparse.Namespace, path: Path | None, form: str, stack: contextlib.ExitStack) -> Source:
    columns = arguments.column or "prompt", arguments.id_column
    file, total, unit = path if path is not None and path.is_file() else None, None, "B"
    if path is not None and form == "parquet":
        parquet = ParquetFile(path)
        lines, total, unit = lines_of_parquet(parquet, path.name, *columns), parquet.rows, "row"
    else:
        stream = sys.stdin.buffer if path is None else stack.enter_context(reading.opened(path))
        lines = lines_of(stream, form, arguments.input, *columns, at_once=path is None)
        if form == "text" and arguments.format is None:
            lines = refuse_json_as_text(lines)
        if file is not None and file.suffix.lower() not in reading.COMPRESSIONS:
            total = file.stat().st_size

    def batches(scorer: Scorer, start: int) -> Iterator[list[tuple]]:
        scorer.read += sum(line.read for line in itertools.islice(lines, start))
        return scorer.score(lines, at_once=path is None)

    return Source(file, total, unit, batches)


def _form(name: str, asked: str | None) -> str:
    if asked is not None:
        return asked
    form = "text" if name == "-" else reading.form_of(Path(name))
    if form not in (*FORMS, "parquet"):
        raise InputError(
            f"--input {name}: unknown kind of file; give .csv, .jsonl, .ndjson, .txt or .parquet, name its "
            "--format, or give - for standard input"
        )
    return form


@contextlib.contextmanager
def _written(path: Path | None) -> Iterator[IO]:
    """A stream of text: standard output, or a file that appears when everything is written."""
    if path is None:
        yield sys.stdout
        return
    try:
        with replacing(path, "x", encoding="utf-8", newline="") as stream:
            yield stream
    except OSError as error:
        raise InputError(f"--output {path}: can't be written ({error.strerror}); give another file") from None


def _in_one(scorer: Scorer, source: Source, output: Path | None, bar: "tqdm", at_once: bool) -> None:
    """Writes scores. at_once: whether each is written before the next."""
    try:
        with _written(output) as target:
            writer = csv.writer(target, lineterminator="\n")
            writer.writerow(scorer.columns)
            target.flush()
            for rows in source.batches(scorer, 0):
                writer.writerows(rows)
                if at_once:
                    target.flush()
                bar.update(scorer.read - bar.n)
            _refuse_none(scorer)
    except KeyboardInterrupt:
        print("interrupted; only a file that is scored into an --output can be continued", file=sys.stderr)
        sys.exit(130)


def _in_parts(scorer: Scorer, source: Source, file: Path, output: Path, made_by: dict, bar: "tqdm") -> None:
    """Writes the scores of a source in parts, after those that an earlier run has finished. file: of the source."""
    with parts_of(output, made_by, cli.note) as parts:
        scorer.counts.update(parts.counts)
        if parts.number and not bar.disable:
            cli.note(f"{scorer.counts['lines']} lines are scored already")
        rows, begun = [], time.monotonic()
        with unchanged(file, "run the same command again"):
            for batch in source.batches(scorer, scorer.counts["lines"]):
                rows += batch
                bar.update(scorer.read - bar.n)
                new = scorer.counts["lines"] - parts.counts.get("lines", 0)
                if new >= PART_LINES or (new and time.monotonic() - begun >= PART_SECONDS):
                    parts.write(rows, scorer.counts)
                    rows, begun = [], time.monotonic()
            _refuse_none(scorer)
            if scorer.counts != parts.counts:
                parts.write(rows, scorer.counts)
        parts.join(scorer.columns)


def _refuse_none(scorer: Scorer) -> None:
    if not scorer.counts["lines"]:
        raise InputError("--input: no prompts; give it some to score")


if __name__ == "__main__":
    sys.exit(main())
