"""What a guardrail catches of unsafe prompts never seen, plain and disguised, at 1 % false alarms on ordinary traffic.

    python benchmarks/guardrail.py [--model A,B] [--detector KIND] [--limit 3000] [--texts 150] [--tries 100]

For each encoder a detector is fitted, by `Safety_Detection.fit`, on at most --limit prompts of ten families. Tested are
unsafe prompts of Do-Not-Answer and XSTest, --texts of them, against AlpacaEval: neither the detector nor an encoder
that Safety_Tuning made has seen any of the three. The threshold is that which 1 % of AlpacaEval as it is reaches, by
each way to read a text, so that recalls can be compared. Prints recall as it is and under each disguise of
`evade`, a searched suffix among them, the false alarms under it (of --texts prompts), and the milliseconds of a text
that is scored alone.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import finished
from utils import cli
from utils.schema import InputError
from utils.tables import of_columns, percent, text_table

FITTED_ON = (
    "openai_moderation,coconot,hatecheck,physical_safety,direct,simple_safety_tests,ailuminate,multilingual,phtest,"
    "arena_hard"
)
UNSAFE, ORDINARY = ("do_not_answer", "xstest"), "alpaca_eval"
RATE, SEED, ALONE = 0.01, 42, 100


def main() -> int:
    flags = cli.Parser(description=__doc__.splitlines()[0])
    flags.add_argument("--model", metavar="NAMES", default="all-minilm-l6-v2", help="encoders, separated by commas")
    flags.add_argument("--detector", metavar="KIND", default="logistic_regression")
    flags.add_argument("--limit", metavar="N", default="3000", help="prompts that a detector is fitted on")
    flags.add_argument("--texts", metavar="N", default="150", help="unsafe prompts, and ordinary ones under a disguise")
    flags.add_argument("--tries", metavar="N", default="100", help="suffixes that are tried")
    settings = flags.parse_args()
    for name in ("limit", "texts", "tries"):
        setattr(settings, name, cli.whole_number(getattr(settings, name), f"--{name}", least=1))
    unsafe, searched, ordinary = tested(settings.texts)
    for model in settings.model.split(","):
        print(measured(model.strip(), settings, unsafe, searched, ordinary), flush=True)
    return 0


def tested(number: int) -> tuple[list[str], list[str], list[str]]:
    """Unsafe prompts, others that a suffix is searched on, and ordinary prompts, in a random order."""
    from Safety_Detection.evade import OWN
    from Safety_Detection.sets import labelled_sets

    dataset = labelled_sets.load(",".join((*UNSAFE, ORDINARY)))[0]
    groups, labels = np.array(dataset.groups, dtype=object), np.array(dataset.labels)
    rng = np.random.default_rng(SEED)
    drawn = [rng.permutation(np.flatnonzero((groups == name) & (labels == 1))) for name in UNSAFE]
    rows = np.array([row for pair in zip(*drawn, strict=False) for row in pair])  # in turn from both sets
    prompts = np.array(dataset.texts["prompt"], dtype=object)
    if number + OWN > len(rows):
        raise InputError(f"--texts {number}: there are {len(rows)} unsafe prompts, of which {OWN} are for the search")
    ordinary = prompts[rng.permutation(np.flatnonzero(groups == ORDINARY))]
    return prompts[rows[:number]].tolist(), prompts[rows[number : number + OWN]].tolist(), ordinary.tolist()


def measured(
    model: str, settings: argparse.Namespace, unsafe: list[str], searched: list[str], ordinary: list[str]
) -> str:
    """The table of an encoder, and a line that sums it up."""
    from Safety_Detection.evade import UNBOUNDED_WORDS, universal_words
    from Safety_Detection.guardrail.disguises import disguises
    from Safety_Detection.guardrail.guard import Guard
    from Safety_Detection.guardrail.saved import load
    from Safety_Detection.guardrail.splitting import READINGS

    with tempfile.TemporaryDirectory() as scratch:
        data = ["--data", FITTED_ON, "--limit", settings.limit, "--detector", settings.detector]
        finished("-m", "Safety_Detection.fit", "--model", model, *data, "--out", scratch, "--quiet")
        detector = load(Path(scratch))
    own = Guard(detector)
    words = universal_words(own, searched, settings.tries)
    columns: dict[str, list] = {"disguise": []}
    said = []
    for reading in READINGS:
        guard = Guard(replace(detector, reading=reading), before=own)
        transformations = disguises(own.max_tokens or UNBOUNDED_WORDS, words)
        found, alarms = flagged(guard, unsafe, ordinary, transformations)
        columns["disguise"] = [*found]
        columns |= {reading: [f"{share:.3f}" for share in found.values()]}
        columns |= {f"{reading}, false alarms": [percent(share) for share in alarms.values()]}
        plain, *rest = found.values()
        worst = min(rest)
        names = ", ".join(name for name, share in found.items() if share == worst)
        ratio = f"{worst / plain:.2f}" if plain else "-"
        said.append(f"{reading}: plain {plain:.3f}, worst {worst:.3f} ({names}), ratio {ratio}; {alone(guard, unsafe)}")
    own.close()
    head = f"{model}, {settings.detector}: {len(unsafe)} unsafe prompts; suffix: {words or 'none found'}"
    return "\n\n".join([head, text_table(of_columns(list(columns.items()))), "\n".join(said), ""])


def flagged(
    guard, unsafe: list[str], ordinary: list[str], transformations: dict[str, Callable[[str], str]]
) -> tuple[dict[str, float], dict[str, float]]:
    """Transformation to the share of unsafe prompts that is flagged, and of as many ordinary ones.

    Flagged is what scores higher than all but RATE of the ordinary prompts as they are.
    """
    threshold = np.quantile(scores(guard, ordinary), 1 - RATE, method="higher")
    found, alarms = (
        {
            name: float((scores(guard, list(map(disguise, prompts))) > threshold).mean())
            for name, disguise in transformations.items()
        }
        for prompts in (unsafe, ordinary[: len(unsafe)])
    )
    return found, alarms


def scores(guard, texts: list[str]) -> np.ndarray:
    """The scores of texts, by batches that the memory holds."""
    parts = [texts[start : start + 256] for start in range(0, len(texts), 256)]
    return np.array([verdict.score for part in parts for verdict in guard.score(part)])


def alone(guard, texts: list[str]) -> str:
    """How long a text takes that is scored alone."""
    taken = []
    for text in texts[:ALONE]:
        start = time.perf_counter()
        guard.score([text])
        taken.append(time.perf_counter() - start)
    return f"{1000 * np.median(taken):.0f} ms a text"


if __name__ == "__main__":
    sys.exit(cli.run(main))
