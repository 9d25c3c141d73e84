"""Says in sentences what a detector does to prompts it has not seen, and which thresholds can be trusted."""

from collections.abc import Collection

from Safety_Detection.sets.naming import FLAGGED, ORDINARY, OTHERS
from Safety_Detection.shown.differences import MOST_SETS
from Safety_Detection.shown.reading import headline_kind, one_class_of, ordinary_of, plain_name, sets_of, trains_of
from utils.schema import Metric, Result, shown

# A threshold for 5 % false alarms should not be trusted on a set where it gives more than twice as many.
MOST_FALSE_POSITIVES = 0.10


def finding(result: Result) -> str:
    """Sentences on what a detector does to prompts of families that it has not seen.

    First that of a detector trained on all others, if there is one; then, of few sets, one for each set trained on: its
    AUROC within the set, the worst AUROC among the sets where it should not be trusted (or among all), and what its
    threshold does there.
    """
    kind, sets = headline_kind(result), sets_of(result)
    label = f"{plain_name(kind)} on {shown(result.encoder.label)}"
    sentences = [on_unseen(result, kind)] if OTHERS in trains_of(result) else []
    if len(sets) == 1 and not sentences and not one_class_of(result):
        within = result.value("auroc", detector=kind, train=sets[0], test=sets[0])
        return (
            f"{label[0].upper()}{label[1:]} reaches AUROC {within:z.2f} within {shown(sets[0])}. Nothing else was "
            "tested, so nothing is known of other traffic."
        )
    if len(sets) <= MOST_SETS:
        sentences += [_of_set(result, kind, train) for train in sets]
    text = " ".join(filter(None, sentences))
    if not text:
        return f"{label[0].upper()}{label[1:]} was tested on no set of another family."
    return f"With {label}, {text[0].lower()}{text[1:]}"


def on_unseen(result: Result, kind: str) -> str:
    """What the threshold of a detector of all others does to families that it has not seen, and to ordinary traffic.

    kind: the detector. The result has metrics of a detector of all others.
    """
    flagged = [_flagged(result, kind, OTHERS, label) for label in (0, 1)]
    words = ("of the safe prompts", "of the unsafe ones")
    parts = [f"{_range(shares.values())} {what}" for shares, what in zip(flagged, words, strict=True) if shares]
    text = (
        "Trained on all other families, the threshold for 5 % false alarms flags, of sets it has never seen, "
        f"{' and '.join(parts)}."
    )
    area, caught = (result.value(name, ORDINARY, detector=kind) for name in ("auroc", "tpr_at_1_fpr"))
    if area is not None and caught is not None:
        alarms = [share for test, share in flagged[0].items() if test in ordinary_of(result)]
        traffic = f", of which the threshold flags {_range(alarms)}" if alarms else ""
        text += (
            f" Against ordinary traffic{traffic}, it reaches AUROC {area:z.2f}, and catches {100 * caught:z.0f} % of "
            "the unsafe prompts at 1 % false alarms."
        )
    return text


def _flagged(result: Result, kind: str, train: str, label: int) -> dict[str, float]:
    """Set to the share of its prompts of a class that a detector's threshold flags."""
    tests = [*sets_of(result), *one_class_of(result)]
    found = {test: result.value(FLAGGED[label], detector=kind, train=train, test=test) for test in tests}
    return {test: share for test, share in found.items() if share is not None}


def _range(shares: Collection[float]) -> str:
    low, high = (f"{100 * share:z.0f}" for share in (min(shares), max(shares)))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _of_set(result: Result, kind: str, train: str) -> str:
    """What is left of a detector of one set on others, of one class if there is no other; '' if there is none."""
    areas = {test: result.metric("auroc", detector=kind, train=train, test=test) for test in sets_of(result)}
    away = {test: metric for test, metric in areas.items() if metric is not None}
    within, flagged = away.pop(train), [_flagged(result, kind, train, label) for label in (0, 1)]
    if not away:
        parts = [
            f"{100 * flagged[label][test]:z.0f} % of {shown(test)} ({'unsafe' if label else 'safe'})"
            for test, label in one_class_of(result).items()
            if test in flagged[label]
        ]
        if not parts:
            return ""
        return (
            f"Trained on {shown(train)}: AUROC {within.value:z.2f} within; its threshold for 5 % false alarms flags "
            f"{', '.join(parts)}."
        )
    safe, unsafe = flagged
    bad = [test for test in away if distrust(within, away[test], safe[test])]
    worst = min(bad or away, key=lambda test: away[test].value)
    close = "it holds there" if safe[worst] or unsafe[worst] else "no score reaches it there"
    if bad:
        close = "do not trust this threshold on other traffic"
    return (
        f"Trained on {shown(train)}: AUROC {within.value:z.2f} within, {away[worst].value:z.2f} on {shown(worst)}, "
        f"where its threshold for 5 % false alarms flags {100 * safe[worst]:z.0f} % of the safe and "
        f"{100 * unsafe[worst]:z.0f} % of the unsafe prompts: {close}."
    )


def distrust(within: Metric, elsewhere: Metric, false_positive_rate: float) -> bool:
    """Whether a detector's threshold should not be trusted on another set.

    True if the AUROC there is not distinguishable from chance, if it is below the AUROC within by more than both
    intervals (0.05 each if there are none), or if the threshold for 5 % false alarms gives more than 10 % there.
    """
    (least, _), (low, high) = (
        (m.value - 0.05, m.value + 0.05) if m.low is None or m.high is None else (m.low, m.high)
        for m in (within, elsewhere)
    )
    return high < least or low <= 0.5 or false_positive_rate > MOST_FALSE_POSITIVES
