"""What a run may still spend under --max-cost."""

import asyncio
import math

from Safety_Contrast.writing.order import Order, answer_limit, cost, most_tokens_in, price_of
from Safety_Contrast.writing.template import Original
from utils.schema import InputError


class TooDear(Exception):
    """The next request may cost more than is left."""


class Budget:
    """The dollars that a run has spent, and those that its running requests may still cost.

    A request is sent only if all of them together stay below --max-cost, whatever they cost: the tokens of its answer
    are limited, and none is taken to cost less than the dearest so far. Until the first one has told what it cost, a
    single request runs. Without --max-cost nothing is limited.
    Raises InputError if --max-cost is given and the price is unknown.
    """

    def __init__(self, order: Order) -> None:
        self.limit, price, self.concurrency = order.max_cost, price_of(order), order.concurrency
        if self.limit is not None and price is None:
            raise InputError(f"--max-cost: the price of {order.model} is unknown; give --price INPUT,OUTPUT")
        self.price = price or (0.0, 0.0)
        self.spent = 0.0
        self.short = 0.0  # dollars that the first request not sent may cost; 0 while none is held back
        self._reserved = self._dearest = 0.0
        self._under_way, self._known = 0, False
        self._changed = asyncio.Condition()

    def bounded(self, body: dict, original: Original, share: float) -> float:
        """The most that a request can cost, in dollars, once its answer is limited to that share of what is left."""
        if self.limit is None:
            return 0.0
        tokens = most_tokens_in(body)
        left = self.limit - self.spent - self._reserved
        body["max_completion_tokens"] = answer_limit(self.price, original, tokens, left * share)
        return max(self._dearest, cost(self.price, tokens, body["max_completion_tokens"]))

    async def reserve(self, body: dict, original: Original) -> float:
        """The most that a request can cost, set aside for it. Raises TooDear if that is not left, nor will be."""
        async with self._changed:
            while True:
                most = self.bounded(body, original, 1 / self.concurrency)
                alone = self._under_way == 0
                if self.limit is None or (self._is_left(most) and (alone or self._known)):
                    self._reserved, self._under_way = self._reserved + most, self._under_way + 1
                    return most
                if alone:
                    self.short = most
                    self._changed.notify_all()
                    raise TooDear
                await self._changed.wait()

    async def settle(self, most: float, dollars: float) -> None:
        """Ends what `reserve` gave for a request, which cost `dollars`."""
        async with self._changed:
            self._under_way, self._known = self._under_way - 1, True
            self._reserved = self._reserved - most if self._under_way else 0.0
            self.charge(dollars)
            self._changed.notify_all()

    def charge(self, dollars: float) -> None:
        self.spent, self._dearest = self.spent + dollars, max(self._dearest, dollars)

    def affordable(self, requests: list[tuple[Original, dict]]) -> dict[str, float]:
        """The most that each of the first requests can cost, by id, as many as can be paid for together."""
        most, total = {}, 0.0
        for original, body in requests:
            dollars = self.bounded(body, original, 1 / len(requests))
            if not self._is_left(total + dollars):
                self.short = dollars
                break
            most[original.id], total = dollars, total + dollars
        return most

    def _is_left(self, dollars: float) -> bool:
        return self.limit is None or self.spent + self._reserved + dollars <= self.limit

    def reached(self) -> str:
        """In words, why nothing more is sent."""
        return (
            f"stopped at --max-cost {self.limit:g}: ${self.spent:.4f} spent, and the next request may cost "
            f"${math.ceil(self.short * 1e4) / 1e4:.4f}"
        )
