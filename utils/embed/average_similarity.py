"""The average similarity of an encoder over BeaverTails, as the paper defines it."""

from collections.abc import Callable
from typing import Any

from utils import hub
from utils.data.catalogue import BEAVERTAILS
from utils.embed.embedder import Embedder
from utils.metrics import embedding as metrics
from utils.schema import Baseline, InputError

BEAVERTAILS_FACT = f"average_similarity beavertails {BEAVERTAILS['revision']}"


def beavertails_average_similarity(
    embedder: Embedder, required: bool = True, note: Callable[[str], object] = lambda sentence: None
) -> Baseline | None:
    """The average similarity over BeaverTails as the paper defines it, or None if the dataset is not available.

    500 x 500 prompts are drawn from 30k_train with a fixed seed. The value is stored with the encoder.
    required: whether to raise InputError if the dataset is not available.
    """
    spec, store = embedder.spec, embedder.store
    kept = store.fact(spec.fingerprint, BEAVERTAILS_FACT) if store else None
    if kept is None:
        try:
            head, tail = beavertails_head_and_tail()
        except InputError as error:
            if required:
                raise
            note(f"the average similarity is that of the evaluated prompts (own), because {error}")
            return None
        texts = [*head, *tail]
        vectors = embedder.embed(texts, [f"BeaverTails prompt {i}" for i in range(len(texts))]).matrix
        mean, median, deviation = metrics.average_similarity(vectors[: len(head)], vectors[len(head) :])
        kept = {"value": mean, "median": median, "standard_deviation": deviation}
        if store:
            store.put_fact(spec.fingerprint, BEAVERTAILS_FACT, kept)
    return Baseline(kept["value"], "beavertails", kept["median"], kept["standard_deviation"])


def beavertails_head_and_tail(frame: Any = None) -> tuple[list[str], list[str]]:
    """The 500 + 500 prompts whose 250,000 cosines are averaged (Safe-Embed; docs/metrics.md).

    frame: a DataFrame with columns prompt and is_safe in place of BeaverTails, for tests.
    Raises InputError if BeaverTails can't be loaded.
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


def _beavertails_frame() -> Any:
    path, split, revision = (BEAVERTAILS[key] for key in ("path", "split", "revision"))
    dataset = hub.dataset("BeaverTails", path, split=split, revision=revision)
    return dataset.select_columns(["prompt", "is_safe"]).to_pandas()
