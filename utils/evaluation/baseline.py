"""Chooses the average similarity b of a run: what two unrelated prompts score."""

from collections.abc import Callable, Sequence

import numpy as np

from utils import hub
from utils.embed.average_similarity import BEAVERTAILS_FACT, beavertails_average_similarity
from utils.embed.embedder import Embedder
from utils.encoders import paper
from utils.metrics import embedding as metrics
from utils.schema import Baseline, EncoderSpec, InputError, is_control
from utils.store.embeddings import EmbeddingStore


def choose_baseline(
    choice: str | float,
    embedder: Embedder,
    embeddings: np.ndarray,
    groups: Sequence[str],
    note: Callable[[str], object] = lambda sentence: None,
) -> Baseline:
    """The average similarity by `choice`; `auto` is the first of paper, beavertails and own that is available.

    embeddings: (n, d) of the evaluated prompts; groups: their types or categories, for `own`.
    Raises InputError if the choice is not available.
    """
    if not isinstance(choice, str):
        return Baseline(choice, "given")
    if choice in ("auto", "paper"):
        entry = paper.paper_entry(embedder.spec)
        if entry is not None:
            return Baseline(entry["average_similarity"], "paper")
        if choice == "paper":
            raise InputError(
                f"--baseline paper: the paper has no figure for {embedder.spec.name}; use own or beavertails"
            )
    control = is_control(embedder.spec)
    if choice == "beavertails" and control:
        raise InputError(f"--baseline beavertails: {embedder.spec.name} is a control, which has its own only; use own")
    if choice in ("auto", "beavertails") and not control:
        baseline = beavertails_average_similarity(embedder, required=choice == "beavertails", note=note)
        if baseline is not None:
            return baseline
    own = _own(embeddings, groups)
    if own is None:
        raise InputError(
            "the average similarity (own) needs prompts of two types or categories; add others, or give a number, "
            "as --baseline 0.1"
        )
    return Baseline(own, "own")


def _own(embeddings: np.ndarray, groups: Sequence[str]) -> float | None:
    """The average similarity of the evaluated prompts themselves; None if they are all of one group."""
    return metrics.own_average_similarity(embeddings, groups) if len(set(groups)) > 1 else None


def known_elsewhere(spec: EncoderSpec, store: EmbeddingStore | None) -> dict[str, float]:
    """The encoder's average similarities that are known without the evaluated prompts, by source."""
    entry = paper.paper_entry(spec)
    kept = store.fact(spec.fingerprint, BEAVERTAILS_FACT) if store else None
    found = {} if entry is None else {"paper": entry["average_similarity"]}
    return found if kept is None else {**found, "beavertails": kept["value"]}


def average_similarities(
    chosen: Baseline, embedder: Embedder, embeddings: np.ndarray, groups: Sequence[str]
) -> dict[str, float]:
    """All known average similarities of an encoder, by source.

    chosen: the one in use. embeddings, groups: as in `choose_baseline`.
    """
    own = chosen.value if chosen.source == "own" else _own(embeddings, groups)
    found = known_elsewhere(embedder.spec, embedder.store) | ({} if own is None else {"own": own})
    return found if chosen.source == "given" else {**found, chosen.source: chosen.value}


def is_outdated(source: str, spec: EncoderSpec, store: EmbeddingStore | None) -> bool:
    """Whether `auto`, which gave an average similarity of this source, may give one of BeaverTails by now."""
    if source != "own" or is_control(spec):
        return False
    return "beavertails" in known_elsewhere(spec, store) or hub.reachable()
