"""What an encoder is tuned on: the published sets, without what it is evaluated on later."""

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from Safety_Detection.sets import labelled_sets
from Safety_Detection.sets.cards import SET_CARDS
from Safety_Detection.sets.groups import NearTexts
from Safety_Detection.sets.labelled_set import LabelledSet, Row
from Safety_Detection.sets.labelled_sets import LabelledDataset
from utils.schema import InputError
from utils.tables import Table, cell, text_table

# The families that the paper's data are of, and the ordinary traffic that false alarms are counted on: never tuned on.
PAPERS, ORDINARY = ("do_not_answer", "xstest"), "alpaca_eval"
HAZARDS_FILE = Path(__file__).with_name("hazards.toml")
# Sets in several languages have the language as their type; encoders of the paper read English.
LANGUAGE = "en"
# Fewer families than this leave none to choose the settings by.
LEAST_FAMILIES = 2


@dataclass(frozen=True)
class TrainingSide:
    """The prompts that an encoder is tuned on.

    ids, prompts: n. labels: int (n,), 1 for unsafe. sets, families: n names each.
    hazards: n, the common name of what an unsafe prompt is harmful by, '' if its set does not say, or for a safe one.
    ordinary: bool (n,), the prompts of the sets that have safe ones only.
    left_out: why prompts are left out, to how many there are. licence_of: set to its licence.
    """

    ids: tuple[str, ...]
    prompts: tuple[str, ...]
    labels: np.ndarray
    sets: tuple[str, ...]
    families: tuple[str, ...]
    hazards: tuple[str, ...]
    ordinary: np.ndarray
    left_out: dict[str, int]
    licence_of: dict[str, str]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def family_names(self) -> list[str]:
        """Its families, in order."""
        return list(dict.fromkeys(self.families))

    @property
    def seen(self) -> list[str]:
        """Its sets, and the published ones that share their sources."""
        families = set(self.families)
        published = [name for name, card in SET_CARDS.items() if card.family in families]
        return list(dict.fromkeys([*self.sets, *published]))

    def of_families(self, names: Sequence[str]) -> np.ndarray:
        """The indices of the prompts of these families."""
        return np.flatnonzero(np.isin(self.families, list(names)))


def common_hazard(set_name: str, words: str) -> str:
    """The common name of what a set says that a prompt is harmful by; '' if that says too little.

    words: several with "+" between them. The words of a set that hazards.toml does not know stand for themselves.
    """
    table = _hazards().get(set_name)
    if table is None:
        return "" if set_name in SET_CARDS else words
    given = re.split(r"\s*\+\s*", words)
    return next((name for word, name in table.items() if word in given), "")


@cache
def _hazards() -> dict[str, dict[str, str]]:
    return tomllib.loads(HAZARDS_FILE.read_text(encoding="utf-8"))


def load(data: str, evaluated: Sequence[str]) -> tuple[TrainingSide, LabelledDataset | None, list[str]]:
    """The training side, the sets that detectors are tested on later (None if there are none), and notes.

    data: as for detection. evaluated: the prompts of the paper's tasks; a near-duplicate of one is not tuned on.
    Raises InputError if the sets have one class only, no hazards, or one family only.
    """
    name, sets, notes = labelled_sets.chosen(data, None, "prompt")
    for one in (PAPERS[0], PAPERS[1], ORDINARY) if data not in labelled_sets.ALL else ():
        if one not in {there.name for there in sets}:
            found, missing = labelled_sets.available([one])
            sets, notes = [*sets, *found], [*notes, *missing]
    kept = [one for one in sets if one.name in (*PAPERS, ORDINARY)]
    tuned_on = [one for one in sets if one.name not in (*PAPERS, ORDINARY)]
    unseen = labelled_sets.combined(name, kept) if kept else None
    texts = [*evaluated, *(unseen.texts["prompt"] if unseen else ())]
    return training_side(tuned_on, texts, sum(len(one.rows) for one in kept)), unseen, notes


def training_side(sets: Sequence[LabelledSet], evaluated: Sequence[str], kept: int = 0) -> TrainingSide:
    """The prompts of some sets, without those near an evaluated one and those in other languages.

    kept: how many prompts of the sets that are evaluated on were left out already.
    """
    rows = [(one, row) for one in sets for row in one.rows]
    prompts = [row.prompt for _, row in rows]
    near = NearTexts([*prompts, *evaluated]).near(np.arange(len(prompts), len(prompts) + len(evaluated)))
    several = {one.name for one, row in rows if row.type == LANGUAGE and one.name in SET_CARDS}
    foreign = [one.name in several and row.type != LANGUAGE for one, row in rows]
    reasons = [
        f"not in English ({one.name})" if other else "near-duplicates of evaluated prompts" if close else ""
        for (one, _), other, close in zip(rows, foreign, near.tolist(), strict=False)
    ]
    there = [pair for pair, reason in zip(rows, reasons, strict=True) if not reason]
    safe = {one.name for one in sets if not any(row.label for row in one.rows)}
    left_out = {"of the families that are evaluated on": kept} if kept else {}
    left_out |= Counter(reason for reason in reasons if reason)
    found = TrainingSide(
        ids=tuple(f"{one.name}:{row.id}" for one, row in there),
        prompts=tuple(row.prompt for _, row in there),
        labels=np.array([row.label for _, row in there], dtype=int),
        sets=tuple(one.name for one, _ in there),
        families=tuple(one.family or one.name for one, _ in there),
        hazards=tuple(_hazard(*pair) for pair in there),
        ordinary=np.array([one.name in safe for one, _ in there], dtype=bool),
        left_out=left_out,
        licence_of={one.name: one.found.licence for one in sets},
    )
    _check(found)
    return found


def _hazard(one: LabelledSet, row: Row) -> str:
    return common_hazard(one.name, row.type if row.hazard is None else row.hazard) if row.label else ""


def _check(side: TrainingSide) -> None:
    if set(side.labels.tolist()) != {0, 1}:
        has = "no prompts" if not len(side) else "unsafe prompts only" if side.labels[0] else "safe prompts only"
        raise InputError(f"--data: {has} to tune on; name sets of both classes, such as auto")
    if not any(side.hazards):
        raise InputError(
            "--data: no unsafe prompt to tune on has a hazard, by which prompts are pulled together; name published "
            "sets, such as auto, or give files a column 'type'"
        )
    if side.ordinary.sum() < 2:
        raise InputError(
            "--data: no set of safe prompts only, which stand for ordinary traffic; name one too, such as arena_hard"
        )
    unsafe = {family for family, label in zip(side.families, side.labels, strict=True) if label}
    if len(unsafe) < LEAST_FAMILIES:
        raise InputError(
            f"--data: unsafe prompts of one family only ({', '.join(unsafe)}), so no settings can be chosen by "
            "another; name more sets, such as auto"
        )


def data_sheet(side: TrainingSide, unseen: LabelledDataset | None, notes: Sequence[str]) -> str:
    """What an encoder is tuned on, what is left out and why, and what detectors are tested on, counted."""
    unsafe = side.labels == 1
    lines = [f"Safety-Tuning: {len(side)} prompts of {len(side.family_names)} families to tune on", ""]
    rows = []
    for name in dict.fromkeys(side.sets):
        here = np.array(side.sets) == name
        known = sum(bool(side.hazards[i]) for i in np.flatnonzero(here))
        counts = int((here & unsafe).sum()), int((here & ~unsafe).sum()), known
        rows.append([cell(value) for value in (name, *counts, side.licence_of[name].partition(";")[0])])
    lines += [text_table(Table("", ["set", "unsafe", "safe", "with hazard", "licence"], rows)), ""]
    hazards = Counter(filter(None, side.hazards))
    lines += ["hazards: " + ", ".join(f"{name} {number}" for name, number in hazards.most_common())]
    lines += [f"left out: {number} {reason}" for reason, number in side.left_out.items()]
    if unseen is not None:
        lines += ["kept for the evaluation: " + ", ".join(unseen.group_order)]
    return "\n".join([*lines, *notes])
