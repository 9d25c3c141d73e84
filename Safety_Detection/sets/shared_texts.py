"""Notes on the texts that occur twice, in one labelled set or in several."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from Safety_Detection.sets.groups import NearTexts
from Safety_Detection.sets.labelled_set import LabelledSet
from utils.data.text import normalized


def labelled_both(one: LabelledSet) -> list[str]:
    """A note on the texts of a set that are labelled both unsafe and safe, if there are any."""
    both = [f"{ids[1]} and {ids[0]}" for ids in _texts_of(one).values() if len(ids) == 2]
    shown = ", ".join(both[:3]) + ", ..." * (len(both) > 3)
    return [f"{one.name}: texts labelled unsafe and safe: {len(both)} (ids {shown})"] if both else []


def shared(sets: Sequence[LabelledSet]) -> list[str]:
    """Notes on the texts that two sets have in common, and on how many of those are labelled differently."""
    texts_of, notes = {one.name: _texts_of(one) for one in sets}, []
    for one, other in combinations(texts_of, 2):
        common = texts_of[one].keys() & texts_of[other].keys()
        if common:
            unlike = sum(texts_of[one][text].keys() != texts_of[other][text].keys() for text in common)
            differ = f" ({unlike} labelled differently)" if unlike else ""
            notes.append(f"texts in both {one} and {other}: {len(common)}{differ}")
    return notes


def removed(sets: Sequence[LabelledSet], near: NearTexts) -> list[str]:
    """Notes on how many prompts are not trained on as they are near-duplicates of a family that is tested."""
    families = np.array([one.family or one.name for one in sets for _ in one.rows], dtype=object)
    notes = []
    for family in dict.fromkeys(families):
        number = int((near.near(np.flatnonzero(families == family)) & (families != family)).sum())
        if number:
            notes.append(
                f"near-duplicates of prompts of {family} in other families: {number}; detectors tested on it are "
                "trained without them"
            )
    return notes


def _texts_of(one: LabelledSet) -> dict[str, dict[int, str]]:
    """For each normalized text of a set, its labels, and for each label the first id that has it."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for row in one.rows:
        found[normalized(row.prompt)].setdefault(row.label, row.id)
    return found
