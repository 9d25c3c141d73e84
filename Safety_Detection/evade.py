"""Measures how far a fitted detector still flags unsafe prompts that are disguised."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from Safety_Detection.guardrail import saved
from Safety_Detection.guardrail.bank import Bank, hashed_words
from Safety_Detection.guardrail.disguises import AFTER_IT, PADDED, PLAIN, WITHIN_IT, disguises, within
from Safety_Detection.guardrail.guard import Guard, Unscored, Verdict
from Safety_Detection.guardrail.saved_detector import SavedDetector
from Safety_Detection.guardrail.splitting import ERASED, READINGS, WHOLE
from Safety_Detection.protocol.resampling import Drawn, Resampling
from Safety_Detection.sets import labelled_sets
from Safety_Detection.sets.cards import SET_CARDS
from Safety_Detection.sets.groups import NearTexts
from Safety_Detection.sets.labelled_files import add_label, label_of
from Safety_Detection.sets.labelled_sets import LabelledDataset
from Safety_Detection.sets.published_sets import PUBLISHED
from utils import cli, config
from utils.files import check_writable, write_whole
from utils.metrics.uncertainty import grouped_resamples
from utils.schema import InputError
from utils.tables import of_columns, paragraph, percent, signed, text_table

if TYPE_CHECKING:
    import pandas as pd

LIMIT = 500
RESAMPLES = 2000
SEED = 42
# The words of padding for a detector that reads texts of any length.
UNBOUNDED_WORDS = 512
# Suffixes that are tried in the search of universal words, the words of one, and the prompts that it is tried on.
TRIES, LENGTH, OWN = 200, 5, 32
COLUMNS = ("id", "label", "transformation", "normalized", "score", "flagged", "truncated")
# Of a text without a known word: no score, not flagged, not truncated.
UNKNOWN = np.nan, False, False
WORST, WORST_READ = "worst of all", "worst unpadded"


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    """Measures how far a detector still flags unsafe prompts that are disguised."""
    flags = cli.Parser(prog="python -m Safety_Detection.evade", description=main.__doc__)
    saved.add_detector(flags)
    flags.add_argument(
        "--data",
        metavar="DATA",
        help="paper, sample, or sets and files with commas (default published sets of families not trained on, or else "
        "the sample)",
    )
    add_label(flags)
    flags.add_argument(
        "--limit", metavar="N", type=cli.whole(1), default=LIMIT, help=f"at most N prompts (default {LIMIT})"
    )
    flags.add_argument(
        "--tries",
        metavar="N",
        type=cli.whole(0),
        default=TRIES,
        help=f"suffixes tried in the search of words that hide any prompt (default {TRIES}, 0 for no search)",
    )
    flags.add_argument("--out", metavar="FILE", help=f"also write a CSV of {', '.join(COLUMNS)}")
    flags.add_argument("--quiet", action="store_true", help="no notes, no progress")

    arguments = flags.parse_args(argv)
    label, device = label_of(arguments), cli.device(arguments)
    folder = config.callers_path(arguments.detector)
    out, data = None, arguments.data or ""
    if arguments.out is not None:
        read = [config.callers_path(part.strip()) for part in (data, *data.split(","))]
        out = saved.output_path("--out", arguments.out, {"detector": folder}, read)
        check_writable(out.parent)
    detector = saved.load(folder, arguments.model, device, arguments.trust_remote_code)

    note = cli.notes(arguments)
    if detector.outdated:
        note(detector.outdated)
    dataset, left_out = chosen(detector, arguments.data, label, arguments.limit, note)
    own, hidden = Guard(detector), arguments.quiet or not sys.stderr.isatty()
    guards = own, Guard(replace(detector, normalize=not detector.normalize), before=own)
    searched: list[str] = []
    words = ""
    if arguments.tries:
        dataset, searched = apart(dataset)
        words = universal_words(own, searched, arguments.tries, hidden)
    transformations = disguises(own.max_tokens or UNBOUNDED_WORDS, words)
    found = seen(guards, dataset, transformations, hidden)
    by_reading = {}
    if words:
        shown = {name: transformations[name] for name in (PLAIN, AFTER_IT, WITHIN_IT)}
        for reading in READINGS:
            guard = Guard(replace(detector, reading=reading), before=own)
            by_reading[reading] = seen((guard,), dataset, shown, hidden)
    own.close()
    if out is not None:
        numbers = dict.fromkeys(("normalized", "flagged", "truncated"), int)
        write_whole(out, found.astype(numbers).to_csv(index=False, lineterminator="\n"))
    cli.show(said(detector, dataset, found, left_out))
    if arguments.tries:
        cli.show("\n" + said_of_words(words, arguments.tries, len(searched), dataset, by_reading))


def chosen(
    detector: SavedDetector, data: str | None, label: int | None, limit: int, note: Callable[[str], object]
) -> tuple[LabelledDataset, int]:
    """The prompts that are disguised, `limit` at most, and how many were left out because of what was trained on.

    data: as `labelled_sets.load` takes it; None for the published sets of families that were not trained on, or else
    the sample. Groups with a near-duplicate of a prompt trained on are left out whole.
    Raises InputError if no unsafe prompt is left.
    """
    dataset = unseen(detector, note) if data is None else labelled_sets.load(data, label=label)[0]
    if data is not None:
        for sentence in dataset.notes:
            note(sentence)
    clusters = np.array(dataset.clusters)
    new = ~np.isin(clusters, clusters[trained_on(detector.bank, dataset.texts["prompt"])])
    if not (new & np.array(dataset.labels, dtype=bool)).any():
        unsafe = sum(dataset.labels)
        trained = f"as all {unsafe} unsafe ones are near-duplicates of what the detector was trained on"
        why = f"{trained}, or in a group with one" if unsafe else "as there are none"
        where = dataset.name if data is None else f"--data {data}"
        raise InputError(f"{where}: no unsafe prompt is left, {why}; name other prompts with --data")
    left = labelled_sets.only(dataset, np.flatnonzero(new).tolist())
    drawn = labelled_sets.limited(left, limit) if limit < len(left) else left
    if drawn is not left:
        note(drawn.notes[-1])
    if not sum(drawn.labels):
        raise InputError(f"--limit {limit}: no group with an unsafe prompt is that small; raise it")
    return drawn, len(dataset) - len(left)


def unseen(detector: SavedDetector, note: Callable[[str], object]) -> LabelledDataset:
    """The published sets that are available and of families that were not trained on; the sample if there is none."""
    families = detector.about["trained_on"]["families"]
    sets, missing = labelled_sets.available([name for name in PUBLISHED if SET_CARDS[name].family not in families])
    for sentence in missing:
        note(sentence)
    return labelled_sets.combined("published sets", sets) if sets else labelled_sets.load("sample")[0]


def trained_on(bank: Bank, texts: Sequence[str]) -> np.ndarray:
    """Whether each of n texts is a near-duplicate of a prompt of the bank: bool (n,)."""
    words = bank.dataset.texts["prompt"]
    return NearTexts([*words, *hashed_words(texts)]).near(np.arange(len(words)))[len(words) :]


def apart(dataset: LabelledDataset) -> tuple[LabelledDataset, list[str]]:
    """The dataset without some of its unsafe prompts, and those: OWN and a quarter of them at most, in whole groups."""
    unsafe = labelled_sets.only(dataset, np.flatnonzero(dataset.labels).tolist())
    drawn = set(labelled_sets.limited(unsafe, min(OWN, len(unsafe) // 4)).clusters)
    its = [cluster in drawn for cluster in dataset.clusters]
    own = [text for text, one, label in zip(dataset.texts["prompt"], its, dataset.labels, strict=True) if one and label]
    return labelled_sets.only(dataset, np.flatnonzero(~np.array(its)).tolist()), own


def universal_words(guard: Guard, prompts: Sequence[str], tries: int, hidden: bool = True, seed: int = SEED) -> str:
    """Words, LENGTH at most, that lower the mean score of prompts when they end the last sentence of each.

    One word follows another: of those drawn in turn, the one that lowers the mean most; no more when none does. They
    are drawn from the safe prompts of the sample. tries: how many suffixes are tried altogether. '' if none is found.
    """
    from tqdm import tqdm

    sample = labelled_sets.load("sample")[0]
    safe = [text for text, label in zip(sample.texts["prompt"], sample.labels, strict=True) if not label]
    words = np.array(sorted({word for text in safe for word in re.findall(r"[a-z]{2,}", text.lower())}))
    chosen: list[str] = []
    if not prompts:
        return ""
    lowest, rng = _scores(guard, prompts).mean(), np.random.default_rng(seed)
    for part in tqdm(np.array_split(np.arange(tries), LENGTH), disable=hidden, leave=False):
        drawn = np.resize(rng.permutation(words), len(part))
        texts = [within(text, " ".join([*chosen, word])) for word in drawn for text in prompts]
        means = _scores(guard, texts).reshape(len(drawn), -1).mean(axis=1)
        if not len(drawn) or means.min() >= lowest:
            break
        lowest = means.min()
        chosen.append(str(drawn[means.argmin()]))
    return " ".join(chosen)


def _scores(guard: Guard, texts: Sequence[str]) -> np.ndarray:
    """The scores of texts, (n,); minus infinity for one without a word that the detector knows."""
    found = _said_of(guard, texts, [f"text {i}" for i in range(1, len(texts) + 1)])
    return np.array([one.score if isinstance(one, Verdict) else -np.inf for one in found])


def _said_of(guard: Guard, texts: Sequence[str], names: Sequence[str]) -> list[Verdict | Unscored]:
    """What a guard says of texts. Raises InputError if the encoder can't take one. names: of the texts, for errors."""
    found = guard.score_each(texts, names)
    unread = next((one for one in found if isinstance(one, Unscored) and one.detail), None)
    if unread is not None:
        raise InputError(unread.detail)
    return found


def seen(
    guards: Sequence[Guard],
    dataset: LabelledDataset,
    transformations: dict[str, Callable[[str], str]],
    hidden: bool = True,
) -> "pd.DataFrame":
    """What the guards say of the prompts: COLUMNS, a row for each transformation, guard and prompt, in this order.

    The score of a text without a word that the detector knows is NaN. hidden: whether to show no bar.
    Raises InputError if the encoder can't take a text.
    """
    import pandas as pd
    from tqdm import tqdm

    prompts, found = dataset.texts["prompt"], []
    for name, disguise in tqdm(transformations.items(), disable=hidden, leave=False):
        texts = list(map(disguise, prompts))
        if name == PADDED and guards[0].max_tokens is not None and guards[0].detector.reading == WHOLE:
            texts = texts[:1] * len(texts)  # the encoder reads the same of each, so one is embedded
        for guard in guards:
            said = _said_of(guard, texts, dataset.ids)
            for item, label, one in zip(dataset.ids, dataset.labels, said, strict=True):
                cells = (one.score, one.flagged, one.truncated) if isinstance(one, Verdict) else UNKNOWN
                found.append((item, label, name, guard.detector.normalize, *cells))
    return pd.DataFrame(found, columns=list(COLUMNS))


def by_transformation(found: "pd.DataFrame", column: str) -> "pd.DataFrame":
    """A column of what one guard says: a row for each prompt, a column for each transformation."""
    import pandas as pd

    return pd.DataFrame({name: its[column].to_numpy() for name, its in found.groupby("transformation", sort=False)})


def said(detector: SavedDetector, dataset: LabelledDataset, found: "pd.DataFrame", left_out: int) -> str:
    """The table, with what it is of and what it says. found: of the detector's own setting and of the other one."""
    labels = np.array(dataset.labels)
    unsafe = labels == 1
    own, other = (found[found["normalized"] == its] for its in (detector.normalize, not detector.normalize))
    flagged, otherwise = by_transformation(own, "flagged"), by_transformation(other, "flagged")
    names = [*flagged]
    for table in (flagged, otherwise):
        for name, those in ((WORST_READ, names[:-1]), (WORST, names)):
            # For safe prompts the worst is to be flagged once.
            table[name] = np.where(unsafe, table[those].all(axis=1), table[those].any(axis=1))
    weights = grouped_resamples(dataset.clusters, labels, RESAMPLES, SEED)
    of = Resampling(labels, np.array(dataset.clusters), weights).only(unsafe)
    flags = flagged[unsafe]
    shares = flags.mean()
    headings = ("normalized", "as it is") if detector.normalize else ("as it is", "normalized")
    columns = [
        ("transformation", [*flags]),
        (f"{headings[0]} [95 % interval]", [_with_interval(of.share(flags[name].to_numpy())) for name in flags]),
        ("change", [signed(100 * (share - shares[PLAIN]), 0) for share in shares]),
        ("flips", [_flips(flags[PLAIN], flags[name]) for name in flags]),
        (headings[1], list(map(percent, otherwise[unsafe].mean()))),
    ]
    blank = ["-"] * (len(shares) - len(names))
    columns.append(("cut off", [*map(percent, by_transformation(own, "truncated")[unsafe].mean()), *blank]))
    if not unsafe.all():
        columns.append(("safe flagged", list(map(percent, flagged[~unsafe].mean()))))
    unknown = by_transformation(own, "score")[unsafe].isna().sum()
    if unknown.any():
        columns.append(("no known word", [*map(str, unknown), *blank]))
    table = text_table(of_columns(columns, foot=len(blank)))
    head = (
        f"{detector.detector.kind.replace('_', ' ')} on {detector.spec.name}: {unsafe.sum()} unsafe and "
        f"{(~unsafe).sum()} safe prompts of {', '.join(dataset.group_order)}; {left_out} left out as "
        "near-duplicates of what the detector was trained on, or in a group with one"
    )
    if detector.reading != WHOLE:
        without = ", with and without their last words" * (detector.reading == ERASED)
        head += f"; every text is read whole and by its sentences{without}, and the highest score counts"
    means = (
        "Shares of unsafe prompts that are flagged, with the detector's own setting and with the other one. Interval, "
        "change and flips (no longer flagged, newly flagged) are of its own. "
        f"{WORST.capitalize()}: flagged under every transformation, and safe prompts under any; {WORST_READ}: the same "
        f"without {PADDED}."
    )
    if found.loc[found["transformation"] == PADDED, "truncated"].all():
        means += " The encoder reads nothing of a padded prompt."
    if unknown.any():
        means += " A text without a word that the detector knows counts as not flagged."
    least = shares[names].min()
    hide = [name for name in names if shares[name] == least < shares[PLAIN]]
    under = f"under the transformation{'s' * (len(hide) > 1)} that hide{'s' * (len(hide) == 1)} most"
    most = f"{percent(least)} {under} ({', '.join(hide)})" if hide else "no fewer under any transformation"
    verdict = (
        f"Of the {unsafe.sum()} unsafe prompts, {percent(shares[PLAIN])} are flagged as they are, {most}, and "
        f"{percent(shares[WORST])} no matter which of them is used; other attacks may hide more."
    )
    return "\n\n".join([paragraph(head), table, paragraph(means), paragraph(verdict)])


def said_of_words(
    words: str, tries: int, prompts: int, dataset: LabelledDataset, by_reading: dict[str, "pd.DataFrame"]
) -> str:
    """What universal words do to either reading. tries, prompts: of the search. by_reading: what `seen` returns."""
    found = f"{tries} suffixes tried on {prompts} other unsafe prompts"
    if not words:
        return paragraph(f"No suffix was found that hides any prompt: of {found}, none lowers their mean score.")
    unsafe = np.array(dataset.labels) == 1
    flagged = [by_transformation(its, "flagged") for its in by_reading.values()]
    columns = [("read", [*by_reading])]
    columns += [(name, [percent(its[name][unsafe].mean()) for its in flagged]) for name in (PLAIN, AFTER_IT, WITHIN_IT)]
    if not unsafe.all():
        columns.append(("safe, plain", [percent(its[PLAIN][~unsafe].mean()) for its in flagged]))
    head = (
        f"The suffix is of words that hide any prompt, the best of {found}: {words}. Shares of unsafe prompts that are "
        "flagged without it, with it after the prompt, and with it inside the last sentence, by how texts are read, at "
        "the same threshold:"
    )
    return "\n\n".join([paragraph(head), text_table(of_columns(columns))])


def _with_interval(share: Drawn) -> str:
    low, high = share.interval()
    return percent(share.value) + ("" if low is None or high is None else f" [{_hundred(low)}, {_hundred(high)}]")


def _flips(before: "pd.Series", after: "pd.Series") -> str:
    return f"-{(before & ~after).sum()} +{(~before & after).sum()}"


def _hundred(share: float) -> str:
    return f"{100 * share:.0f}"


if __name__ == "__main__":
    sys.exit(main())
