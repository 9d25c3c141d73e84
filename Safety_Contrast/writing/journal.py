"""The file of all answers that were paid for, which a run appends to and a restart reads."""

import json
import os
from pathlib import Path

from filelock import lock_descriptor

from utils.files import shown_path
from utils.schema import InputError


class Journal:
    """An append-only file of JSON lines, the first of which holds the settings of all answers.

    settings: what all answers of one set have in common.
    `repaired` is true if a half-written last line was dropped; `answers_before` is how many answers the file held.
    Raises InputError if the file holds answers to other settings, or can't be read or written.
    """

    def __init__(self, path: Path, settings: dict) -> None:
        self.path, self.repaired = path, False
        self.entries: list[dict] = []
        self._answers: dict[str, list[dict]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = path.open("a+b")
        except OSError as error:
            raise InputError(f"{path}: can't be written ({error.strerror}); give another --out") from None
        self._lock()
        self._stream.seek(0)
        content = self._stream.read()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            self._stream.truncate(len(whole))
            self.repaired = True
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                entry = json.loads(line)
                if not _is_entry(entry):
                    raise ValueError
            except (ValueError, RecursionError):
                raise InputError(
                    f"{shown_path(path)}: line {number} is not an entry of a journal; fix it, or give another --out to "
                    "start afresh"
                ) from None
            self._take(entry)
        self.answers_before = sum(map(len, self._answers.values()))
        if not self.entries:
            self.append({"settings": settings})
        elif self.entries[0].get("settings") != settings:
            made = self.entries[0].get("settings", {})
            differs = ", ".join(sorted(key for key in settings | made if settings.get(key) != made.get(key)))
            raise InputError(
                f"{shown_path(path)}: holds answers asked for with another {differs}; give another --out, or none"
            )

    def _lock(self) -> None:
        """Keeps a second run out; the system lifts the lock however this one ends."""
        try:
            is_free = lock_descriptor(self._stream.fileno(), blocking=False)
        except OSError as error:
            raise InputError(
                f"{shown_path(self.path)}: can't be locked ({error.strerror}); give an --out on another disk"
            ) from None
        if not is_free:
            raise InputError(f"{shown_path(self.path)}: another run is writing it; wait for that one to end")

    def append(self, entry: dict) -> None:
        """Writes an entry so that it survives a crash of the process or of the machine."""
        self._stream.write(json.dumps(entry).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._take(entry)

    def _take(self, entry: dict) -> None:
        self.entries.append(entry)
        if "answer" in entry:
            self._answers.setdefault(entry["id"], []).append(entry)

    def answers(self) -> dict[str, list[dict]]:
        """The answers to each original, by its id, in the order in which they arrived."""
        return self._answers

    def close(self) -> None:
        self._stream.close()


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("settings", {}), dict):
        return False
    if "answer" not in entry:
        return bool(entry)
    return (
        isinstance(entry["answer"], str)
        and isinstance(entry.get("id"), str)
        and isinstance(entry.get("problem"), str | None)
        and isinstance(entry.get("usage"), dict)
        and "response_id" in entry
    )
