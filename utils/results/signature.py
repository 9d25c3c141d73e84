"""One line that says all that a result's numbers depend on."""

import hashlib

from utils.schema import Result
from utils.tasks import TASKS


def signature(result: Result) -> str:
    """The task, its settings, the encoder with its fingerprint, the data's digest and size, and the program's version.

    As `taxonomy|k:10|all-minilm-l6-v2@9a32259|data:4104496|n:939|v0.2.0`. Two results with the same signature have the
    same numbers, but for rounding by the device. The intervals depend on `bootstrap` and `seed` besides.
    """
    parts = [result.task.removeprefix("safety_")]
    average = result.settings["baseline"]
    if average is not None:
        parts.append(f"b:{average['source']}={average['value']:z.3f}")
    for name, short in (("top_k", "k"), ("threshold", "t"), ("seed", "seed")):
        if name in TASKS[result.task].settings and result.settings.get(name) is not None:
            parts.append(f"{short}:{result.settings[name]}")
    digests = [file.sha256 for file in result.dataset_files]
    data = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    parts += [
        f"{result.encoder.name}@{result.encoder.fingerprint[:7]}",
        f"data:{data[:7]}",
        f"n:{result.dataset_items}",
        f"v{result.environment.get('version', '?')}",
    ]
    return "|".join(parts)
