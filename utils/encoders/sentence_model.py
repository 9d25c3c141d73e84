"""Settles a sentence-transformers model that has been loaded, and refuses one whose parts contradict each other."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from utils.schema import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Libraries use 1e30 or infinity for a model that reads texts of any length.
UNBOUNDED = 10**9


def settled_limit(model: "SentenceTransformer", name: str) -> int | None:
    """The most tokens that a sentence-transformers model reads of a text, None if there is no limit.

    A limit beyond the positions that the model has learned is lowered to them. Raises InputError for a limit that
    leaves nothing of a text.
    """
    from torch.nn import Embedding

    limit = model.max_seq_length
    special = model.tokenizer.num_special_tokens_to_add() if callable(model.tokenizer) else 0
    whole = isinstance(limit, int) or (isinstance(limit, float) and limit >= UNBOUNDED)
    if limit is not None and not (whole and limit > special):
        raise InputError(
            f"--model {name}: max_seq_length is {limit!r} (sentence_bert_config.json, or model_max_length in "
            f"tokenizer_config.json); give a whole number of tokens above the {special} that are added to a text"
        )
    for part, table in model[0].named_modules():
        if isinstance(table, Embedding) and part.rpartition(".")[2] in (
            "position_embeddings",
            "wpe",
            "embed_positions",
        ):
            first = getattr(table, "offset", 0) if table.padding_idx is None else table.padding_idx + 1
            if limit is None or limit > table.num_embeddings - first:
                model.max_seq_length = limit = table.num_embeddings - first
    return limit if limit is not None and limit < UNBOUNDED else None


def settle_padding(model: "SentenceTransformer", name: str) -> None:
    """Adds a padding token to a tokenizer that has none. The attention mask hides it from the model."""
    tokenizer = model.tokenizer
    if getattr(tokenizer, "pad_token", "") is None:
        padding = getattr(model[0].config, "pad_token_id", None)
        known = None if padding is None else tokenizer.convert_ids_to_tokens(padding)
        tokenizer.pad_token = known or tokenizer.eos_token or tokenizer.sep_token or tokenizer.unk_token
        if tokenizer.pad_token is None:
            raise InputError(
                f"--model {name}: its tokenizer has no padding token; add pad_token to tokenizer_config.json"
            )


def refuse_other_vocabularies(name: str, model: "SentenceTransformer") -> None:
    """Raises InputError if a module's tokenizer is not the one of its token vectors.

    Without its files, the libraries make a tokenizer that knows the special tokens only, and takes all words for one.
    """
    from transformers import PreTrainedTokenizerBase

    for module in model.modules():
        tokenizer = getattr(module, "tokenizer", None)
        if isinstance(tokenizer, PreTrainedTokenizerBase) and hasattr(module, "auto_model"):
            refuse_other_vocabulary(name, tokenizer, cast("PreTrainedModel", module.auto_model))


def refuse_other_vocabulary(name: str, tokenizer: "PreTrainedTokenizerBase", model: "PreTrainedModel") -> None:
    """Raises InputError if a tokenizer has far fewer tokens than a transformers model has token vectors, or more.

    Tables of vectors are often rounded up. Tokens that were added to the vocabulary may be beyond them, as in some
    checkpoints of Qwen3 and Gemma 3, unless they are used for padding: hardly any text has one.
    """
    try:
        vectors = cast("Tensor", model.get_input_embeddings().weight).shape[0]
    except (AttributeError, NotImplementedError):  # a model of another kind, such as one that reads characters
        return
    known, padding = max(tokenizer.vocab_size, len(tokenizer)), tokenizer.pad_token_id or 0
    if known < vectors / 2 or max(tokenizer.vocab_size - 1, padding) >= vectors:
        raise InputError(
            f"--model {name}: its tokenizer knows {known} tokens, and the model has vectors for {vectors}; put the "
            "model's own tokenizer.json (or its vocabulary) beside its weights"
        )


def settled_dimension(model: "SentenceTransformer", name: str, prompt: str) -> int:
    """The length of a sentence-transformers model's vectors, of which one is computed, so that bad modules are found.

    Raises InputError if a text gets no vector, or one of another length than the modules' settings say.
    """
    try:
        [vector] = model.encode(["a"], prompt=prompt, show_progress_bar=False)
    except KeyError as missing:
        raise InputError(
            f"--model {name}: its modules give a text no vector (no {missing}); put back the modules.json that it was "
            "saved with"
        ) from None
    said = model.get_embedding_dimension()
    if said not in (None, len(vector)):
        speaks = [type(module).__name__ for module in model if hasattr(module, "get_embedding_dimension")]
        raise InputError(
            f"--model {name}: the dimension is {said} by the settings of its module {speaks[-1]}, and {len(vector)} by "
            "its weights; correct that module's config.json"
        )
    return len(vector)


def assumptions(model: "SentenceTransformer", name: str, folder: Path) -> Iterator[str]:
    """Sentences on what is assumed of a sentence-transformers model, or what differs from its authors' use of it."""
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    if not (folder / "modules.json").is_file():
        pooling = [module.pooling_mode for module in model if isinstance(module, Pooling)]
        how = "the last token's" if "lasttoken" in pooling else "the mean of its tokens'" if pooling else "its output"
        yield f"{name} has no modules.json, so a text's vector is taken to be {how}"
    for module in model:
        if isinstance(module, Router):
            routes = ", ".join(module.sub_modules)
            yield f"{name} has several routes ({routes}); every text takes {module._resolve_route(modality='text')}"
    if model.similarity_fn_name == "dot" and not isinstance(model[-1], Normalize):
        yield f"{name} was made for dot products, and is compared by cosine similarity here"
