"""What the numbers of an evaluation are called, by what was trained on and what was tested on."""

OTHERS = "others"
WITHIN, ACROSS = "within", "across"
# The mean over unsafe-only sets against ordinary traffic.
ORDINARY = "ordinary traffic"
# The same by detectors that are trained on one set each.
ORDINARY_ONE = "ordinary traffic, one set"
# What a threshold says of an unsafe prompt and its safe twin, and the direction of each share.
VERDICTS = {"separated": "higher", "both_flagged": "lower", "both_passed": "lower", "inverted": "lower"}
# In the place of a detector: the area with which two sets of the same label are told apart.
IDENTITY = "set_identity"
# In the place of a detector and of what it was trained on: a guard whose scores were given.
GUARD, GIVEN = "guard", "as given"


def metric_of(name: str, kind: str) -> str:
    """The name of a detector's metric in a result file."""
    return f"{name}/{kind}"


def group_of(train: str, test: str) -> str:
    """The name of a pair of sets, trained on and tested, in a result file."""
    return f"{train} -> {test}"


def crossing_of(unsafe: str, safe: str, train: str = OTHERS) -> str:
    """The name of an unsafe-only set tested against a safe-only one, trained on neither family."""
    return f"{train} -> {unsafe} | {safe}"


def crossing_column(kind: str, other: str, train: str = OTHERS) -> str:
    """The column of the items with a detector's scores that has seen neither a prompt's own family nor this set's.

    A guard has one column of scores, whatever it is tested against.
    """
    return f"{kind}/{train}" if train == GIVEN else f"{kind}/{train} | {other}"


def identity_of(word: str, one: str, other: str) -> str:
    """The name of two sets' prompts of one label, `unsafe` or `safe`."""
    return f"{word}: {one} | {other}"
