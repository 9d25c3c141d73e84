"""How many threads of the processor torch and numpy use, set for a while."""

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator

from threadpoolctl import ThreadpoolController


class Limit:
    """The number of threads, which all of a process shares: the last one that leaves restores what the first one found.

    Callers in several threads would else take one another's number for the usual one, and keep it.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._usual: list[tuple[Callable[[int], None], int]] = []

    @contextlib.contextmanager
    def of(self, number: int | None) -> Iterator[None]:
        """In this context torch, if it is loaded, uses `number` threads, what it chooses if it is None, and numpy one.

        numpy has little to do beside an encoder, and its threads wait for more of it in a loop, in which they keep the
        processor from torch's.
        """
        with self._lock:
            if not self._inside:
                self._usual = [(put, get()) for get, put in [*_numpy(), *_torch()]]
            self._inside += 1
            usual = self._usual
            self._put([(put, 1) for _, put in _numpy()])
            # After numpy's: torch's MKL follows no limit of others once this was called anywhere.
            self._put([(put, number) for _, put in _torch() if number is not None])
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                self._put(usual)  # by every caller, since a part of torch's number is each thread's own

    @staticmethod
    def _put(numbers: list[tuple[Callable[[int], None], int]]) -> None:
        for put, number in numbers:
            put(number)


LIMIT = Limit()


def _torch() -> list[tuple[Callable[[], int], Callable[[int], None]]]:
    """What reads and what sets the number of its threads. Not every encoder needs it."""
    torch = sys.modules.get("torch")
    return [] if torch is None else [(torch.get_num_threads, torch.set_num_threads)]


def _numpy() -> list[tuple[Callable[[], int], Callable[[int], None]]]:
    return [(lib.get_num_threads, lib.set_num_threads) for lib in _blas()]


@functools.cache
def _blas() -> list:
    return ThreadpoolController().select(user_api="blas").lib_controllers
