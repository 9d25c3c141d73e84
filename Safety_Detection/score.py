"""Scores prompts with a saved detector: a file as a stream, or standard input a line at a time."""

import contextlib
import csv
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from Safety_Detection import saved
from utils import cli, config
from utils.data import reading
from utils.embed.embedder import Embedder
from utils.encoders.tfidf import without_known_word
from utils.files import replacing
from utils.schema import InputError
from utils.store.embeddings import EmbeddingStore, default_path

BATCH = 256
COLUMNS = ("line", "row", "id", "score", "flagged", "truncated")
FORMS = ("csv", "jsonl", "text")


@dataclass(frozen=True)
class Line:
    """A row of the input: its prompt, its id if it has one, or why it can't be scored.

    number: of the line on which it begins. row: its number, without the heading and blank lines.
    read: the bytes of the input from the end of the previous row to the end of this one.
    """

    number: int
    row: int
    id: str = ""
    prompt: str = ""
    fault: str = ""
    read: int = 0

    @property
    def place(self) -> str:
        """Where it is, for a message."""
        return f"line {self.number}" + (f" (row {self.row})" if self.row != self.number else "")


def lines_of(
    stream: BinaryIO, form: str, name: str, column: str = "prompt", id_column: str | None = None, at_once: bool = False
) -> Iterator[Line]:
    """An iterator over the rows of a binary stream in one of FORMS.

    id_column: `id` if there is such a column, if None. at_once: whether each row is yielded before the next is read.
    Raises InputError if there is no such column, or if the stream can't be read (utils/data/reading.py).
    """
    found, rows = reading.rows(stream, form, name, look=1 if at_once else reading.ROWS_LOOKED_AT)
    if found and form != "text":
        reading.require_columns(found, [column], name, "name one with --column")
        if id_column is not None:
            reading.require_columns(found, [id_column], name, "name one with --id-column")
    column = "prompt" if form == "text" else column
    return (_line(row, column, id_column or "id") for row in rows)


def _line(row: reading.Row, column: str, id_column: str) -> Line:
    fault, mark = reading.problem(row, column), row.cells.get(id_column)
    if not fault and mark is not None:
        fault = reading.problem(row, id_column, whole_numbers=True)
    if not fault and not reading.has_text(row.cells[column]):
        fault = f"has no text in '{column}'"
    if fault:
        return Line(row.line, row.number, fault=fault, read=row.read)
    return Line(row.line, row.number, "" if mark is None else str(mark), row.cells[column].strip(), read=row.read)


def refuse_json_as_text(lines: Iterator[Line]) -> Iterator[Line]:
    """The same lines. Raises InputError if the first one with text is a JSON object."""
    first = []
    for line in lines:
        first.append(line)
        if not line.fault:
            break
    if first and reading.is_json_object(first[-1].prompt):
        raise InputError(
            "--input: the first line is a JSON object; add --format jsonl, or --format text to score lines as they are"
        )
    return itertools.chain(first, lines)


class Scorer:
    """Scores lines, and counts those that can't be scored and those that are truncated.

    Vectors of an API are kept in the embedding store. Raises InputError if the encoder is a different one, or
    accepts no text any more.
    """

    def __init__(self, detector: saved.SavedDetector) -> None:
        self.detector, self.unstored = detector, Embedder(detector.spec)
        saved.check_probe(detector, self.unstored)
        paid = detector.spec.loader == "openai"
        self.embedder = Embedder(detector.spec, EmbeddingStore(default_path())) if paid else self.unstored
        self.scored, self.cut, self.faults = 0, 0, 0

    def score(self, lines: Sequence[Line]) -> Iterator[tuple[int, int, str, float, int, int]]:
        """The COLUMNS of each line that can be scored. The others are reported on standard error."""
        good = []
        for line in lines:
            if line.fault:
                self._fault(line, line.fault)
            else:
                good.append(line)
        for line, score, cut in self._scores(good):
            self.scored += 1
            self.cut += cut
            yield line.number, line.row, line.id, score, int(score >= self.detector.threshold), int(cut)

    def _scores(self, lines: Sequence[Line]) -> Iterator[tuple[Line, float, bool]]:
        if not lines:
            return
        try:
            rows, cut = saved.rows_of(
                self.embedder,
                self.detector.words,
                [line.prompt for line in lines],
                [line.place for line in lines],
            )
        except InputError as error:
            # A text that an encoder can't take must not affect the other texts of its batch.
            saved.probe_of(self.unstored, self.detector.words)
            if len(lines) == 1:
                self._fault(lines[0], f"can't be embedded ({error})")
            else:
                half = len(lines) // 2
                yield from self._scores(lines[:half])
                yield from self._scores(lines[half:])
            return
        scores = self.detector.detector.scores(rows)
        # A text without a known word has the score of an empty text, which means nothing.
        for line, score, was_cut, unknown in zip(lines, scores, cut, without_known_word(rows), strict=True):
            if unknown:
                self._fault(line, "has no word that the detector knows")
            else:
                yield line, float(score), bool(was_cut)

    def close(self) -> None:
        """Ends the encoder's processes."""
        self.embedder.close()
        self.unstored.close()

    def _fault(self, line: Line, what: str) -> None:
        self.faults += 1
        print(f"{line.place}: {what}; left out", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Scores prompts with a detector that `python -m Safety_Detection.fit` has saved."""
    flags = cli.Parser(prog="python -m Safety_Detection.score", description=main.__doc__, allow_abbrev=False)
    flags.add_argument("--detector", metavar="FOLDER", required=True, help="what fit wrote")
    flags.add_argument(
        "--input",
        metavar="FILE",
        required=True,
        help=".csv, .jsonl or .txt, also .gz, .bz2, .zst; - for standard input",
    )
    flags.add_argument("--format", metavar="FORM", help=f"{', '.join(FORMS)} (default by the file's name; - is text)")
    flags.add_argument("--output", metavar="FILE", help=f"CSV of {', '.join(COLUMNS)} (default standard output)")
    flags.add_argument("--column", metavar="NAME", default="prompt", help="column of the prompts (default prompt)")
    flags.add_argument("--id-column", metavar="NAME", help="column of the ids (default id, if there is one)")
    flags.add_argument("--model", metavar="NAME", help="where the encoder is, if not under the name it was fitted by")
    flags.add_argument("--device", metavar="DEVICE", help="auto, cuda, mps or cpu (variable DEVICE)")
    flags.add_argument("--trust-remote-code", action="store_true", help="allow a model to run code of its own")
    flags.add_argument("--quiet", action="store_true", help="no progress, no summary")

    def work() -> int:
        arguments = flags.parse_args(argv)
        arguments.dtype = None
        form = _form(arguments.input, arguments.format)
        path = None if arguments.input == "-" else config.callers_path(arguments.input)
        if path is not None and (path.is_dir() or not path.exists()):
            raise InputError(f"--input {arguments.input}: {'is a folder' if path.is_dir() else 'no such file'}")
        if path is not None and path.is_file() and not path.stat().st_size:
            raise InputError(f"--input {arguments.input}: the file is empty; give it prompts to score")
        output = None if arguments.output in (None, "-") else config.callers_path(arguments.output)
        if output is not None and path is not None and output.exists() and output.samefile(path):
            raise InputError(f"--output {arguments.output}: is the input, which it would replace; name another file")
        if output is not None and output.is_dir():
            raise InputError(f"--output {arguments.output}: is a folder; name a file")
        if output is not None and output.exists() and not output.is_file():  # a file would replace it
            raise InputError(
                f"--output {arguments.output}: is a pipe or a device; name a file, or leave it out for standard output"
            )
        device = cli.device_and_dtype(arguments)[0]
        folder = config.callers_path(arguments.detector)
        if output is not None and output.resolve().parent == folder.resolve():
            raise InputError(f"--output {arguments.output}: is in the detector's folder; name another file")
        detector = saved.load(folder, arguments.model, device, arguments.trust_remote_code)
        scorer = Scorer(detector)
        with contextlib.ExitStack() as stack:
            stream = sys.stdin.buffer if path is None else stack.enter_context(_opened(path))
            at_once = path is None
            lines = lines_of(stream, form, arguments.input, arguments.column, arguments.id_column, at_once)
            if form == "text" and arguments.format is None:
                lines = refuse_json_as_text(lines)
            with _written(output) as target:
                if at_once:
                    _at_once(scorer, lines, target)
                else:
                    size = (
                        path.stat().st_size
                        if path.is_file() and path.suffix.lower() not in reading.COMPRESSIONS
                        else None
                    )
                    _in_batches(scorer, lines, target, size, arguments.quiet)
                if not scorer.scored and not scorer.faults:
                    raise InputError(f"--input {arguments.input}: no prompts; give it some to score")
        scorer.close()
        if not arguments.quiet:
            cut = f", {scorer.cut} of them longer than the encoder reads and cut off" if scorer.cut else ""
            print(f"scored {scorer.scored} of {scorer.scored + scorer.faults} lines{cut}", file=sys.stderr)
        return 3 if scorer.faults else 0

    return cli.run(work)


def _form(name: str, asked: str | None) -> str:
    if asked is not None:
        if asked not in FORMS:
            raise InputError(f"--format {asked}: give one of {', '.join(FORMS)}")
        return asked
    form = "text" if name == "-" else reading.form_of(Path(name))
    if form not in FORMS:
        raise InputError(
            f"--input {name}: unknown kind of file; give .csv, .jsonl, .ndjson or .txt, name its --format, or give - "
            "for standard input"
        )
    return form


def _opened(path: Path) -> BinaryIO:
    try:
        return reading.opened(path)
    except OSError as error:
        raise InputError(f"--input {path}: can't be read ({error.strerror})") from None


@contextlib.contextmanager
def _written(path: Path | None):
    """A stream of text: standard output, or a file that appears when everything is written."""
    if path is None:
        try:
            yield sys.stdout
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            sys.stdout = None  # otherwise writing the rest is tried again at exit
            raise InputError(f"standard output: can't be written ({error.strerror}); free some space") from None
        return
    try:
        with replacing(path, "x", encoding="utf-8", newline="") as stream:
            yield stream
    except OSError as error:
        raise InputError(f"--output {path}: can't be written ({error.strerror}); give another file") from None


def _at_once(scorer: Scorer, lines: Iterator[Line], target) -> None:
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    target.flush()
    for line in lines:
        for row in scorer.score([line]):
            writer.writerow(row)
        target.flush()


def _in_batches(scorer: Scorer, lines: Iterator[Line], target, size: int | None, quiet: bool) -> None:
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
