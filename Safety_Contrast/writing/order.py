"""What is asked for: the originals, the request for each, and its price."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from Safety_Contrast.writing.answers import EDITS
from Safety_Contrast.writing.template import Original, Template
from utils import config, openai_api
from utils.data import loading, sources
from utils.data.reading import read_columns
from utils.schema import InputError
from utils.tasks import TASKS

PRICES_FILE = Path(__file__).with_name("prices.yaml")
# Tokens of an answer like those of the paper, which have 535 characters on average.
TOKENS_ANSWERED = 150
# Under --max-cost the most tokens that an answer may have, thinking included, where the money is there.
MOST_ANSWERED = 8192
# Chat models without structured output. Any other that turns out to have none is asked without it from then on.
_WITHOUT_SCHEMA = ("gpt-4o-2024-05-13", "gpt-4-", "gpt-3.5-")
_ITEM = {
    "type": "object",
    "properties": {"modified_prompt": {"type": "string"}},
    "required": ["modified_prompt"],
    "additionalProperties": False,
}
_KEYS = [f"prompt_#{number}" for number in range(1, EDITS + 1)]
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "five_prompts",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": dict.fromkeys(_KEYS, _ITEM),
            "required": _KEYS,
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True)
class Order:
    """The model that is asked, its settings, and what the run may cost.

    seed: None for none, as the paper's code sends none. attempts: the most answers to ask for, for each original.
    price: dollars for a million tokens in and out, None for those of prices.yaml. out: the folder of the set, None for
    one named for the settings.
    """

    model: str
    temperature: float
    seed: int | None
    concurrency: int
    attempts: int
    max_cost: float | None
    price: tuple[float, float] | None
    out: Path | None
    batch: bool = False


def originals(data: str) -> tuple[list[Original], sources.Found]:
    """The prompts to ask for, unchanged and in the order of their file, and the file.

    data: `auto` or `paper` for Do-Not-Answer, `sample`, or the path of a file in its format.
    """
    fmt = TASKS["safety_taxonomy"].file_format
    dataset, found = loading.load(fmt, "paper" if data == "auto" else data)
    columns = read_columns(found.path, fmt.columns, fmt.readme)
    cells = zip(columns["id"], columns[fmt.group_column], dataset.groups, columns["question"], strict=True)
    return [Original(*row) for row in cells], found


def chosen(rows: Sequence[Original], categories: Sequence[str], limit: int | None) -> list[Original]:
    """The first `limit` originals of the categories named, by their long or short names; of all if none is named.

    Raises InputError for a category that no original has.
    """
    known = {name for row in rows for name in (row.category, row.shown)}
    for name in categories:
        if name not in known:
            raise InputError(
                f"--categories {name}: no such category (there are: {', '.join(dict.fromkeys(r.shown for r in rows))})"
            )
    return [row for row in rows if not categories or {row.category, row.shown} & set(categories)][:limit]


def order_settings(order: Order, template: Template, found: sources.Found) -> dict:
    """The settings that all answers of one set have in common."""
    return {
        "model": order.model,
        "server": openai_api.host(),
        "temperature": order.temperature,
        "seed": order.seed,
        "template": template.digest,
        "originals": found.sha256,
    }


def folder_of(order: Order, settings: dict) -> Path:
    """The folder of a set: --out, or one in Safety_Contrast/data named for the model and a digest of `settings`."""
    if order.out is not None:
        return order.out
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:6]
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in order.model)
    return config.ROOT / "Safety_Contrast" / "data" / f"{name}-{digest}"


def request(order: Order, template: Template, original: Original, before: Sequence[dict], schema: bool) -> dict:
    """The body of the request for an original; `before`: as in Template.messages."""
    body = {
        "model": order.model,
        "messages": template.messages(original, before),
        "temperature": order.temperature,
    }
    body |= {} if order.seed is None else {"seed": order.seed}
    return body | {"response_format": SCHEMA} if schema else body


def takes_schema(order: Order, template: Template) -> bool:
    """Whether the model is to be asked for structured output, until it refuses it; the paper's code never does."""
    return not template.is_papers and not order.model.startswith(_WITHOUT_SCHEMA)


def preview(order: Order, first: dict, template: Template, rows: Sequence[Original]) -> str:
    """The first request as it would be sent, and an estimate of all of them."""
    address = f"POST {openai_api.host()}/chat/completions"
    return f"{address}\n{json.dumps(first, indent=1)}\n\n{estimate(order, template, rows)}"


def tokens_in(order: Order, template: Template, rows: Sequence[Original]) -> int:
    """The tokens of the first requests for `rows`, taken as one for every four bytes: rather too many for English."""
    messages = [message for row in rows for message in template.messages(row, [])]
    return sum(math.ceil(len(message["content"].encode()) / 4) + 4 for message in messages)


def most_tokens_in(body: dict) -> int:
    """More tokens than a request has: of ASCII characters a token holds two or more, of others at least a byte."""
    texts = [message["content"] for message in body["messages"]] + [json.dumps(body.get("response_format", ""))]
    ascii_only = sum(len(text.encode("ascii", "ignore")) for text in texts)
    everything = sum(len(text.encode()) for text in texts)
    return math.ceil(ascii_only / 2) + everything - ascii_only + 8 * len(texts)


def answer_limit(price: tuple[float, float], original: Original, tokens_read: int, dollars: float) -> int:
    """The most tokens that an answer may have if its request is to cost `dollars`: MOST_ANSWERED at most.

    It is never fewer than twice what five edits as long as the original need.
    """
    least = 2 * EDITS * (len(original.text.encode()) // 3 + 20)
    left = dollars - cost(price, tokens_read, 0)
    most = left * 1e6 / price[1] - 1 if price[1] else math.inf  # less one, for rounding
    return max(least, int(min(MOST_ANSWERED, most)))


def price_of(order: Order) -> tuple[float, float] | None:
    """Dollars for a million tokens in and out, or None if the price is unknown."""
    listed = _listed_prices()
    price = order.price or listed["models"].get(order.model)
    if price is None:
        return None
    share = listed["batch"] if order.batch and order.price is None else 1.0
    return price[0] * share, price[1] * share


def price_source(order: Order) -> str:
    """Where the price is from, in words."""
    return f"at the prices of {_listed_prices()['as_of']}" if order.price is None else "at the price given"


def _listed_prices() -> dict:
    return yaml.safe_load(PRICES_FILE.read_text(encoding="utf-8"))


def cost(price: tuple[float, float] | None, tokens_read: int, tokens_written: int) -> float:
    """Dollars for so many tokens, 0 if the price is unknown."""
    return 0.0 if price is None else (tokens_read * price[0] + tokens_written * price[1]) / 1e6


def estimated_cost(order: Order, template: Template, rows: Sequence[Original]) -> float | None:
    """Dollars for asking for each of `rows` once, or None if the price is unknown."""
    price = price_of(order)
    if price is None:
        return None
    return cost(price, tokens_in(order, template, rows), len(rows) * TOKENS_ANSWERED)


def estimate(order: Order, template: Template, rows: Sequence[Original]) -> str:
    """A sentence on how many calls, tokens and dollars it takes to ask for each of `rows` once."""
    tokens, dollars = tokens_in(order, template, rows), estimated_cost(order, template, rows)
    money = "price unknown (give --price INPUT,OUTPUT)" if dollars is None else f"about ${dollars:.2f}"
    written = len(rows) * TOKENS_ANSWERED
    return f"{len(rows)} calls of {order.model}: about {tokens} tokens in, {written} out, {money}"
