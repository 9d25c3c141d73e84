"""A detector of prompts that say bad, by a stand-in encoder, and what scoring with it gives."""

import csv

import numpy as np
from doubles import StandIn

from Safety_Detection import score
from Safety_Detection.guardrail.bank import Bank
from Safety_Detection.sets.labelled_sets import LabelledDataset


def vector(text):
    """Unsafe prompts say bad; the other dimensions are noise of the text's own."""
    row = np.random.default_rng(sum(text.encode()) % 2**31).normal(0, 0.4, 6)
    row[0] += 2 if "bad" in text else -2
    return row.astype(np.float32)


class World(StandIn):
    dimension = 6
    shift = 0.0

    def encode(self, texts):
        if any("unreadable" in text for text in texts):
            return np.full((len(texts), 6), np.nan, dtype=np.float32)
        return np.stack([vector(text) for text in texts]) + np.float32(self.shift) * np.arange(6, dtype=np.float32)


def bank_of(rows, labels, familiar=0.0):
    """A bank of prompts a:1, a:2 and so on, whose words are their ids."""
    ids = tuple(f"a:{i}" for i in range(1, len(labels) + 1))
    sets, clusters = ("a",) * len(ids), tuple(range(len(ids)))
    dataset = LabelledDataset("a", ids, sets, ("a",), {"prompt": ids}, (), labels=tuple(labels), clusters=clusters)
    return Bank(dataset, rows, rows[:0], np.zeros(0, dtype=int), ("",) * len(ids), familiar, 0.0, 1.0)


def scored(tmp_path, folder, name, text, *flags):
    """Status and rows of a file scored."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    target = tmp_path / "scores.csv"
    status = score.main(["--detector", str(folder), "--input", str(path), "--output", str(target), *flags])
    return status, list(csv.DictReader(target.open())) if target.exists() else None


def refused(capsys, *arguments):
    """The one line that scoring ends with."""
    assert score.main([*map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and said.out == ""
    return said.err
