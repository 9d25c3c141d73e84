"""How often the program's intervals hold the true score, in made-up worlds of prompts in which it is known.

    python benchmarks/intervals.py [--draws 400] [--worlds 1,2,3] [--processes 2]

A world has categories with six topics each, in 16 dimensions, and each prompt five safe edits. Prompts are drawn anew
each time and seen by three encoders, each with a part of its own that is noise: two with as much of it, of which
neither is better, and one with more. The tasks' own code scores them. For each score, and for its difference between
two encoders, it prints how often the 95 % interval holds the mean of all draws: the interval from the items' own scores
alone, from leaving each prompt out (of purity, where it makes a difference), and ours; then the standard error of ours
over the true one. For two encoders as good as each other it prints how often p is below 0.05.
"""

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils import cli
from utils.evaluation.settings import Settings
from utils.metrics.embedding import own_average_similarity
from utils.metrics.influence import average_similarity_influence, neighbor_influence, received_influence
from utils.metrics.uncertainty import own_influence, paired_differences
from utils.schema import Baseline, Dataset, EncoderOptions, InputError

DIMENSIONS, TOPICS, EDITS, RESAMPLES = 16, 6, 5, 1000
# The standard deviation of what an encoder sees besides: two that are as good as each other, and a worse one.
NOISE = {"A": 0.5, "B": 0.5, "C": 0.8}
METHODS = ("items", "left out", "ours")
THRESHOLD, CURVE = 0.6, (1, 5, 10, 20)

# A score, which encoder's difference from the first it is (0: the first itself), and the method.
Shown = tuple[str, int, str]


@dataclass(frozen=True)
class World:
    """sizes: of the categories. k: of Categorical Purity. spread: standard deviation of a prompt about its topic.

    shared: of the categories about the origin, beside 1 of a topic about its category. edit: of an edit about its
    prompt.
    """

    title: str
    sizes: tuple[int, ...]
    k: int
    spread: float = 0.8
    shared: float = 0.0
    edit: float = 1.5


WORLDS = (
    World("12 categories as large as the paper's, k = 10", (28, 95, 53, 67, 50, 112, 136, 132, 71, 40, 63, 92), 10),
    World("12 categories of 12, k = 5", (12,) * 12, 5),
    World("8 overlapping categories of 25, k = 10", (25,) * 8, 10, spread=0.6, shared=0.5),
)


def draw(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What is known of the prompts of a world, (n, 1 + EDITS, 1 + encoders, DIMENSIONS), and their categories, (n,).

    Of each prompt and then of its edits: what all encoders see of it, then what each sees besides.
    """
    world, fixed, rng = WORLDS[number], np.random.default_rng(number), np.random.default_rng([number, seed])
    category = np.repeat(np.arange(len(world.sizes)), world.sizes)
    centers = fixed.normal(0, world.shared, (len(world.sizes), 1, DIMENSIONS))
    centers = centers + fixed.normal(0, 1, (len(world.sizes), TOPICS, DIMENSIONS))
    shares = fixed.dirichlet(np.full(TOPICS, 3.0), len(world.sizes)).cumsum(axis=1)
    topic = (rng.random(len(category))[:, None] > shares[category]).sum(axis=1).clip(max=TOPICS - 1)
    prompts = rng.normal(0, 1, (len(category), 1, 1 + len(NOISE), DIMENSIONS))
    prompts[:, 0, 0] = centers[category, topic] + world.spread * prompts[:, 0, 0]
    size = world.edit * rng.uniform(0.5, 1.5, (len(category), EDITS, 1, 1))
    edits = prompts + size * rng.normal(0, 1, (len(category), EDITS, *prompts.shape[2:]))
    return np.concatenate([prompts, edits], axis=1), category


@dataclass(frozen=True)
class Scored:
    """The scores of n prompts, (n,), and by method their influences, (n, G).

    intervals: the program's own, by category or summary; none if the bootstrap has no resamples.
    """

    values: np.ndarray
    influence: dict[str, np.ndarray]
    intervals: dict[str, tuple[float, float]]


def scored(number: int, seen: np.ndarray, category: np.ndarray, resamples: int, seed: int) -> dict[str, Scored]:
    """The three tasks' scores of one encoder. seen: (n, 1 + EDITS, DIMENSIONS)."""
    from Safety_Challenging import task as challenging
    from Safety_Contrast import task as contrast
    from Safety_Taxonomy import task as taxonomy

    left_out: list[np.ndarray] = []

    def recorded(same: np.ndarray, units: np.ndarray, categories, order, k: int) -> np.ndarray:
        """`neighbor_influence`, and by the way what leaving each prompt out says instead."""
        own = own_influence(same[:, :k].mean(axis=1), categories, order)
        left_out.append(own + received_influence(same, units, categories, order, k, same[:, k].astype(float)))
        return neighbor_influence(same, units, categories, order, k)

    n = len(seen)
    groups, order = tuple(map(str, category)), tuple(map(str, range(len(WORLDS[number].sizes))))
    settings = Settings(
        models=(), data="", top_k=WORLDS[number].k, threshold=THRESHOLD, baseline="own", out=Path(), limit=None,
        bootstrap=resamples, seed=seed, quiet=True, use_store=False, encoder=EncoderOptions(device="cpu"),
    )  # fmt: skip
    found: dict[str, Scored] = {}
    for module, names, prefix in (
        (challenging, ["unsafe_prompt", "safe_prompt"], "pairs, "),
        (contrast, ["original_prompt", *(f"prompt_#{j}" for j in range(1, 1 + EDITS))], "edits, "),
        (taxonomy, ["question"], ""),
    ):
        vectors = {name: seen[:, j] for j, name in enumerate(names)}
        texts = {name: tuple(f"{j} {i}" for i in range(n)) for j, name in enumerate(names)}
        dataset = Dataset("made-up", tuple(map(str, range(n))), groups, order, texts, ())
        baseline = moved = None
        if module is not taxonomy:
            matrix, every = np.concatenate(list(vectors.values())), groups * len(names)
            moved = average_similarity_influence(matrix, every, np.tile(np.arange(n), len(names)))
            baseline = Baseline(own_average_similarity(matrix, every), "own")
        with (
            mock.patch.object(contrast, "neighbor_influence", recorded),
            mock.patch.multiple(taxonomy, neighbor_influence=recorded, CURVE=CURVE),
            # It has no interval, and takes long.
            mock.patch.object(taxonomy.metrics, "normalized_mutual_information", lambda *arguments: 0.0),
        ):
            scores = module.score(dataset, vectors, baseline, settings, moved)
        for name, influence in scores.influence.items():
            values = np.array(scores.items[name])
            of = {"items": own_influence(values, groups, order), "ours": influence}
            if "purity" in name:
                of["left out"] = left_out.pop(0)
            intervals = {m.group: (m.low, m.high) for m in scores.metrics if m.metric == name}
            found[f"{prefix}{name}".replace("_", " ")] = Scored(values, of, intervals)
    del found["categorical purity"]  # it is one of the curve
    return found


def standard_errors(influence: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Of the mean of each category, of their mean and of the mean over prompts: (G + 2,).

    influence: (n, G), of prompts in the order of their categories. sizes: of these.
    """
    sizes = np.array(sizes)
    moved = np.column_stack([influence, influence.mean(axis=1), influence @ sizes / sizes.sum()])
    sums, squares = (np.add.reduceat(part, sizes.cumsum() - sizes) for part in (moved, moved**2))
    return np.sqrt(((squares - sums**2 / sizes[:, None]) * (sizes / (sizes - 1))[:, None]).sum(axis=0))


def one_draw(arguments: tuple[int, int]) -> dict[Shown, np.ndarray]:
    """What is shown of a draw of a world, (G + 2, 5) each.

    That is the value, the interval's low and high end, the standard error, and whether p is below 0.05.
    """
    from threadpoolctl import threadpool_limits

    number, seed = arguments
    known, category = draw(number, seed)
    groups, order = list(map(str, category)), list(map(str, range(len(WORLDS[number].sizes))))
    with threadpool_limits(1):
        encoders = [
            scored(number, known[:, :, 0] + noise * known[:, :, 1 + i], category, 0 if i else RESAMPLES, seed)
            for i, noise in enumerate(NOISE.values())
        ]
    found: dict[Shown, np.ndarray] = {}
    for score, first in encoders[0].items():
        for other, methods in enumerate((METHODS, ("items", "ours"), ("ours",))):
            for method in (one for one in methods if one in first.influence):
                values, influence = first.values, first.influence[method]
                if other:
                    values = values - encoders[other][score].values
                    influence = influence - encoders[other][score].influence[method]
                of = paired_differences(values, influence, groups, order)
                ends = (
                    first.intervals if method == "ours" and not other else {g: (d.low, d.high) for g, d in of.items()}
                )
                errors = standard_errors(influence, WORLDS[number].sizes)
                rows = [
                    (d.value, *ends[g], error, d.p < 0.05) for (g, d), error in zip(of.items(), errors, strict=True)
                ]
                found[score, other, method] = np.array(rows)
    return found


def coverage(draws: np.ndarray) -> str:
    """The share of intervals that hold the truth, in %: of average, of overall, and of all categories.

    draws: (draws, G + 2, 5), from `one_draw`.
    """
    values, low, high = draws[:, :, 0], draws[:, :, 1], draws[:, :, 2]
    truth = values.mean(axis=0)
    return three(100 * ((low <= truth) & (truth <= high)).mean(axis=0), "5.1f")


def error_ratio(draws: np.ndarray) -> str:
    """The standard error over the true one, of the same three."""
    true = np.maximum(draws[:, :, 0].std(axis=0, ddof=1), 1e-12)
    return three(np.sqrt((draws[:, :, 3] ** 2).mean(axis=0)) / true, "4.2f")


def three(numbers: np.ndarray, form: str) -> str:
    return " ".join(f"{one:{form}}" for one in (numbers[-2], numbers[-1], numbers[:-2].mean()))


def report(done: Sequence[dict[Shown, np.ndarray]]) -> None:
    """Prints the tables of one world."""
    draws = {key: np.stack([one[key] for one in done]) for key in done[0]}
    scores = list(dict.fromkeys(score for score, _, _ in draws))
    none = f"{'-':>5s}"
    print("coverage in % and standard error over the true one: of average, overall and categories\n")
    print(f"{'one encoder':32s}    true  items alone        left out in turn   ours               error of ours")
    for score in scores:
        cells = [coverage(draws[score, 0, m]) if (score, 0, m) in draws else none for m in METHODS]
        ours = draws[score, 0, "ours"]
        print(f"{score:32s} {ours[:, -2, 0].mean():7.3f}  {'  '.join(f'{c:17s}' for c in cells)}  {error_ratio(ours)}")
    print(f"\n{'':32s}    A - C, worse                                  A - B, as good: % with p < 0.05")
    print(f"{'difference of two encoders':32s}    true  ours               error of ours     items alone  ours")
    for score in scores:
        ours = draws[score, 2, "ours"]
        rejected = [100 * draws[score, 1, method][:, -2:, 4].mean(axis=0) for method in ("items", "ours")]
        print(
            f"{score:32s} {ours[:, -2, 0].mean():7.3f}  {coverage(ours)}  {error_ratio(ours)}    "
            + "    ".join(f"{average:4.1f} {overall:4.1f}" for average, overall in rejected)
        )


def main() -> None:
    flags = cli.Parser(description=__doc__.splitlines()[0])
    flags.add_argument("--draws", metavar="N", default="400", help="of each world (default 400)")
    flags.add_argument("--worlds", metavar="LIST", default="1,2,3", help="of 1, 2, 3 (default all)")
    flags.add_argument("--processes", metavar="N", default="2", help="at once (default 2)")
    settings = flags.parse_args()
    draws = cli.whole_number(settings.draws, "--draws", least=2)
    processes = cli.whole_number(settings.processes, "--processes", least=1)
    chosen = [cli.whole_number(one.strip(), "--worlds", least=1) for one in settings.worlds.split(",")]
    if max(chosen) > len(WORLDS):
        raise InputError(f"--worlds {settings.worlds}: there are {len(WORLDS)} worlds; name them as in 1,3")
    with ProcessPoolExecutor(processes) as pool:
        for number in chosen:
            start = time.perf_counter()
            done = list(pool.map(one_draw, [(number - 1, seed) for seed in range(draws)]))
            print(f"\nworld {number}: {WORLDS[number - 1].title}; {draws} draws, {time.perf_counter() - start:.0f} s")
            report(done)


if __name__ == "__main__":
    sys.exit(cli.run(main))
