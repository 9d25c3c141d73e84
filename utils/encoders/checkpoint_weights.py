"""Refuses a checkpoint that lacks weights of the model, or that has some which the model does not use.

The libraries put random numbers in the place of the first and drop the second, and only log it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from utils.schema import InputError

if TYPE_CHECKING:
    from torch.nn import Module


@contextmanager
def weights_found() -> Iterator[list[tuple[set[str], set[str]]]]:
    """The (missing, unexpected) keys of each checkpoint that transformers loads inside this context."""
    from transformers.utils.loading_report import LoadStateDictInfo

    found, report = [], LoadStateDictInfo.create_loading_report

    def noted(info: LoadStateDictInfo, *arguments: Any) -> str | None:
        found.append((info.missing_and_mismatched(), info.unexpected_keys))
        return report(info, *arguments)

    # The library has no hook; its own method is put back below.
    setattr(LoadStateDictInfo, report.__name__, noted)
    try:
        yield found
    finally:
        setattr(LoadStateDictInfo, report.__name__, report)


def refuse_other_weights(name: str, model: "Module", missing: Iterable[str], unexpected: Iterable[str]) -> None:
    """Raises InputError if a checkpoint lacks weights, or if the model leaves some of its encoder's unused.

    model: the module that they were loaded into. A head for another task, such as predicting words, may be left unused.
    """

    def listed(keys: Iterable[str]) -> str:
        shown = sorted(keys)
        return f"{len(shown)} ({', '.join(shown[:3])}{', ...' if len(shown) > 3 else ''})"

    if missing:
        others = f"; it has {listed(unexpected)} that the model does not have" if unexpected else ""
        raise InputError(
            f"--model {name}: the checkpoint lacks weights of the model: {listed(missing)}{others}; save it again "
            "under the names that the model has"
        )
    unused = [key for key in unexpected if _is_of_encoder(key, model)]
    if unused:
        raise InputError(
            f"--model {name}: config.json (an adapter's: adapter_config.json) leaves weights of the checkpoint unused: "
            f"{listed(unused)}; put back the one that it was saved with"
        )


def _is_of_encoder(key: str, model: "Module") -> bool:
    """Whether a weight that no model has lies inside an encoder's parts, such as in one layer more.

    Buffers that older versions saved, such as position numbers, are not called weight or bias.
    """
    if key.rpartition(".")[2] not in ("weight", "bias"):
        return False
    key = key.removeprefix("base_model.model.")  # of an adapter
    for module in model.modules():
        if hasattr(module, "base_model_prefix"):
            parts = dict(cast("Module", module.base_model).named_children()).keys() - {"pooler"}
            if key.removeprefix(f"{module.base_model_prefix}.").partition(".")[0] in parts:
                return True
    return False


def refuse_unfound(name: str, model: "Module", found: Iterable[tuple[set[str], set[str]]]) -> None:
    """Raises InputError if a sentence-transformers model and its checkpoints have not the same weights.

    found: what weights_found gave.
    """
    pooler = any("pooler_output" in str(getattr(module, "modality_config", "")) for module in model.modules())
    for missing, unexpected in found:
        refuse_other_weights(name, model, [key for key in missing if pooler or "pooler." not in key], unexpected)
