"""The cards of the published labelled sets: their files, digests and licences, and what to mind of them."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from utils.data.catalogue import CONTRAST, RAW_GITHUB
from utils.tasks import DataCard

CARDS_FILE = Path(__file__).with_name("labelled_sets.toml")
# The classes that a set has.
TWO_CLASSES, UNSAFE_ONLY, SAFE_ONLY = "two", "unsafe", "safe"
JAILBREAKBENCH = {
    "path": "JailbreakBench/JBB-Behaviors",
    "config": "behaviors",
    # No commit is known here; the result file has the digest of the data that were read.
    "revision": "main",
}


@dataclass(frozen=True)
class SetCard:
    """A published set of prompts: its files, its family, and what a user of its numbers should know.

    family: shared by the sets that have sources in common; the set's own name if it shares none.
    unsafe, safe: the number of prompts of each class.
    files: in the order they are read; none for a set of the hub. ordinary: whether it stands for ordinary traffic.
    columns: `prompt`, `id`, `group`, `type` and `hazard` to their column in its one file, `type` to several; none for a
    set that a function reads. only: column to the value that its prompts have.
    """

    name: str
    family: str
    unsafe: int
    safe: int
    licence: str
    source: str
    citation: str
    caveat: str
    files: tuple[DataCard, ...] = ()
    ordinary: bool = False
    columns: dict[str, Any] = field(default_factory=dict)
    only: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Which classes it has."""
        return UNSAFE_ONLY if not self.safe else SAFE_ONLY if not self.unsafe else TWO_CLASSES


def _card(entry: dict) -> SetCard:
    name, counts = entry["name"], (entry["unsafe"], entry["safe"])
    family, caveat = entry.get("family", name), entry["caveat"]
    if name == "do_not_answer":
        return SetCard(name, family, *counts, CONTRAST.licence, CONTRAST.source, CONTRAST.citation, caveat, (CONTRAST,))
    licence, citation = entry["licence"], entry["citation"]
    if "hub" in entry:
        return SetCard(name, family, *counts, licence, f"Hugging Face {entry['hub']}", citation, caveat)
    repository, commit = entry["repository"], entry["commit"]
    source = f"github.com/{repository}, commit {commit[:7]}"
    files = tuple(
        DataCard(
            title=entry["title"],
            file=file["file"],
            url=f"{RAW_GITHUB}/{repository}/{commit}/{quote(file['path'])}",
            sha256=file["sha256"],
            rows=file["rows"],
            licence=licence,
            source=source,
            citation=citation,
        )
        for file in entry["file"]
    )
    more = {key: entry[key] for key in ("ordinary", "columns", "only") if key in entry}
    return SetCard(name, family, *counts, licence, source, citation, caveat, files, **more)


_ENTRIES = tomllib.loads(CARDS_FILE.read_text(encoding="utf-8"))["set"]
SET_CARDS = {entry["name"]: _card(entry) for entry in _ENTRIES}
