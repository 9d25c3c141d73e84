"""An encoder of MTEB's registry, run by MTEB's own wrapper with the prompt that its authors documented there.

An encoder has one prompt: the one that MTEB gives the texts of a symmetric task (type STS) that its authors don't name.
That is the encoder's prompt for STS in MTEB's registry, else in the checkpoint; else the checkpoint's default prompt;
else none. So E5, whose prompts there are for queries and documents only, gets none, as in MTEB's own STS tasks. An
instructed encoder for which the registry has no instruction for STS gets MTEB's own: "Retrieve semantically similar
text." A wrapper that chooses its prompts in its own code is asked for STS too; in the place of the prompt, the result
then names the wrapper.
"""

import difflib
import functools
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from utils import hub
from utils.encoders.checkpoint_weights import refuse_unfound, weights_found
from utils.encoders.loaders import (
    TOKEN_BUDGET,
    SentenceTransformerEncoder,
    in_memory,
    loaded,
    quiet_libraries,
    settle_vector_math,
)
from utils.encoders.sentence_model import refuse_other_vocabularies, settled_limit
from utils.schema import Checkpoint, EncoderSpec, InputError

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models import ModelMeta

# The beginning of what is in the place of a prompt that only the wrapper knows.
OF_WRAPPER = "(that of "


def entry(name: str, own_code: bool) -> dict:
    """What MTEB's registry says of the encoder `name` (mteb:NAME), in the form of an entry of encoders.yaml.

    own_code: whether the encoder may run its own code. Raises InputError if MTEB is not installed or has no such
    encoder of single texts, or if the encoder may not run the code that it needs.
    """
    if importlib.util.find_spec("mteb") is None:
        raise InputError(f"--model {name}: needs MTEB, which is an extra: pip install -r requirements-mteb.txt")
    meta = _meta(name)
    if meta.loader is None or meta.model_type != ["dense"] or "text" not in meta.modalities:
        kind = ", ".join([*meta.model_type, *meta.modalities])
        raise InputError(f"--model {name}: MTEB has no loader that gives a text one vector ({kind}); name another one")
    if not own_code and _may_run_own_code(meta):
        raise InputError(f"--model {name}: may run its own code; read it, then allow it with --trust-remote-code")
    if meta.name is None or meta.revision is None:
        raise InputError(f"--model {name}: MTEB knows no revision of it, so its vectors would not be pinned")
    pinned = re.fullmatch(r"[0-9a-f]{40}", meta.revision)
    checkpoints = (Checkpoint(meta.name, meta.revision),) if pinned else ()
    weights = meta.loader_kwargs.get("model_kwargs", {})
    dtype = weights.get("dtype", weights.get("torch_dtype", "auto"))
    version = importlib.metadata.version("mteb")
    return {
        "label": meta.name.rpartition("/")[2],
        "loader": "mteb",
        "source": f"{meta.name}, {_wrapper(meta).__name__} of MTEB {version}",
        "revision": meta.revision,
        "dtype": str(getattr(dtype, "value", dtype)).removeprefix("torch."),
        "prompt": _prompt(meta, checkpoints),
        "dimension": None,
        "max_tokens": None,
        "checkpoints": checkpoints,
    }


def _meta(name: str) -> "ModelMeta":
    import mteb

    asked = name.removeprefix("mteb:")
    try:
        return mteb.get_model_meta(asked)
    except KeyError:
        known: dict[str, str] = {}
        for full in filter(None, (meta.name for meta in mteb.get_model_metas())):
            known |= {full.rpartition("/")[2].casefold(): full, full.casefold(): full}
        near = difflib.get_close_matches(asked.casefold(), known, n=3, cutoff=0.5)
        names = ", ".join(dict.fromkeys(f"mteb:{known[one]}" for one in near)) or "none"
        raise InputError(f"--model {name}: MTEB has no such encoder; nearest: {names}") from None


def _wrapper(meta: "ModelMeta") -> Any:
    return getattr(meta.loader, "func", meta.loader)


def _may_run_own_code(meta: "ModelMeta") -> bool:
    """Whether a checkpoint may run code: where MTEB's entry allows it, or where a wrapper of its own decides."""
    from mteb.models.instruct_wrapper import InstructSentenceTransformerModel
    from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper

    asks = (InstructSentenceTransformerModel, SentenceTransformerEncoderWrapper)
    return _wrapper(meta) not in asks or bool(meta.loader_kwargs.get("trust_remote_code"))


@functools.cache
def symmetric_task() -> "TaskMetadata":
    """The task that texts are encoded for, as MTEB describes one."""
    from mteb.abstasks import AbsTaskSTS
    from mteb.abstasks.task_metadata import TaskMetadata

    return TaskMetadata(
        name="SafeEmbed",
        description="Prompts that are compared with each other.",
        type="STS",
        prompt=AbsTaskSTS.abstask_prompt,
        dataset={"path": "safe-embed", "revision": "1"},
        eval_langs=["eng-Latn"],
        main_score="cosine_spearman",
    )


def _prompt(meta: "ModelMeta", checkpoints: Sequence[Checkpoint]) -> str:
    """The prompt of an encoder, found without loading it. checkpoints: its own, none if its revision is no commit."""
    from mteb.models.abs_encoder import get_prompt
    from mteb.models.instruct_wrapper import InstructSentenceTransformerModel
    from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper

    wrapper, arguments = _wrapper(meta), meta.loader_kwargs
    if wrapper is InstructSentenceTransformerModel:
        instructed = wrapper.__new__(wrapper)  # without weights
        instructed.instruction_template = arguments.get("instruction_template")
        instructed.prompts_dict = arguments.get("prompts_dict")
        return instructed.get_task_instruction(symmetric_task(), None)
    if wrapper is SentenceTransformerEncoderWrapper:
        own: dict = {}
        for part in checkpoints:
            file = hub.one_file(part.source, part.revision, "config_sentence_transformers.json")
            own = json.loads(file.read_text(encoding="utf-8")) if file else {}
        prompts = arguments.get("model_prompts") or own.get("prompts") or {}
        prompt = get_prompt(prompts, symmetric_task(), None)
        return prompt if prompt is not None else prompts.get(own.get("default_prompt_name")) or ""
    return f"{OF_WRAPPER}{wrapper.__name__} for STS)"


class MTEBEncoder(SentenceTransformerEncoder):
    """A model that MTEB has loaded, with MTEB's wrapper between it and the texts.

    wrapper: the model as MTEB's tasks get it. task, split: as which MTEB task's texts it encodes them. options: more
    arguments of its `encode`.
    """

    def __init__(
        self,
        wrapper: Any,
        spec: EncoderSpec,
        device: str,
        task: "TaskMetadata | None" = None,
        split: str = "test",
        **options: Any,
    ) -> None:
        from sentence_transformers import SentenceTransformer
        from tokenizers import Tokenizer
        from transformers import PreTrainedTokenizerBase

        inner = getattr(wrapper, "model", None)
        counts = isinstance(inner, SentenceTransformer) and isinstance(
            inner.tokenizer, PreTrainedTokenizerBase | Tokenizer
        )
        self.wrapper, self.device, self.name = wrapper, device, spec.name
        self.prompt = "" if spec.prompt.startswith(OF_WRAPPER) else spec.prompt
        self.model = inner if counts else None
        self.dimension, self.max_tokens = spec.dimension, settled_limit(inner, spec.name) if counts else None
        self.token_budget = TOKEN_BUDGET.get(device.split(":")[0], TOKEN_BUDGET["cpu"])
        self._asked = {"task_metadata": task or symmetric_task(), "hf_split": split, "hf_subset": "default"}
        self._options = {"show_progress_bar": False, **options}
        self._pool = None

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """The number of tokens of each text before truncation: int (n,). An estimate if its tokenizer is not known."""
        if self.model is not None:
            return super().token_counts(texts)
        return np.array([len(text.encode()) // 4 + 1 for text in texts], dtype=np.int64)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """One batch of texts to a float32 array (n, d). Raises InputError if the wrapper fails."""
        try:
            rows = in_memory(lambda: self._encoded(list(texts)))
        except (InputError, MemoryError):
            raise
        except Exception as error:  # any error of a wrapper; its message could contain a text
            raise InputError(
                f"--model {self.name}: {type(self.wrapper).__name__} of MTEB failed with {type(error).__name__}; what "
                "it needs, such as a package or a key, is in MTEB's documentation"
            ) from None
        self.dimension = rows.shape[1]
        return rows

    def _encoded(self, texts: list[str]) -> np.ndarray:
        import torch
        from datasets import Dataset
        from torch.utils.data import DataLoader

        options = {"batch_size": len(texts), **self._options}
        inputs = DataLoader(Dataset.from_dict({"text": texts}), batch_size=options["batch_size"])
        return torch.as_tensor(self.wrapper.encode(inputs, **self._asked, **options)).float().cpu().numpy()


def load(spec: EncoderSpec, devices: list[str]) -> MTEBEncoder:
    """Loads an encoder of MTEB's registry as MTEB does. Raises InputError if it can't be loaded."""
    import logging
    import warnings

    if len(devices) > 1:
        raise InputError(f"--device {','.join(devices)}: {spec.name} runs on one device; name one")
    quiet_libraries()
    settle_vector_math()
    logging.getLogger("mteb").setLevel(logging.ERROR)
    with warnings.catch_warnings(), weights_found() as found:
        warnings.simplefilter("ignore")
        encoder = loaded(spec, lambda: MTEBEncoder(_meta(spec.name).load_model(device=devices[0]), spec, devices[0]))
    if encoder.model is not None:
        refuse_unfound(spec.name, encoder.model, found)
        refuse_other_vocabularies(spec.name, encoder.model)
    return encoder
