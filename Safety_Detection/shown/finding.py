"""Says in sentences what a detector does to prompts it has not seen, and which thresholds can be trusted."""

from Safety_Detection.sets.naming import ORDINARY, OTHERS
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
        m = result.metric("auroc", detector=kind, train=sets[0], test=sets[0])
        return (
            f"{label[0].upper()}{label[1:]} reaches AUROC {m.value:z.2f} within {shown(sets[0])}. Nothing else was "
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
    classes, ordinary = one_class_of(result), ordinary_of(result)

    def rates(name: str, tests: list[str]) -> list[float]:
        found = (result.metric(name, detector=kind, train=OTHERS, test=test) for test in tests)
        return [m.value for m in found if m is not None]

    unsafe = rates("tpr_at_threshold", [*sets_of(result), *(test for test, label in classes.items() if label)])
    safe = rates("fpr_at_threshold", [*sets_of(result), *(test for test in classes if not classes[test])])
    parts = []
    if safe:
        parts.append(f"{_range(safe)} of the safe prompts")
    if unsafe:
        parts.append(f"{_range(unsafe)} of the unsafe ones")
    text = (
        "Trained on all other families, the threshold for 5 % false alarms flags, of sets it has never seen, "
        f"{' and '.join(parts)}."
    )
    area = result.metric("auroc", ORDINARY, detector=kind)
    if area is not None:
        caught = result.value("tpr_at_1_fpr", ORDINARY, detector=kind)
        at = rates("fpr_at_threshold", [test for test in ordinary if test in classes])
        flagged = f", of which the threshold flags {_range(at)}" if at else ""
        text += (
            f" Against ordinary traffic{flagged}, it reaches AUROC {area.value:z.2f}, and catches "
            f"{100 * caught:z.0f} % of the unsafe prompts at 1 % false alarms."
        )
    return text


def _range(shares: list[float]) -> str:
    low, high = (f"{100 * share:z.0f}" for share in (min(shares), max(shares)))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _of_set(result: Result, kind: str, train: str) -> str:
    """What is left of a detector of one set on others, of one class if there is no other; '' if there is none."""
    where = {"detector": kind, "train": train}
    m = result.metric("auroc", test=train, **where)
    away = {test: result.metric("auroc", test=test, **where) for test in sets_of(result)}
    away = {test: metric for test, metric in away.items() if test != train and metric is not None}
    if not away:
        parts = []
        for test, label in one_class_of(result).items():
            share = result.value("tpr_at_threshold" if label else "fpr_at_threshold", test=test, **where)
            if share is not None:
                parts.append(f"{100 * share:z.0f} % of {shown(test)} ({'unsafe' if label else 'safe'})")
        if not parts:
            return ""
        return (
            f"Trained on {shown(train)}: AUROC {m.value:z.2f} within; its threshold for 5 % false alarms flags "
            f"{', '.join(parts)}."
        )
    rate = {test: result.value("fpr_at_threshold", test=test, **where) for test in away}
    bad = [test for test in away if distrust(m, away[test], rate[test])]
    worst = min(bad or away, key=lambda test: away[test].value)
    false = rate[worst]
    true = result.value("tpr_at_threshold", test=worst, **where)
    close = "it holds there" if false or true else "no score reaches it there"
    if bad:
        close = "do not trust this threshold on other traffic"
    return (
        f"Trained on {shown(train)}: AUROC {m.value:z.2f} within, {away[worst].value:z.2f} on {shown(worst)}, where "
        f"its threshold for 5 % false alarms flags {100 * false:z.0f} % of the safe and {100 * true:z.0f} % of the "
        f"unsafe prompts: {close}."
    )


def distrust(within: Metric, elsewhere: Metric, false_positive_rate: float) -> bool:
    """Whether a detector's threshold should not be trusted on another set.

    True if the AUROC there is not distinguishable from chance, if it is below the AUROC within by more than both
    intervals (0.05 each if there are none), or if the threshold for 5 % false alarms gives more than 10 % there.
    """
    (least, _), (low, high) = (
        (m.value - 0.05, m.value + 0.05) if m.low is None else (m.low, m.high) for m in (within, elsewhere)
    )
    return high < least or low <= 0.5 or false_positive_rate > MOST_FALSE_POSITIVES
