"""Reads the vectors that `python -m utils.embed` wrote, as a stream."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from utils.files import shown_path
from utils.parts import MANIFEST, SCHEMA
from utils.schema import EncoderSpec, InputError

BATCH_ROWS = 2000


class EmbeddedCorpus:
    """A folder of shards.

    spec: the encoder that must have made them. rows: how many vectors there are.
    Raises InputError if the folder holds no finished run, or one of a different encoder.
    """

    def __init__(self, folder: Path, spec: EncoderSpec) -> None:
        self.folder, self.manifest = folder, folder / MANIFEST
        what = f"--vectors {shown_path(folder)}"
        try:
            kept = json.loads(self.manifest.read_text(encoding="utf-8"))
            encoder, done = kept["encoder"], kept["done"]
            self._shard_rows, known = int(kept["shard_rows"]), kept["schema"] == SCHEMA
            made_by = encoder["name"], encoder["fingerprint"]
            self.rows = 0 if done is None else int(done["rows"])
        except OSError as error:
            reason = f"{MANIFEST} can't be read ({error.strerror})"
            raise InputError(f"{what}: {reason}; give a folder that python -m utils.embed wrote") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            known = False
        if not known:
            raise InputError(f"{what}: {MANIFEST} is not one that this version reads; embed the texts again")
        if made_by[1] != spec.fingerprint:
            raise InputError(
                f"{what}: holds vectors of {made_by[0]} ({made_by[1]}), and the detector takes those of {spec.name} "
                f"({spec.fingerprint}); embed the texts with the detector's encoder"
            )
        if not self.rows:
            raise InputError(f"{what}: is not finished; run the same python -m utils.embed command again")

    def batches(self, start: int, dimension: int) -> Iterator[tuple]:
        """From row `start` on: the first row, the ids (or None), truncated, bool (n,), and vectors, float32 (n, d).

        n is BATCH_ROWS at most. Raises InputError if a shard is missing or damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        for shard in range(start // self._shard_rows, -(-self.rows // self._shard_rows)):
            first, path = shard * self._shard_rows, self.folder / f"part-{shard:05}.parquet"
            try:
                # Buffered, without reading ahead, so that a large shard is read in parts.
                file = pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
                if file.metadata.num_rows != min(self._shard_rows, self.rows - first):
                    raise pa.ArrowInvalid("rows are missing")
                names = [name for name in ("id", "truncated", "vector") if name in file.schema_arrow.names]
                for batch in file.iter_batches(BATCH_ROWS, columns=names):
                    rows = batch.slice(max(0, start - first))
                    at, first = first + batch.num_rows - rows.num_rows, first + batch.num_rows
                    if rows.num_rows:
                        ids = rows.column("id").to_pylist() if "id" in names else None
                        vectors = rows.column("vector").flatten().to_numpy().reshape(rows.num_rows, dimension)
                        yield at, ids, rows.column("truncated").to_numpy(zero_copy_only=False), vectors
            except (OSError, KeyError, ValueError, pa.ArrowException) as error:
                number = getattr(error, "errno", None)
                reason = os.strerror(number) if number else "it is damaged"
                remedy = "run the same python -m utils.embed command again"
                raise InputError(f"--vectors {shown_path(path)}: can't be read ({reason}); {remedy}") from None
