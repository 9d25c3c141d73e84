"""What stands in for an encoder where a test needs to choose the vectors."""

import numpy as np


class StandIn:
    """An encoder without a model; a test gives it `dimension` and `encode`."""

    device, max_tokens, token_budget, max_batch, concurrency = "cpu", None, 4096, None, 1

    def token_counts(self, texts):
        return np.ones(len(texts), dtype=int)

    def plan(self, token_counts):
        return f"embedding {len(token_counts)} texts"

    def close(self):
        pass
