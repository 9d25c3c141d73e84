"""Adds prompts to a fitted detector or removes some, and fits it again."""

import difflib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from Safety_Detection.detectors.kinds import INNER_FOLDS
from Safety_Detection.detectors.neighbors import similarities
from Safety_Detection.detectors.parts import Parts, highest
from Safety_Detection.guardrail import card
from Safety_Detection.guardrail.bank import Bank, digests_of, hashed_words
from Safety_Detection.guardrail.fitting import ALL, Choices, Fit, Traffic, about, bank_of, fitted, has_safe
from Safety_Detection.guardrail.guard import Guard
from Safety_Detection.guardrail.saved_detector import SavedDetector, rows_of
from Safety_Detection.protocol import evaluation
from Safety_Detection.sets import labelled_sets
from Safety_Detection.sets.groups import NearTexts, joined
from Safety_Detection.sets.labelled_files import sets_of_file
from Safety_Detection.sets.labelled_sets import LabelledDataset
from utils.data.reading import column_names, dataset_stem, refuse_unreadable
from utils.embed.embedder import Embedder
from utils.metrics import detection as dm
from utils.schema import InputError, shown

# What likeness to added prompts may flag of the safe prompts fitted on, or let pass of the unsafe ones, and the least
# similarity that counts.
LIKE_RATE, LEAST_LIKE = 0.001, 0.8
# The family of all prompts that updates add, unless a file names one.
ADDED = "added"


@dataclass(frozen=True)
class Given:
    """What a file gives to a detector.

    new: the prompts that its bank does not hold. labels: the ids of those that it holds, and what the file says of
    them. incidents: the ids of the unsafe ones of `labels` that no update gave before. alarms: of the safe ones that
    the detector flags. corrected: those of `labels` that had the other label.
    """

    new: LabelledDataset
    labels: dict[str, int] = field(default_factory=dict)
    incidents: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    corrected: tuple[str, ...] = ()

    @property
    def ids(self) -> list[str]:
        """The ids of all prompts that change something."""
        return list(dict.fromkeys([*self.new.ids, *self.incidents, *self.alarms, *self.corrected]))


def given_by(path: Path, label: int | None, column: str, before: SavedDetector) -> Given:
    """What a file gives to a detector. label, column: as of `sets_of_file`.

    Two prompts are the same if they are embedded as the same text. A prompt that an earlier version fitted, whose text
    is not known, is the same as one with its id, words and label. Where row numbers stand for ids, a new prompt whose
    number is in use gets the next free one.
    Raises InputError if the file can't be read, gives a prompt of the bank both labels, or if an id is in use for a
    different prompt.
    """
    refuse_unreadable(path, f"--add {path}", "give a file of labelled prompts")
    sets, bank, old = (
        sets_of_file(path, dataset_stem(path), "as given", label, column),
        before.bank,
        before.bank.dataset,
    )
    sets = [replace(one, family=old.family_of.get(one.name, one.family or ADDED)) for one in sets]
    new = labelled_sets.combined("added", sets)
    held: dict[object, list[int]] = {}
    for i, key in enumerate(zip(old.ids, old.texts["prompt"], old.labels, strict=True)):
        held.setdefault(bank.digests[i] or key, []).append(i)
    prompts = new.texts["prompt"]
    keys = zip(new.ids, hashed_words(prompts), new.labels, strict=True)
    fresh: list[int] = []
    labels: dict[str, int] = {}
    for i, (digest, key) in enumerate(zip(digests_of(before.texts(prompts)), keys, strict=True)):
        places = held.get(digest) or held.get(key) or ()
        if not places:
            fresh.append(i)
        for place in places:
            if labels.setdefault(old.ids[place], new.labels[i]) != new.labels[i]:
                raise InputError(f"--add {path}: {shown(new.ids[i])} has both labels; leave the row of one of them out")
    ids = set(old.ids)
    if "id" not in column_names(path):
        new = replace(new, ids=_numbered(new.ids, fresh, ids))
    used = [new.ids[i] for i in fresh if new.ids[i] in ids]
    if used:
        raise InputError(
            f"--add {path}: id {shown(used[0])} is that of a different prompt in the detector; give it another id, or "
            "remove that one first with --remove"
        )
    its, ever = dict(zip(old.ids, old.labels, strict=True)), set(before.about.get("added", ()))
    safe = [i for i, item in enumerate(old.ids) if labels.get(item) == 0]
    said = verdicts(before, bank, np.array(safe, dtype=np.int64))
    return Given(
        labelled_sets.only(new, fresh),
        labels,
        incidents=tuple(item for item, label in labels.items() if label and item not in ever),
        alarms=tuple(old.ids[i] for i, one in zip(safe, said, strict=True) if one.flagged),
        corrected=tuple(item for item, label in labels.items() if label != its[item]),
    )


def _numbered(ids: Sequence[str], fresh: Sequence[int], used: set[str]) -> tuple[str, ...]:
    """The ids `set:number`. A fresh prompt whose id is in use has the next number that is free."""
    found, taken = list(ids), {*ids, *used}
    free: dict[str, Iterator[str]] = {}
    for i in fresh:
        if found[i] in used:
            name = found[i].rpartition(":")[0]
            numbers = free.setdefault(name, (f"{name}:{number}" for number in itertools.count(1)))
            found[i] = next(item for item in numbers if item not in taken)
    return tuple(found)


def said_of_known(given: Given) -> list[str]:
    """Sentences on the prompts of a file that the detector holds already."""
    lines = []
    if given.labels:
        known = f"{len(given.labels)} of its prompts are in the detector already"
        now = f"; texts like {len(given.incidents)} of them are flagged from now on" if given.incidents else ""
        now += f"; texts like {len(given.alarms)} of them are allowed from now on" if given.alarms else ""
        lines.append(known + now)
    if given.corrected:
        first = ", ".join(given.corrected[:5]) + ", ..." * (len(given.corrected) > 5)
        lines.append(f"the labels of {len(given.corrected)} of them are corrected: {first}")
    return lines


def relabelled(old: LabelledDataset, labels: dict[str, int]) -> LabelledDataset:
    """The prompts with these labels of some ids. A twin that has the other's label is none any more."""
    found = tuple(labels.get(item, label) for item, label in zip(old.ids, old.labels, strict=True))
    twins = tuple((unsafe, safe) for unsafe, safe in old.twins if found[unsafe] > found[safe])
    return replace(old, labels=found, twins=twins)


def united(old: LabelledDataset, new: LabelledDataset) -> LabelledDataset:
    """The prompts of a bank and new ones. Those of one set that are near-duplicates are one group."""
    hashed = replace(new, texts={"prompt": hashed_words(new.texts["prompt"])})
    both = labelled_sets.together(old, hashed) if len(new) else old
    both = replace(both, group_order=tuple(dict.fromkeys(both.groups)))
    near, clusters = NearTexts(both.texts["prompt"]), np.array(both.clusters)
    for name in dict.fromkeys(new.groups):
        rows = both.rows(name)
        together = joined(len(rows), near.links(rows), clusters[rows].tolist())
        clusters[rows] = clusters.max() + 1 + np.array(together)
    numbers = np.unique(clusters, return_inverse=True)[1]
    order = np.argsort([both.group_order.index(name) for name in both.groups], kind="stable")
    return labelled_sets.only(replace(both, clusters=tuple(numbers.tolist())), order.tolist())


def refuse_unknown(known: Sequence[str], ids: Sequence[str]) -> None:
    """Raises InputError for an id of a prompt to remove that is not there."""
    for one in ids:
        if one not in known:
            near = difflib.get_close_matches(one, known, n=1)
            meant = f"; did you mean '{near[0]}'?" if near else "; ids are set:id, as score --explain names them"
            raise InputError(f"--remove {shown(one)}: the detector was fitted on no such prompt{meant}")


def refitted(
    before: SavedDetector,
    embedder: Embedder,
    given: Given,
    without: Sequence[str],
    note: Callable[[str], object],
    seed: int = 42,
) -> tuple[SavedDetector, Fit]:
    """The detector fitted again with what is given and without some prompts; only the new ones are embedded.

    Texts like an unsafe prompt that was ever given to an update are flagged whatever their score, and those like a safe
    one that was flagged are not: see `likeness`.
    Raises InputError if one class would be left without enough groups to hold some out.
    """
    bank, old, new = before.bank, before.bank.dataset, given.new
    refuse_unknown(old.ids, without)
    both = united(relabelled(old, given.labels), new)
    both = labelled_sets.only(both, [i for i, item in enumerate(both.ids) if item not in set(without)])
    texts = before.texts(new.texts["prompt"])
    further, of = before.parts_of(texts)
    names = [*new.ids, *(new.ids[i] for i in of)]
    new_rows = rows_of(embedder, None, [*texts, *further], names)[0] if names else bank.rows[:0]
    whole, rest = slice(len(new)), slice(len(new), None)
    rows, _ = _in_order(both.ids, [*old.ids, *names[whole]], bank.rows, new_rows[whole])
    part_names = [*(old.ids[i] for i in bank.part_of), *names[rest]]
    part_rows, part_of = _in_order(both.ids, part_names, bank.parts, new_rows[rest])
    digest_of = dict(zip([*old.ids, *new.ids], [*bank.digests, *digests_of(texts)], strict=True))
    for label, word in ((1, "unsafe"), (0, "safe")):
        groups = both.groups_of(label)
        if groups < INNER_FOLDS:
            what, remedy = ("--remove", "remove fewer") if without else ("--add", "correct fewer labels")
            raise InputError(f"{what}: only {groups} groups with {word} prompts would be left; {remedy}")
    choices = chosen(before, both, seed)
    vectors = evaluation.EncoderVectors(np.concatenate([rows, part_rows]))
    done = fitted(both, vectors, choices, note, Parts(len(both), part_of))
    # The texts of the bank are not kept, and a few new ones would hardly move what 99 % of them have.
    digests, signs = [digest_of[item] for item in both.ids], bank.signs
    fitted_on = bank_of(done, both.texts["prompt"], digests, signs)
    label_of = dict(zip(both.ids, both.labels, strict=True))
    kept = [item for item in (*before.about.get("added", ()), *given.incidents, *new.ids) if label_of.get(item)]
    said = {
        **about(done, replace(both, name=before.about["trained_on"]["dataset"])),
        "card": card.measured(done, seed),
        "added": kept,
        "match": likeness(fitted_on, kept, 0),
    }
    said["trained_on"]["files"] = before.about["trained_on"]["files"]
    threshold = done.tested.threshold
    after = replace(before, detector=done.detector, threshold=threshold, about=said, bank=fitted_on)
    safe = np.array([i for i, item in enumerate(both.ids) if item in set(given.ids) and not label_of[item]], np.int64)
    both_say = (verdicts(detector, fitted_on, safe) for detector in (before, after))
    alarms = [both.ids[i] for i, *says in zip(safe, *both_say, strict=True) if any(one.flagged for one in says)]
    allowed = [item for item in (*before.about.get("allowed", ()), *alarms) if label_of.get(item) == 0]
    said |= {"allowed": list(dict.fromkeys(allowed)), "allow": likeness(fitted_on, allowed, 1)}
    said["changed"] = changed(before, after, given, without)
    return after, done


def chosen(before: SavedDetector, dataset: LabelledDataset, seed: int) -> Choices:
    """What was chosen when the detector was fitted. Raises InputError if nothing of its traffic is left."""
    home = before.about["chosen_for"]
    traffic = Traffic(home.get("of", ALL), tuple(home.get("sets", ())))
    if traffic.sets and not has_safe(dataset, traffic):
        raise InputError(f"--remove: no safe prompt of {traffic.name} would be left, by which the threshold is chosen")
    top_k = before.detector.settings.get("top_k", 10)
    return Choices(before.detector.kind, home["false_positive_rate"], traffic, top_k, seed)


def _in_order(ids: Sequence[str], names: Sequence[str], *parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of `parts` that are of prompts in `ids`, in their order, and the place in `ids` of each.

    names: of each row of all parts, the prompt that it is of.
    """
    place = {item: i for i, item in enumerate(ids)}
    of = np.array([place.get(name, -1) for name in names], dtype=np.int64)
    order = np.argsort(of, kind="stable")[(of < 0).sum() :]
    return np.concatenate(parts)[order], of[order]


def likeness(bank: Bank, ids: Sequence[str], label: int) -> dict | None:
    """The similarity to some prompts from which a text is like one of them, and what share of a class is; None without.

    The lowest that at most LIKE_RATE of the prompts with the other `label` reach, and at least LEAST_LIKE: a text like
    an incident is flagged, and one like a false alarm is not, however the trained score has moved.
    """
    if not ids:
        return None
    mine = bank.rows[np.isin(bank.dataset.ids, ids)]
    others = np.flatnonzero(np.array(bank.dataset.labels) == label)
    rows, starts = bank.read.rows(others)
    nearest = similarities(bank.vectors[rows], mine).max(axis=1).astype(np.float64)
    nearest = highest(nearest, np.ones(len(rows), dtype=bool), starts)
    threshold = max(LEAST_LIKE, dm.threshold_at(nearest, LIKE_RATE))
    return {"threshold": float(threshold), "share": float((nearest >= threshold).mean())}


def verdicts(detector: SavedDetector, bank: Bank, prompts: np.ndarray) -> list:
    """What a detector says of some prompts of a bank, by their vectors."""
    if not len(prompts):
        return []
    rows, starts = bank.read.rows(prompts)
    return Guard(detector, of_vectors=True).verdicts(bank.vectors[rows], np.zeros(len(rows), dtype=bool), 0, starts)


def changed(before: SavedDetector, after: SavedDetector, given: Given, without: Sequence[str]) -> dict:
    """What an update changed: figures before and after, and which of the prompts given go on as they did.

    These are the unsafe ones that the score misses, and the safe ones that are flagged.
    """
    dataset = after.bank.dataset
    its, labels = np.isin(dataset.ids, given.ids), np.array(dataset.labels)
    unsafe, safe = (np.flatnonzero(its & (labels == label)) for label in (1, 0))
    flags = [
        np.array([one.score >= each.threshold for one in verdicts(each, after.bank, unsafe)], dtype=bool)
        for each in (before, after)
    ]
    still = verdicts(after, after.bank, safe)
    return {
        "added": len(given.new),
        "removed": len(without),
        "corrected": len(given.corrected),
        "before": card.figures(before.about),
        "after": card.figures(after.about),
        "new_unsafe": len(unsafe),
        "new_flagged_before": int(flags[0].sum()),
        "new_flagged_after": int(flags[1].sum()),
        "missed_by_score": [dataset.ids[i] for i in unsafe[~flags[1]]],
        "safe_flagged": [dataset.ids[i] for i, one in zip(safe, still, strict=True) if one.flagged],
        "allowed": [item for item in after.about["allowed"] if item not in before.about.get("allowed", ())],
    }
