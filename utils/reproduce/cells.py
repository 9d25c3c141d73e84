"""The paper's two tables and ours, cell by cell, for its eleven encoders."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.encoders.paper import paper_figures
from utils.encoders.registry import known_encoders
from utils.files import shown_path
from utils.results import tables as result_tables
from utils.results.result_file import read_result, result_path
from utils.schema import InputError, Metric, Result
from utils.tasks import TASKS

VERDICTS = ("within rounding", "within the interval", "differs")
# The paper prints three decimals, also of its average similarities.
HALF_UNIT = 0.0005
FLOAT_NOISE = 1e-9


@dataclass(frozen=True)
class Cell:
    """A cell of the paper's tables and our value for it. rounding: the largest difference that rounding explains."""

    task: str
    metric: str
    group: str
    ours: Metric
    paper: float
    rounding: float

    @property
    def difference(self) -> float:
        """Ours minus the paper's."""
        return self.ours.value - self.paper

    @property
    def verdict(self) -> str:
        """One of VERDICTS; the first or the last if our value has no interval."""
        if abs(self.difference) <= self.rounding + FLOAT_NOISE:
            return VERDICTS[0]
        if self.ours.interval and self.ours.interval[0] <= self.paper <= self.ours.interval[1]:
            return VERDICTS[1]
        return VERDICTS[2]


@dataclass(frozen=True)
class Reproduction:
    """An encoder's results of both tasks, and the cells that compare them with the paper's figures."""

    name: str
    results: tuple[Result, ...]
    cells: tuple[Cell, ...]

    @property
    def label(self) -> str:
        return self.results[0].encoder.label

    @property
    def verdict(self) -> str:
        """The verdict of the worst cell."""
        return max((cell.verdict for cell in self.cells), key=VERDICTS.index)

    def of(self, metric: str) -> list[Cell]:
        """The cells of one metric."""
        return [cell for cell in self.cells if cell.metric == metric]

    def count(self, verdict: str) -> int:
        """How many cells have this verdict."""
        return sum(cell.verdict == verdict for cell in self.cells)


def papers_tables() -> list[tuple[str, str]]:
    """The task and the metric of each of the paper's tables."""
    return [(task.name, task.headline) for task in TASKS.values() if task.paper_figures]


def rounding_of(value: float, baseline: float | None) -> float:
    """The largest difference between `value` and the paper's figure if both are of exactly the same cosines.

    value: our mean; baseline: the paper's average similarity b, as printed, None if the metric does not depend on it.
    Rounding changes the paper's figure by at most h, half a unit of its last decimal. Normalized similarity also
    depends on b, of which the paper prints only a rounded value: if x is the mean cosine and b* the unrounded average
    similarity, (x - b) / (1 - b) and (x - b*) / (1 - b*) differ by (1 - value) |b - b*| / (1 - b*), which is at most h
    (1 - value) / (1 - b - h). The same bound holds for a mean over types, because each is linear in x.
    """
    if baseline is not None:
        return HALF_UNIT + HALF_UNIT * (1 - value) / (1 - baseline - HALF_UNIT)
    return HALF_UNIT


def read_reproduction(name: str, out: Path, dtype: str = "auto") -> Reproduction:
    """Reads the results of one of the paper's encoders from `out`, in the dtype it is registered with or in `dtype`.

    Raises InputError if a result file is missing or was not computed in the paper's setting.
    """
    results, cells = [], []
    again = f"run: source scripts/reproduce.sh {name}"
    for task, metric in papers_tables():
        path = result_path(out, "paper", task, name)
        found = [path] if path.is_file() else []
        if dtype not in ("auto", known_encoders()[name]["dtype"]):
            found += [one for one in path.parent.glob(f"{path.stem}@*.json") if "+" not in one.stem]
            found = [one for one in found if read_result(one).encoder.dtype == dtype]
        if not found:
            raise InputError(f"{name}: no result in {shown_path(path.parent)}; {again}")
        path = max(found, key=lambda one: one.stat().st_mtime_ns)
        result = read_result(path)
        numbers = result.by_group(metric)
        paper = result_tables.papers_figures(result, metric, [ours.group for ours in numbers])
        if paper is None:
            raise InputError(
                f"{shown_path(path)}: not computed as in the paper (different weights, data, k, average similarity or "
                f"instruction); {again}"
            )
        b = None if result.settings["baseline"] is None else result.settings["baseline"]["value"]
        results.append(result)
        for ours, figure in zip(numbers, paper, strict=True):
            if figure is not None:
                cells.append(Cell(task, metric, ours.group, ours, figure, rounding_of(ours.value, b)))
    return Reproduction(name, tuple(results), tuple(cells))


def chosen_encoders(names: Sequence[str]) -> list[str]:
    """The named encoders, each once, or all of the paper's if none is named. Raises InputError for any other name."""
    for name in names:
        if name not in paper_figures():
            near = difflib.get_close_matches(name, paper_figures(), n=3, cutoff=0.4) or list(paper_figures())
            raise InputError(f"{name}: not one of the paper's eleven encoders; nearest: {', '.join(near)}")
    return list(dict.fromkeys(names)) or list(paper_figures())
