"""Refuses a checkpoint that lacks weights, in whose place the libraries put random numbers."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from utils.schema import InputError


@contextmanager
def weights_found() -> Iterator[list[tuple[set[str], set[str]]]]:
    """The (missing, unexpected) keys of each checkpoint that transformers loads inside this context.

    transformers fills missing weights with random numbers and only logs it; sentence-transformers hides the log.
    """
    from transformers.utils.loading_report import LoadStateDictInfo

    found, report = [], LoadStateDictInfo.create_loading_report

    def noted(info: LoadStateDictInfo, *arguments):
        found.append((info.missing_and_mismatched(), info.unexpected_keys))
        return report(info, *arguments)

    LoadStateDictInfo.create_loading_report = noted
    try:
        yield found
    finally:
        LoadStateDictInfo.create_loading_report = report


def refuse_made_up(name: str, missing: Iterable[str], unexpected: Iterable[str]) -> None:
    """Raises InputError if a checkpoint lacks weights, in whose place the library takes random numbers."""

    def listed(keys: Iterable[str]) -> str:
        shown = sorted(keys)
        return f"{len(shown)} ({', '.join(shown[:3])}{', ...' if len(shown) > 3 else ''})"

    if missing:
        others = f"; it has {listed(unexpected)} that the model does not have" if unexpected else ""
        raise InputError(
            f"--model {name}: the checkpoint lacks weights of the model: {listed(missing)}{others}; save it again "
            "under the names that the model has"
        )


def refuse_unfound(name: str, model, found: Iterable[tuple[set[str], set[str]]]) -> None:
    """Raises InputError if a sentence-transformers model lacks weights that it uses. found: what weights_found gave."""
    pooler = any("pooler_output" in str(getattr(module, "modality_config", "")) for module in model.modules())
    for missing, unexpected in found:
        refuse_made_up(name, [key for key in missing if pooler or "pooler." not in key], unexpected)
