"""The average similarity b of an encoder: what two unrelated prompts score."""

from collections.abc import Callable, Sequence

import numpy as np

from utils import encoders, hub
from utils.data.catalogue import BEAVERTAILS
from utils.embed import Embedder
from utils.metrics import embedding as metrics
from utils.schema import Baseline, EncoderSpec, InputError
from utils.store.embeddings import EmbeddingStore

BEAVERTAILS_FACT = f"average_similarity beavertails {BEAVERTAILS['revision']}"
CHOICES = ("auto", "paper", "beavertails", "own")


def parse_baseline(text: str) -> str | float:
    """One of CHOICES, or a number below 1. Raises InputError otherwise."""
    if text in CHOICES:
        return text
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -1 <= value < 1:
        raise InputError(f"--baseline {text}: give {', '.join(CHOICES)} or a number of at least -1 and below 1")
    return value


def choose_baseline(
    choice: str | float,
    embedder: Embedder,
    embeddings: np.ndarray,
    groups: Sequence[str],
    note: Callable[[str], None] = lambda sentence: None,
) -> Baseline:
    """The average similarity that `choice` asks for; `auto` is the first of paper, beavertails, own that can be had.

    embeddings: (n, d) of the evaluated prompts; groups: their types or categories, for `own`.
    Raises InputError if what is asked for can't be had.
    """
    if not isinstance(choice, str):
        return Baseline(choice, "given")
    if choice in ("auto", "paper"):
        entry = encoders.paper_entry(embedder.spec)
        if entry is not None:
            return Baseline(entry["average_similarity"], "paper")
        if choice == "paper":
            raise InputError(
                f"--baseline paper: the paper has no figure for {embedder.spec.name}; use own or beavertails"
            )
    fitted = embedder.spec.loader == "tfidf"
    if choice == "beavertails" and fitted:
        raise InputError("--baseline beavertails: tfidf knows the words of the evaluated prompts only; use own")
    if choice in ("auto", "beavertails") and not fitted:
        baseline = beavertails_average_similarity(embedder, required=choice == "beavertails", note=note)
        if baseline is not None:
            return baseline
    own = _own(embeddings, groups)
    if own is None:
        raise InputError("--baseline own: needs prompts of two types or categories at least; give a number")
    return Baseline(own, "own")


def _own(embeddings: np.ndarray, groups: Sequence[str]) -> float | None:
    """The average similarity of the evaluated prompts themselves; None where they are all of one group."""
    return metrics.own_average_similarity(embeddings, groups) if len(set(groups)) > 1 else None


def known_elsewhere(spec: EncoderSpec, store: EmbeddingStore | None) -> dict[str, float]:
    """The encoder's average similarities that are known without the evaluated prompts, by source."""
    entry = encoders.paper_entry(spec)
    kept = store.fact(spec.fingerprint, BEAVERTAILS_FACT) if store else None
    found = {} if entry is None else {"paper": entry["average_similarity"]}
    return found if kept is None else {**found, "beavertails": kept["value"]}


def average_similarities(
    chosen: Baseline, embedder: Embedder, embeddings: np.ndarray, groups: Sequence[str]
) -> dict[str, float]:
    """All of an encoder's average similarities that are known by now, by source.

    chosen: the one that is used. embeddings, groups: as `choose_baseline` takes them.
    """
    own = chosen.value if chosen.source == "own" else _own(embeddings, groups)
    found = known_elsewhere(embedder.spec, embedder.store) | ({} if own is None else {"own": own})
    return found if chosen.source == "given" else {**found, chosen.source: chosen.value}


def settled_source(choice: str | float, spec: EncoderSpec, store: EmbeddingStore) -> str | None:
    """What `choice` comes to for an encoder, as far as that can be told without embedding anything.

    `given` and a number, or the source that choose_baseline would name; None where BeaverTails would have to be
    fetched or embedded.
    """
    if not isinstance(choice, str):
        return f"given {choice!r}"
    if choice in ("auto", "paper") and encoders.paper_entry(spec) is not None:
        return "paper"
    if choice == "own" or (choice == "auto" and spec.loader == "tfidf"):
        return "own"
    if choice in ("auto", "beavertails") and spec.loader != "tfidf":
        if store.fact(spec.fingerprint, BEAVERTAILS_FACT) is not None:
            return "beavertails"
        if choice == "auto" and not hub.is_offline() and not hub.reachable():
            return "own"
    return None


def beavertails_average_similarity(
    embedder: Embedder, required: bool = True, note: Callable[[str], None] = lambda sentence: None
) -> Baseline | None:
    """b over BeaverTails as the paper defines it: 500 x 500 prompts drawn from 30k_train with a fixed seed.

    Kept with the encoder once computed. Where the dataset can't be had: None, or InputError if it is `required`.
    """
    spec, store = embedder.spec, embedder.store
    kept = store.fact(spec.fingerprint, BEAVERTAILS_FACT) if store else None
    if kept is None:
        try:
            head, tail = beavertails_head_and_tail()
        except InputError as error:
            if required:
                raise
            note(f"average similarity from the evaluated set itself: {error}")
            return None
        texts = [*head, *tail]
        vectors = embedder.embed(texts, [f"BeaverTails prompt {i}" for i in range(len(texts))]).matrix
        mean, median, deviation = metrics.average_similarity(vectors[: len(head)], vectors[len(head) :])
        kept = {"value": mean, "median": median, "standard_deviation": deviation}
        if store:
            store.put_fact(spec.fingerprint, BEAVERTAILS_FACT, kept)
    return Baseline(kept["value"], "beavertails", kept["median"], kept["standard_deviation"])


def beavertails_head_and_tail(frame=None) -> tuple[list[str], list[str]]:
    """The 500 + 500 prompts whose 250,000 cosines make the average similarity (Safe-Embed; DESIGN.md, section 3).

    frame: a DataFrame with columns prompt and is_safe in place of BeaverTails, for tests.
    Raises InputError if BeaverTails can't be had.
    """
    import pandas as pd

    if frame is None:
        frame = _beavertails_frame()
    unique = frame.drop_duplicates(subset="prompt", keep="first")
    safe = unique[unique["is_safe"].astype(bool)].sample(n=500, random_state=42)
    unsafe = unique[~unique["is_safe"].astype(bool)].sample(n=500, random_state=42)
    both = pd.concat([safe, unsafe])
    head = both.sample(n=500, random_state=42)
    tail = both.drop(head.index)
    return head["prompt"].tolist(), tail["prompt"].tolist()


def _beavertails_frame():
    path, split, revision = (BEAVERTAILS[key] for key in ("path", "split", "revision"))
    dataset = hub.dataset("BeaverTails", path, split=split, revision=revision)
    return dataset.select_columns(["prompt", "is_safe"]).to_pandas()
