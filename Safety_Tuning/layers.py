"""Tunes the top layers of a transformer, with the hidden states of the layers below computed once."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module, ModuleList

from Safety_Tuning.losses import total_loss
from Safety_Tuning.triples import Triples
from utils.embed.embedder import batches
from utils.schema import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Tokens of a prompt that are read while tuning; what is tuned reads as many as its base.
MOST_TOKENS = 64
# Padded tokens of a batch without gradients.
_BUDGET = 4096
# The same with gradients: in small parts by length, little of a batch is padding.
_TRAINED_AT_ONCE = 1024


@dataclass(frozen=True)
class Training:
    """How layers are trained.

    of_all: the top one of so many parts of the layers is trained. weights: of the losses, supervised contrastive, twins
    and distillation. learning_rate: the highest, reached after `warm_up` steps, from which it falls to 0. triples,
    ordinary: prompts of a batch. clip: the largest norm of a gradient.
    """

    of_all: int = 3
    weights: tuple[float, float, float] = (1.0, 1.0, 3.0)
    learning_rate: float = 4e-4
    steps: int = 40
    warm_up: int = 10
    triples: int = 48
    ordinary: int = 48
    clip: float = 1.0


class Split:
    """A sentence-transformers model, cut below its top layers.

    upper: the layers that are tuned, as the base has them.
    """

    def __init__(self, model: "SentenceTransformer", of_all: int, name: str) -> None:
        """of_all: as in Training. Raises InputError if the model has no layers that can be tuned."""
        self._modules = list(model)
        self.transformer = cast(Any, getattr(self._modules[0], "auto_model", None))
        stack = getattr(getattr(self.transformer, "encoder", None), "layer", None)
        if not isinstance(stack, ModuleList) or not hasattr(self.transformer, "embeddings"):
            raise InputError(
                f"{name}: has no layers that can be tuned, as BERT, RoBERTa and MPNet have; use --method linear"
            )
        layers = max(1, len(stack) // of_all)
        self._tokenizer, self._most = model.tokenizer, min(MOST_TOKENS, model.max_seq_length or MOST_TOKENS)
        self._lower, self.upper = stack[:-layers], stack[-layers:]
        self._embeddings, self._device = self.transformer.embeddings, next(model.parameters()).device
        self._hidden: dict[str, Tensor] = {}

    def keep(self, texts: Sequence[str], progress: Callable[[int], object] = lambda number: None) -> None:
        """Computes the hidden states below the top layers of those texts whose are not there."""
        new = [text for text in dict.fromkeys(texts) if text not in self._hidden]
        ids = [one[: self._most] for one in self._tokens(new)]
        for batch in batches(np.array(list(map(len, ids)), dtype=int), _BUDGET):
            padded, mask = _padded([torch.tensor(ids[place]) for place in batch], self._tokenizer.pad_token_id)
            with torch.no_grad():
                states = self._through(self._lower, self._embeddings, padded, mask)
            for place, row in zip(batch, states, strict=True):
                self._hidden[new[place]] = row[: len(ids[place])].to("cpu", torch.bfloat16)
            progress(len(batch))

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return self._tokenizer(list(texts), truncation=True, max_length=self._most)["input_ids"] if texts else []

    def vectors(self, layers: ModuleList, texts: Sequence[str], budget: int = _BUDGET) -> Tensor:
        """The vectors (n, d), of length 1, of texts whose hidden states are kept, with these top layers.

        budget: the most padded tokens that are computed at once.
        """
        parts = batches(np.array([len(self._hidden[text]) for text in texts]), budget)
        rows = torch.cat([self._batch(layers, [texts[place] for place in part]) for part in parts])
        return rows[torch.from_numpy(np.argsort(np.concatenate(parts)))]

    def _batch(self, layers: ModuleList, texts: Sequence[str]) -> Tensor:
        states, mask = _padded([self._hidden[text].float() for text in texts], 0.0)
        mask = mask.to(self._device)
        tokens = self._through(layers, _Given(states.to(self._device)), torch.zeros_like(mask), mask)
        features: dict[str, Any] = {"token_embeddings": tokens, "attention_mask": mask}
        for module in self._modules[1:]:
            features = module(features)
        return torch.nn.functional.normalize(features["sentence_embedding"], dim=1)

    def encode(self, layers: ModuleList, texts: Sequence[str]) -> np.ndarray:
        """The same as float32 (n, d), without gradients."""
        self.keep(texts)
        with torch.no_grad():
            return self.vectors(layers, texts).cpu().numpy()

    def _through(self, layers: Any, embeddings: Any, ids: Tensor, mask: Tensor) -> Tensor:
        """The last hidden states of the model with these layers and embeddings in the place of its own."""
        own = self.transformer.embeddings, self.transformer.encoder.layer
        ids, mask = ids.to(self._device), mask.to(self._device)
        self.transformer.embeddings, self.transformer.encoder.layer = embeddings, layers
        try:
            return self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        finally:
            self.transformer.embeddings, self.transformer.encoder.layer = own

    def trained(
        self, prompts: Sequence[str], triples: Triples, base: np.ndarray, how: Training, seed: int,
        progress: Callable[[dict[str, float]], object] = lambda parts: None,
    ) -> ModuleList:  # fmt: skip
        """The top layers after training on some prompts.

        prompts: n, those of the triples. base: float32 (n, d), their vectors of length 1 by the base.
        progress: called after each step with the losses by name.
        """
        torch.manual_seed(seed)
        drawn = np.random.default_rng(seed)
        layers = copy.deepcopy(self.upper).eval()  # without dropout
        parameters = [parameter.requires_grad_(True) for parameter in layers.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=how.learning_rate, weight_decay=0.01)
        rates = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1, (step + 1) / how.warm_up) * (1 - step / how.steps)
        )
        self.keep(prompts)
        for _ in range(how.steps):
            batch = triples.batch(drawn, how.triples, how.ordinary)
            vectors = self.vectors(layers, [prompts[row] for row in batch.rows], _TRAINED_AT_ONCE)
            loss, parts = total_loss(vectors, batch, triples, base, how.weights)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, how.clip)
            optimizer.step()
            rates.step()
            progress(parts)
        return layers.requires_grad_(False)

    def put(self, layers: ModuleList) -> None:
        """Gives the model these top layers for good."""
        for own, tuned in zip(self.upper.parameters(), layers.parameters(), strict=True):
            own.data.copy_(tuned.data)

    def mean(self, trained: Sequence[ModuleList]) -> ModuleList:
        """Top layers whose weights are the means of several."""
        mean = copy.deepcopy(trained[0])
        with torch.no_grad():
            for weight, *those in zip(mean.parameters(), *(one.parameters() for one in trained), strict=True):
                weight.copy_(torch.stack(those).mean(dim=0))
        return mean

    def between(self, layers: ModuleList, share: float) -> ModuleList:
        """Top layers with weights base + share (layers - base), so that 0 is the base and 1 is what was trained."""
        mixed = copy.deepcopy(layers)
        with torch.no_grad():
            for weight, own in zip(mixed.parameters(), self.upper.parameters(), strict=True):
                weight.copy_(own + share * (weight - own))
        return mixed


class _Given(Module):
    """In the place of a model's embeddings: hidden states that were computed before."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states

    def forward(self, *arguments: Any, **keywords: Any) -> Tensor:
        return self.states


def _padded(rows: Sequence[Tensor], value: float) -> tuple[Tensor, Tensor]:
    """Rows of tokens or of their states, padded to the longest, and the mask of what is no padding."""
    padded = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)
    lengths = torch.tensor([len(row) for row in rows])
    return padded, (torch.arange(padded.shape[1])[None, :] < lengths[:, None]).long()
