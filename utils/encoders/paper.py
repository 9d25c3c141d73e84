"""The paper's figures, and the encoders beside which they may be shown."""

import functools
import json
from pathlib import Path

from utils.encoders.registry import known_encoders, listed_checkpoints
from utils.schema import EncoderInfo, EncoderSpec

PAPER_FIGURES_FILE = Path(__file__).with_name("paper_figures.json")


@functools.cache
def paper_figures() -> dict[str, dict]:
    """The paper's figures by encoder name: average_similarity, normalized_similarity, categorical_purity_at_10, ..."""
    figures = json.loads(PAPER_FIGURES_FILE.read_text(encoding="utf-8"))
    return {entry["name"]: entry for entry in figures["encoders"]}


def paper_entry(encoder: EncoderSpec | EncoderInfo) -> dict | None:
    """The paper's figures for an encoder, or None if its weights or its prompt are not those of the paper's encoder.

    A checkpoint given by its Hugging Face id counts too, if the registry loads that encoder without a recipe.
    """
    for name, figures in paper_figures().items():
        entry = known_encoders()[name]
        if entry["loader"] == "openai":
            same = encoder.source == figures["checkpoint"]
        else:
            loaded_alike = encoder.name == name or "recipe" not in entry
            same = loaded_alike and encoder.source == entry["source"] and _is_pinned(encoder.revision, entry)
        if same and encoder.prompt == entry["prompt"]:
            return figures
    return None


def _is_pinned(revision: str, entry: dict) -> bool:
    """Whether a resolved revision consists of the commits that a registry entry pins."""
    commits, parts = revision.split(" + "), listed_checkpoints(entry)
    pinned = [expected or ("" if named == "main" else named) for _, named, expected in parts]
    return len(commits) == len(pinned) and all(map(str.startswith, commits, pinned))
