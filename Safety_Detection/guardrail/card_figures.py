"""The figures of a detector's card, as SVG."""

import numpy as np

from Safety_Detection.guardrail.fitting import Fit
from utils.figures.style import COLORS, drawing, rendered


def scores_figure(fit: Fit, threshold: float) -> str:
    """The distributions of held-out scores of both classes, and the threshold, as SVG."""
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure(figsize=(6.8, 2.6), layout="constrained")
        axis = figure.subplots()
        scores, labels = fit.tested.held_out, fit.labels
        low, high = np.quantile(scores, [0.001, 0.999])
        edges = np.linspace(low, high, 60)
        for label, word, color in ((0, "safe", COLORS[0]), (1, "unsafe", COLORS[1])):
            mine = np.clip(scores[labels == label], edges[0], edges[-1])
            axis.hist(mine, edges, weights=np.full(len(mine), 1 / len(mine)), alpha=0.55, color=color, label=word)
        axis.axvline(threshold, color="black", linewidth=1, label=f"threshold for {100 * fit.choices.rate:.3g} %")
        axis.set(xlabel="score, held out (higher: unsafe)", ylabel="share of the class")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
        return _svg(rendered(figure, "svg"))


def reliability_figure(kept: dict) -> str:
    """The shares of unsafe prompts by the probability given, held out, as SVG; the areas are the shares of prompts."""
    from matplotlib.figure import Figure

    means, shares, weights = map(np.array, zip(*kept["bins"], strict=True))
    with drawing():
        figure = Figure(figsize=(3.4, 3.2), layout="constrained")
        axis = figure.subplots()
        axis.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
        axis.plot(means, shares, color=COLORS[0], linewidth=1)
        axis.scatter(means, shares, s=600 * weights, color=COLORS[0])
        axis.set(xlabel="probability given", ylabel="share unsafe, held out", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axis.spines[["top", "right"]].set_visible(False)
        return _svg(rendered(figure, "svg"))


def _svg(content: bytes) -> str:
    text = content.decode()
    return text[text.index("<svg") :]
