"""Fits a detector on labelled sets, and saves it with a threshold and what that threshold does elsewhere."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from Safety_Detection.detectors.kinds import INNER_FOLDS, KINDS
from Safety_Detection.detectors.parts import Parts
from Safety_Detection.guardrail import card, saved, update, versions
from Safety_Detection.guardrail.bank import digests_of, hashed_words, most_signs
from Safety_Detection.guardrail.fitting import ORDINARY, Choices, Fit, Traffic, about, bank_of, fitted, has_safe
from Safety_Detection.guardrail.saved_detector import ALL, SavedDetector, check_probe, probe_of
from Safety_Detection.guardrail.splitting import READINGS, SENTENCES, WHOLE, parts_of
from Safety_Detection.protocol import evaluation
from Safety_Detection.sets import labelled_sets
from Safety_Detection.sets.labelled_files import add_label, label_of
from Safety_Detection.sets.labelled_sets import FOLDS, LabelledDataset
from utils import cli, config
from utils.data.reading import dataset_stem
from utils.data.text import plain
from utils.embed.embedder import Embedder
from utils.encoders import registry
from utils.encoders.tfidf import fit_words
from utils.schema import InputError, is_word_overlap
from utils.store.embeddings import EmbeddingStore, default_path
from utils.tables import number, of_columns, paragraph, percent, text_table

OUT, RATE, READING = "detector", 0.05, SENTENCES
# The flags of a fit that a detector keeps, so that an update takes none of them, and those that go with --add only.
KEPT = ("data", "fpr", "of", "read", "out", "top_k", "limit", "no_normalize", "dtype", "revision", "prompt")
OF_ADDED = ("label", "column")


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    """Fits a detector of unsafe prompts and saves it into a folder."""
    flags = cli.Parser(prog="python -m Safety_Detection.fit", description=main.__doc__)
    flags.add_argument("--model", metavar="NAME", help="encoder (variable MODEL)")
    flags.add_argument(
        "--data", metavar="DATA", help="auto, paper, sample, or sets and files with commas (variable DATA)"
    )
    add_label(flags)
    flags.add_argument("--column", metavar="NAME", help="column of the prompts in files (default prompt)")
    flags.add_argument(
        "--detector",
        metavar="KIND",
        default="logistic_regression",
        help=f"one of {', '.join(KINDS)}; a folder for --add",
    )
    flags.add_argument(
        "--fpr", metavar="RATE", type=cli.share, help=f"false alarms the threshold is for (default {RATE})"
    )
    flags.add_argument("--out", metavar="FOLDER", help=f"where the detector is written (default {OUT})")
    flags.add_argument(
        "--of",
        metavar="TRAFFIC",
        help=f"whose false alarms these are: {ALL} safe prompts, sets weighed; {ORDINARY} traffic among the data; or a "
        "set or file that --data names, as your own traffic, held out by folds "
        f"(default {ALL})",
    )
    flags.add_argument(
        "--read",
        metavar="HOW",
        choices=READINGS,
        help="how a text is read, here and when it is scored: whole, sentences (the highest score of the whole and "
        "of its sentences counts), or erased (and of these without their last words; many texts take up to four "
        f"times as long) (default {READING})",
    )
    flags.add_argument("--top-k", metavar="K", help="neighbours of knn_vote (variable TOP_K)")
    flags.add_argument(
        "--limit",
        metavar="N",
        type=cli.whole(2),
        help="fit on N rows at most, whole groups drawn in turn from each set",
    )
    flags.add_argument("--seed", metavar="N", type=cli.whole(0), default=42, help="seed of the folds (default 42)")
    flags.add_argument(
        "--no-normalize",
        action="store_true",
        help="embed texts as they are, with characters that can't be seen, look-alike and spaced letters",
    )
    flags.add_argument("--no-cache", action="store_true", help="neither read nor write the embedding store")
    cli.add_encoder_options(flags)
    flags.add_argument(
        "--add", metavar="FILE", help="fit the detector of the folder --detector again, with a file more"
    )
    flags.add_argument("--remove", metavar="IDS", help="fit it again without prompts, as score --explain names them")
    flags.add_argument("--back", action="store_true", help="go back to its version before the last change")
    flags.add_argument("--quiet", action="store_true", help="print nothing but errors")

    arguments = flags.parse_args(argv)
    if arguments.add is not None or arguments.remove is not None or arguments.back:
        change(arguments)
        return
    if arguments.detector not in KINDS:
        raise InputError(f"--detector {arguments.detector}: give one of {', '.join(KINDS)}")
    rate = RATE if arguments.fpr is None else arguments.fpr
    out = OUT if arguments.out is None else arguments.out
    top_k = cli.whole_number(*cli.chosen(arguments, "top_k"), least=1)
    model, where = cli.chosen(arguments, "model")
    if "," in model:
        raise InputError(f"{where} {model}: a detector takes one encoder; give one with --model")
    spec = registry.resolve(model, cli.encoder_options(arguments))
    data = cli.chosen(arguments, "data")[0]
    dataset, _ = labelled_sets.load(data, arguments.limit, label_of(arguments), arguments.column)
    check(dataset, data)
    traffic = traffic_of(arguments, dataset, data)
    folder = config.callers_path(out)

    note = cli.notes(arguments)
    with versions.writing(folder, "--out", note):
        pass  # what can't be written is said before any work is done
    for sentence in dataset.notes:
        note(sentence)
    store = None if arguments.no_cache else EmbeddingStore(default_path())
    embedder = Embedder(spec, store, not arguments.quiet and sys.stderr.isatty(), note)
    choices = Choices(arguments.detector, rate, traffic, top_k, arguments.seed)
    reading = arguments.read or READING
    made, done = made_of(embedder, model, dataset, choices, not arguments.no_normalize, reading)
    embedder.close()
    with versions.writing(folder, "--out", note) as place:
        made = kept(made, done, place)
    if not arguments.quiet:
        cli.show(said(made, out))


def kept(made: SavedDetector, done: Fit, place: versions.Versions) -> SavedDetector:
    """Writes a detector as the next version. Returns it with its number, and that of the version it follows."""
    made = replace(made, about=made.about | {"version": place.next, "parent": place.current})
    place.point(place.write(saved.files_of(made) | card.files(made, done)))
    return made


def change(arguments: argparse.Namespace) -> None:
    """Adds prompts to a saved detector, removes some, or goes back; the version before is kept."""
    refuse_kept(arguments)
    folder = config.callers_path(arguments.detector)
    versions.current(folder)  # refuses a folder without a detector before anything is made there

    note = cli.notes(arguments)
    device = cli.device(arguments)
    with versions.writing(folder, "--detector", note) as place:
        if arguments.back:
            note(went_back(place, arguments.detector))
            return
        before = saved.load(folder, arguments.model, device, arguments.trust_remote_code)
        if before.outdated:
            note(before.outdated)
        made = kept(*updated(arguments, before, note), place)
    if not arguments.quiet:
        cli.show("\n".join([said(made, arguments.detector), "", *card.changes(made)]))


def went_back(place: versions.Versions, name: str) -> str:
    """Makes the version that the current one followed count again; returns a sentence on it. name: of the folder.

    Raises InputError if it followed none, or if that one is not whole.
    """
    left = versions.current(place.folder)
    number = saved.read(place.folder, left)[0].get("parent")
    if number is None:
        raise InputError(f"--back: version {left} of {name} followed none; there is nothing to go back to")
    its = saved.read(place.folder, number, saved.DIGESTS)[0]
    place.point(number)
    return (
        f"{name} is version {number} again: {its['detector']['kind'].replace('_', ' ')} on {its['encoder']['name']}, "
        f"fitted on {its['trained_on']['prompts']} prompts ({its['created']}); version {left} stays in "
        f"{versions.VERSIONS}/{left}"
    )


def updated(
    arguments: argparse.Namespace, before: SavedDetector, note: Callable[[str], object]
) -> tuple[SavedDetector, Fit]:
    """A detector fitted again with what --add gives, and without what --remove names."""
    if before.words is not None:
        raise InputError(f"--detector {arguments.detector}: TF-IDF is fitted on the words of all prompts; fit it anew")
    given = update.Given(labelled_sets.only(before.bank.dataset, []))
    if arguments.add is not None:
        given = update.given_by(
            config.callers_path(arguments.add), label_of(arguments), arguments.column or "prompt", before
        )
        for sentence in (*given.new.notes, *update.said_of_known(given)):
            note(sentence)
    without = [item.strip() for item in (arguments.remove or "").split(",") if item.strip()]
    if arguments.remove is not None and not without:
        raise InputError("--remove: names no prompt; give ids as score --explain names them")
    if not given.ids and not without:
        raise InputError(f"--add {arguments.add}: the detector has all of its prompts already; nothing is changed")
    embedder = Embedder(before.spec, None if arguments.no_cache else EmbeddingStore(default_path()), False, note)
    check_probe(before, embedder)
    made, done = update.refitted(before, embedder, given, without, note, arguments.seed)
    embedder.close()
    return made, done


def refuse_kept(arguments: argparse.Namespace) -> None:
    """Raises InputError if a flag is given that an update of this kind would ignore."""
    kind = "--back" if arguments.back else "--remove" if arguments.add is None else "--add"
    ignored = [*KEPT, *(OF_ADDED if kind != "--add" else ()), *(("add", "remove") if arguments.back else ())]
    given = [name for name in ignored if getattr(arguments, name) is not None and getattr(arguments, name) is not False]
    if given:
        raise InputError(
            f"--{given[0].replace('_', '-')}: does not go with {kind}, which changes the detector in the folder "
            "--detector and keeps how it was fitted; leave it out"
        )


def made_of(
    embedder: Embedder,
    model: str,
    dataset: LabelledDataset,
    choices: Choices,
    normalize: bool = True,
    reading: str = WHOLE,
) -> tuple[SavedDetector, Fit]:
    """A detector of an encoder, and the fit that it comes from.

    model: the encoder's name as given. normalize, reading: as of SavedDetector.
    """
    prompts = dataset.texts["prompt"]
    texts = list(map(plain, prompts)) if normalize else list(prompts)
    further, of = parts_of(texts, reading)
    words = None
    if is_word_overlap(embedder.spec):
        words = fit_words(texts)[0]
        vectors = evaluation.word_vectors_of([*texts, *further])
    else:
        names = [*dataset.ids, *(dataset.ids[i] for i in of)]
        vectors = evaluation.EncoderVectors(embedder.embed([*texts, *further], names).matrix)
    read = Parts(len(texts), of)
    done = fitted(dataset, vectors, choices, embedder.note, read)
    said_of = {**about(done, dataset), "card": card.measured(done, choices.seed)}
    probe, threshold = probe_of(embedder, words), done.tested.threshold
    bank = bank_of(done, hashed_words(prompts), digests_of(texts), most_signs(texts))
    made = SavedDetector(
        model, embedder.spec, words, done.detector, threshold, probe, bank, said_of, normalize, reading
    )
    return made, done


def traffic_of(arguments: argparse.Namespace, dataset: LabelledDataset, data: str) -> Traffic:
    """Whose false alarms the threshold is for. Raises InputError if the data have no such safe prompts, or too few."""
    name = ALL if arguments.of is None else arguments.of
    if name == ALL:
        return Traffic()
    sets = dataset.ordinary if name == ORDINARY else [name] if name in dataset.group_order else None
    if sets is None:
        try:
            sets = labelled_sets.sets_named(name, label_of(arguments), arguments.column)
        except InputError:
            if config.callers_path(name).is_file():
                raise
            there = ", ".join((ALL, ORDINARY, *dataset.group_order))
            raise InputError(f"--of {name}: --data {data} has no such set; give one of {there}") from None
    traffic = Traffic(dataset_stem(Path(name)) if config.callers_path(name).is_file() else name, tuple(sets))
    if not set(sets) & set(dataset.group_order):
        lacks = f"--data {data} has no ordinary traffic" if name == ORDINARY else f"--data {data} does not name it"
        example = "mine.csv" if name == ORDINARY else name
        raise InputError(f"--of {name}: {lacks}; add it, as --data {data},{example}")
    if not has_safe(dataset, traffic):
        raise InputError(f"--of {name}: has no safe prompt, and false alarms are of safe ones; name other traffic")
    groups = dataset.groups_of(None, *sets)
    if traffic.is_own and groups < FOLDS:
        raise InputError(f"--of {name}: only {groups} groups of prompts, fewer than the {FOLDS} folds; add rows")
    return traffic


def check(dataset: LabelledDataset, data: str) -> None:
    """Raises InputError if the sets have no prompts of one class, or too few groups with them to hold some out."""
    for label, word, example in ((1, "unsafe", "direct"), (0, "safe", "alpaca_eval")):
        groups = dataset.groups_of(label)
        if groups < INNER_FOLDS:
            few = f"only {groups} groups with {word} prompts" if groups else f"no {word} prompt"
            raise InputError(
                f"--data {data}: {few}, but a detector needs both classes; add a set that has some, as "
                f"--data {data},{example}"
            )


def said(made: SavedDetector, folder: str) -> str:
    """What a user should know of a detector before using it."""
    home, prompts = made.about["chosen_for"], made.about["trained_on"]["prompts"]
    sets = len(made.about["trained_on"]["sets"])
    point, rate = card.shipped(made.about), f"{100 * home['false_positive_rate']:g} %"
    its = "" if home["of"] == ALL else f" of {home['of']}"
    lines = [
        f"{made.detector.kind.replace('_', ' ')} on {made.spec.name}, fitted on {prompts} prompts of "
        f"{sets} set{'s' * (sets > 1)}",
        f"threshold {made.threshold!r} for {rate} false alarms{its}",
        f"{home['held_out']}: false alarms{its or ', weighted,'} {card.with_interval(point['false_alarms'])}, "
        f"weighted recall {percent(point['recall'][0])}, weighted AUROC {number(home['weighted_auroc'])}"
        f"{_unknown(home, prompts)}",
    ]
    if "recall_of_traffic" in point:
        lines.append(f"recall of {home['of']} {card.with_interval(point['recall_of_traffic'])}, held out")
    lines += card.missed(made.about)
    if not point["supported"]:
        smallest = made.about["card"]["support"][home["of"]]
        lines.append(
            f"{card.groups_said(smallest)} can't show a rate below "
            f"{percent(smallest['smallest_rate'], '.3g')}, so {rate} may not hold; add traffic, or give a higher --fpr"
        )
    if point["false_alarms"][0] == point["recall"][0] == 0:
        lines.append(
            f"more than {rate} of safe prompts have the highest score, so the "
            "threshold flags none of those held out; give a higher --fpr, another --top-k or another --detector"
        )
    kept = made.about["calibration"]
    if kept is not None:
        lines.append(
            f"probability, {percent(kept['base_rate'])} unsafe: Brier score {number(kept['brier'])} "
            f"({number(kept['brier_of_base_rate'])} without the score), expected calibration error "
            f"{number(kept['expected_calibration_error'])}, held out"
        )
    lines = [paragraph(text, "  ") for text in lines]
    tried = [text_table(of_columns(columns, keys=2)) for _, columns in card.tried(made.about)]
    lines += ["", *tried, ""] if tried else ["tried on no other set: nothing is known of other traffic"]
    version = made.about["version"]
    its_card = versions.home(Path(folder), version) / "card.html"
    return "\n".join([*lines, f"wrote version {version} of {folder}; its card is {its_card}"])


def _unknown(tested: dict, prompts: int) -> str:
    unknown = tested["no_known_word"]
    return f"; {unknown} of {prompts} have no word that it knows, so their score says nothing" if unknown else ""


if __name__ == "__main__":
    sys.exit(main())
