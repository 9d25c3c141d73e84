"""The published sets of prompts labelled safe or unsafe, each read from the form it is published in."""

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
# What a label may be, whatever its case.
UNSAFE = ("1", "1.0", "true", "yes", "unsafe", "harmful")
SAFE = ("0", "0.0", "false", "no", "safe", "benign")
MODERATION_LABELS = ("S", "H", "V", "HR", "SH", "S3", "H2", "V2")


@dataclass(frozen=True)
class LabelledSet:
    """One set as it was read. ids are unique in it; names: what groups its prompts, None for a prompt of its own."""

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
    word = text.strip().lower()
    if word not in (*UNSAFE, *SAFE):
        raise InputError(
            f"{file}: row {row}: the label is neither one of {', '.join(UNSAFE)} nor one of {', '.join(SAFE)}; fix it"
        )
    return int(word in UNSAFE)


class NotToBeHad(InputError):
    """A published set is neither on this machine nor can it be fetched; one that has other bytes is another matter."""


def _published(card: catalogue.DataCard, folder: str) -> sources.Found:
    if sources.lookup(card, folder) is None:
        try:
            return sources.published(card, folder)
        except InputError as error:
            raise NotToBeHad(str(error)) from None
    return sources.published(card, folder)


def do_not_answer() -> LabelledSet:
    """Do-Not-Answer's prompts (unsafe) with their five GPT edits each (safe), an original and its edits one group."""
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
    """XSTest v2: the unsafe prompt of id i + 25 contrasts with the safe one of id i, and the two are one group.

    Types without contrasts stand alone: discrimination of groups that suffer none, and public figures' privacy.
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
    """OpenAI's moderation set: unsafe if any of its eight labels is 1, safe if all are there and 0, else left out."""
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
    note = f"openai_moderation: {left_out} of {len(rows)} prompts have no 1 and a label missing; they are left out"
    file = DataFile(found.path.name, found.sha256, len(rows))
    names: list[str | None] = [None] * len(ids)
    return LabelledSet("openai_moderation", ids, prompts, labels, names, types, file, found, (note,))


def jailbreakbench() -> LabelledSet:
    """JailbreakBench's 100 harmful behaviours (unsafe) and 100 matched benign ones (safe), joined on Index."""
    from utils import hub

    path, config_name, revision = (JAILBREAKBENCH[key] for key in ("path", "config", "revision"))
    try:
        splits = {
            split: hub.dataset("JailbreakBench", path, config_name, split=split, revision=revision)
            for split in ("harmful", "benign")
        }
    except InputError as error:
        raise NotToBeHad(f"{error}, or leave it out") from None
    return jailbreakbench_of({split: rows.to_list() for split, rows in splits.items()})


def jailbreakbench_of(splits: dict[str, list[dict]]) -> LabelledSet:
    """The set that the rows (Index, Goal, Category, ...) of the splits `harmful` and `benign` make."""
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
