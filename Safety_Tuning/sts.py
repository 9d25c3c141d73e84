"""Pairs of sentences with people's scores of how alike they are, which measure general quality."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.data import sources
from utils.data.catalogue import RAW_GITHUB
from utils.schema import InputError
from utils.tasks import DataCard

CARDS_FILE = Path(__file__).with_name("sts.toml")
FOLDER = "Safety_Tuning"


@dataclass(frozen=True)
class Pairs:
    """The pairs of a file. left, right: n sentences. scores: float (n,), 0 for unlike to 5 for the same."""

    left: list[str]
    right: list[str]
    scores: np.ndarray


def cards() -> list[DataCard]:
    """The files' provenance."""
    content = tomllib.loads(CARDS_FILE.read_text(encoding="utf-8"))
    repository, commit, licence = (content[key] for key in ("repository", "commit", "licence"))
    return [
        DataCard(
            title=file["title"],
            file=file["file"],
            url=f"{RAW_GITHUB}/{repository}/{commit}/data/sts/semeval-sts/{file['path']}",
            sha256=file["sha256"],
            rows=file["rows"],
            licence=licence,
            source=f"github.com/{repository}, commit {commit[:7]}",
            citation="Agirre et al. 2014, 2015, 2016 (SemEval)",
        )
        for file in content["file"]
    ]


def load() -> tuple[list[Pairs], list[str]]:
    """The pairs of every file that can be had, and a note if some can't."""
    found, missing = [], []
    for card in cards():
        try:
            path = sources.published(card, FOLDER).path
        except InputError as error:
            missing.append(f"{error}")
        else:
            found.append(pairs_of(path.read_text(encoding="utf-8")))
    number = len(found) + len(missing)
    return found, [f"without {len(missing)} of {number} files of STS: {missing[0]}"] if missing else []


def pairs_of(text: str) -> Pairs:
    """The pairs of a file of lines of a score and two sentences between tabs; a pair without a score is left out."""
    rows = [line.split("\t") for line in text.split("\n") if line]
    scored = [row for row in rows if row[0].strip()]
    return Pairs([row[1] for row in scored], [row[2] for row in scored], np.array([float(row[0]) for row in scored]))
