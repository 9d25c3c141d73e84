"""Tunes the top layers of a transformer, with the hidden states of the layers below computed once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module, ModuleList

from Safety_Tuning.candidate import Candidate
from Safety_Tuning.methods import Method, Training
from Safety_Tuning.training_side import TrainingSide
from Safety_Tuning.tuned_folder import add_layer
from utils.embed.embedder import batches
from utils.schema import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Tokens of a prompt that are read while tuning; what is tuned reads as many as its base.
MOST_TOKENS = 48
LAYERS = Training(weights=(1, 2, 5), learning_rate=4e-4, steps=40, triples=48, ordinary=48, warm_up=10, clip=1.0)
# The top one of so many parts of the layers is tuned.
OF_ALL = 3
# Padded tokens of a batch without gradients.
_BUDGET = 4096
# The same with gradients: in small parts by length, little of a batch is padding.
_TRAINED_AT_ONCE = 1024


class Layers(Method):
    """The top layers of a transformer. own: as the base has them."""

    def __init__(
        self,
        side: TrainingSide,
        base: np.ndarray,
        model: "SentenceTransformer",
        name: str,
        how: Training | None = None,
    ) -> None:
        """Raises InputError, which names the model, if it has no layers that can be tuned."""
        self._modules = list(model)
        self.transformer = cast(Any, getattr(self._modules[0], "auto_model", None))
        stack = getattr(getattr(self.transformer, "encoder", None), "layer", None)
        if not isinstance(stack, ModuleList) or not hasattr(self.transformer, "embeddings"):
            raise InputError(
                f"{name}: has no layers that can be tuned, as BERT, RoBERTa and MPNet have; use --method linear"
            )
        layers = max(1, len(stack) // OF_ALL)
        super().__init__(side, base, how or LAYERS, stack[-layers:])
        self._tokenizer, self._most = model.tokenizer, min(MOST_TOKENS, model.max_seq_length or MOST_TOKENS)
        self._lower = stack[:-layers]
        self._embeddings, self._device = self.transformer.embeddings, next(model.parameters()).device
        self._hidden: dict[int, Tensor] = {}

    def trained(self, rows: np.ndarray, *arguments: Any, **keywords: Any) -> Module:
        self._keep(rows)
        return super().trained(rows, *arguments, **keywords)

    def through(self, modules: Module, rows: np.ndarray) -> Tensor:
        self._keep(rows)
        budget = _TRAINED_AT_ONCE if torch.is_grad_enabled() else _BUDGET
        parts = batches(np.array([len(self._hidden[row]) for row in rows]), budget)
        vectors = torch.cat([self._batch(modules, rows[part]) for part in parts])
        return vectors[torch.from_numpy(np.argsort(np.concatenate(parts)))]

    def put(self, model: Any, modules: Module, chosen: Candidate) -> Any:
        rotation = self.rotation(modules, chosen) if chosen.exponent else None
        mixed = self.between(modules, chosen.share)
        for own, tuned in zip(self.own.parameters(), mixed.parameters(), strict=True):
            own.data.copy_(tuned)
        return model if rotation is None else add_layer(model, rotation)

    def _keep(self, rows: np.ndarray) -> None:
        """Computes the hidden states below the top layers of those prompts whose are not there."""
        new = [row for row in dict.fromkeys(rows.tolist()) if row not in self._hidden]
        if not new:
            return
        prompts = [self.side.prompts[row] for row in new]
        ids = self._tokenizer(prompts, truncation=True, max_length=self._most)["input_ids"]
        for batch in batches(np.array(list(map(len, ids)), dtype=int), _BUDGET):
            padded, mask = _padded([torch.tensor(ids[place]) for place in batch], self._tokenizer.pad_token_id)
            with torch.no_grad():
                states = self._read(self._lower, self._embeddings, padded, mask)
            for place, row in zip(batch, states, strict=True):
                self._hidden[new[place]] = row[: len(ids[place])].to("cpu", torch.bfloat16)

    def _batch(self, layers: Module, rows: np.ndarray) -> Tensor:
        states, mask = _padded([self._hidden[row].float() for row in rows], 0.0)
        mask = mask.to(self._device)
        tokens = self._read(layers, _Given(states.to(self._device)), torch.zeros_like(mask), mask)
        features: dict[str, Any] = {"token_embeddings": tokens, "attention_mask": mask}
        for module in self._modules[1:]:
            features = module(features)
        return torch.nn.functional.normalize(features["sentence_embedding"], dim=1)

    def _read(self, layers: Any, embeddings: Any, ids: Tensor, mask: Tensor) -> Tensor:
        """The last hidden states of the model with these layers and embeddings in the place of its own."""
        own = self.transformer.embeddings, self.transformer.encoder.layer
        ids, mask = ids.to(self._device), mask.to(self._device)
        self.transformer.embeddings, self.transformer.encoder.layer = embeddings, layers
        try:
            return self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        finally:
            self.transformer.embeddings, self.transformer.encoder.layer = own


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
