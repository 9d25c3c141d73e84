"""Gets the Safety-Contrast set, and says what was found, where, and under which licence.

`python -m Safety_Contrast.build_data` shows what an evaluation would read. With `get` it fetches the set the paper
published (`--source paper`) or points to the bundled sample (`--source sample`).
"""

import argparse
import sys

from utils import config
from utils.cli import run, show_data
from utils.schema import InputError
from utils.sources import CONTRAST_FORMAT, find, shown_path

CHOICES = (
    "SOURCE=paper fetches the set the paper published, SOURCE=sample uses the bundled sample; "
    "writing a set with GPT is not built yet"
)


def get(argv: list[str]) -> int:
    """Fetches the set that `--source` (or the variable SOURCE) names."""
    flags = argparse.ArgumentParser(prog="python -m Safety_Contrast.build_data get", description=CHOICES)
    flags.add_argument("--source", metavar="SOURCE", help="paper or sample (variable SOURCE)")
    arguments = flags.parse_args(argv)

    def work() -> None:
        source = arguments.source or config.setting("SOURCE")
        if source not in ("paper", "sample"):
            raise InputError(f"SOURCE {source!r}: {CHOICES}")
        found = find(CONTRAST_FORMAT, source)
        print(f"Safety-Contrast set ({found.name}): {shown_path(found.path)}\nlicence: {found.licence}")
        data = "" if source == "paper" else "DATA=sample "
        print(f"next: {data}source scripts/safety_contrast.sh")

    return run(work)


if __name__ == "__main__":
    if sys.argv[1:2] == ["get"]:
        sys.exit(get(sys.argv[2:]))
    sys.exit(show_data("Safety_Contrast", CONTRAST_FORMAT))
