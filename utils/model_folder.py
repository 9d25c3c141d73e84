"""The files of a model's folder, their digest, and the folders that are refused."""

import hashlib
import json
import os
from pathlib import Path

from utils.files import sha256_of
from utils.schema import InputError

# Weights that would have to be unpickled, or that are not used here.
UNREAD_WEIGHTS = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack", ".ot")
# What Git leaves in the place of a large file that was not fetched, in fewer than 200 bytes. Files of other kinds that
# are not read, such as ONNX weights, may be left so.
LFS_POINTER, LONGEST_POINTER = b"version https://git-lfs.github.com/spec/", 200
READ_FILES = (".safetensors", ".json", ".model", ".txt")
# Endings of architectures that were trained to choose a label or an answer, such as cross-encoders, and have no vector.
DECIDES = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice")
# Packages of sentence-transformers with the modules of models that are no sentence encoders, and those models' type.
OTHER_TYPES = {
    "sparse_encoder": "SparseEncoder",
    "cross_encoder": "CrossEncoder",
    "multi_vector_encoder": "MultiVectorEncoder",
}
# What an encoder tuned here was tuned on, and how.
TUNING = "tuning.json"
# In the place of a model's weights: a linear layer on the vectors of an API, whose name TUNING has.
LAYER = "layer.safetensors"
# What sentence-transformers writes beside modules.json: the modules' folders and their settings.
BESIDE_MODULES = ("[0-9]_[A-Z]*", "sentence_*_config.json", "config_sentence_transformers.json")


def files_of(folder: Path) -> list[Path]:
    """Every file of a folder, links to folders followed, sorted.

    Raises InputError if a folder can't be read, or if a link leads back to a folder above it.
    """

    def unreadable(error: OSError) -> None:
        raise InputError(f"--model {folder}: {error.filename} can't be read ({error.strerror})")

    found = []
    for root, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        here = Path(root)
        for name in folders:
            link = here / name
            if link.is_symlink() and link.resolve() in [above.resolve() for above in (here, *here.parents)]:
                raise InputError(
                    f"--model {folder}: {link.relative_to(folder)} is a link to a folder above it; remove the link"
                )
        found += [here / name for name in names if (here / name).is_file()]
    return sorted(found)


def module_folders(folder: Path) -> list[Path]:
    """The folders that modules.json loads from, in its order; the folder itself if it has no modules.json.

    Raises InputError if modules.json can't be read, or if it names a folder outside.
    """
    listing = folder / "modules.json"
    if not listing.is_file():
        return [folder]
    try:
        paths = [Path(module["path"]) for module in json.loads(listing.read_text(encoding="utf-8"))]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"--model {folder}: modules.json is not a list of modules; save the model again") from None
    for path in paths:
        if path.is_absolute() or any(part.startswith(".") for part in path.parts):
            raise InputError(
                f"--model {folder}: modules.json names the folder '{path}', which is hidden or not within the model's; "
                "copy the module into the model's folder"
            )
    return [folder / path for path in paths]


def digest(folder: Path, own_code: bool = False) -> str:
    """SHA-256, in hexadecimal, of the paths and bytes of every file that can be loaded from a model's folder.

    An adapter's digest covers its base too. Hidden files, Markdown and weights that are never loaded are left out.
    own_code: whether the checkpoint may run code, which could read any of its files.
    Raises InputError if there is no model, if a file can't be read or would have to be unpickled, or if an adapter's
    base is not a folder on this machine.
    """
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise InputError(
            f"--model {folder}: the folder has neither modules.json nor config.json; give a model's folder"
        )
    bases = _adapter_bases(folder)
    refuse_other_models(folder, str(folder))
    content = hashlib.sha256()
    for place, part in (("", folder), *(("base/", base) for base in bases)):
        refuse_unusable_weights(part, str(part))
        for path in files_of(part):
            inside = path.relative_to(part)
            hidden = any(name.startswith(".") for name in inside.parts)
            if not hidden and path.suffix != ".md" and (own_code or not _is_unread(path)):
                try:
                    content.update(f"{place}{inside}\0{sha256_of(path)}\n".encode())
                except OSError as error:
                    raise InputError(f"--model {part}: {inside} can't be read ({error.strerror})") from None
    return content.hexdigest()


def tuned_on(folder: Path) -> tuple[str, ...]:
    """The labelled sets that an encoder tuned here has seen, by its folder; none for any other folder."""
    seen = _entries(folder / TUNING).get("seen", [])
    return tuple(map(str, seen)) if isinstance(seen, list) else ()


def base_of_layer(folder: Path) -> str | None:
    """The encoder on whose vectors a folder has a linear layer; None for any other folder.

    Raises InputError if the folder does not say which it is.
    """
    if not (folder / LAYER).is_file():
        return None
    base = _entries(folder / TUNING).get("base")
    if not isinstance(base, dict) or not isinstance(base.get("name"), str):
        raise InputError(f"--model {folder}: {TUNING} does not name the encoder that {LAYER} is for; tune it again")
    return base["name"]


def _adapter_bases(folder: Path) -> list[Path]:
    """The folders of the base models of all adapters among a model's modules."""
    bases = []
    for part in module_folders(folder):
        name = adapter_base(part)
        if name is not None:
            base = Path(name)
            if not base.is_dir() or adapter_base(base) is not None:
                what = "an adapter itself" if base.is_dir() else "not a folder here, so its files can't be pinned"
                raise InputError(
                    f"--model {folder}: is an adapter, and its base '{name}' is {what}; merge the adapter into its "
                    "base (PEFT's merge_and_unload) and save the whole"
                )
            bases.append(base)
    return bases


def adapter_base(folder: Path) -> str | None:
    """The base model that an adapter names; None if the folder holds no adapter."""
    card = folder / "adapter_config.json"
    if not card.is_file():
        return None
    try:
        return str(json.loads(card.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"--model {folder}: adapter_config.json names no base_model_name_or_path") from None


def refuse_adapter(folder: Path, shown: str) -> None:
    """Raises InputError if a checkpoint is an adapter: its revision does not pin the base."""
    for base in filter(None, map(adapter_base, module_folders(folder))):
        raise InputError(
            f"--model {shown}: is an adapter, and its revision does not pin its base '{base}'; merge the adapter into "
            "its base (PEFT's merge_and_unload), save the whole and give the folder"
        )


def _is_unread(path: Path) -> bool:
    return path.suffix in UNREAD_WEIGHTS and not path.name.startswith("openvino_")


def refuse_unusable_weights(folder: Path, shown: str) -> None:
    """Raises InputError if a file was not fetched, if there are no safetensors weights, or if a module has none."""
    remedy = "convert it to safetensors, or name a --revision that has them"
    files = files_of(folder)
    for path in files:
        if path.suffix in READ_FILES and _is_pointer(path):
            raise InputError(
                f"--model {shown}: {path.relative_to(folder)} is a pointer of Git LFS and not the file itself; run git "
                "lfs pull in the model's folder"
            )
    if not any(path.suffix == ".safetensors" for path in files):
        there = {path.suffix for path in files if _is_unread(path) or path.suffix == ".onnx"}
        if there == {".onnx"}:
            raise InputError(f"--model {shown}: has ONNX weights only; download its safetensors weights, too")
        raise InputError(f"--model {shown}: no safetensors weights, and pickled ones are not loaded; {remedy}")
    for path in files:
        if path.suffix == ".bin" and _is_unread(path) and not any(path.parent.glob("*.safetensors")):
            raise InputError(
                f"--model {shown}: {path.relative_to(folder)} is pickled and has no safetensors beside it; {remedy}"
            )


def _is_pointer(path: Path) -> bool:
    try:
        return path.stat().st_size < LONGEST_POINTER and path.read_bytes().startswith(LFS_POINTER)
    except OSError:  # it is named where it is read
        return False


def refuse_other_models(folder: Path, shown: str) -> None:
    """Raises InputError if a folder holds no sentence encoder, or not the whole of one.

    sentence-transformers would take the mean of the tokens' vectors of any model, and only log it.
    """
    listing = folder / "modules.json"
    whole, wanted = listing.is_file(), "SentenceTransformer"
    kind = _entries(folder / "config_sentence_transformers.json").get("model_type", wanted)
    if kind == wanted and whole:
        types = [str(module.get("type")) for module in json.loads(listing.read_text(encoding="utf-8"))]
        parts = ".".join(types).split(".")
        kind = next((OTHER_TYPES[part] for part in parts if part in OTHER_TYPES), wanted)
    elif kind == wanted:
        architectures = _entries(folder / "config.json").get("architectures")
        names = architectures if isinstance(architectures, list) else []
        kind = next((name for name in names if str(name).endswith(DECIDES)), wanted)
    if kind != wanted:
        raise InputError(
            f"--model {shown}: is a model of type {kind}, which does not give a text one dense vector; give a "
            f"{wanted} model"
        )
    beside = [] if whole else sorted(path.name for pattern in BESIDE_MODULES for path in folder.glob(pattern))
    if beside:
        raise InputError(
            f"--model {shown}: has {beside[0]} but no modules.json, which says how vectors are made of the tokens'; "
            "copy or download the whole model again"
        )


def _entries(path: Path) -> dict:
    """The entries of a JSON file, none if it is not there or can't be read: what loads the model names the fault."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
