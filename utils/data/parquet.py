"""Reads a Parquet file as a stream of rows."""

import bisect
import contextlib
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from utils.data.reading import Row
from utils.schema import InputError

# Rows in memory at a time.
BATCH_ROWS = 4096


class ParquetFile:
    """The rows of a Parquet file.

    columns: all of its columns. rows: how many there are. Raises InputError if the file is not Parquet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._whole():
            file = self._opened()
            self._schema, metadata = file.schema_arrow, file.metadata
        self.columns, self.rows = self._schema.names, metadata.num_rows
        sizes = (metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
        self._starts = list(accumulate(sizes, initial=0))

    def kind(self, column: str, only_text: bool) -> Any:
        """The type of a column of texts, or of whole numbers. Raises InputError for a column of anything else."""
        import pyarrow as pa

        kind = self._schema.field(column).type
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain):
            return pa.string()
        if only_text:
            raise InputError(f"{self._path.name}: column '{column}' holds {kind}, not text; name one with --column")
        if not pa.types.is_integer(plain):
            raise InputError(
                f"{self._path.name}: column '{column}' holds {kind}; ids are text or whole numbers, name a column of "
                "them with --id-column"
            )
        return plain

    def group_start(self, row: int) -> int:
        """The first row, from 0, of the part of the file that `row` is read with."""
        return self._starts[bisect.bisect_right(self._starts, row) - 1]

    def rows_from(self, start: int, kinds: dict) -> Iterator[Row]:
        """The rows after the first `start`, with the cells of the columns of `kinds`, as `kind` gives them.

        A cell may be None. Raises InputError if the file is damaged.
        """
        import pyarrow as pa

        number = self.group_start(start)
        groups = range(self._starts.index(number), len(self._starts) - 1)
        with self._whole():
            for batch in self._opened().iter_batches(BATCH_ROWS, row_groups=list(groups), columns=list(kinds)):
                batch = batch.select(list(kinds)).cast(pa.schema(list(kinds.items())))
                batch.validate(full=True)  # checks that texts are UTF-8, among others
                skipped = min(max(start - number, 0), batch.num_rows)
                for i, cells in enumerate(batch.slice(skipped).to_pylist(), number + skipped + 1):
                    yield Row(i, None, cells, read=1)
                number += batch.num_rows

    def _opened(self) -> Any:
        import pyarrow.parquet as pq

        # Buffered, without reading ahead, so that a large row group is read in parts.
        return pq.ParquetFile(self._path, pre_buffer=False, buffer_size=2**20)

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """Turns Arrow's errors about a malformed file into one line that does not quote the file."""
        import pyarrow as pa

        try:
            yield
        except (OSError, pa.ArrowException) as error:
            reason = getattr(error, "strerror", None) or "it is not Parquet, or is damaged"
            raise InputError(f"{self._path.name}: can't be read ({reason}); see whether the file is whole") from None
