"""The embedding store on disk: one SQLite file, a row for each text and encoder fingerprint.

SQLite because its transactions give what is needed and nothing else does at once: a batch is stored whole or not at
all however the process ends, and two processes may write at the same time.
"""

import contextlib
import hashlib
import json
import sqlite3
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils import config
from utils.schema import EncoderInfo, InputError, one_line

FILE_NAME = "embeddings.sqlite"
_TABLES = """
CREATE TABLE IF NOT EXISTS embeddings (
    fingerprint TEXT NOT NULL, text_sha256 BLOB NOT NULL, vector BLOB NOT NULL, crc32 INTEGER NOT NULL,
    PRIMARY KEY (fingerprint, text_sha256)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS truncated (
    fingerprint TEXT NOT NULL, text_sha256 BLOB NOT NULL, PRIMARY KEY (fingerprint, text_sha256)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS encoders (fingerprint TEXT PRIMARY KEY, name TEXT NOT NULL, info TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS facts (
    fingerprint TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (fingerprint, name)
);
"""
# The prefix of the names of facts that are maps.
MAP = "t-sne "


@dataclass(frozen=True)
class Kept:
    """The numbers of vectors and maps that are kept of one encoder, and their size in bytes."""

    name: str
    fingerprint: str
    vectors: int
    maps: int
    size: int


def text_key(text: str) -> bytes:
    """SHA-256 of a text's UTF-8 bytes: the store never holds the text itself."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _code(error: BaseException) -> int:
    """SQLite's primary error code, without the upper bits of an extended code; 0 if there is none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_damage(error: Exception) -> bool:
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class EmbeddingStore:
    """Vectors by (fingerprint, text). A damaged row counts as missing; a damaged file is renamed, with a message.

    path: the SQLite file, created with its folders if they do not exist. A file that can be read but not written is
    read, and what it would be given is left out, with a message. Raises InputError if it can be neither.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._only_read, self._said = path, False, False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._open()
        except (OSError, sqlite3.DatabaseError) as error:
            if not _is_damage(error):
                raise self._refusal(error) from None
            self._set_aside(error)
            self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._opened_to_write()
        except sqlite3.OperationalError as error:
            if _code(error) not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) or not self.path.is_file():
                raise
            self._only_read = True
            return self._opened_to_read()

    def _opened_to_read(self) -> sqlite3.Connection:
        # In a folder that can't be written only `immutable` opens a file, which leaves out an unfinished log beside it.
        for how in ("mode=ro", "immutable=1"):
            connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?{how}", isolation_level=None, uri=True)
            try:
                connection.execute("SELECT count(*) FROM embeddings WHERE fingerprint = ''")
                return connection
            except sqlite3.OperationalError as error:
                connection.close()
                failure = error
        raise failure

    def _opened_to_write(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(_TABLES)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_aside(self, error: Exception) -> None:
        if self._only_read:
            raise self._refusal(error)
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).rename(aside.with_name(aside.name + suffix))
        said = f"embedding store: {self.path.name} is damaged ({error}); set aside as {aside.name}, starting afresh"
        print(one_line(said), file=sys.stderr)

    def _recovering(self, work: Callable) -> Any:
        """The value of `work`. If the file is damaged, it is renamed and `work` is done once more on a new one."""
        try:
            return work()
        except sqlite3.ProgrammingError:  # an error of the program, such as a call after close()
            raise
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise self._refusal(error) from None
            self._connection.close()
            self._set_aside(error)
            self._connection = self._open()
            return work()

    def _rows(self, query: str, *values: str | bytes) -> list[tuple]:
        """The rows that a query finds."""
        return self._recovering(lambda: self._connection.execute(query, values).fetchall())

    def _refusal(self, error: Exception) -> InputError:
        """The error for a file that is intact but can't be used."""
        remedy = {
            sqlite3.SQLITE_BUSY: "another run holds it; wait for that run to end",
            sqlite3.SQLITE_LOCKED: "another run holds it; wait for that run to end",
            sqlite3.SQLITE_FULL: "free some space",
            sqlite3.SQLITE_READONLY: "it may be read only; make it writable, or point SAFE_EMBED_CACHE_DIR elsewhere",
        }.get(_code(error), "point SAFE_EMBED_CACHE_DIR elsewhere")
        return InputError(f"{self.path}: the embedding store can't be used ({error}); {remedy}, or use --no-cache")

    def get(self, fingerprint: str, texts: Sequence[str], dimension: int | None = None) -> dict[str, np.ndarray]:
        """Text to stored vector, float32 (d,), for the `texts` that are stored and undamaged."""
        keys = {text_key(text): text for text in texts}
        found: dict[str, np.ndarray] = {}
        wanted = list(keys)
        for part in (wanted[start : start + 500] for start in range(0, len(wanted), 500)):
            rows = self._rows(
                "SELECT text_sha256, CAST(vector AS BLOB), crc32 FROM embeddings WHERE fingerprint = ? "
                f"AND text_sha256 IN ({','.join('?' * len(part))})",
                fingerprint,
                *part,
            )
            for key, blob, crc in rows:
                intact = blob is not None and len(blob) % 4 == 0 and zlib.crc32(blob) == crc
                if intact and (dimension is None or len(blob) == 4 * dimension):
                    found[keys[key]] = np.frombuffer(blob, dtype="<f4")
        return found

    def put(self, fingerprint: str, texts: Sequence[str], vectors: np.ndarray, truncated: Sequence[str] = ()) -> None:
        """Stores one vector for each text, all or none. A vector that is stored already is replaced.

        vectors: float32 (n, d). truncated: those of `texts` that are longer than what the encoder reads.
        """
        blobs = [np.ascontiguousarray(vector, dtype="<f4").tobytes() for vector in vectors]
        rows = [(fingerprint, text_key(text), blob, zlib.crc32(blob)) for text, blob in zip(texts, blobs, strict=True)]
        self._write(
            ("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?)", rows),
            ("INSERT OR REPLACE INTO truncated VALUES (?, ?)", [(fingerprint, text_key(text)) for text in truncated]),
        )

    def truncated(self, fingerprint: str, texts: Sequence[str]) -> set[str]:
        """The `texts` that were truncated when their stored vectors were computed."""
        keys = {key for (key,) in self._rows("SELECT text_sha256 FROM truncated WHERE fingerprint = ?", fingerprint)}
        return {text for text in texts if text_key(text) in keys} if keys else set()

    def _write(self, *statements: tuple[str, Iterable[tuple]], needed: bool = False) -> None:
        """Executes each statement for each of its rows, all of them or none.

        needed: whether a file that can't be written is an error; else it is said once, and nothing is written.
        """
        listed = [(statement, list(rows)) for statement, rows in statements]

        def write() -> None:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                for statement, rows in listed:
                    self._connection.executemany(statement, rows)
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if needed or _code(error) != sqlite3.SQLITE_READONLY:
                    raise
                if not self._said:
                    print(one_line(f"embedding store: {self.path} is read only; nothing new is kept"), file=sys.stderr)
                self._said = True

        self._recovering(write)

    def check_writable(self) -> None:
        """Raises InputError if nothing can be written, before anything is spent on what is to be kept."""
        self._write(("DELETE FROM facts WHERE fingerprint = ?", [("",)]), needed=True)  # of no encoder

    def encoder_info(self, fingerprint: str) -> EncoderInfo | None:
        """The encoder whose vectors have this fingerprint, or None if it is unknown."""
        rows = self._rows("SELECT info FROM encoders WHERE fingerprint = ?", fingerprint)
        return EncoderInfo(**json.loads(rows[0][0])) if rows else None

    def put_encoder_info(self, info: EncoderInfo) -> None:
        """Stores the properties of a loaded encoder, so that it need not be loaded again to know them."""
        row = (info.fingerprint, info.name, json.dumps(vars(info)))
        self._write(("INSERT OR REPLACE INTO encoders VALUES (?, ?, ?)", [row]))

    def fact(self, fingerprint: str, name: str) -> dict | None:
        """A fact stored for an encoder, such as its average similarity; None if it is missing or damaged."""
        rows = self._rows("SELECT value FROM facts WHERE fingerprint = ? AND name = ?", fingerprint, name)
        try:
            return json.loads(rows[0][0]) if rows else None
        except ValueError:
            return None

    def put_fact(self, fingerprint: str, name: str, value: dict) -> None:
        """Stores a fact for an encoder."""
        self._write(("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", [(fingerprint, name, json.dumps(value))]))

    def contents(self) -> list[Kept]:
        """What is kept of each encoder, the largest first."""
        rows = self._rows(
            "WITH kept AS ("
            " SELECT fingerprint, 1 AS vectors, 0 AS maps, length(vector) AS bytes FROM embeddings"
            " UNION ALL"
            f" SELECT fingerprint, 0, name LIKE '{MAP}%', length(CAST(value AS BLOB)) FROM facts) "
            "SELECT coalesce(name, '?'), kept.fingerprint, sum(vectors), sum(maps), sum(bytes) "
            "FROM kept LEFT JOIN encoders USING (fingerprint) GROUP BY kept.fingerprint ORDER BY 5 DESC"
        )
        return [Kept(*row) for row in rows]

    def prune(self, fingerprint: str) -> None:
        """Removes all that is kept of an encoder, and frees the space."""
        tables, rows = ("embeddings", "truncated", "encoders", "facts"), [(fingerprint,)]
        self._write(*((f"DELETE FROM {table} WHERE fingerprint = ?", rows) for table in tables), needed=True)
        self._recovering(lambda: self._connection.execute("VACUUM"))

    def close(self) -> None:
        self._connection.close()


def default_path() -> Path:
    """The default path of the store."""
    return config.cache_directory() / FILE_NAME
