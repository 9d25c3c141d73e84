"""The encoders themselves: weights on a device that turn a batch of texts into vectors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.schema import EncoderSpec, InputError


def choose_device(requested: str) -> str:
    """cuda, else mps, else cpu for `auto`; otherwise what was asked, if this machine has it (InputError if not)."""
    import torch

    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if requested == "auto":
        return next(device for device, available in has.items() if available)
    if not has.get(requested.split(":")[0], False):
        available = ", ".join(device for device, there in has.items() if there)
        raise InputError(f"--device {requested}: not on this machine (there is: {available}); leave the flag out")
    return requested


class SentenceTransformerEncoder:
    """A sentence-transformers model on a device.

    dimension: length of a vector. max_tokens: what it reads of a text at most, None if unbounded.
    """

    def __init__(self, folder: Path, spec: EncoderSpec, device: str) -> None:
        _quiet_libraries()
        import torch
        from sentence_transformers import SentenceTransformer

        self.device = device
        self.prompt = spec.prompt
        try:
            self.model = SentenceTransformer(
                str(folder),
                device=device,
                local_files_only=True,
                trust_remote_code=spec.options.trust_remote_code,
                model_kwargs={"use_safetensors": True, "dtype": getattr(torch, spec.dtype)},
            )
        except ValueError as error:
            if "trust_remote_code" in str(error):
                raise InputError(
                    f"--model {spec.name}: runs code of its own; read it, then allow it with --trust-remote-code"
                ) from None
            raise InputError(f"--model {spec.name}: can't be loaded ({_first_line(error)})") from None
        except (OSError, KeyError, RuntimeError) as error:
            raise InputError(f"--model {spec.name}: can't be loaded ({_first_line(error)})") from None
        # In inference only: a checkpoint that defines a default prompt must not add it where ours says none.
        self.model.default_prompt_name = None
        self.model.eval()
        self.dimension = self.model.get_embedding_dimension()
        self.max_tokens = self.model.max_seq_length

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """How many tokens each text has, prompt included, before any is cut off: int (n,)."""
        encoded = self.model.tokenizer([self.prompt + text for text in texts], truncation=False, padding=False)
        return np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int64)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """One batch of texts to a float32 array (n, d)."""
        return np.asarray(
            self.model.encode(list(texts), prompt=self.prompt, batch_size=len(texts), show_progress_bar=False),
            dtype=np.float32,
        )


def _quiet_libraries() -> None:
    """Keeps the libraries' own progress bars and advice off the terminal; errors still come."""
    import logging

    from huggingface_hub.utils import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    disable_progress_bars()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
