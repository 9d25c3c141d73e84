"""What stands in for an encoder, or for its results, where a test needs to choose the numbers."""

import json
from dataclasses import replace
from hashlib import sha256

import numpy as np

from utils.metrics import summary
from utils.metrics.uncertainty import own_influence
from utils.results import result_file
from utils.schema import OWN, DataFile, EmbeddingStats, EncoderInfo, Result

GROUPS = ["a"] * 12 + ["b"] * 10


class StandIn:
    """An encoder without a model; a test gives it `dimension` and `encode`."""

    device, max_tokens, token_budget, max_batch, concurrency = "cpu", None, 4096, None, 1

    def token_counts(self, texts):
        return np.ones(len(texts), dtype=int)

    def plan(self, token_counts):
        return f"embedding {len(token_counts)} texts"

    def close(self):
        pass


class Scattered(StandIn):
    """A text's vector is drawn from its letters, so that texts are far apart and the same text is always the same."""

    dimension = 16

    def encode(self, texts):
        drawn = [np.random.default_rng(list(text.encode())).normal(size=16) for text in texts]
        return np.array(drawn, dtype=np.float32)


def written(out, name, values, task="safety_challenging", metric="normalized_similarity", groups=GROUPS, **more):
    """A result file of a made-up encoder with these per-item scores."""
    info = EncoderInfo(name, name.upper(), "made up", "1", 3, "float32", None, "", "torch", name)
    settings = {
        "top_k": None,
        "threshold": 0.5,
        "bootstrap": 1000,
        "seed": 42,
        "baseline": {"value": 0, "source": "own"},
    }
    result = Result(
        task=task, created="2026-01-01T00:00:00+00:00", seconds=0.1, encoder=info, dataset_name="made-up",
        dataset_files=(DataFile("x.csv", "0" * 64, len(values)),), dataset_items=len(values), settings=settings,
        embedding=EmbeddingStats(1, 1, 1, 0, 0.0),
        metrics=tuple(summary.summarise(metric, values, groups, sorted(set(groups)), "lower", resamples=1000)),
        environment={},
        items={"id": [f"i{k}" for k in range(len(values))], "type": groups, metric: list(values)},
        influence={metric: own_influence(values, groups, sorted(set(groups))), OWN: np.zeros(len(values))},
    )  # fmt: skip
    return result_file.write_result(replace(result, **more), out)


def known(out, *names, floor="tfidf", purity=0.9):
    """Results of Safety-Taxonomy that let a similarity rank these encoders: their purity, and TF-IDF's of 0.5."""
    settings = {"top_k": 10, "threshold": None, "bootstrap": 0, "seed": 42, "baseline": None}
    for name in (*names, floor):
        backend = "scikit-learn" if name == floor else "torch"
        encoder = EncoderInfo(name, name.upper(), "made up", "1", 3, "float32", None, "", backend, name)
        values = [0.5 if name == floor else purity] * len(GROUPS)
        more = {"encoder": encoder, "settings": settings, "dataset_name": "known"}
        written(out, name, values, "safety_taxonomy", "categorical_purity", **more)


def tie(path):
    """Makes the items that a test has changed those of the result file at `path`."""
    document = json.loads(path.read_text())
    document["items"]["sha256"] = sha256(path.with_name(f"{path.stem}.items.csv").read_bytes()).hexdigest()
    path.write_text(json.dumps(document))
