"""Digests files, shows their paths, and writes each one whole or not at all."""

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from utils import config
from utils.schema import InputError


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def shown_path(path: Path) -> str:
    """The path relative to the folder that the command was called from, if it is inside it."""
    try:
        return str(path.relative_to(config.callers_directory()))
    except ValueError:
        return str(path)


def check_writable(folder: Path, flag: str = "--out") -> None:
    """Makes `folder` if it is missing. Raises InputError if files can't be written in it, before any work is done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{flag} {folder}: can't be written ({error.strerror}); give another folder") from None


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file atomically: a reader finds the old content or the new, never a part.

    Raises InputError if the file can't be written.
    """
    with writing(path, "xb") as stream:
        stream.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextlib.contextmanager
def writing(path: Path, mode: str, **how: Any) -> Iterator[IO]:
    """`replacing`, which raises InputError if the file can't be written."""
    try:
        with replacing(path, mode, **how) as stream:
            yield stream
    except OSError as error:
        remedy = "free some space" if error.errno == errno.ENOSPC else "give another --out"
        raise InputError(f"{path}: can't be written ({error.strerror}); {remedy}") from None


@contextlib.contextmanager
def replacing(path: Path, mode: str, **how: Any) -> Iterator[IO]:
    """A stream whose content replaces `path` once all of it is written. mode: xb, or x for text.

    A new file gets the permissions that the umask allows; a replaced file keeps its own. The target of a link is
    replaced, not the link. Raises OSError if the file can't be written, or is a device or a pipe.
    """
    path = path.resolve()
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is a device or a pipe", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open(mode, **how) as stream:  # mkstemp would ignore the umask
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
