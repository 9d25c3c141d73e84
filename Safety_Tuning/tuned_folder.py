"""The folder of a tuned encoder: assembled, written whole or not at all, and read again."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.files import shown_path, write_whole
from utils.model_folder import LAYER, TUNING, module_folders
from utils.schema import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# What the folder says of itself: with the weights in its digest, and, hidden, what changes after it was written.
ABOUT, RUN = TUNING, ".safe-embed.json"
KEYS = {
    ABOUT: {"name", "base", "method", "settings", "seed", "signature", "parts", "chosen", "data"},
    RUN: {"base", "seconds", "memory", "evaluations"},
}
# What uses a layer on an API's vectors without this program.
WRAPPER = Path(__file__).with_name("api_encoder.py")


def refuse_existing(folder: Path, flag: str = "--out") -> None:
    """Raises InputError if something is there already."""
    if folder.exists():
        raise InputError(f"{flag} {shown_path(folder)}: is there already; remove it, or give another folder")


def add_layer(model: "SentenceTransformer", matrix: np.ndarray) -> "SentenceTransformer":
    """The model with a linear layer without bias among its modules, and with vectors of length 1."""
    import torch
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize

    size = len(matrix)
    weight = torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32))
    for module in (
        Dense(size, size, bias=False, activation_function=torch.nn.Identity(), init_weight=weight),
        Normalize(),
    ):
        model.add_module(str(len(model)), module)
    return model


def layer_of(folder: Path) -> np.ndarray:
    """The matrix (d, d) of the layer that `add_layer` added to a model which was then written."""
    from safetensors.numpy import load_file

    return load_file(module_folders(folder)[-2] / "model.safetensors")["linear.weight"]


def write(
    tuned: "SentenceTransformer | np.ndarray", about: dict[str, Any], run: dict[str, Any], card: str, folder: Path
) -> None:
    """Writes the folder whole: under another name, and then renamed.

    tuned: the model; or the matrix of a linear layer on the vectors of an API, of which no weights can be had.
    """
    aside = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(aside, ignore_errors=True)
    if isinstance(tuned, np.ndarray):
        from safetensors.numpy import save_file

        aside.mkdir(parents=True)
        save_file({"weight": np.ascontiguousarray(tuned, dtype=np.float32)}, str(aside / LAYER))
        shutil.copyfile(WRAPPER, aside / WRAPPER.name)
    else:
        tuned.save_pretrained(str(aside), create_model_card=False, safe_serialization=True)
    write_whole(aside / ABOUT, json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    write_run(aside, run, card)
    refuse_existing(folder)
    aside.replace(folder)


def write_run(folder: Path, run: dict[str, Any], card: str) -> None:
    """Writes what changes with each evaluation: the count, and the model card."""
    write_whole(folder / RUN, json.dumps(run, indent=1, ensure_ascii=False) + "\n")
    write_whole(folder / "README.md", card)


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a folder says of itself, and of its runs. Raises InputError if it is no tuned encoder's."""
    found = []
    for name, keys in KEYS.items():
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict) or keys - content.keys():
            raise InputError(
                f"{shown_path(folder)}: has no {name} that can be read; give the folder of an encoder tuned by "
                "python -m Safety_Tuning.tune"
            )
        found.append(content)
    return found[0], found[1]
