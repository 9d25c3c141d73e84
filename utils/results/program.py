"""The program that computes numbers: its code, its version and what it runs on."""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import tomllib

from utils import config

NO_DEVICE = "none (every embedding was stored)"
# The packages whose versions a result names.
SHOWN_PACKAGES = ("numpy", "pandas", "scikit-learn", "sentence-transformers", "torch", "transformers", "tokenizers")
# The packages that compute scores. The encoder's own libraries are not in its fingerprint either.
SCORING_PACKAGES = ("numpy", "scipy", "scikit-learn")
# The suffixes of the program's files that can change a number.
SUFFIXES = (".py", ".yaml", ".toml", ".json")


def environment(device: str | None) -> dict:
    """The program's version and commit, Python, platform, device and package versions, for a result file.

    device: where vectors were computed, None if all were stored.
    """
    return {**_surroundings(), "device": device or NO_DEVICE}


@functools.cache
def _surroundings() -> dict:
    packages = {}
    for name in SHOWN_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    project = tomllib.loads((config.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        "version": project["version"],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": None,
        "packages": packages,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The checked-out commit, followed by `+changes` if tracked files differ from it; None outside of git."""
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"],
            cwd=config.ROOT,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None


@functools.cache
def code_digest(folder: str) -> str:
    """A digest of the code that computes a task's numbers: the program's files, and the versions of the packages.

    folder: of the task's own code.
    """
    code = [*_shared_code(), _files(folder, without="data")]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()


@functools.cache
def _shared_code() -> tuple[list, list]:
    """What all tasks are computed by: the files of `utils`, and the versions of the packages."""
    return _files("utils"), [importlib.metadata.version(name) for name in SCORING_PACKAGES]


def _files(folder: str, without: str | None = None) -> list[tuple[str, str]]:
    """Path and SHA-256 of each file of a folder that can change a number. without: a folder in it that is left out."""
    root = config.ROOT / folder
    files = [path for path in sorted(root.rglob("*")) if path.suffix in SUFFIXES]
    files = [path for path in files if without is None or root / without not in path.parents]
    return [(str(path.relative_to(config.ROOT)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
