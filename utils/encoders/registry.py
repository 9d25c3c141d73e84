"""Resolves a name to the exact weights that it stands for."""

import difflib
import functools
import re
from dataclasses import replace
from pathlib import Path

from utils import config, hub, model_folder
from utils.encoders import mteb_encoder
from utils.files import sha256_of
from utils.openai_api import DEFAULT_HOST, host, server
from utils.schema import RANDOM_VECTORS, WORD_OVERLAP, Checkpoint, EncoderOptions, EncoderSpec, InputError

REGISTRY_FILE = Path(__file__).with_name("encoders.yaml")
DEFAULTS = EncoderOptions()
# What an entry says of an encoder that is not registered.
UNKNOWN = {"dimension": None, "max_tokens": None, "dtype": "float32", "prompt": ""}


@functools.cache
def known_encoders() -> dict[str, dict]:
    """The entries of encoders.yaml by name."""
    import yaml

    # PyYAML's parser in C takes a tenth of the time; a build of PyYAML may lack it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(REGISTRY_FILE.read_text(encoding="utf-8"), loader)


def resolve(name: str, options: EncoderOptions = DEFAULTS) -> EncoderSpec:
    """The exact weights that `name` stands for: a registry entry, a local folder, a Hugging Face id, openai:MODEL or
    mteb:NAME.

    The label names the options that differ from the registry's. Loads no model, and imports no torch except for
    mteb:NAME. Raises InputError if there is no such encoder, or if its revision can't be determined because the hub
    can't be reached.
    """
    spec = _named(name, options)
    if spec.loader == "mteb":  # none of its options can be chosen
        return spec
    plain = UNKNOWN | known_encoders().get(name, {})
    asked = [] if spec.prompt == plain["prompt"] else ["own prompt" if spec.prompt else "no prompt"]
    asked += [] if spec.dtype == plain["dtype"] else [spec.dtype]
    asked += [] if options.revision is None else [options.revision[:12]]
    return replace(spec, label=f"{spec.label} ({', '.join(asked)})") if asked else spec


def _named(name: str, options: EncoderOptions) -> EncoderSpec:
    entry = known_encoders().get(name)
    if entry is not None:
        return _registered(name, entry, options)
    if name.startswith("openai:"):
        model = name.removeprefix("openai:")
        if not re.fullmatch(r"[\w./:@-]+", model):
            raise InputError(f"--model {name}: name a model after the colon, such as openai:text-embedding-3-small")
        known = [
            entry for entry in known_encoders().values() if entry["loader"] == "openai" and entry["source"] == model
        ]
        common = {"label": model, "loader": "openai", "source": model, "revision": "unversioned"}
        return _registered(name, {**UNKNOWN, **(known[0] if known else {}), **common}, options)
    if name.startswith("mteb:"):
        return _registered(name, mteb_encoder.entry(name, options.trust_remote_code), options)
    folder = config.callers_path(name)
    if folder.is_dir():
        return _local(folder, options)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith((".", "/")):
        common = {"label": name.split("/")[1], "loader": "sentence-transformers", "source": name, "revision": "main"}
        return _registered(name, {**UNKNOWN, **common, "layout": ("modules.json",)}, options)
    if name.startswith((".", "/", "~")):
        raise InputError(f"--model {name}: no such folder; give a model's, or a name of python -m utils.encoders")
    near = nearest_names(name) or list(hub.OFFLINE_ENCODERS)
    raise InputError(
        f"--model {name}: no such encoder; nearest: {', '.join(near)}; or give a Hugging Face id (organisation/name), "
        "openai:MODEL, mteb:NAME or a folder"
    )


def nearest_names(text: str) -> list[str]:
    """The registry's names nearest to a text, compared by name, label and name of the weights."""
    known = {}
    for name, entry in known_encoders().items():
        for known_as in (entry["source"].rpartition("/")[2], entry["label"], name):
            known[known_as.casefold()] = name
    near = difflib.get_close_matches(text.casefold().rpartition("/")[2], known, n=3, cutoff=0.5)
    return list(dict.fromkeys(known[one] for one in near))


def _registered(name: str, entry: dict, options: EncoderOptions) -> EncoderSpec:
    loader = entry["loader"]
    spec = EncoderSpec(
        name=name,
        label=entry["label"],
        loader=loader,
        source=entry["source"],
        revision=options.revision or entry["revision"] if loader == "openai" else entry["revision"],
        dtype=_dtype(options, entry["dtype"]),
        prompt=entry["prompt"] if options.prompt is None else options.prompt,
        dimension=entry["dimension"],
        max_tokens=entry["max_tokens"],
        recipe=entry.get("recipe", {}),
        layout=tuple(entry.get("layout", ())),
        package=entry.get("package"),
        files=entry.get("files", {}),
        usd_per_million_tokens=entry.get("usd_per_million_tokens"),
        options=options,
    )
    fixed = {
        "tfidf": ("revision", "prompt", "dtype"),
        "random": ("revision", "prompt", "dtype"),
        "openai": ("dtype",),
        "mteb": ("revision", "prompt", "dtype"),
        "packaged": ("revision",),
        "llm2vec": ("revision",),
        "sentence-transformers": (),
    }[loader]
    neutral = {
        "revision": (None,),
        "prompt": (None, entry["prompt"]),
        "dtype": ("auto", entry["dtype"]),
    }
    for option in fixed:
        if getattr(options, option) not in neutral[option]:
            why = f"{name} has only one, {entry['revision']}" if option == "revision" else f"can't be chosen for {name}"
            raise InputError(f"--{option}: {why}; leave the flag out")
    if loader == "tfidf":
        return replace(spec, backend=WORD_OVERLAP)
    if loader == "random":
        return replace(spec, backend=RANDOM_VECTORS)
    if loader == "openai":
        where = "OpenAI API" if host() == DEFAULT_HOST else f"API at {server()},"
        return replace(
            spec, source=f"{where} model {entry['source']}", recipe={"model": entry["source"]}, backend="api"
        )
    if loader == "packaged":
        return spec
    if loader == "mteb":
        return replace(spec, checkpoints=entry["checkpoints"])
    checkpoints = tuple(
        Checkpoint(source, hub.commit(source, options.revision or revision, "" if options.revision else expected))
        for source, revision, expected in listed_checkpoints(entry)
    )
    return replace(spec, revision=" + ".join(part.revision for part in checkpoints), checkpoints=checkpoints)


def listed_checkpoints(entry: dict) -> list[tuple[str, str, str]]:
    """A registry entry's repositories in the order of loading: (source, revision, the beginning of its commit)."""
    parts = entry.get("checkpoints") or [entry]
    return [(part["source"], part["revision"], part.get("commit", "")) for part in parts]


def _dtype(options: EncoderOptions, registered: str) -> str:
    return registered if options.dtype == "auto" else options.dtype


def _local(folder: Path, options: EncoderOptions) -> EncoderSpec:
    if options.revision is not None:
        raise InputError(f"--revision: {folder} is a folder and has none; leave the flag out")
    name = folder.resolve().name
    if name.casefold() in known_encoders():
        raise InputError(
            f"--model {folder}: '{name.casefold()}' is a registered encoder's name, and their results would be taken "
            "for one another; rename the folder"
        )
    base = model_folder.base_of_layer(folder)
    if base is not None:
        spec, layer = resolve(base, options), folder / model_folder.LAYER
        return replace(
            spec,
            name=name,
            label=name,
            recipe={**spec.recipe, "layer": sha256_of(layer)},
            tuned_on=model_folder.tuned_on(folder),
            base=spec,
            layer=layer,
        )
    revision = f"sha256:{model_folder.digest(folder, options.trust_remote_code)}"
    return EncoderSpec(
        name=name,
        label=name,
        loader="sentence-transformers",
        source=f"folder {name}",
        revision=revision,
        dtype=_dtype(options, "float32"),
        prompt=options.prompt or "",
        checkpoints=(Checkpoint(f"folder {name}", revision, folder.resolve()),),
        options=options,
        tuned_on=model_folder.tuned_on(folder),
    )
