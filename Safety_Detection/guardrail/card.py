"""The card of a fitted detector: what each threshold does to prompts it has not seen, and what the data can support."""

import html
from typing import Any

import numpy as np

from Safety_Detection.guardrail.card_figures import reliability_figure, scores_figure
from Safety_Detection.guardrail.fitting import Fit
from Safety_Detection.guardrail.saved_detector import SavedDetector
from Safety_Detection.protocol.measure import verdicts_of
from Safety_Detection.sets.naming import VERDICTS
from utils.metrics.uncertainty import CONFIDENCE, grouped_interval, grouped_resamples
from utils.tables import html_table, markdown_table, number, of_columns, percent

RATES = (0.001, 0.005, 0.01, 0.05)
RESAMPLES = 1000
MEANING = {
    "logistic_regression": "log-odds that a prompt is unsafe, in training data in which both classes weigh the same; "
    "on prompts that it has not seen they are no such odds",
    "nearest_unsafe": "the cosine similarity to the nearest unsafe prompt; what a value means differs by encoder",
    "knn_vote": "the share of unsafe prompts among the nearest ones, from 0 to 1; it is no probability",
    "centroid_difference": "the difference of the similarities to the mean unsafe and the mean safe prompt",
}


def smallest_rate(safe: int) -> float:
    """The lowest false alarm rate that so many safe prompts can show, with a confidence of 95 %.

    The exact binomial bound: where none of n is flagged, the rate may still be up to 1 - 0.05^(1/n).
    """
    return 1 - (1 - CONFIDENCE) ** (1 / safe)


def measured(fit: Fit, seed: int = 42) -> dict:
    """The numbers of the card: for RATES and the fit's own, what the threshold does to prompts not trained on.

    Held out are the prompts fitted on, by the family or fold; ordinary traffic is by detectors without its family.
    """
    of, rows = fit.trial.of, fit.rows
    labels, clusters = fit.labels, of.clusters[rows]
    weights = fit.trial.jobs[fit.trial.sides["all"].whole].weights
    weights = np.ones(len(rows)) if weights is None else weights
    counts = np.concatenate([*grouped_resamples(clusters, labels, RESAMPLES, seed)]).astype(np.float64)
    groups = {label: len(set(clusters[labels == label])) for label in (0, 1)}
    # Groups of unequal weight show as much as so many of equal weight (Kish's effective sample size).
    each = np.bincount(clusters[labels == 0], weights[labels == 0])
    effective = int(each.sum() ** 2 / (each**2).sum())
    dataset = of.dataset
    ordinary = {
        name: np.concatenate([*grouped_resamples(of.clusters[its], of.labels[its], RESAMPLES, (seed, i))])
        for i, (name, its) in enumerate((name, dataset.rows(name)) for name in dataset.ordinary if name in fit.unseen)
    }
    points = []
    for rate in sorted({*RATES, fit.rate}):
        done = fit.trial.tested("all", fit.kind, rate)
        flags = done.held_out >= done.threshold
        point: dict[str, Any] = {
            "rate": rate,
            "threshold": done.threshold,
            "supported": rate >= smallest_rate(effective),
        }
        for name, label in (("false_alarms", 0), ("recall", 1)):
            its = labels == label
            drawn = counts[:, its] * weights[its]
            shares = (drawn @ flags[its]) / drawn.sum(axis=1)
            value = float(np.average(flags[its], weights=weights[its]))
            point[name] = [value, *grouped_interval(value, shares, groups[label])]
        point["ordinary"] = {}
        for name, drawn in ordinary.items():
            its, scores, tested = fit.on(name, rate)
            flagged = scores >= tested.threshold
            shares = (drawn @ flagged) / drawn.sum(axis=1)
            value = float(flagged.mean())
            interval = grouped_interval(value, shares, len(set(of.clusters[its])))
            point["ordinary"][name] = [value, *interval]
        pairs, verdicts = verdicts_of(dataset, rows, flags)
        if len(pairs):
            shares = {name: float(pairs_of.mean()) for name, pairs_of in verdicts.items()}
            point["twins"] = shares | {"pairs": len(pairs)}
        points.append(point)
    found: dict[str, Any] = {
        "smallest_rate": smallest_rate(effective),
        "safe_groups": groups[0],
        "effective_safe_groups": effective,
    }
    if fit.kind == "nearest_unsafe":
        unit = fit.trial.vectors(rows, rows[:0])[0]
        total = np.asarray(unit.sum(axis=0), dtype=np.float64).ravel()
        n = len(rows)
        found["similarity"] = {
            "mean_of_two_prompts": float((total @ total - n) / (n * (n - 1))),
            **{
                f"safe_{share:g}": float(np.quantile(fit.tested.held_out[labels == 0], share / 100))
                for share in (50, 95, 99)
            },
        }
    return {**found, "points": points}


def _percent(share: float) -> str:
    return percent(share, ".3g")


def _with_interval(cell: list[float]) -> str:
    value, low, high = (100 * share for share in cell)
    return f"{value:.2g} % ({low:.2g} to {high:.2g})" if value < 10 else f"{value:.0f} % ({low:.0f} to {high:.0f})"


def tables_of(card: dict) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """(title, columns) of each table of a card. card: as `measured` returns it."""
    points = card["points"]
    columns = [
        ("false alarms wanted", [_percent(p["rate"]) for p in points]),
        ("threshold", [f"{p['threshold']:z.6g}" for p in points]),
        ("false alarms, held out", [_with_interval(p["false_alarms"]) for p in points]),
        ("recall, held out", [_with_interval(p["recall"]) for p in points]),
        *[
            (f"{name} flagged, unseen", [_with_interval(p["ordinary"][name]) for p in points])
            for name in points[0]["ordinary"]
        ],
        ("data can show it", ["yes" if p["supported"] else "no" for p in points]),
    ]
    found = [("Thresholds", columns)]
    if "twins" in points[0]:
        titles = {name: name.replace("_", " ") for name in VERDICTS}
        found.append(
            (
                f"Unsafe prompts and their safe twins, shares of {points[0]['twins']['pairs']} pairs",
                [
                    ("false alarms wanted", [_percent(p["rate"]) for p in points]),
                    *[(title, [_percent(p["twins"][name]) for p in points]) for name, title in titles.items()],
                ],
            )
        )
    return found


def reliability(about: dict) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """The table of how probabilities compare with what prompts are, if there are any."""
    kept = about.get("calibration")
    if kept is None:
        return []
    means, shares, weights = zip(*kept["bins"], strict=True)
    columns = [
        ("mean probability", [f"{mean:.3f}" for mean in means]),
        ("share unsafe", [f"{share:.3f}" for share in shares]),
        ("of all prompts", list(map(_percent, weights))),
    ]
    return [(f"Probabilities where {_percent(kept['base_rate'])} of prompts are unsafe, held out", columns)]


def sentences(saved: SavedDetector) -> list[str]:
    """What a reader of the card should know, a sentence or two each."""
    about, card = saved.about, saved.about["card"]
    trained, kind = about["trained_on"], saved.detector.kind
    found = [
        f"{kind.replace('_', ' ').capitalize()} on {saved.spec.name}, fitted on {trained['prompts']} prompts, "
        f"{trained['unsafe']} of them unsafe, of {len(trained['sets'])} sets: {', '.join(trained['sets'])}.",
        f"A score is {MEANING[kind]}. Scores of another kind, encoder or fit are on another scale.",
        "Held out are the prompts it was fitted on, each by a detector that has seen none of its "
        f"{about['chosen_for']['held_out_by']}; sets weigh by the square root of their size. "
        "Brackets are 95 % intervals.",
        f"The {card['safe_groups']} groups of safe prompts, which by their weights show as much as "
        f"{card['effective_safe_groups']} of equal weight, can't show a rate of false alarms below "
        f"{_percent(card['smallest_rate'])}: even if none of them is flagged, the true rate may be as high (exact "
        "binomial bound, 95 %).",
        "Texts are embedded "
        + (
            "in NFKC form, without characters that can't be seen, and look-alike and spaced letters as what they say."
            if saved.normalize
            else "as they are."
        ),
    ]
    found += _of_probabilities(about)
    match = about.get("match")
    if match:
        found.append(
            f"A text is flagged too if its similarity to one of the {len(about['added'])} unsafe prompts that were "
            f"added later reaches {number(match['threshold'])}. Of the safe prompts that it was fitted on, "
            f"{_percent(match['false_alarms'])} do."
        )
    similar = card.get("similarity")
    if similar:
        found.append(
            f"Two prompts that it was fitted on have a mean cosine of {number(similar['mean_of_two_prompts'])}. Of "
            f"safe prompts held out, half come within {number(similar['safe_50'])} of an unsafe one, 5 % within "
            f"{number(similar['safe_95'])} and 1 % within {number(similar['safe_99'])}: a cosine means something else "
            "for each encoder."
        )
    if any(p["ordinary"] for p in card["points"]):
        found.append("Ordinary traffic is safe by assumption, and tested by detectors that were fitted without it.")
    else:
        found.append(
            "No ordinary traffic was among the sets: add a file of yours with --label 0 to see what it would do."
        )
    return found


def _of_probabilities(about: dict) -> list[str]:
    """What a reader should know of the probabilities, if there are any."""
    kept = about.get("calibration")
    if kept is None:
        return []
    singly, part = kept["of_parts"], "family" if about["chosen_for"]["held_out_by"] == "family" else "fold"
    useless = ""
    if kept["brier"] >= kept["brier_of_base_rate"]:
        useless = " So these probabilities are no better than that one number for all; fit on more sets."
    alone = ""
    if singly:
        alone = f" Within one {part} that has both classes, the error is {min(singly):.3f} to {max(singly):.3f}."
    return [
        f"The probability that a prompt is unsafe (score --probability) is 1 / (1 + exp(-({kept['slope']:.6g} · score "
        f"{kept['intercept']:+.6g}))), fitted to the scores held out (Platt). It holds where "
        f"{_percent(kept['base_rate'])} of the prompts are unsafe, which is far more than in most traffic: --base-rate "
        "shifts it to the share in yours. Even then it holds only if your unsafe and safe prompts are like these.",
        f"For each {part} held out, the two numbers were fitted without it: the Brier score is {kept['brier']:.3f} "
        f"({kept['brier_of_base_rate']:.3f} if every prompt is given {_percent(kept['base_rate'])}), the expected "
        f"calibration error {kept['expected_calibration_error']:.3f}; lower is better." + useless + alone,
    ]


def changes(saved: SavedDetector) -> list[str]:
    """What the last update changed, a line each; empty for a detector that was not updated."""
    found = saved.about.get("changed")
    if not found:
        return []
    before, after = found["before"], found["after"]
    lines = [
        f"version {saved.about['version']}: {found['added']} prompts added, {found['removed']} removed"
        + (f", {found['corrected']} with another label" if found.get("corrected") else ""),
        f"  threshold {before['threshold']:z.6g} -> {after['threshold']:z.6g}",
    ]
    for name, title in (
        ("auroc", "AUROC, held out"),
        ("false_positive_rate_held_out", "false alarms, held out"),
        ("true_positive_rate_held_out", "recall, held out"),
    ):
        show = number if name == "auroc" else _percent
        lines.append(f"  {title} {show(before[name])} -> {show(after[name])}")
    if found["new_unsafe"]:
        n = found["new_unsafe"]
        lines.append(
            f"  of {n} new unsafe prompts the score flagged {found['new_flagged_before']} before and "
            f"{found['new_flagged_after']} after"
        )
    for ids, what in (
        (found["missed_by_score"], "still missed by the score"),
        (found.get("safe_flagged"), "safe, and flagged all the same"),
    ):
        if ids:
            more = f", and {len(ids) - 5} more" if len(ids) > 5 else ""
            lines.append(f"  {what}: {', '.join(ids[:5])}{more}")
    if (saved.about.get("match") or {}).get("threshold", 0) > 1:
        lines.append("  no text is matched: a safe prompt is as similar to an added unsafe one as that is to itself")
    return lines


def files(saved: SavedDetector, fit: Fit) -> dict[str, bytes]:
    """The files of the card, by name."""
    return {"card.md": markdown(saved).encode(), "card.html": page(saved, fit).encode()}


def markdown(saved: SavedDetector) -> str:
    """The card as Markdown."""
    parts = ["# Detector card", *sentences(saved)]
    if changes(saved):
        parts += ["## What changed", "\n".join(f"- {line.strip()}" for line in changes(saved))]
    for title, columns in [*tables_of(saved.about["card"]), *reliability(saved.about)]:
        parts += [f"## {title}", markdown_table(of_columns(columns))]
    tried = _tried(saved)
    if tried:
        parts += ["## Sets it has not seen, at its threshold", markdown_table(of_columns(tried))]
    return "\n\n".join(parts) + "\n"


def _tried(saved: SavedDetector) -> list[tuple[str, list[str]]]:
    tried = saved.about["elsewhere"]
    if not tried:
        return []
    return [
        ("set", [one["set"] for one in tried]),
        ("prompts", [str(one["prompts"]) for one in tried]),
        ("AUROC", [number(one["auroc"]) for one in tried]),
        *[
            (title, ["-" if one[name] is None else _percent(one[name]) for one in tried])
            for title, name in (("safe flagged", "false_positive_rate"), ("unsafe flagged", "true_positive_rate"))
        ],
    ]


def page(saved: SavedDetector, fit: Fit) -> str:
    """The card as a page of its own, with its figures."""
    body = [f"<p>{html.escape(text)}</p>" for text in sentences(saved)]
    if changes(saved):
        body += ["<h2>What changed</h2>", *(f"<p>{html.escape(line)}</p>" for line in changes(saved))]
    tried = _tried(saved)
    rest = [("Sets it has not seen, at its threshold", tried)] if tried else []
    first, *more = map(_shown, tables_of(saved.about["card"]))
    likely = reliability(saved.about)
    figures = [reliability_figure(saved.about["calibration"])] if likely else []
    whole = [
        *body,
        first,
        scores_figure(fit, saved.threshold),
        *more,
        *map(_shown, likely),
        *figures,
        *map(_shown, rest),
    ]
    return PAGE.format(title=html.escape(f"Detector card: {saved.spec.name}"), body="\n".join(whole))


def _shown(table: tuple[str, list[tuple[str, list[str]]]]) -> str:
    title, columns = table
    return f"<h2>{html.escape(title)}</h2><div class=wide>{html_table(of_columns(columns))}</div>"


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }}
.wide {{ overflow-x: auto; }} svg {{ max-width: 100%; height: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 0.3rem 0.7rem; border-bottom: 1px solid #ddd; text-align: right; }}
td {{ white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""
