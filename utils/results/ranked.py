"""Which encoders a similarity may rank: those that know topics at least as well as word overlap does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils import config
from utils.results.reference import FOLDER
from utils.results.result_file import read_result
from utils.schema import InputError, Result, is_word_overlap
from utils.tables import number
from utils.tasks import TASKS

WHY = (
    "An encoder whose Categorical Purity is below TF-IDF's gets no rank by a similarity, because one that knows "
    "nothing (Random) has the best similarities there are."
)


@dataclass(frozen=True)
class _Purity:
    """The average purity of an encoder on one dataset with one k; fitted: whether it is TF-IDF's."""

    fingerprint: str
    value: float
    on: tuple
    fitted: bool


def without_rank(results: Sequence[Result], metric: str, outs: Sequence[Path]) -> dict[str, str]:
    """The encoders that a metric must not rank, by name, with the reason.

    results: of one task. outs: the folders in which results of Safety-Taxonomy are looked for, after which come the
    reference results; of an encoder on several datasets that of the same name counts, else the paper's.
    """
    if metric not in TASKS[results[0].task].won_by_nothing:
        return {}
    known = _purities([*outs, config.ROOT / FOLDER])
    return {result.encoder.name: why for result in results if (why := _reason(result, known))}


def _purities(outs: Sequence[Path]) -> dict[str, list[_Purity]]:
    """The purities there are, by name of the dataset."""
    found: dict[str, list[_Purity]] = {}
    for path in (path for out in outs for path in sorted(out.glob("*/safety_taxonomy/*.json"))):
        try:
            result = read_result(path)
        except InputError:
            continue
        average = result.metric(TASKS["safety_taxonomy"].headline, "average")
        if average is not None:
            on = (tuple(file.sha256 for file in result.dataset_files), result.dataset_items, result.settings["top_k"])
            purity = _Purity(result.encoder.fingerprint, average.value, on, is_word_overlap(result.encoder))
            found.setdefault(path.parent.parent.name, []).append(purity)
    return found


def _reason(result: Result, known: dict[str, list[_Purity]]) -> str:
    """Why a result has no rank; '' if it has one."""
    if is_word_overlap(result.encoder):
        return ""
    names = [result.dataset_name, "paper", *sorted(known)]
    for name in names:
        of = known.get(name, [])
        for purity in of:
            floor = next((other for other in of if other.fitted and other.on == purity.on), None)
            if purity.fingerprint == result.encoder.fingerprint and floor is not None:
                if purity.value >= floor.value:
                    return ""
                return f"whose Categorical Purity, {number(purity.value)}, is below TF-IDF's {number(floor.value)}"
    return "whose Categorical Purity is not known: run scripts/safety_taxonomy.sh with it"
