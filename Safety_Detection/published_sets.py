"""The published sets of prompts labelled safe or unsafe, each read from its own format."""

import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from utils.data import catalogue, loading, sources
from utils.data.catalogue import JAILBREAKBENCH
from utils.data.reading import read_columns
from utils.schema import DataFile, InputError

FOLDER = "Safety_Detection"
README = f"{FOLDER}/README.md"
# What a label may be, in upper or lower case.
UNSAFE = ("1", "1.0", "true", "yes", "unsafe", "harmful")
SAFE = ("0", "0.0", "false", "no", "safe", "benign")
MODERATION_LABELS = ("S", "H", "V", "HR", "SH", "S3", "H2", "V2")


@dataclass(frozen=True)
class LabelledSet:
    """A set of n prompts with their labels.

    ids: n, unique in the set. labels: n, 1 for unsafe, 0 for safe.
    names: n, the name of each prompt's group, None for a prompt that is in no group.
    types: n, the type that the set gives a prompt, '' if it gives none.
    """

    name: str
    ids: list[str]
    prompts: list[str]
    labels: list[int]
    names: list[str | None]
    types: list[str]
    file: DataFile
    found: sources.Found
    notes: tuple[str, ...] = ()


def parsed_label(text: str, file: str, row: int) -> int:
    """1 for a label that says unsafe, 0 for one that says safe; raises InputError for any other label."""
    word = text.strip().lower()
    if word not in (*UNSAFE, *SAFE):
        raise InputError(
            f"{file}: row {row}: the label is neither one of {', '.join(UNSAFE)} nor one of {', '.join(SAFE)}; fix it"
        )
    return int(word in UNSAFE)


class Unavailable(InputError):
    """A published set is not on this machine and can't be downloaded. A file with a wrong digest is not meant."""


def _published(card: catalogue.DataCard, folder: str) -> sources.Found:
    if sources.lookup(card, folder) is None:
        try:
            return sources.published(card, folder)
        except InputError as error:
            raise Unavailable(str(error)) from None
    return sources.published(card, folder)


def do_not_answer() -> LabelledSet:
    """Do-Not-Answer's prompts (unsafe) and five GPT edits of each (safe); an original and its edits are one group."""
    fmt = catalogue.CONTRAST_FORMAT
    found = _published(fmt.card, fmt.folder)
    dataset, _ = loading.load(fmt, "paper")
    columns = list(dataset.texts)
    rows = [
        (f"{item}{'' if not j else f'#{j}'}", dataset.texts[column][i], int(not j), item, "")
        for i, item in enumerate(dataset.ids)
        for j, column in enumerate(columns)
    ]
    ids, prompts, labels, names, types = map(list, zip(*rows, strict=True))
    return LabelledSet("do_not_answer", ids, prompts, labels, names, types, dataset.files[0], found)


def xstest() -> LabelledSet:
    """XSTest v2, in which an unsafe prompt of id i + 25 contrasts with the safe prompt of id i; the two are one group.

    Two types have no contrasts and no groups: discrimination of groups that suffer none, and public figures' privacy.
    """
    found = _published(catalogue.XSTEST, FOLDER)
    columns = read_columns(found.path, ("id", "prompt", "type", "label"), README)
    ids, types = columns["id"], columns["type"]
    labels = [parsed_label(text, found.path.name, row) for row, text in enumerate(columns["label"], 1)]
    label_of = dict(zip(ids, labels, strict=True))
    names: list[str | None] = []
    for item, label in zip(ids, labels, strict=True):
        partner = str(int(item) + (-25 if label else 25))
        names.append(f"{min(int(item), int(partner))}" if label_of.get(partner) == 1 - label else None)
    file = DataFile(found.path.name, found.sha256, len(ids))
    return LabelledSet("xstest", ids, list(map(str.strip, columns["prompt"])), labels, names, types, file, found)


def openai_moderation() -> LabelledSet:
    """OpenAI's moderation set: a prompt is unsafe if one of its eight labels is 1, and safe if all eight are 0.

    All other prompts are left out.
    """
    found = _published(catalogue.OPENAI_MODERATION, FOLDER)
    ids, prompts, labels, types, left_out = [], [], [], [], 0
    with gzip.open(found.path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    for number, row in enumerate(rows, 1):
        given = [row.get(name) for name in MODERATION_LABELS]
        if 1 not in given and None in given:
            left_out += 1
            continue
        ids.append(str(number))
        prompts.append(row["prompt"].strip())
        labels.append(int(1 in given))
        types.append("+".join(name for name, value in zip(MODERATION_LABELS, given, strict=True) if value == 1))
    note = f"openai_moderation: {left_out} of {len(rows)} prompts are left out, as no label is 1 but one is missing"
    file = DataFile(found.path.name, found.sha256, len(rows))
    names: list[str | None] = [None] * len(ids)
    return LabelledSet("openai_moderation", ids, prompts, labels, names, types, file, found, (note,))


def jailbreakbench() -> LabelledSet:
    """JailbreakBench's 100 harmful behaviours (unsafe) and 100 benign ones (safe), matched by Index."""
    from utils import hub

    path, config_name, revision = (JAILBREAKBENCH[key] for key in ("path", "config", "revision"))
    try:
        splits = {
            split: hub.dataset("JailbreakBench", path, config_name, split=split, revision=revision)
            for split in ("harmful", "benign")
        }
    except InputError as error:
        raise Unavailable(f"{error}, or leave it out") from None
    return jailbreakbench_of({split: rows.to_list() for split, rows in splits.items()})


def jailbreakbench_of(splits: dict[str, list[dict]]) -> LabelledSet:
    """The set made of the rows (Index, Goal, Category, ...) of the splits `harmful` and `benign`."""
    rows = [
        (f"{split}-{row['Index']}", row["Goal"].strip(), label, str(row["Index"]), row.get("Category") or "")
        for split, label in (("harmful", 1), ("benign", 0))
        for row in splits[split]
    ]
    ids, prompts, labels, names, types = map(list, zip(*rows, strict=True))
    digest = hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()
    file = DataFile(f"{JAILBREAKBENCH['path']} (digest of its rows)", digest, len(rows))
    found = sources.Found("paper", Path(JAILBREAKBENCH["path"]), digest, "from the hub", JAILBREAKBENCH["licence"])
    return LabelledSet("jailbreakbench", ids, prompts, labels, names, types, file, found)


PUBLISHED: dict[str, Callable[[], LabelledSet]] = {
    "do_not_answer": do_not_answer,
    "xstest": xstest,
    "openai_moderation": openai_moderation,
    "jailbreakbench": jailbreakbench,
}
