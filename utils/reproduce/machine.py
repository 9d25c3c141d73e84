"""What keeps a registered encoder from running on this machine, found without loading it."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from utils import config, hub
from utils.encoders.loaders import choose_devices
from utils.encoders.registry import known_encoders, listed_checkpoints
from utils.openai_api import DEFAULT_HOST, host

BYTES_OF = {"float32": 4, "bfloat16": 2, "float16": 2}
# An encoder needs its weights, a fifth more for loading and batches, and 1 GB for the program and its libraries:
# MiniLM, with 0.09 GB of weights, had a peak of 0.88 GB on a CPU.
OVERHEAD, PROGRAM = 1.2, 1e9


@dataclass(frozen=True)
class Obstacle:
    """Why an encoder cannot run here: in one or two words, and in a sentence that says what to do."""

    short: str
    sentence: str


def memory_needed(name: str, dtype: str = "auto") -> float:
    """An estimate of the bytes that a registered encoder needs while it runs; 0 if it runs behind an API."""
    entry = known_encoders()[name]
    if entry["loader"] == "openai":
        return 0.0
    parameters = float(entry["parameters"][:-1]) * {"M": 1e6, "B": 1e9}[entry["parameters"][-1]]
    return parameters * BYTES_OF[entry["dtype"] if dtype == "auto" else dtype] * OVERHEAD + PROGRAM


def free_memory(device: str) -> dict[str, int]:
    """Free bytes of main memory, into which weights are read first, and of each GPU that `device` names.

    Raises InputError if this machine does not have the device.
    """
    import psutil

    free = {"main memory": psutil.virtual_memory().available}
    for one in choose_devices(device):
        if one.startswith("cuda"):
            import torch

            free[one] = torch.cuda.mem_get_info(one)[0]
    return free


def obstacles(names: Sequence[str], device: str = "auto", dtype: str = "auto") -> dict[str, list[Obstacle]]:
    """What keeps each of these registered encoders from running; an empty list if nothing does.

    The hub is asked at most once, and only if weights are not cached. Memory is checked only if there is no other
    obstacle, because that imports torch. Raises InputError if this machine does not have the device.
    """
    online = functools.cache(lambda: hub.reachable())
    free = functools.cache(lambda: free_memory(device))
    found = {}
    for name in names:
        entry = known_encoders()[name]
        if entry["loader"] == "openai":
            found[name] = _of_api(name, entry, dtype)
        else:
            found[name] = _of_weights(name, entry, online) or _of_memory(name, entry, dtype, free())
    return found


def _of_api(name: str, entry: dict, dtype: str) -> list[Obstacle]:
    found = []
    if host() != DEFAULT_HOST:
        found.append(Obstacle("other API", f"{name} runs at {DEFAULT_HOST}; unset OPENAI_BASE_URL ({host()})"))
    if not config.setting("OPENAI_API_KEY"):
        found.append(
            Obstacle(
                "no key",
                f"{name} runs behind an API; put OPENAI_API_KEY=... into .env (create a key at "
                "https://platform.openai.com/api-keys)",
            )
        )
    if dtype not in ("auto", entry["dtype"]):
        found.append(
            Obstacle("dtype", f"{name} returns only {entry['dtype']} vectors; run it separately, with --dtype auto")
        )
    return found


def _of_weights(name: str, entry: dict, online: Callable[[], bool]) -> list[Obstacle]:
    layout = entry.get("layout", ())
    missing = [part[0] for part in listed_checkpoints(entry) if not hub.cached(*part, layout)]
    found = []
    if missing and hub.is_offline():
        found.append(Obstacle("no hub", "the weights are not cached, and HF_HUB_OFFLINE forbids downloads; unset it"))
    elif missing and not online():
        why = "the Hugging Face hub cannot be reached; check the connection, or set HF_ENDPOINT to a mirror"
        found.append(Obstacle("no hub", f"the weights are not cached, and {why}"))
    gated = listed_checkpoints(entry)[0][0]
    if entry.get("gated") and gated in missing and not hub.has_token():
        found.append(
            Obstacle(
                "no token",
                f"{name} is gated; accept its terms at https://huggingface.co/{gated} and put a token into HF_TOKEN",
            )
        )
    return found


def _of_memory(name: str, entry: dict, dtype: str, free: dict[str, int]) -> list[Obstacle]:
    needed = memory_needed(name, dtype)
    short = {place: left for place, left in free.items() if left < needed}
    if not short:
        return []
    halved = memory_needed(name, "bfloat16")
    if halved < needed and halved <= min(free.values()):
        remedy = f"--dtype bfloat16 would need {gigabytes(halved)}"
    elif "main memory" not in short:
        remedy = "--device cpu has enough memory"
    else:
        remedy = "use a machine with more memory"
    places = " and ".join(f"{_rounded(left, math.floor)} of {place}" for place, left in short.items())
    return [Obstacle("memory", f"{name} needs about {gigabytes(needed)} (free: {places}); {remedy}")]


def gigabytes(size: float) -> str:
    """A number of bytes in GB (10^9 bytes), rounded up to one decimal."""
    return _rounded(size, math.ceil)


def _rounded(size: float, whole: Callable[[float], int]) -> str:
    return f"{whole(round(size / 1e8, 6)) / 10:.1f} GB"
