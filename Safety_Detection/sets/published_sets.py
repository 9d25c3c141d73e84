"""The published sets of prompts labelled safe or unsafe, each read from its own format."""

import ast
import csv
import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

from Safety_Detection.sets.cards import JAILBREAKBENCH, SET_CARDS, UNSAFE_ONLY
from Safety_Detection.sets.labelled_set import FOLDER, README, SEVERAL, LabelledSet, Row, Unavailable, parsed_label
from utils.data import loading, sources
from utils.data.reading import read_columns
from utils.schema import DataFile, InputError
from utils.tasks import TASKS, DataCard, Format

MODERATION_LABELS = ("S", "H", "V", "HR", "SH", "S3", "H2", "V2")
# The languages that the two multilingual sets have in common.
LANGUAGES = ("en", "zh", "ar", "it", "ko")


def _file(card: DataCard, folder: str = FOLDER) -> sources.Found:
    """A card's file, found or downloaded."""
    if sources.lookup(card, folder) is None:
        try:
            return sources.published(card, folder)
        except InputError as error:
            raise Unavailable(str(error)) from None
    return sources.published(card, folder)


def _set(
    name: str,
    rows: Iterable[Row],
    found: sources.Found,
    files: Iterable[DataFile],
    notes: Sequence[str] = (),
    twins: bool = False,
) -> LabelledSet:
    return LabelledSet(
        name=name,
        rows=tuple(row._replace(prompt=row.prompt.strip()) for row in rows),
        files=tuple(files),
        found=found,
        notes=tuple(notes),
        family=SET_CARDS[name].family,
        twins=twins,
    )


def _read(name: str, rows_of: Callable[[int, list[dict]], Iterator[Row]], twins: bool = False) -> LabelledSet:
    """The set made of all files of a card. rows_of: (number of a file, its rows) to prompts."""
    rows: list[Row] = []
    files, found = [], []
    for number, card in enumerate(SET_CARDS[name].files):
        found.append(_file(card))
        content = _content(found[-1].path)
        rows += rows_of(number, content)
        files.append(DataFile(Path(card.file).name, found[-1].sha256, len(content)))
    return _set(name, rows, found[0], files, twins=twins)


def _content(path: Path) -> list[dict]:
    """The rows of a file whose digest was checked: CSV, JSON lines or JSON."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream))
    if path.suffix == ".json":
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, list):
            return content
        return content["jailbreaks"] if "jailbreaks" in content else [{"prompt": p} for p in content["instructions"]]
    # Prompts may hold line separators other than a newline, at which splitlines would cut.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def do_not_answer() -> LabelledSet:
    """Do-Not-Answer's prompts (unsafe) and five GPT edits of each (safe); an original and its edits are one group."""
    fmt = cast(Format, TASKS["safety_contrast"].format)
    found = _file(fmt.card, fmt.folder)
    dataset, _ = loading.load(fmt, "paper")
    rows = [
        Row(f"{item}{'' if not j else f'#{j}'}", dataset.texts[column][i], int(not j), item)
        for i, item in enumerate(dataset.ids)
        for j, column in enumerate(dataset.texts)
    ]
    return _set("do_not_answer", rows, found, dataset.files, twins=True)


def xstest() -> LabelledSet:
    """XSTest v2, in which an unsafe prompt of id i + 25 contrasts with the safe prompt of id i; the two are one group.

    Two types have no contrasts and no groups: discrimination of groups that suffer none, and public figures' privacy.
    """
    card = SET_CARDS["xstest"].files[0]
    found = _file(card)
    columns = read_columns(found.path, ("id", "prompt", "type", "label"), README)
    labels = [parsed_label(text, found.path.name, row) for row, text in enumerate(columns["label"], 1)]
    label_of = dict(zip(columns["id"], labels, strict=True))
    names: list[str | None] = []
    for item, label in label_of.items():
        partner = str(int(item) + (-25 if label else 25))
        names.append(f"{min(int(item), int(partner))}" if label_of.get(partner) == 1 - label else None)
    rows = map(Row, columns["id"], columns["prompt"], labels, names, columns["type"])
    return _set("xstest", rows, found, [DataFile(found.path.name, found.sha256, len(labels))], twins=True)


def openai_moderation() -> LabelledSet:
    """OpenAI's moderation set: a prompt is unsafe if one of its eight labels is 1, and safe if all eight are 0.

    All other prompts are left out.
    """
    found = _file(SET_CARDS["openai_moderation"].files[0])
    with gzip.open(found.path, "rt", encoding="utf-8") as stream:
        content = [json.loads(line) for line in stream]
    rows = []
    for number, row in enumerate(content, 1):
        given = [row.get(name) for name in MODERATION_LABELS]
        if 1 in given or None not in given:
            harms = "+".join(name for name, value in zip(MODERATION_LABELS, given, strict=True) if value == 1)
            rows.append(Row(str(number), row["prompt"], int(1 in given), type=harms))
    left_out = len(content) - len(rows)
    note = f"openai_moderation: {left_out} of {len(content)} prompts are left out, as no label is 1 but one is missing"
    file = DataFile(found.path.name, found.sha256, len(content))
    return _set("openai_moderation", rows, found, [file], [note])


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
        Row(f"{split}-{row['Index']}", row["Goal"].strip(), label, str(row["Index"]), row.get("Category") or "")
        for split, label in (("harmful", 1), ("benign", 0))
        for row in splits[split]
    ]
    digest = hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()
    file = DataFile(f"{JAILBREAKBENCH['path']} (digest of its rows)", digest, len(rows))
    licence = SET_CARDS["jailbreakbench"].licence
    found = sources.Found("paper", Path(JAILBREAKBENCH["path"]), digest, "from the hub", licence)
    return _set("jailbreakbench", rows, found, [file], twins=True)


def coconot() -> LabelledSet:
    """CoCoNot's requests with safety concerns (unsafe), and its contrasts (safe) of all categories."""
    excluded = ("copyright violations", "incomprehensible")

    def rows_of(number: int, content: list[dict]) -> Iterator[Row]:
        for row in content:
            safety = row["category"] == "Requests with safety concerns" and row["subcategory"] not in excluded
            if number or safety:
                item = f"{'contrast' if number else 'eval'}-{row['id']}"
                yield Row(item, row["prompt"], int(not number), type=row["subcategory"])

    return _read("coconot", rows_of)


def hatecheck() -> LabelledSet:
    """HateCheck's posts; those made from one template, and its contrasts, are one group."""

    def rows_of(number: int, content: list[dict]) -> Iterator[Row]:
        for row in content:
            template = row["ref_templ_id"] or row["templ_id"]
            label = int(row["label_gold"] == "hateful")
            yield Row(row["case_id"], row["test_case"], label, template, row["functionality"], "hate" if label else "")

    return _read("hatecheck", rows_of)


def physical_safety() -> LabelledSet:
    """Instructions to explain unsafe and safe advice; row i of the one is the twin of row i of the other."""

    def rows_of(number: int, content: list[dict]) -> Iterator[Row]:
        for i, row in enumerate(content, 1):
            yield Row(f"{'safe' if number else 'unsafe'}-{i}", row["prompt"], int(not number), str(i))

    return _read("physical_safety", rows_of, twins=True)


def harmbench() -> LabelledSet:
    """HarmBench's standard behaviours, and its contextual ones with their context."""

    def rows_of(number: int, content: list[dict]) -> Iterator[Row]:
        for row in content:
            kind, item = row["FunctionalCategory"], row["BehaviorID"]
            if kind != "copyright":
                context = f"{row['ContextString']}\n\n" if kind == "contextual" else ""
                yield Row(item, f"{context}{row['Behavior']}", 1, item, kind, row["SemanticCategory"])

    return _read("harmbench", rows_of)


def jailbreakbench_attacks() -> LabelledSet:
    """Attack prompts for JailbreakBench's behaviours; those for one behaviour are a group, the attack is the type."""
    stems = [Path(card.file).stem for card in SET_CARDS["jailbreakbench_attacks"].files]
    attacks = {"PAIR": "PAIR", "GCG": "GCG", "prompt": "random search", "JBC": "JBC"}

    def rows_of(number: int, content: list[dict]) -> Iterator[Row]:
        stem = stems[number]
        attack = attacks[stem.split("-")[0].split("_")[0]]
        for row in content:
            if row["prompt"] is not None:  # null where no attack was found
                yield Row(f"{stem}-{row['index']}", row["prompt"], 1, str(row["index"]), attack, "")

    return replace(_read("jailbreakbench_attacks", rows_of), templated=True)


def multijail() -> LabelledSet:
    """MultiJail's prompts in five languages; the translations of one are a group, the language is the type."""

    def rows_of(number: int, content: list[dict]) -> Iterator[Row]:
        for language in LANGUAGES:
            for row in content:
                tags = SEVERAL.join(ast.literal_eval(row["tags"]))
                yield Row(f"{language}-{row['id']}", row[language], 1, row["id"], language, tags)

    return _read("multijail", rows_of)


def llmzoo() -> LabelledSet:
    """LLMZoo's questions in five languages; the translations of one are a group, the language is the type."""

    def rows_of(number: int, content: list[dict]) -> Iterator[Row]:
        for row in content:
            yield Row(f"{LANGUAGES[number]}-{row['id']}", row["query"], 0, str(row["id"]), LANGUAGES[number], "")

    return _read("llmzoo", rows_of)


def of_columns(name: str) -> LabelledSet:
    """A set whose card says in which columns of its file its prompts are. Prompts without an id have their number."""
    card = SET_CARDS[name]
    columns, label = card.columns, int(card.kind == UNSAFE_ONLY)

    def rows_of(number: int, content: list[dict]) -> Iterator[Row]:
        for i, row in enumerate(content, 1):
            if all(row[column] == value for column, value in card.only.items()):
                item, kinds = row.get(columns.get("id"), str(i)), [row[column] for column in columns.get("type", ())]
                group, hazard = row.get(columns.get("group")), row.get(columns.get("hazard"))
                yield Row(item, row[columns["prompt"]], label, group, SEVERAL.join(kinds), hazard)

    return _read(name, rows_of)


READERS = (do_not_answer, xstest, openai_moderation, jailbreakbench, coconot, hatecheck, physical_safety, harmbench,
           jailbreakbench_attacks, multijail, llmzoo)  # fmt: skip
PUBLISHED: dict[str, Callable[[], LabelledSet]] = {name: partial(of_columns, name) for name in SET_CARDS}
PUBLISHED |= {reader.__name__: reader for reader in READERS}
