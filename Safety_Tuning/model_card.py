"""The README of a tuned encoder: what it is, what it was tuned on, and every column beside its base's."""

from collections.abc import Sequence
from typing import Any

from Safety_Tuning.columns import Column
from utils.tables import Table, cell, markdown_table, signed, with_interval, with_reach

NON_COMMERCIAL = "NC"
SEEN_ONCE = (
    "The paper's data and the sets of the detection columns were kept out of tuning and of the choice of its settings."
)


def table(columns: Sequence[Column], base: str, caption: str = "") -> Table:
    """The one table: each column of the base and of the tuned encoder, the difference, and the verdict."""
    rows = [[cell(text) for text in _row(column)] for column in columns]
    headings = ["", "better", base, "tuned", "difference", "verdict"]
    notes = [
        "± half the width of the 95 % interval. A verdict is of the difference's interval: unclear if it holds 0. It "
        "is not corrected for their number."
    ]
    return Table(caption, headings, rows, notes=notes)


def _row(column: Column) -> list[str]:
    base, tuned, difference = column.base, column.tuned, column.difference
    change = signed(difference.value) if difference.low is None else with_reach(difference)
    return [base.metric, base.better, with_interval(base), with_interval(tuned), change, column.verdict]


def summary(columns: Sequence[Column]) -> str:
    """A sentence that counts the verdicts."""
    counts = {word: sum(column.verdict == word for column in columns) for word in ("better", "unclear", "worse")}
    worse = [column.base.metric for column in columns if column.verdict == "worse"]
    named = f" ({'; '.join(worse)})" if worse else ""
    return f"{counts['better']} measures are better, {counts['unclear']} unclear, {counts['worse']} worse{named}."


def model_card(about: dict[str, Any], run: dict[str, Any], columns: Sequence[Column], notes: Sequence[str]) -> str:
    """The README.md in the hub's format. about: the folder's tuning.json. run: its .safe-embed.json."""
    base, data, chosen = about["base"], about["data"], about["chosen"]
    licences = data["licences"]
    forbid = sorted(name for name, licence in licences.items() if NON_COMMERCIAL in licence)
    lines = [
        "---",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        f"base_model: {base['source']}",
        "license: other",
        "tags: [sentence-transformers, safety, feature-extraction]",
        "---",
        "",
        f"# {about['name']}",
        "",
        f"**Licences.** The base is {base['source']}; its licence applies to these weights. "
        + (f"Of the data it was tuned on, {', '.join(forbid)} forbid commercial use. " if forbid else "")
        + "All of them are listed below.",
        "",
        f"{base['label']}, tuned to know more about safety: unsafe prompts of one hazard are nearer to each other, and "
        "farther from safe prompts with the same words.",
        "",
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        f'model = SentenceTransformer("{about["name"]}")  # this folder',
        "```",
        "",
        "## Before and after",
        "",
    ]
    if columns:
        lines += [markdown_table(table(columns, base["label"])), "", summary(columns), ""]
        lines += [SEEN_ONCE, f"They have been evaluated with this folder {times(run['evaluations'])}.", ""]
    else:
        lines += ["Not evaluated yet: `python -m Safety_Tuning.evaluate FOLDER` fills this in.", ""]
    lines += [f"- {note}" for note in notes]
    lines += [
        "## How it was tuned",
        "",
        f"- method: {about['method']}, {_settings(about['settings'])}, seed {about['seed']}",
        f"- share of the way from the base {chosen['share']:g}, exponent of the rotation {chosen['exponent']:g}, "
        f"chosen by {about['parts']} tunings with families held out",
        f"- models tuned on different batches, whose mean this is: {about.get('models', 1)}",
        f"- {data['prompts']} prompts; took {run['seconds']:.0f} s and {run['memory']} MiB",
        f"- signature: {about['signature']}",
        "",
        "## Data",
        "",
        *(f"- {name}: {licence}" for name, licence in licences.items()),
        *(f"- left out: {number} {reason}" for reason, number in data["left_out"].items()),
        "",
        "## Limits",
        "",
        "- English only, and single prompts. What is unsafe is what these sets call unsafe.",
        "- A detector's results on a family that it was tuned on are marked as seen, and take no rank.",
        "- It is no guard by itself: nearness shows topics and words first, safety second.",
    ]
    return "\n".join(lines) + "\n"


def times(evaluations: Sequence[Any]) -> str:
    """How often, in words."""
    return "once" if len(evaluations) == 1 else f"{len(evaluations)} times"


def _settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in settings.items())


def _text(value: Any) -> str:
    return "/".join(f"{one:g}" for one in value) if isinstance(value, list | tuple) else f"{value:g}"
