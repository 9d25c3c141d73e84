"""Names and finds result files, and gives encoders shown together different labels."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from utils import config
from utils.data.sources import find, joined_name
from utils.encoders.registry import known_encoders
from utils.files import shown_path
from utils.results.result_file import kept_stem, read_result
from utils.schema import EncoderSpec, InputError, Result, control_order, is_control
from utils.tasks import TASKS


def kept_as(spec: EncoderSpec, choice: str | float) -> str:
    """The name of a result's file: the encoder's name, with its fingerprint unless it is exactly as registered.

    choice: the requested average similarity. One that is not `auto` is in the name, so that the result does not replace
    that of the default.
    """
    entry = known_encoders().get(spec.name)
    registered = (
        entry is not None
        and spec.source in (entry["source"], f"OpenAI API model {entry['source']}")
        and (spec.prompt, spec.dtype) == (entry["prompt"], entry["dtype"])
        and spec.options.revision is None
    )
    name = spec.name if registered else f"{spec.name}@{spec.fingerprint[:8]}"
    return name if choice == "auto" or (choice == "own" and is_control(spec)) else f"{name}+{choice}"


def told_by_folder(spec: EncoderSpec, asked: str) -> EncoderSpec:
    """The encoder with its label. That of a folder includes its parent folder, as many are called `checkpoint-500`."""
    if not any(part.location for part in spec.checkpoints):
        return spec
    return replace(spec, label=spec.label.replace(spec.name, folder_label(asked) or spec.name, 1))


def datasets(outs: Sequence[Path]) -> list[str]:
    """The names of the datasets on which there are results in one or several folders, in alphabetical order."""
    return sorted({path.parent.parent.name for out in outs for task in TASKS for path in out.glob(f"*/{task}/*.json")})


def find_results(
    outs: Sequence[Path], dataset: str | None, task: str, encoders: Sequence[str], choice: str | float = "auto"
) -> list[Path]:
    """Result files of a task in one or several folders: of the named encoders, in that order, or all.

    dataset: a name, or a file of the task's format; None for the paper's, else the only one. Without
    names, the controls are last, and results of an encoder by several average similarities count once: the one by
    `choice`, else the default's.
    Raises InputError if a result is missing.
    """
    fmt = TASKS[task].format
    if dataset is None:
        folders = sorted(path for out in outs for path in out.glob(f"*/{task}") if any(path.glob("*.json")))
        names = list(dict.fromkeys(path.parent.name for path in folders))
        if not names:
            return []
        if "paper" not in names and len(names) > 1:
            raise InputError(f"--data: there are results on {', '.join(names)}; name one")
        dataset = "paper" if "paper" in names else names[0]
    elif fmt is None:
        dataset = joined_name(dataset)
    elif config.callers_path(dataset).is_file():
        dataset = find(fmt, dataset).name
    folders = [out / dataset / task for out in outs]
    found = [path for folder in folders for path in sorted(folder.glob("*.json"), key=_controls_last)]
    files = []
    for name in encoders:
        matching = named(found, name)
        if not matching:
            there = ", ".join(path.stem for path in found) or "none"
            where = ", ".join(map(shown_path, folders))
            raise InputError(f"{name}: no result in {where} (there are: {there}); run the task with it first")
        files += matching
    return list(dict.fromkeys(files)) if encoders else _once(found, choice)


def _controls_last(path: Path) -> tuple[int, Path]:
    return control_order(_bare(path.stem)), path


def _once(files: Sequence[Path], choice: str | float) -> list[Path]:
    """Of files that differ only in the average similarity: the one by `choice`, else the default's, else all."""
    variants: dict[Path, list[Path]] = {}
    for path in files:
        variants.setdefault(path.with_name(re.sub(r"\+[^@+]+$", "", path.stem)), []).append(path)
    return [
        path
        for base, paths in variants.items()
        for path in (
            [path for path in paths if path.stem == f"{base.name}+{choice}"]
            or [path for path in paths if path.stem == base.name]
            or paths
        )
    ]


def once(results: Sequence[Result], files: Sequence[Path]) -> tuple[list[Result], list[Path]]:
    """The results and their files without copies: of the same encoder with the same scores, the first one.

    results: of one task, with their items. Scores differ by the device's rounding at most.
    """
    kept: list[tuple[Result, Path]] = []
    for result, path in zip(results, files, strict=True):
        if not any(_is_copy(result, other) for other, _ in kept):
            kept.append((result, path))
    return [result for result, _ in kept], [path for _, path in kept]


def _is_copy(one: Result, other: Result) -> bool:
    what = [(result.encoder.fingerprint, result.dataset_files, _chosen(result)) for result in (one, other)]
    numbers = [{(m.name, m.group): m.value for m in result.metrics} for result in (one, other)]
    return (
        what[0] == what[1]
        and numbers[0].keys() == numbers[1].keys()
        and all(abs(value - numbers[1][name]) < 1e-6 for name, value in numbers[0].items())
    )


def _chosen(result: Result) -> dict:
    """The settings that scores depend on."""
    chosen = {name: result.settings.get(name) for name in TASKS[result.task].settings}
    return chosen | {"baseline": (result.settings["baseline"] or {}).get("source")}


def named(files: Sequence[Path], encoder: str) -> list[Path]:
    """The result files of an encoder, given by its name or by a folder as in its label.

    The encoder as it is registered comes before its variants, whose names have a fingerprint or an average similarity.
    """
    stem = kept_stem(encoder)
    return (
        [path for path in files if path.stem == stem]
        or [path for path in files if path.stem.startswith((f"{stem}@", f"{stem}+"))]
        or [path for path in files if f"{_label(path)} (".startswith(f"{folder_label(encoder)} (")]
    )


def _label(path: Path) -> str:
    try:
        return read_result(path).encoder.label
    except InputError:
        return ""


def folder_label(asked: str) -> str:
    """A model folder's name, after that of its parent folder if it was given."""
    return "/".join([part for part in Path(asked).parts if part not in ("/", ".", "..", "~")][-2:])


def told_apart(results: Sequence[Result], paths: Sequence[Path]) -> list[Result]:
    """The results, with encoders' names and labels made unique.

    paths: their files. A name that occurs twice becomes that of the file. A label that occurs twice is extended by the
    instruction, the dtype and the folder of the results, as far as they differ from those of the encoder as it is
    registered, which keeps its label, else from each other's; else by the file's name.
    """
    names, labels = [], []
    for result, path in zip(results, paths, strict=True):
        encoder = result.encoder
        alike = [pair for pair in zip(results, paths, strict=True) if pair[0].encoder.label == encoder.label]
        plain = [pair for pair in alike if pair[1].stem == kept_stem(pair[0].encoder.name)]
        compared = plain if len(plain) == 1 else alike
        others = zip(*(_facets(*pair) for pair in compared), strict=True)
        differing = [mine for mine, theirs in zip(_facets(result, path), others, strict=True) if {*theirs} != {mine}]
        names.append([encoder.name, path.stem, shown_path(path)])
        facets = [", ".join(differing), path.stem, shown_path(path)]
        labels.append([encoder.label, *(_with(encoder.label, facet) for facet in facets)])
    return [
        replace(result, encoder=replace(result.encoder, name=name, label=label))
        for result, name, label in zip(results, _distinct(names), _distinct(labels), strict=True)
    ]


def _facets(result: Result, path: Path) -> list[str]:
    """What results of the same label may differ in."""
    prompt = result.encoder.prompt
    return [
        repr(prompt if len(prompt) <= 24 else f"{prompt[:21]}..."),
        result.encoder.dtype,
        shown_path(path.parents[2]),
    ]


def _with(label: str, facet: str) -> str:
    if not facet:
        return label
    return f"{label[:-1]}, {facet})" if label.endswith(")") else f"{label} ({facet})"


def _distinct(choices: Sequence[Sequence[str]]) -> list[str]:
    """For each row, the first choice that makes it differ from all rows with the same first choice, else the last."""
    first = Counter(row[0] for row in choices)
    chosen = []
    for row in choices:
        alike = [other for other in choices if other[0] == row[0]]
        depth = next((i for i in range(len(row)) if len({other[i] for other in alike}) == first[row[0]]), -1)
        chosen.append(row[depth])
    return chosen


def folded(results: Sequence[Result], first: Sequence[str] = ()) -> tuple[list[Result], list[tuple[Result, Result]]]:
    """One result of each encoder, and each of its other variants after the result that stands for them.

    Variants have the same weights and differ in the dtype or the instruction. The first that `first` names stands for
    them, else the one as it is registered, else the newest. results: told apart, of one task.
    """
    families: dict[tuple, list[Result]] = {}
    for result in results:
        encoder = result.encoder
        families.setdefault((_bare(encoder.name), encoder.source, encoder.revision), []).append(result)
    standing = {result.encoder.name: max(family, key=lambda one: _stands(one, first))
                for family in families.values() for result in family}  # fmt: skip
    pairs = [(standing[result.encoder.name], result) for result in results]
    return [main for main, result in pairs if main is result], [pair for pair in pairs if pair[0] is not pair[1]]


def _bare(name: str) -> str:
    """An encoder's name without a fingerprint or an average similarity."""
    return re.split("[@+]", name)[0]


def _stands(result: Result, first: Sequence[str]) -> tuple[int, bool, str]:
    name = result.encoder.name
    return -first.index(name) if name in first else -len(first), name == _bare(name), result.created
