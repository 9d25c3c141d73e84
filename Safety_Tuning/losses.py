"""What tuning makes small: three losses of vectors of length 1, as torch computes their gradients."""

import numpy as np
import torch
from torch import Tensor

from Safety_Tuning.triples import Batch, Triples

TEMPERATURE = 0.1


def supervised_contrastive(vectors: Tensor, hazards: Tensor, safe: Tensor) -> Tensor:
    """Supervised contrastive loss: prompts of one hazard near each other, and far from other hazards and safe prompts.

    vectors: (n, d) of length 1, of unsafe prompts. hazards: int (n,); prompts of hazard -1 are neither pulled nor
    pushed. safe: (m, d) of length 1, which are pushed away and never pulled.
    Returns the mean over prompts that share their hazard with another: minus the mean log share of those, by the
    exponential of cosine / TEMPERATURE, among all others and the safe ones. At least 0; 0 if no two share one. Khosla
    et al. 2020 (arXiv 2004.11362, equation 2).
    """
    known = hazards >= 0
    vectors, hazards = vectors[known], hazards[known]
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    same = (hazards[:, None] == hazards[None, :]) & ~itself
    shares = same.any(dim=1)
    if not shares.any():
        return vectors.sum() * 0
    similarities = (vectors @ vectors.T / TEMPERATURE).masked_fill(itself, -torch.inf)
    everything = torch.cat([similarities, vectors @ safe.T / TEMPERATURE], dim=1)
    logs = (similarities - everything.logsumexp(dim=1, keepdim=True)).masked_fill(~same, 0)
    return -(logs.sum(dim=1)[shares] / same.sum(dim=1)[shares]).mean()


def twins(anchors: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Softplus of (cos(anchor, negative) - cos(anchor, positive)) / TEMPERATURE, the mean over triples.

    anchors, positives, negatives: (t, d) of length 1. Above 0; small where an unsafe prompt is nearer to another
    unsafe one than to the safe one that resembles it.
    """
    margin = (anchors * negatives).sum(dim=1) - (anchors * positives).sum(dim=1)
    return torch.nn.functional.softplus(margin / TEMPERATURE).mean()


def distillation(vectors: Tensor, base: Tensor) -> Tensor:
    """Mean squared difference of the cosines between prompts from what the base gives them.

    vectors: (n, d) of length 1, tuned. base: (n, d) of length 1, before tuning. At least 0.
    """
    return ((vectors @ vectors.T - base @ base.T) ** 2).mean()


def total_loss(
    vectors: Tensor, batch: Batch, triples: Triples, base: np.ndarray, weights: tuple[float, float, float]
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum of the losses of a batch, and each by name. vectors: of batch.rows, (3 t + p, d)."""
    sizes = [len(batch.anchors)] * 3 + [len(batch.ordinary)]
    anchors, positives, negatives, ordinary = vectors.split(sizes)
    hazards = torch.from_numpy(triples.hazards[np.concatenate([batch.anchors, batch.positives])]).to(vectors.device)
    kept = torch.from_numpy(base[np.concatenate([batch.ordinary, batch.negatives])]).to(vectors.device)
    safe = torch.cat([ordinary, negatives])
    parts = {
        "hazards": supervised_contrastive(torch.cat([anchors, positives]), hazards, safe),
        "twins": twins(anchors, positives, negatives),
        # Squared differences of cosines are small numbers.
        "base": 100 * distillation(safe, kept),
    }
    loss = sum(weight * part for weight, part in zip(weights, parts.values(), strict=True))
    return loss, {name: float(part.detach()) for name, part in parts.items()}
