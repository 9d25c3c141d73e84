"""Keeps results in the embedding store under everything that could change a number of them.

Scoring takes longer than reading stored vectors does: k-means, the bootstrap and the controls. A repeated run need not.
"""

import base64
import functools
import hashlib
import importlib.metadata
import json
from dataclasses import replace

from utils import config
from utils.results.result_file import document_of, influence_bytes, influence_of, result_of
from utils.schema import Dataset, EncoderSpec, Result
from utils.store.embeddings import RESULT, EmbeddingStore

# The packages that compute scores. The encoder's own libraries are not in its fingerprint either.
PACKAGES = ("numpy", "scipy", "scikit-learn")
# The suffixes of the program's files that can change a number.
SUFFIXES = (".py", ".yaml", ".toml", ".json")


def name_of(task: str, dataset: Dataset, choices: dict) -> str:
    """The name under which a result is stored with its encoder.

    choices: the settings that affect a number, including the source of the average similarity. The data are identified
    by their files' digests and the evaluated ids.
    """
    parts = [task, [file.sha256 for file in dataset.files], dataset.ids, choices]
    return f"{RESULT}{task} {_digest(json.dumps(parts, sort_keys=True))}"


def recall(store: EmbeddingStore, spec: EncoderSpec, name: str, folder: str, dataset: Dataset) -> Result | None:
    """The result stored under `name`, with its items; None if there is none, or if the program has changed since.

    folder: of the task's own code. Names and labels are taken from `spec` and `dataset`.
    """
    kept = store.fact(spec.fingerprint, name)
    if kept is None or kept.get("code") != code_digest(folder):
        return None
    result = result_of(kept["document"])
    unique = result.embedding.unique
    return replace(
        result,
        encoder=spec.info(result.encoder.dimension, result.encoder.max_tokens),
        dataset_name=dataset.name,
        dataset_files=dataset.files,
        embedding=replace(result.embedding, computed=0, reused=unique),
        items=kept["items"],
        influence=influence_of(base64.b64decode(kept["influence"])),
    )


def remember(store: EmbeddingStore, spec: EncoderSpec, name: str, folder: str, result: Result) -> None:
    """Stores a result under `name`, and replaces an earlier one."""
    kept = {
        "code": code_digest(folder),
        "document": document_of(result),
        "items": result.items,
        "influence": base64.b64encode(influence_bytes(result.influence)).decode(),
    }
    store.put_fact(spec.fingerprint, name, kept)


@functools.cache
def code_digest(folder: str) -> str:
    """A digest of the code that computes the numbers: the program's files, and the versions of the packages."""
    files = sorted(
        path
        for part in ("utils", folder)
        for path in (config.ROOT / part).rglob("*")
        if path.suffix in SUFFIXES and (config.ROOT / folder / "data") not in path.parents
    )
    code = [[str(path.relative_to(config.ROOT)), hashlib.sha256(path.read_bytes()).hexdigest()] for path in files]
    return _digest(json.dumps([code, [importlib.metadata.version(name) for name in PACKAGES]]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
