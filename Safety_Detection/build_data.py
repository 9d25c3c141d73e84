"""Finds the labelled sets, or fetches them, and says what was found, where, and under which licence."""

import sys
from collections.abc import Sequence

from Safety_Detection import labelled_sets
from Safety_Detection.evaluate import TASK
from utils.cli import run
from utils.data.catalogue import CONTRAST, JAILBREAKBENCH, OPENAI_MODERATION, XSTEST

CARDS = {"do_not_answer": CONTRAST, "xstest": XSTEST, "openai_moderation": OPENAI_MODERATION}


def show(argv: Sequence[str] | None = None) -> int:
    """Loads the sets as the evaluation would, and prints what each is. Takes the evaluation's flags."""

    def work() -> None:
        settings = TASK.settings(argv, "build_data")
        dataset, found = labelled_sets.load(settings.data, settings.limit)
        if settings.quiet:
            return
        what = "the bundled SAMPLE" if dataset.name == "sample" else f"data: {dataset.name}"
        print(f"{what}: {len(dataset)} prompts of {len(dataset.group_order)} sets")
        for name in dataset.group_order:
            rows = [i for i, its in enumerate(dataset.groups) if its == name]
            unsafe = sum(dataset.labels[i] for i in rows)
            groups = len({dataset.clusters[i] for i in rows})
            print(f"  {name}: {unsafe} unsafe, {len(rows) - unsafe} safe, {groups} groups")
            if name in CARDS:
                card = CARDS[name]
                print(f"    source   {card.source}\n    licence  {card.licence}\n    cite     {card.citation}")
            elif name == "jailbreakbench":
                card = JAILBREAKBENCH
                print(f"    source   {card['path']}\n    licence  {card['licence']}\n    cite     {card['citation']}")
            else:
                print(f"    licence  {found.licence}")
        for file in dataset.files:
            print(f"  file {file.name}, sha256 {file.sha256}")
        for sentence in dataset.notes:
            print(f"  note: {sentence}")

    return run(work)


if __name__ == "__main__":
    sys.exit(show())
