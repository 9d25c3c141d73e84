"""The encoders that run here: weights on a device that turn a batch of texts into vectors.

Each has `device`, `dimension` (length of a vector), `max_tokens` (what it reads of a text at most, None if unbounded),
`token_budget` (padded tokens of a batch), `max_batch` (texts of a batch), `concurrency` (batches at once),
`token_counts(texts)`, `encode(texts)`, `plan(token_counts)` and `close()`. `encode` raises MemoryError where a batch
does not fit the device. One may have `notes`, sentences on what was assumed of its checkpoint.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from utils.encoders import sentence_model
from utils.encoders.checkpoint_weights import refuse_other_weights, refuse_unfound, weights_found
from utils.schema import EncoderSpec, InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerFast

Built = TypeVar("Built")

# Padded tokens in a batch. A CPU needs matrices of a few hundred rows, a GPU of thousands; the number for a GPU is
# calculated, not measured yet (benchmarks/README.md). A batch that does not fit is halved until it does.
TOKEN_BUDGET = {"cpu": 4096, "mps": 8192, "cuda": 32768}


def choose_devices(requested: str) -> list[str]:
    """The devices to load on: for `auto` cuda, else mps, else cpu; otherwise those requested, separated by commas.

    Raises InputError if this machine lacks one.
    """
    import torch

    there = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if requested == "auto":
        return [next(kind for kind, number in there.items() if number)]
    devices = [device.strip() for device in requested.split(",")]
    for device in devices:
        kind, _, index = device.partition(":")
        if not there[kind] or (kind != "cpu" and index and int(index) >= there[kind]):
            available = ", ".join(
                kind if number == 1 else f"{kind}:0 to {kind}:{number - 1}" for kind, number in there.items() if number
            )
            raise InputError(f"--device {device}: not on this machine (there is: {available}); leave the flag out")
    return devices


class LocalEncoder:
    """What encoders that run here have in common."""

    name: str
    device: str
    dimension: int | None
    max_tokens: int | None
    max_batch, concurrency = None, 1

    def plan(self, token_counts: np.ndarray) -> str:
        """A sentence that describes what is about to be done."""
        return f"embedding {len(token_counts)} distinct texts with {self.name} on {self.device}"

    def close(self) -> None:
        """Ends what was started beside this process; here nothing."""


class SentenceTransformerEncoder(LocalEncoder):
    """A sentence-transformers model on one device, or on several with a process for each.

    A recipe with pooling `pooler_output` uses BERT's pooler (the first token through a dense layer and tanh)
    instead of the checkpoint's own pooling. SimCSE's published vectors are pooled so.
    """

    def __init__(self, folder: Path, spec: EncoderSpec, devices: list[str]) -> None:
        quiet_libraries()
        settle_vector_math()
        self.device, self.name = ", ".join(devices), spec.name
        self.prompt = spec.prompt
        loaded(spec, lambda: self._settle(self._build(folder, spec, devices[0])))
        self.notes = () if spec.recipe else tuple(sentence_model.assumptions(self.model, spec.name, folder))
        self.token_budget = TOKEN_BUDGET[devices[0].split(":")[0]] * len(devices)
        self._parts = len(devices)
        self._pool = self.model.start_multi_process_pool(devices) if len(devices) > 1 else None

    @staticmethod
    def _build(folder: Path, spec: EncoderSpec, device: str) -> "SentenceTransformer":
        import torch
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Transformer

        weights = {"use_safetensors": True, "dtype": getattr(torch, spec.dtype)}
        own_code: dict[str, Any] = {"trust_remote_code": spec.options.trust_remote_code, "local_files_only": True}
        with weights_found() as found:
            if spec.recipe.get("pooling") == "pooler_output":
                transformer = Transformer(
                    str(folder),
                    model_kwargs=weights | own_code,
                    config_kwargs=dict(own_code),
                    processor_kwargs=dict(own_code),
                    modality_config={"text": {"method": "forward", "method_output_name": "pooler_output"}},
                    module_output_name="sentence_embedding",
                )
                model = SentenceTransformer(modules=[transformer], device=device)
            else:
                model = SentenceTransformer(str(folder), device=device, model_kwargs=weights, **own_code)
        refuse_unfound(spec.name, model, found)
        sentence_model.refuse_other_vocabularies(spec.name, model)
        return model

    def _settle(self, model: "SentenceTransformer") -> None:
        # A checkpoint's own default prompt must not be added if the spec has none.
        model.default_prompt_name = None
        self.model = model.eval()
        self.max_tokens = sentence_model.settled_limit(model, self.name)
        sentence_model.settle_padding(model, self.name)
        self.dimension = sentence_model.settled_dimension(model, self.name, self.prompt)

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """The number of tokens of each text before truncation, prompt included: int (n,)."""
        from tokenizers import Tokenizer

        tokenizer, texts = self.model.tokenizer, [self.prompt + text for text in texts]
        if isinstance(tokenizer, Tokenizer):  # static embeddings take no special tokens
            ids = [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
        elif not callable(tokenizer):  # word vectors
            ids = [tokenizer.tokenize(text) for text in texts]
        else:
            ids = tokenizer(texts, truncation=False, padding=False)["input_ids"]
        return np.array(list(map(len, ids)), dtype=np.int64)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """One batch of texts to a float32 array (n, d)."""
        size = -(-len(texts) // self._parts)
        pool: dict[str, Any] = {} if self._pool is None else {"pool": self._pool, "chunk_size": size}
        try:
            return in_memory(
                lambda: self.model.encode(
                    list(texts), prompt=self.prompt, batch_size=size, show_progress_bar=False, **pool
                )
            )
        except IndexError:
            raise InputError(
                f"--model {self.name}: a text has a token that was added to the tokenizer and for which the model has "
                "no vector; put the model's own tokenizer.json beside its weights, or leave that text out"
            ) from None

    def close(self) -> None:
        """Ends the processes of several devices."""
        if self._pool is not None:
            self.model.stop_multi_process_pool(self._pool)
            self._pool = None


class LLM2VecEncoder(LocalEncoder):
    """LLM2Vec (arXiv 2404.05961): a decoder that attends in both directions, with two LoRA adapters, mean-pooled.

    base, mntp, adapter: folders of the language model, of the adapter that is merged into it, and of the one on top.
    Vectors are those of `llm2vec` 0.2.3, which needs a transformers of its own and so can't be used: the text is cut to
    `max_tokens` tokens by whole words, wrapped in the base's chat turn, and pooled over its own tokens and the closing
    ones, without the opening of the turn and without the instruction (the spec's prompt).
    """

    max_tokens: int

    def __init__(self, base: Path, mntp: Path, adapter: Path, spec: EncoderSpec, devices: list[str]) -> None:
        quiet_libraries()
        settle_vector_math()
        if len(devices) > 1:
            raise InputError(f"--device {','.join(devices)}: {spec.name} runs on one device; name one")
        self.device, self.name = devices[0], spec.name
        self.instruction = f"{spec.prompt.strip()} " if spec.prompt.strip() else ""
        self.before, self.after = str(spec.recipe["before"]), str(spec.recipe["after"])
        self.max_length = int(spec.recipe["max_length"])
        self.model, self.tokenizer = loaded(spec, lambda: self._build(base, mntp, adapter, spec, devices[0]))
        self.dimension, self.max_tokens = self.model.config.hidden_size, cast(int, spec.max_tokens)
        self.token_budget = TOKEN_BUDGET[devices[0].split(":")[0]]

    @staticmethod
    def _build(
        base: Path, mntp: Path, adapter: Path, spec: EncoderSpec, device: str
    ) -> tuple[Any, "PreTrainedTokenizerFast"]:
        import torch
        from peft import PeftModel
        from transformers import AutoModel, PreTrainedTokenizerFast

        # From tokenizer.json: the class that a Llama checkpoint names would rebuild it and split words differently.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(mntp, local_files_only=True)
        tokenizer.pad_token = tokenizer.eos_token
        tokenizer.padding_side = "left"
        model, found = AutoModel.from_pretrained(
            base,
            dtype=getattr(torch, spec.dtype),
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
        refuse_other_weights(spec.name, model, found["missing_keys"], found["unexpected_keys"])
        sentence_model.refuse_other_vocabulary(spec.name, tokenizer, model)
        model.config.is_causal = False

        def adapted(model: Any, folder: Path) -> Any:
            model = PeftModel.from_pretrained(model, folder)
            found = model.load_adapter(folder, "default")  # loaded again to learn which weights it has
            refuse_other_weights(spec.name, model, found.missing_keys, found.unexpected_keys)
            return model

        return adapted(adapted(model, mntp).merge_and_unload(), adapter).to(device).eval(), tokenizer

    def _lengths(self, texts: Sequence[str], **more: Any) -> list[int]:
        return [len(ids) for ids in self.tokenizer(list(texts), add_special_tokens=False, **more)["input_ids"]]

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """The number of tokens of each text by itself, before truncation: int (n,)."""
        return np.array(self._lengths(texts), dtype=np.int64)

    def _shortened(self, text: str) -> str:
        [length] = self._lengths([text], truncation=True, max_length=self.max_length)
        while length > self.max_tokens:
            words = text.split()
            text = " ".join(words[: int(len(words) * (self.max_tokens / length))])
            [length] = self._lengths([text], truncation=True, max_length=self.max_length)
        return text

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """One batch of texts to a float32 array (n, d)."""
        import torch

        ends = [self._shortened(text).rstrip() + self.after for text in texts]
        features = self.tokenizer(
            [self.before + self.instruction + end for end in ends],
            padding=True,
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        )
        pooled = self._lengths(ends, truncation=True, max_length=self.max_length)

        def vectors() -> np.ndarray:
            with torch.inference_mode():
                hidden = self.model(
                    input_ids=features["input_ids"].to(self.device),
                    attention_mask=features["attention_mask"].to(self.device),
                    use_cache=False,
                ).last_hidden_state  # (n, tokens, d), padded on the left
                rows = [hidden[i, -length:].mean(dim=0) for i, length in enumerate(pooled)]
                return torch.stack(rows).float().cpu().numpy()

        return in_memory(vectors)


def loaded(spec: EncoderSpec, build: Callable[[], Built]) -> Built:
    """The value of `build`. Raises InputError if the checkpoint can't be loaded."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # a mismatch of PEFT and transformers that a user can't fix
        warnings.filterwarnings("ignore", "Found missing adapter keys")  # missing weights are an error here
        return _built(spec, build)


def _built(spec: EncoderSpec, build: Callable[[], Built]) -> Built:
    try:
        return build()
    except InputError:
        raise
    except Exception as error:  # any error that a checkpoint's files may cause
        if "trust_remote_code" in str(error):
            raise InputError(
                f"--model {spec.name}: runs its own code; read it, then allow it with --trust-remote-code"
            ) from None
        if _is_out_of_memory(error):
            raise InputError(
                f"--model {spec.name}: its weights don't fit the device's memory; try --dtype bfloat16, another "
                "--device or a smaller encoder"
            ) from None
        raise InputError(f"--model {spec.name}: can't be loaded ({_in_one_line(error)})") from None


def in_memory(compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The value of `compute` as float32. Raises MemoryError if the device has too little memory."""
    import torch

    try:
        return np.asarray(compute(), dtype=np.float32)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    raise MemoryError


def _is_out_of_memory(error: Exception) -> bool:
    # CUDA and MPS raise the first, the CPU's allocator the others. From a worker process only the message arrives.
    return any(words in str(error) for words in ("out of memory", "not enough memory", "can't allocate memory"))


def settle_vector_math() -> None:
    """Calls sine and cosine once, on one thread.

    On a CPU, the first call of a process is sometimes less exact if several threads make it: rotary positions were off
    by 1.5e-4 and vectors by 1e-4, and the store would keep them.
    """
    import torch

    torch.zeros(1).sin()
    torch.zeros(1).cos()


def quiet_libraries() -> None:
    """Hides the libraries' progress bars and warnings. Errors are still shown."""
    import logging

    from huggingface_hub.utils import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    disable_progress_bars()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.CRITICAL)


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
