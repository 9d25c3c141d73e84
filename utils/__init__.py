"""The library that the tasks use."""

import importlib.util
import sys

# Before anything imports them: a command that runs in another Python than the one set up ends in this line.
_MISSING = [name for name in ("numpy", "tabulate", "dotenv") if importlib.util.find_spec(name) is None]
if _MISSING:
    print(
        f"error: {', '.join(_MISSING)} not installed for {sys.executable}; activate the environment (source "
        ".venv/bin/activate), or make it first: source setup.sh",
        file=sys.stderr,
    )
    raise SystemExit(2)
