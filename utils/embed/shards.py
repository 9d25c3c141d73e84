"""Embeds a corpus into a folder of Parquet shards, each whole or not there.

A folder of shards is one table: row (from 0), id where the corpus has ids, truncated (longer than the encoder reads)
and vector, never a text.
"""

import contextlib
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from utils.embed.corpus import Corpus
from utils.embed.embedder import Embedder
from utils.embed.vectors import write_parquet
from utils.files import sha256_of, shown_path
from utils.parts import MANIFEST, Parts, Unfinished, differing, unchanged
from utils.schema import DataFile, EncoderInfo, EncoderSpec, InputError, is_word_overlap

_ENTRIES = frozenset({"input", "column", "id_column", "shard_rows", "encoder", "done"})


@dataclass(frozen=True)
class Job:
    """Everything that a worker has to know: the corpus, the encoder and the division into shards.

    corpus: the input file, its digest and rows. encoder: the resolved weights. output: the folder of the shards.
    """

    path: Path
    corpus: DataFile
    column: str
    id_column: str | None
    encoder: EncoderSpec
    output: Path
    shard_rows: int

    @property
    def shards(self) -> int:
        return -(-self.corpus.rows // self.shard_rows)

    def bounds(self, shard: int) -> tuple[int, int]:
        """The first row of a shard, and the row after its last."""
        return shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.corpus.rows)

    def rows(self, shards: Sequence[int]) -> int:
        """The total number of rows of some shards."""
        return sum(stop - start for start, stop in map(self.bounds, shards))

    @property
    def parts(self) -> Parts:
        return parts_of(self.output)


def parts_of(output: Path) -> Parts:
    """The shards in a folder."""
    return Parts(output, "parquet", _ENTRIES)


class ShardWriter:
    """Embeds shards of a job and writes each whole or not at all. Loads the model with the first shard."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._corpus: Corpus | None = None
        self._embedder: Embedder | None = None

    def write(self, shard: int) -> EncoderInfo:
        """Writes a shard's file. Raises InputError for bad rows or vectors, Unfinished if the disk is full."""
        import pyarrow as pa

        job = self.job
        if self._corpus is None or self._embedder is None:
            self._corpus = Corpus(job.path, job.column, job.id_column)
            self._embedder = Embedder(job.encoder)
        start, stop = job.bounds(shard)
        texts, ids = self._corpus.rows(start, stop)
        embedded = self._embedder.embed(texts, [f"row {row + 1}" for row in range(start, stop)])
        columns = {"row": pa.array(np.arange(start, stop, dtype=np.int64))}
        if ids is not None:
            columns["id"] = ids
        columns["truncated"] = pa.array(embedded.truncated)
        content = pa.BufferOutputStream()
        write_parquet(content, columns, embedded.matrix)
        job.parts.write(shard, content.getvalue())
        return embedded.info

    def notes(self) -> tuple[str, ...]:
        """What was assumed of the encoder's checkpoint, in sentences; none before a shard is written."""
        return () if self._embedder is None else self._embedder.notes()

    def close(self) -> None:
        if self._embedder is not None:
            self._embedder.close()


# Makes the given shards, and yields the number of each, the encoder's properties and what was assumed of it.
Executor = Callable[[Job, Sequence[int]], Generator[tuple[int, EncoderInfo, Sequence[str]]]]


def in_process(job: Job, missing: Sequence[int]) -> Generator[tuple[int, EncoderInfo, Sequence[str]]]:
    """Makes shards one after another, and yields of each what an Executor does."""
    writer = ShardWriter(job)
    try:
        for shard in missing:
            yield shard, writer.write(shard), writer.notes()
    finally:
        writer.close()


def embed_corpus(
    path: Path,
    output: Path,
    spec: EncoderSpec,
    column: str = "prompt",
    id_column: str | None = None,
    shard_rows: int = 10_000,
    executor: Executor = in_process,
    note: Callable[[str], None] = lambda sentence: None,
    show_progress: bool = False,
) -> str:
    """Embeds `column` of the file `path` into Parquet shards in the folder `output`; returns a sentence on the run.

    executor: makes the given shards, in any order. All executors give the same vectors.
    Shards of an earlier run of the same corpus, encoder and settings are kept. Raises InputError if the input or
    encoder can't be used, or if the folder belongs to a different run, and Unfinished if the run ends early.
    """
    if is_word_overlap(spec) or spec.loader == "openai":
        why = "is fitted on all texts at once" if is_word_overlap(spec) else "is an API, paid for by the text"
        raise InputError(f"--model {spec.name}: {why}, so it can't embed a corpus by shards; name one that runs here")
    corpus = Corpus(path, column, id_column)
    with parts_of(output).claimed() as manifest:
        with unchanged(path, "start again with a new --output"):
            digest = sha256_of(path)
            if manifest is not None and (manifest["input"]["sha256"], manifest["column"]) == (digest, column):
                rows = manifest["input"]["rows"]
            else:
                note(f"checking {path.name}")
                rows = corpus.count()
            file = DataFile(path.name, digest, rows)
            job = Job(path.resolve(), file, column, corpus.id_column, spec, output.resolve(), shard_rows)
            _claim(job, manifest)
            missing = missing_shards(job, note)
            reused = rows - job.rows(missing)
            note(f"{rows} rows, shards of {shard_rows}: {job.shards - len(missing)} of {job.shards} finished")
            if missing:
                note(f"loading {spec.name}")
                for sentence in _embed(job, missing, executor, show_progress):
                    note(sentence)
        cut = _finish(job)
    if cut:
        note(f"{cut} of {rows} texts are longer than what {spec.name} reads and were cut off (column truncated)")
    shards = f"{job.shards} shard{'s' if job.shards > 1 else ''}"
    return f"embedded {rows - reused} rows with {spec.name}, reused {reused}: {shards} in {shown_path(output)}"


def _embed(job: Job, missing: list[int], executor: Executor, show_progress: bool) -> Sequence[str]:
    """Makes the shards, and returns what was assumed of the encoder's checkpoint, in sentences."""
    from tqdm import tqdm

    rows = job.rows(missing)
    told: Sequence[str] = ()
    with (
        os.fdopen(os.dup(2), "w") as terminal,  # an executor may silence standard error
        tqdm(total=rows, unit="row", disable=not show_progress, leave=False, file=terminal) as bar,
        contextlib.closing(executor(job, missing)) as made,
    ):
        for n, (shard, info, notes) in enumerate(made):
            if n == 0:
                job.parts.write_manifest(encoder=vars(info), done=None)
            told = notes
            bar.update(job.rows([shard]))
    return told


def _finish(job: Job) -> int:
    """Marks the folder as complete, and returns the number of its texts that were truncated."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    missing = missing_shards(job)
    if missing:
        raise Unfinished(
            f"{shown_path(job.parts.path(missing[0]))}: missing, although it was made; run the same command to continue"
        )
    columns = (pq.read_table(job.parts.path(shard), columns=["truncated"]) for shard in range(job.shards))
    cut = sum(pc.sum(column["truncated"]).as_py() for column in columns)
    manifest = job.parts.manifest()
    if manifest is None or not manifest["done"]:
        job.parts.write_manifest(done={"rows": job.corpus.rows, "truncated": cut, "ended": _now()})
    job.parts.sweep()
    return cut


def _claim(job: Job, manifest: dict | None) -> None:
    """Writes the manifest of a new run. Raises InputError if a different run has begun in the folder."""
    requested = {
        "input": vars(job.corpus),
        "column": job.column,
        "id_column": job.id_column,
        "shard_rows": job.shard_rows,
        "encoder": vars(job.encoder.info()),
    }
    if manifest is None or not any(job.output.glob("part-*")):
        job.parts.write_manifest(begun=_now(), **requested, done=None)
        return
    differs = differing(_made_by(manifest), _made_by(requested))
    if differs:
        raise InputError(
            f"--output {shown_path(job.output)}: holds shards made with another {differs}; give another --output, or "
            f"the settings in its {MANIFEST}"
        )


def _made_by(manifest: dict) -> dict[str, object]:
    """Flag to what it stands for, of all that shards depend on."""
    return {
        "--input": manifest["input"]["sha256"],
        "--column": manifest["column"],
        "--id-column": manifest["id_column"],
        "--shard-rows": manifest["shard_rows"],
        "encoder": manifest["encoder"]["fingerprint"],
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def missing_shards(job: Job, note: Callable[[str], None] = lambda sentence: None) -> list[int]:
    """The shards that are missing or incomplete."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    missing = []
    for shard in range(job.shards):
        path = job.parts.path(shard)
        try:
            if pq.read_metadata(path).num_rows == job.rows([shard]):
                continue
            note(f"{path.name} is not whole; it is made again")
        except FileNotFoundError:
            pass
        except (OSError, pa.ArrowException):
            note(f"{path.name} is damaged; it is made again")
        missing.append(shard)
    return missing
