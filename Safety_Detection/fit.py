"""Fits a detector on labelled sets, and saves it with a threshold and what that threshold does elsewhere."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from Safety_Detection import labelled_sets, protocol, saved
from Safety_Detection.detectors import KINDS
from Safety_Detection.labelled_sets import LabelledDataset
from utils import cli, config
from utils.embed.embedder import Embedder
from utils.encoders import registry
from utils.encoders.tfidf import fit_words, without_known_word
from utils.files import check_writable
from utils.metrics import detection as dm
from utils.schema import InputError, is_word_overlap
from utils.store.embeddings import EmbeddingStore, default_path
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
    flags.add_argument("--limit", metavar="N", help="fit on N rows at most, whole groups drawn in turn from each set")
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
        spec = registry.resolve(model, cli.encoder_options(arguments))
        dataset, _ = labelled_sets.load(cli.chosen(arguments, "data")[0], limit)
        folder = config.callers_path(arguments.out)
        check_writable(folder)

        def note(sentence: str) -> None:
            if not arguments.quiet:
                print(sentence, file=sys.stderr)

        for sentence in dataset.notes:
            note(sentence)
        store = None if arguments.no_cache else EmbeddingStore(default_path())
        embedder = Embedder(spec, store, not arguments.quiet and sys.stderr.isatty(), note)
        made = fitted(embedder, model, dataset, elsewhere(dataset, note), arguments.detector, rate, top_k, seed)
        embedder.close()
        saved.save(made, folder)
        if not arguments.quiet:
            print(said(made, arguments.out))

    return cli.run(work)


def elsewhere(dataset: LabelledDataset, note) -> LabelledDataset | None:
    """The published sets on which a detector of a single set is tested; None if it has several sets."""
    if len(dataset.group_order) > 1:
        return None
    others = []
    for name, read in labelled_sets.PUBLISHED.items():
        if name not in dataset.group_order:
            try:
                others.append(read())
            except labelled_sets.Unavailable as error:
                note(f"not tried on {name}: {error}")
    return labelled_sets.combined("elsewhere", others) if others else None


def fitted(
    embedder: Embedder,
    model: str,
    dataset: LabelledDataset,
    others: LabelledDataset | None,
    kind: str,
    rate: float,
    top_k: int = 10,
    seed: int = 42,
) -> saved.SavedDetector:
    """A detector of `kind` fitted on all sets of a dataset, with the threshold for a false positive rate.

    Its figures on other sets are those of a detector fitted without that set and its texts: for each set of several, or
    for each of `others` if the dataset is one set. A set without which too little is left has no such figures.
    """
    tested = dataset if others is None else others
    parts = (dataset,) if others is None else (dataset, others)
    texts = [text for one in parts for text in one.texts["prompt"]]
    labels = np.array([label for one in parts for label in one.labels])
    groups = np.array([group for one in parts for group in one.groups], dtype=object)
    words = None
    if is_word_overlap(embedder.spec):
        words, vectors = fit_words(dataset.texts["prompt"])[0], protocol.word_vectors_of(texts)
    else:
        vectors = protocol.vectors_of(embedder.embed(texts, [item for one in parts for item in one.ids]).matrix)

    def trained(rows: np.ndarray) -> protocol.Trained:
        inner = protocol.inner_folds(dataset, rows, seed)
        return protocol.trained(kind, vectors, dataset, rows, inner, top_k, rate)

    whole = np.arange(len(dataset))
    done, inner = trained(whole), protocol.inner_folds(dataset, whole, seed)
    unknown = [without_known_word(vectors(whole[inner != fold], whole[inner == fold])[1]) for fold in np.unique(inner)]
    tried = []
    for name in tested.group_order if len({*dataset.group_order, *tested.group_order}) > 1 else ():
        its = np.flatnonzero(groups == name)
        left = whole[(groups[whole] != name) & protocol.unseen(texts, [texts[i] for i in its])[whole]]
        if not protocol.enough(dataset, left):
            embedder.note(f"not tried on {name}: too little is left to fit on without its texts")
            continue
        without = done if len(left) == len(whole) else trained(left)
        tried.append(_tried(name, without, vectors(left, its)[1], labels[its]))
    mine = labels[whole]
    about = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "trained_on": {
            "dataset": dataset.name,
            "sets": list(dataset.group_order),
            "files": [vars(file) for file in dataset.files],
            "prompts": len(dataset),
            "unsafe": int(mine.sum()),
        },
        "chosen_for": {
            "false_positive_rate": rate,
            "auroc": float(dm.auroc(dm.curve(mine, done.held_out))),
            **_rates(done.held_out >= done.threshold, mine),
            "no_known_word": int(np.concatenate(unknown).sum()),
        },
        "elsewhere": tried,
    }
    probe = saved.probe_of(embedder, words)
    return saved.SavedDetector(model, embedder.spec, words, done.detector, done.threshold, probe, about)


def _rates(flags: np.ndarray, labels: np.ndarray) -> dict:
    return {
        "false_positive_rate_held_out": float(dm.flagged_rate(flags, labels == 0)),
        "true_positive_rate_held_out": float(dm.flagged_rate(flags, labels == 1)),
    }


def _tried(name: str, done: protocol.Trained, rows, labels: np.ndarray) -> dict:
    scores = done.detector.scores(rows)
    flags = scores >= done.threshold
    return {
        "set": name,
        "prompts": len(labels),
        "auroc": float(dm.auroc(dm.curve(labels, scores))),
        "false_positive_rate": float(dm.flagged_rate(flags, labels == 0)),
        "true_positive_rate": float(dm.flagged_rate(flags, labels == 1)),
        "no_known_word": int(without_known_word(rows).sum()),
    }


def said(made: saved.SavedDetector, folder: str) -> str:
    """What a user should know of a detector before using it."""
    home, prompts = made.about["chosen_for"], made.about["trained_on"]["prompts"]
    lines = [
        f"{made.detector.kind.replace('_', ' ')} on {made.spec.name}, fitted on {prompts} prompts",
        f"  threshold {made.threshold!r} for {100 * home['false_positive_rate']:g} % false alarms, held out: AUROC "
        f"{number(home['auroc'])}, flags {100 * home['false_positive_rate_held_out']:.0f} % of safe and "
        f"{100 * home['true_positive_rate_held_out']:.0f} % of unsafe prompts{_unknown(home, prompts)}",
    ]
    if home["false_positive_rate_held_out"] == home["true_positive_rate_held_out"] == 0:
        lines.append(
            f"  more than {100 * home['false_positive_rate']:g} % of safe prompts have the highest score, so the "
            "threshold flags none of those held out; give a higher --fpr, another --top-k or another --detector"
        )
    for one in made.about["elsewhere"]:
        lines.append(
            f"  on {one['set']}, unseen: AUROC {number(one['auroc'])}, flags {100 * one['false_positive_rate']:.0f} % "
            f"of safe and {100 * one['true_positive_rate']:.0f} % of unsafe prompts{_unknown(one, one['prompts'])}"
        )
    if not made.about["elsewhere"]:
        lines.append("  tried on no other set: nothing is known of other traffic")
    return "\n".join([*lines, f"wrote {folder}"])


def _unknown(tested: dict, prompts: int) -> str:
    unknown = tested["no_known_word"]
    return f"; {unknown} of {prompts} have no word that it knows, so their score says nothing" if unknown else ""


if __name__ == "__main__":
    sys.exit(main())
