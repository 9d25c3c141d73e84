"""Scores prompts with a saved detector: a file as a stream, or standard input a line at a time."""

import contextlib
import csv
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from Safety_Detection import saved
from utils import cli, config
from utils.embed import Embedder
from utils.schema import InputError
from utils.store import EmbeddingStore, default_path

BATCH = 256
# Characters of a prompt in a CSV file; a quote that is never closed must not take the memory.
LONGEST = 2**24
COLUMNS = ("line", "id", "score", "flagged")


@dataclass(frozen=True)
class Line:
    """A line of the input: its number, its id if it has one, and its prompt; or what keeps it from being scored.

    read: bytes of the input up to here since the line before.
    """

    number: int
    id: str = ""
    prompt: str = ""
    fault: str = ""
    read: int = 0


def lines_of(stream, kind: str, column: str = "prompt", name: str = "input") -> Iterator[Line]:
    """The lines of a binary stream: `csv` with a heading, `jsonl`, or `text`, a prompt on each line.

    Raises InputError if a CSV file has no such column.
    """
    if kind == "csv":
        yield from _csv_lines(stream, column, name)
        return
    for number, raw in enumerate(stream, 1):
        try:
            text = raw.decode("utf-8").removeprefix("\ufeff" if number == 1 else "").strip()
        except UnicodeDecodeError:
            yield Line(number, fault="is not UTF-8", read=len(raw))
            continue
        if kind == "jsonl":
            yield _json_line(number, text, column, len(raw))
        elif text:
            yield Line(number, prompt=text, read=len(raw))
        else:
            yield Line(number, fault="has no text", read=len(raw))


def _json_line(number: int, text: str, column: str, read: int) -> Line:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return Line(number, fault="is not JSON", read=read)
    if not isinstance(row, dict) or not isinstance(row.get(column), str) or not row[column].strip():
        return Line(number, fault=f"has no text in '{column}'", read=read)
    mark = str(row.get("id", ""))
    if _has_surrogates(row[column] + mark):
        return Line(number, fault="holds half a character", read=read)
    return Line(number, mark, row[column].strip(), read=read)


def _has_surrogates(text: str) -> bool:
    """Whether a text holds what no encoding has: an escape of JSON's, or a byte that is not UTF-8."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _csv_lines(stream, column: str, name: str) -> Iterator[Line]:
    read = 0

    def decoded() -> Iterator[str]:
        nonlocal read
        for i, raw in enumerate(stream):
            read += len(raw)
            yield raw.decode("utf-8", "surrogateescape").removeprefix("\ufeff" if i == 0 else "")

    csv.field_size_limit(LONGEST)
    rows = csv.reader(decoded(), strict=True)
    try:
        headings = next(rows, None)
    except csv.Error as error:
        raise InputError(f"{name}: the heading is not valid CSV ({error}); see the lines' ends and quotes") from None
    if headings is None:
        return
    if column not in headings:
        shown = ", ".join(headings[:8]) if len(headings) < 20 else f"{len(headings)} columns"
        raise InputError(f"{name}: no column '{column}' (found: {shown}); name one with --column")
    at, id_at = headings.index(column), headings.index("id") if "id" in headings else None
    while True:
        before, start = read, rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            fault = f"is not valid CSV from line {start} on ({error})"
            yield Line(rows.line_num, fault=fault, read=read - before)
            continue
        if row is None:
            return
        prompt = row[at].strip() if len(row) > at else ""
        mark = row[id_at] if id_at is not None and len(row) > id_at else ""
        fault = "" if prompt else f"has no text in '{column}'"
        if _has_surrogates(prompt + mark):
            fault = "is not UTF-8"
        yield Line(rows.line_num, mark, prompt, fault, read - before)


class Scorer:
    """Scores lines, and keeps count of those that can't be, and of those longer than what the encoder reads.

    What an API was paid for is kept in the embedding store. Raises InputError if the encoder is another one, or where
    it takes no text any more.
    """

    def __init__(self, detector: saved.SavedDetector) -> None:
        self.detector, self.unstored = detector, Embedder(detector.spec)
        saved.check_probe(detector, self.unstored)
        paid = detector.spec.loader == "openai"
        self.embedder = Embedder(detector.spec, EmbeddingStore(default_path())) if paid else self.unstored
        self.scored, self.cut, self.faults = 0, 0, 0

    def score(self, lines: Sequence[Line]) -> Iterator[tuple[int, str, float, int]]:
        """(number, id, score, 1 if flagged) of each line that can be scored; the others are told on standard error."""
        good = []
        for line in lines:
            if line.fault:
                self._fault(line.number, line.fault)
            else:
                good.append(line)
        for line, score in self._scores(good):
            self.scored += 1
            yield line.number, line.id, score, int(score >= self.detector.threshold)

    def _scores(self, lines: Sequence[Line]) -> Iterator[tuple[Line, float]]:
        if not lines:
            return
        try:
            rows, cut = saved.rows_of(
                self.embedder,
                self.detector.words,
                [line.prompt for line in lines],
                [f"line {line.number}" for line in lines],
            )
        except InputError as error:
            # One text that an encoder can't take must not cost the others of its batch theirs.
            saved.probe_of(self.unstored, self.detector.words)
            if len(lines) == 1:
                self._fault(lines[0].number, f"can't be embedded ({error})")
            else:
                half = len(lines) // 2
                yield from self._scores(lines[:half])
                yield from self._scores(lines[half:])
            return
        self.cut += cut
        yield from zip(lines, map(float, self.detector.detector.scores(rows)), strict=True)

    def close(self) -> None:
        """Ends the encoder's processes."""
        self.embedder.close()
        self.unstored.close()

    def _fault(self, number: int, what: str) -> None:
        self.faults += 1
        print(f"line {number}: {what}; left out", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Scores prompts with a detector that `python -m Safety_Detection.fit` has saved."""
    flags = cli.Parser(prog="python -m Safety_Detection.score", description=main.__doc__, allow_abbrev=False)
    flags.add_argument("--detector", metavar="FOLDER", required=True, help="what fit wrote")
    flags.add_argument(
        "--input", metavar="FILE", required=True, help=".csv, .jsonl or .txt; - for lines of standard input"
    )
    flags.add_argument("--output", metavar="FILE", help="CSV of line, id, score, flagged (default standard output)")
    flags.add_argument("--column", metavar="NAME", default="prompt", help="column of the prompts (default prompt)")
    flags.add_argument("--model", metavar="NAME", help="where the encoder is, if not under the name it was fitted by")
    flags.add_argument("--device", metavar="DEVICE", help="auto, cuda, mps or cpu (variable DEVICE)")
    flags.add_argument("--trust-remote-code", action="store_true", help="allow a model to run code of its own")
    flags.add_argument("--quiet", action="store_true", help="no progress, no summary")

    def work() -> int:
        arguments = flags.parse_args(argv)
        arguments.dtype = None
        kind = _kind(arguments.input)
        path = None if arguments.input == "-" else config.callers_path(arguments.input)
        if path is not None and not path.is_file():
            raise InputError(f"--input {arguments.input}: no such file")
        if path is not None and not path.stat().st_size:
            raise InputError(f"--input {arguments.input}: the file is empty; give it prompts to score")
        output = None if arguments.output in (None, "-") else config.callers_path(arguments.output)
        if output is not None and path is not None and output.exists() and output.samefile(path):
            raise InputError(f"--output {arguments.output}: is the input, which it would replace; name another file")
        if output is not None and output.is_dir():
            raise InputError(f"--output {arguments.output}: is a folder; name a file")
        device = cli.device_and_dtype(arguments)[0]
        folder = config.callers_path(arguments.detector)
        if output is not None and output.resolve().parent == folder.resolve():
            raise InputError(f"--output {arguments.output}: is in the detector's folder; name another file")
        detector = saved.load(folder, arguments.model, device, arguments.trust_remote_code)
        scorer = Scorer(detector)
        with contextlib.ExitStack() as stack:
            stream = sys.stdin.buffer if path is None else stack.enter_context(path.open("rb"))
            lines = lines_of(stream, kind, arguments.column, arguments.input)
            with _written(output) as target:
                if path is None:
                    _at_once(scorer, lines, target)
                else:
                    _in_batches(scorer, lines, target, path.stat().st_size, arguments.quiet)
                if not scorer.scored and not scorer.faults:
                    raise InputError(f"--input {arguments.input}: no prompts; give it some to score")
        scorer.close()
        if not arguments.quiet:
            cut = f", {scorer.cut} of them longer than the encoder reads and cut off" if scorer.cut else ""
            print(f"scored {scorer.scored} of {scorer.scored + scorer.faults} lines{cut}", file=sys.stderr)
        return 3 if scorer.faults else 0

    return cli.run(work)


def _kind(name: str) -> str:
    kinds = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text"}
    if name == "-":
        return "text"
    kind = kinds.get(Path(name).suffix.lower())
    if kind is None:
        raise InputError(
            f"--input {name}: unknown kind of file; give one of {', '.join(kinds)}, or - for standard input"
        )
    return kind


@contextlib.contextmanager
def _written(path: Path | None):
    """A stream of text: standard output, or a file that takes its place when everything is written."""
    if path is None:
        try:
            yield sys.stdout
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            sys.stdout = None  # else what could not be written is tried again at the end
            raise InputError(f"standard output: can't be written ({error.strerror}); free some space") from None
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InputError(f"--output {path}: can't be written ({error.strerror}); give another file") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            yield stream
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise InputError(f"--output {path}: can't be written ({error.strerror}); give another file") from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _at_once(scorer: Scorer, lines: Iterator[Line], target) -> None:
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    target.flush()
    for line in lines:
        for row in scorer.score([line]):
            writer.writerow(row)
        target.flush()


def _in_batches(scorer: Scorer, lines: Iterator[Line], target, size: int, quiet: bool) -> None:
    from tqdm import tqdm

    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    hidden = quiet or not sys.stderr.isatty()
    with tqdm(total=size, unit="B", unit_scale=True, disable=hidden, leave=False) as bar:
        batch: list[Line] = []

        def write() -> None:
            writer.writerows(scorer.score(batch))
            bar.update(sum(line.read for line in batch))
            batch.clear()

        for line in lines:
            batch.append(line)
            if len(batch) == BATCH:
                write()
        write()


if __name__ == "__main__":
    sys.exit(main())
