"""Fits a detector on labelled sets, and saves it with a threshold and what that threshold does elsewhere."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from Safety_Detection import labelled_sets, protocol, saved
from Safety_Detection.detectors import INNER_FOLDS, KINDS, fit, folds
from Safety_Detection.labelled_sets import LabelledDataset
from utils import cli, config, encoders, metrics
from utils import detection_metrics as dm
from utils.embed import Embedder
from utils.results import check_writable
from utils.schema import InputError
from utils.store import EmbeddingStore, default_path
from utils.tables import number

OUT = "detector"


def main(argv: Sequence[str] | None = None) -> int:
    """Fits a detector of unsafe prompts and saves it into a folder."""
    flags = cli.Parser(prog="python -m Safety_Detection.fit", description=main.__doc__, allow_abbrev=False)
    flags.add_argument("--model", metavar="NAME", help="encoder (variable MODEL)")
    flags.add_argument(
        "--data", metavar="DATA", help="auto, paper, sample, or sets and files with commas (variable DATA)"
    )
    flags.add_argument("--detector", metavar="KIND", default="logistic_regression", help=f"one of {', '.join(KINDS)}")
    flags.add_argument("--fpr", metavar="RATE", default="0.05", help="false alarms the threshold is for (default 0.05)")
    flags.add_argument("--out", metavar="FOLDER", default=OUT, help=f"where the detector is written (default {OUT})")
    flags.add_argument("--top-k", metavar="K", help="neighbours of knn_vote (variable TOP_K)")
    flags.add_argument("--limit", metavar="N", help="fit on about N rows only, whole groups in turn from each set")
    flags.add_argument("--seed", metavar="N", default="42", help="seed of the folds (default 42)")
    flags.add_argument("--no-cache", action="store_true", help="neither read nor write the embedding store")
    cli.add_encoder_options(flags)
    flags.add_argument("--quiet", action="store_true", help="print nothing but errors")

    def work() -> None:
        arguments = flags.parse_args(argv)
        if arguments.detector not in KINDS:
            raise InputError(f"--detector {arguments.detector}: give one of {', '.join(KINDS)}")
        rate = cli.fraction(arguments.fpr, "--fpr")
        top_k = cli.whole_number(*cli.chosen(arguments, "top_k"), least=1)
        seed = cli.whole_number(arguments.seed, "--seed", least=0)
        limit = None if arguments.limit is None else cli.whole_number(arguments.limit, "--limit", least=2)
        model, where = cli.chosen(arguments, "model")
        if "," in model:
            raise InputError(f"{where} {model}: a detector takes one encoder; give one with --model")
        spec = encoders.resolve(model, cli.encoder_options(arguments))
        if spec.loader == "tfidf":
            raise InputError(f"{where} tfidf: knows the words it was fitted on only; take an encoder that can be kept")
        dataset, _ = labelled_sets.load(cli.chosen(arguments, "data")[0], limit)
        folder = config.callers_path(arguments.out)
        check_writable(folder)

        def note(sentence: str) -> None:
            if not arguments.quiet:
                print(sentence, file=sys.stderr)

        store = None if arguments.no_cache else EmbeddingStore(default_path())
        embedder = Embedder(spec, store, not arguments.quiet and sys.stderr.isatty(), note)
        made = fitted(embedder, model, dataset, elsewhere(dataset, note), arguments.detector, rate, top_k, seed)
        embedder.close()
        saved.save(made, folder)
        if not arguments.quiet:
            print(said(made, arguments.out))

    return cli.run(work)


def elsewhere(dataset: LabelledDataset, note) -> LabelledDataset | None:
    """The published sets that a detector fitted on one set alone is tried on; None where there are several, or none."""
    if len(dataset.group_order) > 1:
        return None
    others = []
    for name, read in labelled_sets.PUBLISHED.items():
        if name not in dataset.group_order:
            try:
                others.append(read())
            except labelled_sets.NotToBeHad as error:
                note(f"not tried on {name}: {error}")
    return labelled_sets.combined("elsewhere", others) if others else None


def fitted(
    embedder: Embedder,
    model: str,
    dataset: LabelledDataset,
    others: LabelledDataset | None,
    kind: str,
    rate: float = protocol.FALSE_POSITIVE_RATE,
    top_k: int = 10,
    seed: int = 42,
) -> saved.SavedDetector:
    """A detector fitted on all of `dataset`, with a threshold for `rate` of false positives.

    Of several sets, what it does elsewhere is what one fitted on all but a set does on that; of one set, what it does
    on each of `others`.
    """

    def rows_of(one: LabelledDataset) -> np.ndarray:
        return metrics.unit_rows(embedder.embed(list(one.texts["prompt"]), list(one.ids)).matrix).astype(np.float32)

    def trained(one: LabelledDataset, rows: np.ndarray, chosen: np.ndarray):
        labels, clusters = np.array(one.labels)[chosen], np.array(one.clusters)[chosen]
        done = fit(kind, rows[chosen], labels, folds(labels, clusters, INNER_FOLDS, seed), top_k)
        return done, dm.threshold_at(done.held_out[labels == 0], rate), labels

    rows = rows_of(dataset)
    done, threshold, labels = trained(dataset, rows, np.arange(len(dataset)))
    tried = []
    if others is not None:
        asked = rows_of(others)
        for name in others.group_order:
            its = np.array(others.groups, dtype=object) == name
            tried.append(_tried(name, done.detector, threshold, asked[its], np.array(others.labels)[its]))
    elif len(dataset.group_order) > 1:
        for name in dataset.group_order:
            sides = protocol.training_sides(dataset, name)
            left = np.unique(np.concatenate([side for train, (side, _) in sides.items() if train != name]))
            its = np.array(dataset.groups, dtype=object) == name
            without, its_threshold, _ = trained(dataset, rows, left)
            tried.append(_tried(name, without.detector, its_threshold, rows[its], np.array(dataset.labels)[its]))
    probe = embedder.embed([saved.PROBE], ["the probe text"]).matrix[0]
    about = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "trained_on": {
            "dataset": dataset.name,
            "sets": list(dataset.group_order),
            "files": [vars(file) for file in dataset.files],
            "prompts": len(dataset),
            "unsafe": int(labels.sum()),
        },
        "chosen_for": {
            "false_positive_rate": rate,
            "auroc": float(dm.auroc(dm.curve(labels, done.held_out))),
            **_rates(done.held_out >= threshold, labels),
        },
        "elsewhere": tried,
    }
    return saved.SavedDetector(model, embedder.spec, done.detector, threshold, probe, about)


def _rates(flags: np.ndarray, labels: np.ndarray) -> dict:
    return {
        "false_positive_rate_held_out": float(dm.flagged_rate(flags, labels == 0)),
        "true_positive_rate_held_out": float(dm.flagged_rate(flags, labels == 1)),
    }


def _tried(name: str, detector, threshold: float, rows: np.ndarray, labels: np.ndarray) -> dict:
    scores = detector.scores(rows)
    flags = scores >= threshold
    return {
        "set": name,
        "prompts": len(labels),
        "auroc": float(dm.auroc(dm.curve(labels, scores))),
        "false_positive_rate": float(dm.flagged_rate(flags, labels == 0)),
        "true_positive_rate": float(dm.flagged_rate(flags, labels == 1)),
    }


def said(made: saved.SavedDetector, folder: str) -> str:
    """What a person should know of a detector before using it."""
    home, prompts = made.about["chosen_for"], made.about["trained_on"]["prompts"]
    lines = [
        f"{made.detector.kind.replace('_', ' ')} on {made.spec.name}, fitted on {prompts} prompts",
        f"  threshold {made.threshold:.4g} for {100 * home['false_positive_rate']:g} % false alarms, held out: AUROC "
        f"{number(home['auroc'])}, flags {100 * home['false_positive_rate_held_out']:.0f} % of safe and "
        f"{100 * home['true_positive_rate_held_out']:.0f} % of unsafe prompts",
    ]
    for one in made.about["elsewhere"]:
        lines.append(
            f"  on {one['set']}, unseen: AUROC {number(one['auroc'])}, flags {100 * one['false_positive_rate']:.0f} % "
            f"of safe and {100 * one['true_positive_rate']:.0f} % of unsafe prompts"
        )
    if not made.about["elsewhere"]:
        lines.append("  tried on no other set: nothing is known of other traffic")
    return "\n".join([*lines, f"wrote {folder}"])


if __name__ == "__main__":
    sys.exit(main())
