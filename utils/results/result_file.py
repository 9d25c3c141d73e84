"""Writes and reads result files: one JSON file and one CSV of items for each encoder and task."""

import csv
import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from utils.files import shown_path, write_whole
from utils.schema import DataFile, EmbeddingStats, EncoderInfo, InputError, Metric, Result
from utils.tasks import TASKS

SCHEMA = 1
# The keys that every metric has in a result file.
ALWAYS = ("metric", "group", "value", "n", "better", "low", "high")
# Columns of items that are text even if all of it reads as numbers, beside the ids and the groups.
TEXTS = ("nearest_id", "type")
SETTINGS = {"top_k", "threshold", "bootstrap", "seed", "baseline"}


def kept_stem(encoder: str) -> str:
    """An encoder's name in file names: a slash or colon becomes two hyphens."""
    return encoder.replace("/", "--").replace(":", "--")


def result_path(out: Path, dataset: str, task: str, encoder: str) -> Path:
    """`<out>/<dataset>/<task>/<encoder>.json`."""
    return out / dataset / task / f"{kept_stem(encoder)}.json"


def write_result(result: Result, out: Path, name: str | None = None) -> Path:
    """Writes the result file, `<name>.items.csv` and, of a task of items, `<name>.influence.safetensors`.

    Each is written whole or not at all; returns the path of the result file. name: of the files, the encoder's name if
    None. The result file is written last and has the others' digests, which show whether all are of the same run.
    """
    path = result_path(out, result.dataset_name, result.task, name or result.encoder.name)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(result.items)
    columns = [["" if cell != cell else cell for cell in column] for column in result.items.values()]  # NaN is not NaN
    writer.writerows(zip(*columns, strict=True))
    content = text.getvalue().encode("utf-8")
    write_whole(items_path(path), content)
    document = document_of(result) | {"items": {"sha256": hashlib.sha256(content).hexdigest()}}
    if TASKS[result.task].by_items:
        content = influence_bytes(result.influence)
        write_whole(influence_path(path), content)
        document["influence"] = {"sha256": hashlib.sha256(content).hexdigest()}
    write_whole(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def items_path(path: Path) -> Path:
    """The path of the items of the result file at `path`."""
    return path.with_name(f"{path.stem}.items.csv")


def influence_path(path: Path) -> Path:
    """The path of the influences of the result file at `path`."""
    return path.with_name(f"{path.stem}.influence.safetensors")


def influence_bytes(influence: dict[str, np.ndarray]) -> bytes:
    """Influences as a file of safetensors."""
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(values, dtype=np.float32) for name, values in influence.items()})


def influence_of(content: bytes) -> dict[str, np.ndarray]:
    """The influences in a file of safetensors. Raises ValueError if it is not one."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(content)
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def document_of(result: Result) -> dict:
    """The content of a result file (docs/design.md, section 3)."""
    metrics = []
    for metric in result.metrics:
        row = vars(metric)
        metrics.append({key: row[key] for key in row if key in ALWAYS or row[key] is not None})
    return {
        "schema": SCHEMA,
        "task": result.task,
        "created": result.created,
        "seconds": result.seconds,
        "encoder": {key: value for key, value in vars(result.encoder).items() if key != "tuned_on" or value},
        "dataset": {
            "name": result.dataset_name,
            "files": [vars(file) for file in result.dataset_files],
            "items": result.dataset_items,
        },
        "settings": result.settings,
        "embedding": vars(result.embedding),
        "metrics": metrics,
        "environment": result.environment,
        **({"made_by": result.made_by} if result.made_by else {}),
        **({"average_similarities": result.average_similarities} if result.average_similarities else {}),
    }


def result_of(document: dict) -> Result:
    """The result in a result file's content, without its items.

    Raises ValueError, KeyError or TypeError if this version does not write such content.
    """
    if document["schema"] != SCHEMA or SETTINGS - document["settings"].keys():
        raise ValueError("another schema, or settings missing")
    return Result(
        task=document["task"],
        created=document["created"],
        seconds=document["seconds"],
        encoder=EncoderInfo(**document["encoder"]),
        dataset_name=document["dataset"]["name"],
        dataset_files=tuple(DataFile(**file) for file in document["dataset"]["files"]),
        dataset_items=document["dataset"]["items"],
        settings=document["settings"],
        embedding=EmbeddingStats(**document["embedding"]),
        metrics=tuple(_metric_of(document["task"], row) for row in document["metrics"]),
        environment=document["environment"],
        average_similarities=document.get("average_similarities", {}),
        made_by=document.get("made_by", ""),
    )


def _metric_of(task: str, row: dict) -> Metric:
    """A metric of a result file, which an older version may have written."""
    return TASKS[task].up_to_date(Metric(**row))


def read_with_items(path: Path, numbers: Sequence[str] = ()) -> Result:
    """The result in a file, with its items: column to n values as `_typed` reads them, and with its influences.

    numbers: columns that must exist and hold a number, or NaN for an undefined score, for every item.
    Raises InputError if a file can't be read, is not a result file, or if the files are not of the same run.
    """
    document = _document(path)
    beside = shown_path(items_path(path))
    try:
        content = items_path(path).read_bytes()
        header, *rows = csv.reader(io.StringIO(content.decode("utf-8", "strict"), newline=""))
    except OSError as error:
        raise InputError(f"{beside}: can't be read ({error.strerror}); run the task again") from None
    except (ValueError, csv.Error):  # ValueError: not UTF-8, or no line at all
        header, rows = [], []
    whole = rows and header[0] == "id" and len(header) > 2 and all(len(row) == len(header) for row in rows)
    items = {}
    if whole:
        columns = zip(header, zip(*rows, strict=True), strict=True)
        items = {name: _typed(name, cells, name in header[:2]) for name, cells in columns}
    if not whole or any(isinstance(items.get(column, [""])[0], str) for column in numbers):
        raise InputError(f"{beside}: not the complete items of a result; run the task again")
    if document.get("items") != {"sha256": hashlib.sha256(content).hexdigest()}:
        raise InputError(f"{beside}: not of the run that wrote {path.name}, or changed since; run the task again")
    return replace(result_of(document), items=items, influence=_influence_beside(path, document, len(rows)))


def _typed(name: str, cells: Sequence[str], is_text: bool) -> list:
    """A column of the items as a run has it: texts, whole numbers, or floats with NaN for an empty cell.

    is_text: whether it is the ids or the groups, which are texts even if they read as numbers.
    """
    if is_text or name in TEXTS:
        return list(cells)
    try:
        return [int(cell) for cell in cells]
    except ValueError:
        pass
    try:
        values = [float(cell) if cell else math.nan for cell in cells]
    except ValueError:
        return list(cells)
    undefined = sum(map(math.isnan, values))
    return list(cells) if math.inf in map(abs, values) or undefined > cells.count("") else values


def _influence_beside(path: Path, document: dict, n: int) -> dict[str, np.ndarray]:
    """The influences of a result of n items; empty for a task that has none."""
    if not TASKS[document["task"]].by_items:
        return {}
    beside = shown_path(influence_path(path))
    if "influence" not in document:
        raise InputError(
            f"{shown_path(path)}: its intervals are of an earlier version, which took neighbours as given; run the "
            "task again"
        )
    try:
        content = influence_path(path).read_bytes()
        influence = influence_of(content)
    except OSError as error:
        raise InputError(f"{beside}: can't be read ({error.strerror}); run the task again") from None
    except ValueError:
        content, influence = b"", {}
    if document["influence"]["sha256"] != hashlib.sha256(content).hexdigest() or any(
        len(values) != n for values in influence.values()
    ):
        raise InputError(f"{beside}: not of the run that wrote {path.name}, or changed since; run the task again")
    return influence


def rows_of(result: Result) -> list[dict]:
    """The items of a result, each a dict of column to value."""
    return [dict(zip(result.items, row, strict=True)) for row in zip(*result.items.values(), strict=True)]


def read_result(path: Path) -> Result:
    """The result in a file, without its items. Raises InputError if this version does not write such files."""
    return result_of(_document(path))


def _document(path: Path) -> dict:
    """A result file's content, valid for `result_of`. Raises InputError if it is not valid."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise InputError(f"{path}: schema {document['schema']}, this version reads {SCHEMA}; run the task again")
        result_of(document)
        return document
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path}: not a result file; remove it and run the task again") from None
