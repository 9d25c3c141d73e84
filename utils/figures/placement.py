"""Puts labels beside the points that they name, so that nothing drawn is covered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Points: how far a label is from the place that it is beside, and at least from other marks and from lines.
GAP, FROM_MARKS, FROM_LINES = 5, 8, 1.5
# A search that has not ended by then hardly ever finds a place for every label.
MOST_STEPS = 2000
NOWHERE = -1


@dataclass(frozen=True)
class Label:
    """A text and the places where it may be, best first.

    places: pairs of a position in data and a direction (right, up) in which the text is from there, both in [-1, 1]:
    (1, 0) is right of it, half of the text's height above and half below; (1, 1) is to the upper right.
    mark: the index of the mark that it names, None if it names none. may_miss: whether it is left out for want of room.
    """

    text: str
    places: Sequence[tuple[tuple[float, float], tuple[float, float]]]
    look: dict
    mark: int | None = None
    may_miss: bool = False


def put_labels(axes: Any, labels: Sequence[Label], marks: np.ndarray, lines: np.ndarray) -> bool:
    """Adds the labels to a panel of final size, inside it, over no line, mark or other label, each nearest to its mark.

    marks: (m, 2) in data. lines: (n, 4), of lines along an axis, left, lower, right, upper, in data.
    Returns whether there was a place for each; else none is added.
    """
    dot = axes.figure.dpi / 72
    texts = [axes.annotate(label.text, (0, 0), (0, 0), textcoords="offset points", **label.look) for label in labels]
    in_dots = axes.transData.transform
    marks = in_dots(marks)
    lines = in_dots(lines.reshape(-1, 2)).reshape(-1, 4) + FROM_LINES * dot * np.array([-1, -1, 1, 1])
    least, most = axes.bbox.extents.reshape(2, 2)
    choices: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for at, (label, text) in enumerate(zip(labels, texts, strict=True)):
        size = np.array(text.get_window_extent().size)
        positions, directions = np.swapaxes(np.array(label.places, dtype=float), 0, 1)  # (places, 2) each
        wanted = in_dots(positions) + GAP * dot * directions - size * (1 - directions) / 2
        corners = np.clip(wanted, least, most - size)  # a label that reaches a little out of the panel is moved
        boxes = np.hstack([corners, corners + size])
        free = (corners >= least).all(axis=1) & (np.abs(corners - wanted) <= size / 2).all(axis=1)
        free &= ~_over(boxes[:, None], lines[None]).any(axis=1)
        away = np.linalg.norm(marks - np.clip(marks, boxes[:, None, :2], boxes[:, None, 2:]), axis=2)  # (places, marks)
        own = np.arange(len(marks)) == label.mark
        free &= (away[:, ~own] > FROM_MARKS * dot).all(axis=1)
        free &= (away[:, ~own, None] > away[:, None, own]).all(axis=(1, 2))
        places, boxes = np.flatnonzero(free), boxes[free]
        if label.may_miss:
            places, boxes = np.append(places, NOWHERE), np.vstack([boxes, np.full(4, np.nan)])  # nothing is over it
        choices[at] = (places, boxes)
    arranged = _arranged(choices, iter(range(MOST_STEPS)))
    for at, (label, text) in enumerate(zip(labels, texts, strict=True)):
        place, box = (NOWHERE, None) if arranged is None else arranged[at]
        if place == NOWHERE:
            text.remove()
            continue
        position, (right, _) = label.places[place]
        # The side that is nearest to the point is held, as a page may be shown with a font of a different width.
        held = "center" if abs(right) < 1 else "left" if right > 0 else "right"
        x = {"left": box[0], "center": (box[0] + box[2]) / 2, "right": box[2]}[held]
        text.xy = position
        text.set_position((np.array([x, box[1]]) - in_dots(position)) / dot)
        text.set(ha=held, va="bottom")
    return arranged is not None


def _over(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether boxes (..., 4) lie over each other."""
    return np.all((one[..., :2] < other[..., 2:]) & (other[..., :2] < one[..., 2:]), axis=-1)


def _arranged(
    choices: dict[int, tuple[np.ndarray, np.ndarray]], steps: Iterator[int]
) -> dict[int, tuple[int, np.ndarray]] | None:
    """A place with its box for each label so that none lies over another; None if none is found.

    choices: places (n,) and boxes (n, 4) by label. steps: as many as places may be tried.
    """
    if not choices:
        return {}
    label = min(choices, key=lambda one: len(choices[one][0]))
    for place, box in zip(*choices[label], strict=True):
        if next(steps, None) is None:
            return None
        left = {}
        for other, (places, boxes) in choices.items():
            if other != label:
                free = ~_over(boxes, box)
                left[other] = (places[free], boxes[free])
        if all(len(places) for places, _ in left.values()):
            found = _arranged(left, steps)
            if found is not None:
                return {label: (place, box), **found}
    return None
