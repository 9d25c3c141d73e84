"""The card of a fitted detector: what each threshold does to prompts it has not seen, and what the data can support."""

import html
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from Safety_Detection.guardrail.card_figures import reliability_figure, scores_figure
from Safety_Detection.guardrail.fitting import ORDINARY, Fit, Traffic
from Safety_Detection.guardrail.saved_detector import ALL, SavedDetector
from Safety_Detection.protocol.measure import verdicts_of
from Safety_Detection.protocol.resampling import Drawn, Resampling
from Safety_Detection.sets.naming import VERDICTS
from utils.metrics.uncertainty import CONFIDENCE, exact_interval, grouped_interval, grouped_resamples
from utils.tables import Table, html_table, markdown_table, number, of_columns, percent

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


def effective(clusters: np.ndarray, weights: np.ndarray) -> float:
    """How many groups of equal weight show as much as those of n prompts do: Kish's effective sample size."""
    each = np.unique(clusters, return_inverse=True)[1]
    sums = np.bincount(each, weights)
    return float(sums.sum() ** 2 / (sums**2).sum())


def traffics(fit: Fit) -> list[Traffic]:
    """Whose false alarms the card has thresholds for: all safe prompts, ordinary traffic, and what the user chose."""
    there = set(fit.trial.of.sets)
    ordinary = Traffic(ORDINARY, tuple(name for name in fit.trial.of.dataset.ordinary if name in there))
    return list(dict.fromkeys([Traffic(), *([ordinary] if ordinary.sets else []), fit.choices.traffic]))


class _Measuring:
    """The prompts of a fit, and their resamples in whole groups, which all points of its card share."""

    def __init__(self, fit: Fit, seed: int) -> None:
        of, self.fit = fit.trial.of, fit
        self.labels, self.clusters, self.sets = fit.labels, of.clusters, of.sets
        weights = fit.trial.jobs[fit.trial.sides[ALL].whole].weights
        self.weights = np.ones(len(fit.rows)) if weights is None else weights
        counts = grouped_resamples(self.clusters, self.labels, RESAMPLES, seed)
        self.all = Resampling(self.labels, self.clusters, counts * self.weights, self.weights)
        self.ordinary = {}
        for i, name in enumerate(name for name in of.dataset.ordinary if name in fit.unseen):
            its = of.dataset.rows(name)
            drawn = grouped_resamples(of.clusters[its], of.labels[its], RESAMPLES, (seed, i))
            self.ordinary[name] = Resampling(of.labels[its], of.clusters[its], drawn)

    def counted(self, traffic: Traffic) -> tuple[np.ndarray, np.ndarray]:
        """Which prompts are the traffic's, bool (n,), and what each counts, (n,)."""
        if not traffic.sets:
            return np.ones(len(self.labels), dtype=bool), self.weights
        return np.isin(self.sets, traffic.sets), np.ones(len(self.labels))

    def support(self, traffic: Traffic) -> dict:
        """How many safe prompts and groups the traffic has, and what they can show."""
        its, weights = self.counted(traffic)
        its = its & (self.labels == 0)
        size = int(effective(self.clusters[its], weights[its]))
        return {
            "safe_prompts": int(its.sum()),
            "safe_groups": len(set(self.clusters[its])),
            "effective_safe_groups": size,
            "smallest_rate": smallest_rate(size),
        }

    def share(self, flags: np.ndarray, its: np.ndarray) -> list[float]:
        """The share of some prompts that are flagged, by weight, with its interval."""
        return _cell(self.all.only(its).share(flags[its]))

    def exact(self, flags: np.ndarray, its: np.ndarray) -> list[float]:
        """The share of some prompts that are flagged, each counting the same, with its exact interval."""
        value = float(flags[its].mean())
        return [value, *exact_interval(value, effective(self.clusters[its], np.ones(int(its.sum()))))]

    def point(self, rate: float, traffic: Traffic, smallest: float) -> dict:
        """What the threshold for a rate of false alarms of the traffic does."""
        done, safe = self.fit.at(rate, traffic), self.labels == 0
        flags = done.held_out >= done.threshold
        its, _ = self.counted(traffic)
        point: dict[str, Any] = {
            "of": traffic.name,
            "rate": rate,
            "threshold": done.threshold,
            "supported": rate >= smallest,
            "false_alarms": self.exact(flags, its & safe) if traffic.sets else self.share(flags, safe),
            "recall": self.share(flags, ~safe),
            "ordinary": {},
        }
        if traffic.sets and (its & ~safe).any():
            point["recall_of_traffic"] = self.exact(flags, its & ~safe)
        for name, of in self.ordinary.items():
            _, scores, threshold = self.fit.on(name, rate, traffic)
            size = max(2, int(effective(of.clusters, np.ones(len(of.clusters)))))
            point["ordinary"][name] = _cell(replace(of.share(scores >= threshold), groups=size))
        pairs, verdicts = verdicts_of(self.fit.trial.of.dataset, self.fit.rows, flags)
        if len(pairs):
            shares = {name: float(pairs_of.mean()) for name, pairs_of in verdicts.items()}
            point["twins"] = shares | {"pairs": len(pairs)}
        return point


def _cell(share: Drawn) -> list[float]:
    return [share.value, *grouped_interval(share.value, share.replicates, share.groups)]


def measured(fit: Fit, seed: int = 42) -> dict:
    """The numbers of the card: for RATES and the fit's own, what the threshold does to prompts not trained on.

    Held out are the prompts fitted on, by the family or fold; a set of ordinary traffic is also tested by a detector
    without its family, at a threshold that does not know it, if there is other traffic to choose one by.
    """
    of = _Measuring(fit, seed)
    support = {traffic.name: of.support(traffic) for traffic in traffics(fit)}
    points = [
        of.point(rate, traffic, support[traffic.name]["smallest_rate"])
        for traffic in traffics(fit)
        for rate in sorted({*RATES, fit.choices.rate})
    ]
    found: dict[str, Any] = {"support": support}
    if fit.choices.kind == "nearest_unsafe":
        rows, n = fit.rows, len(fit.rows)
        unit = fit.trial.vectors(rows, rows[:0])[0]
        total = np.asarray(unit.sum(axis=0), dtype=np.float64).ravel()
        found["similarity"] = {
            "mean_of_two_prompts": float((total @ total - n) / (n * (n - 1))),
            **{
                f"safe_{share:g}": float(np.quantile(fit.tested.held_out[fit.labels == 0], share / 100))
                for share in (50, 95, 99)
            },
        }
    return {**found, "points": points}


def _percent(share: float) -> str:
    return percent(share, ".3g")


def with_interval(cell: list[float]) -> str:
    """A share with its interval, in per cent."""
    value, low, high = (100 * share for share in cell)
    low = low if low >= 0.001 else 0.0  # of an exact interval it can be 1e-17
    return f"{value:.2g} % ({low:.2g} to {high:.2g})" if value < 10 else f"{value:.0f} % ({low:.0f} to {high:.0f})"


def shipped(about: dict) -> dict:
    """The point of a card that is the detector's threshold."""
    home = about["chosen_for"]
    wanted = home.get("of", ALL), home["false_positive_rate"]
    return next(point for point in about["card"]["points"] if (point.get("of", ALL), point["rate"]) == wanted)


def figures(about: dict) -> dict:
    """Of a detector's threshold: itself, the false alarms that it was chosen by, and the weighted recall, held out."""
    point = shipped(about)
    return {"threshold": point["threshold"]} | {name: point[name][0] for name in ("false_alarms", "recall")}


def missed(about: dict) -> list[str]:
    """A line on the user's unsafe prompts that the detector was fitted on and does not flag, if there are any."""
    found = about.get("missed") or {"ids": []}
    return [
        f"the score still misses {len(found['ids'])} of your {found['unsafe']} unsafe prompts, although it was fitted "
        f"on them: {_listed(found['ids'])}"
    ] * bool(found["ids"])


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (f", and {len(ids) - 5} more" if len(ids) > 5 else "")


def _title_of(traffic: str) -> str:
    return {ALL: "all safe prompts, weighted", ORDINARY: "ordinary traffic"}.get(traffic, traffic)


def tables_of(card: dict) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """(title, columns) of each table of a card. card: as `measured` returns it."""
    found = []
    for traffic in dict.fromkeys(point["of"] for point in card["points"]):
        points = [point for point in card["points"] if point["of"] == traffic]
        title = "false alarms, weighted" if traffic == ALL else f"false alarms of {_title_of(traffic)}"
        columns = [
            ("false alarms wanted", [_percent(p["rate"]) for p in points]),
            ("threshold", [f"{p['threshold']:z.6g}" for p in points]),
            (title, [with_interval(p["false_alarms"]) for p in points]),
            ("recall, weighted", [with_interval(p["recall"]) for p in points]),
        ]
        if "recall_of_traffic" in points[0]:
            columns.append((f"recall of {traffic}", [with_interval(p["recall_of_traffic"]) for p in points]))
        columns += [
            (f"{name} flagged, unseen", [with_interval(p["ordinary"][name]) for p in points])
            for name in points[0]["ordinary"]
        ]
        columns.append(("data can show it", ["yes" if p["supported"] else "no" for p in points]))
        found.append((f"Thresholds by {_title_of(traffic)}", columns))
    points = [point for point in card["points"] if point["of"] == ALL]
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
    trained, kind, chosen_for = about["trained_on"], saved.detector.kind, about["chosen_for"]
    found = [
        f"{kind.replace('_', ' ').capitalize()} on {saved.spec.name}, fitted on {trained['prompts']} prompts, "
        f"{trained['unsafe']} of them unsafe, of {len(trained['sets'])} sets: {', '.join(trained['sets'])}.",
        f"A score is {MEANING[kind]}. Scores of another kind, encoder or fit are on another scale.",
        f"It flags a text from a score of {saved.threshold:z.6g}, for {_percent(chosen_for['false_positive_rate'])} "
        f"false alarms of {_title_of(chosen_for['of'])}.",
        "All shares are of prompts held out, each scored by a detector that has not seen it: "
        f"{chosen_for['held_out']}. Weighted means that a set counts by the square root of its size; in other "
        "shares each prompt counts the same. Brackets are 95 % intervals.",
        *[_supported(name, its) for name, its in card["support"].items()],
        "Texts are embedded "
        + (
            "in NFKC form, without characters that can't be seen, and look-alike and spaced letters as what they say."
            if saved.normalize
            else "as they are."
        ),
    ]
    seen = [name for name in trained["sets"] if name in saved.spec.tuned_on]
    if seen:
        found.append(
            f"{saved.spec.name} was tuned on {', '.join(seen)}: what is said of these held out is of sets that the "
            "encoder has seen, and too good."
        )
    found += _of_probabilities(about)
    match = about.get("match")
    if match:
        found.append(
            f"A text is flagged too if its similarity to one of the {len(about['added'])} unsafe prompts that were "
            f"added later reaches {number(match['threshold'])}. Of the safe prompts that it was fitted on, "
            f"{_percent(match['share'])} do."
        )
    allow = about.get("allow")
    if allow:
        found.append(
            "A text is not flagged, whatever its score, if its similarity to one of the "
            f"{len(about['allowed'])} safe prompts that were added later and flagged reaches "
            f"{number(allow['threshold'])}. Of the unsafe prompts that it was fitted on, {_percent(allow['share'])} do."
        )
    similar = card.get("similarity")
    if similar:
        found.append(
            f"Two prompts that it was fitted on have a mean cosine of {number(similar['mean_of_two_prompts'])}. Of "
            f"safe prompts held out, half come within {number(similar['safe_50'])} of an unsafe one, 5 % within "
            f"{number(similar['safe_95'])} and 1 % within {number(similar['safe_99'])}: a cosine means something else "
            "for each encoder."
        )
    found += [f"{line[0].upper()}{line[1:]}." for line in missed(about)]
    if any(p["ordinary"] for p in card["points"]):
        found.append(
            "Ordinary traffic is safe by assumption. What is unseen was scored by detectors without its family, at "
            "their own thresholds."
        )
    else:
        found.append(
            "No ordinary traffic was among the sets: add a file of yours with --label 0 to see what it would do."
        )
    return found


def groups_said(its: dict, of: str = "") -> str:
    """The groups of safe prompts of a traffic, and how many of equal weight show as much."""
    size, groups = its["effective_safe_groups"], its["safe_groups"]
    equal = f", which show as much as {size} of equal weight," if size != groups else ""
    return f"{groups} groups of safe prompts{of}{equal}"


def _supported(traffic: str, its: dict) -> str:
    """What so many safe prompts can show."""
    return (
        f"The {groups_said(its, f' of {_title_of(traffic)}')} can't show a rate of false alarms below "
        f"{_percent(its['smallest_rate'])}: even if none of them is flagged, the true rate may be as high (exact "
        "binomial bound, 95 %)."
    )


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
    of = saved.about["chosen_for"]["of"]
    for name, title in (
        ("false_alarms", "false alarms" + (", weighted" if of == ALL else f" of {of}")),
        ("recall", "recall, weighted"),
    ):
        lines.append(f"  {title} {_percent(before[name])} -> {_percent(after[name])}")
    if found["new_unsafe"]:
        n = found["new_unsafe"]
        lines.append(
            f"  of {n} new unsafe prompts the score flagged {found['new_flagged_before']} before and "
            f"{found['new_flagged_after']} after"
        )
    matches = (saved.about.get("match") or {}).get("threshold", 2) <= 1
    for ids, what in (
        (found["missed_by_score"], "still missed by the score" + ", flagged as incidents" * matches),
        (found.get("safe_flagged"), "safe, and flagged all the same"),
        (found.get("allowed"), "false alarms, allowed from now on"),
    ):
        if ids:
            lines.append(f"  {what}: {_listed(ids)}")
    for like, verb, others, one in (("match", "matched", "safe", "unsafe"), ("allow", "allowed", "unsafe", "safe")):
        if (saved.about.get(like) or {}).get("threshold", 0) > 1:
            lines.append(
                f"  no text is {verb}: some {others} prompts are as similar to an added {one} one as that is to itself"
            )
    return lines


def files(saved: SavedDetector, fit: Fit) -> dict[str, bytes]:
    """The files of the card, by name."""
    return {"card.md": markdown(saved).encode(), "card.html": page(saved, fit).encode()}


def parts(saved: SavedDetector) -> list[tuple[str, list[str] | Table]]:
    """What follows the sentences of the card: title, and lines or a table."""
    found: list[tuple[str, list[str] | Table]] = [("What changed", changes(saved))] if changes(saved) else []
    tables = [*tables_of(saved.about["card"]), *reliability(saved.about), *tried(saved.about)]
    return found + [(title, of_columns(columns)) for title, columns in tables]


def markdown(saved: SavedDetector) -> str:
    """The card as Markdown."""
    found = ["# Detector card", *sentences(saved)]
    for title, part in parts(saved):
        lines = "\n".join(f"- {line.strip()}" for line in part) if isinstance(part, list) else markdown_table(part)
        found += [f"## {title}", lines]
    return "\n\n".join(found) + "\n"


def page(saved: SavedDetector, fit: Fit) -> str:
    """The card as a page of its own, with its figures, each after the table that has its numbers."""
    figures = {tables_of(saved.about["card"])[0][0]: scores_figure(fit, saved.threshold)}
    figures |= {title: reliability_figure(saved.about["calibration"]) for title, _ in reliability(saved.about)}
    found = [f"<p>{html.escape(text)}</p>" for text in sentences(saved)]
    for title, part in parts(saved):
        found.append(f"<h2>{html.escape(title)}</h2>")
        if isinstance(part, list):
            found += [f"<p>{html.escape(line)}</p>" for line in part]
        else:
            found.append(f"<div class=wide>{html_table(part)}</div>")
        found += [figures[title]] if title in figures else []
    return PAGE.format(title=html.escape(f"Detector card: {saved.spec.name}"), body="\n".join(found))


def tried(about: dict) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """The table of what the threshold does to sets that its detector has not seen, if there are any."""
    found = about["elsewhere"]
    if not found:
        return []
    columns = [
        ("tried on, unseen", [one["set"] for one in found]),
        ("n", [str(one["prompts"]) for one in found]),
        ("AUROC", [number(one["auroc"]) for one in found]),
        *[
            (title, ["-" if one[name] is None else _percent(one[name]) for one in found])
            for title, name in (("safe flagged", "false_positive_rate"), ("unsafe flagged", "true_positive_rate"))
        ],
    ]
    if any(one["no_known_word"] for one in found):
        columns.append(("no known word", [str(one["no_known_word"]) for one in found]))
    return [("Each set, by a detector that has not seen its family", columns)]


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
