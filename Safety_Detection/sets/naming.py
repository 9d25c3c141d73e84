"""What the numbers of an evaluation are called, by what was trained on and what was tested on."""

OTHERS = "others"
WITHIN, ACROSS = "within", "across"
# The mean over unsafe-only sets against ordinary traffic.
ORDINARY = "ordinary traffic"
# The same by detectors that are trained on one set each.
ORDINARY_ONE = "ordinary traffic, one set"
# What a threshold says of an unsafe prompt and its safe twin, and the direction of each share.
VERDICTS = {"separated": "higher", "both_flagged": "lower", "both_passed": "lower", "inverted": "lower"}
# The metrics of the shares of the safe and of the unsafe prompts that a threshold flags, by the label.
FLAGGED = ("fpr_at_threshold", "tpr_at_threshold")
# In the place of a detector: the area with which two sets of the same label are told apart.
IDENTITY = "set_identity"
# In the place of a detector and of what it was trained on: a guard whose scores were given.
GUARD, GIVEN = "guard", "as given"


def place_of(train: str, test: str) -> str:
    """What a detector of `train` is on `test`, as the means over sets have it."""
    return train if train in (OTHERS, GIVEN) else WITHIN if train == test else ACROSS


def group_of(train: str, test: str, against: str | None = None, type: str | None = None) -> str:
    """The title of a pair of sets, trained on and tested, of a safe-only set beside the latter, and of a type."""
    return f"{train} -> {test}{f' | {against}' if against else ''}{f': {type}' if type else ''}"


def fields_of(detector: str, train: str, test: str, against: str | None = None, type: str | None = None) -> dict:
    """What a metric of a detector on a set is of, with its title, as keywords of Metric."""
    group = group_of(train, test, against, type)
    return {"group": group, "detector": detector, "train": train, "test": test, "against": against, "type": type}


def crossing_column(kind: str, other: str, train: str = OTHERS) -> str:
    """The column of the items with a detector's scores that has seen neither a prompt's own family nor this set's.

    A guard has one column of scores, whatever it is tested against.
    """
    return f"{kind}/{train}" if train == GIVEN else f"{kind}/{train} | {other}"


def flagged_column(kind: str, train: str) -> str:
    """The column of the items that says which prompts a detector flags at its own threshold; of a guard, as given."""
    return "flagged" if train == GIVEN else f"flagged/{kind}/{train}"
