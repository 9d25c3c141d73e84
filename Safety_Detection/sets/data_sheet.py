"""What the labelled sets of an evaluation are, as text."""

import re
import textwrap

from Safety_Detection.sets.cards import SET_CARDS
from Safety_Detection.sets.labelled_sets import LabelledDataset
from utils.data.sources import Found
from utils.tables import WIDTH, of_columns, text_table


def data_sheet(dataset: LabelledDataset, found: Found) -> str:
    """A table of the sets with their sizes, families and licences, then their sources and what to mind, and notes.

    A dash stands for a class that a set lacks.
    """
    what = f"the bundled SAMPLE ({found.how})" if dataset.name == "sample" else f"data: {dataset.name}"
    sets = dataset.group_order
    rows = {name: dataset.rows(name) for name in sets}
    unsafe = {name: sum(dataset.labels[i] for i in rows[name]) for name in sets}
    cards = {name: SET_CARDS[name] for name in sets if name in SET_CARDS}
    licences = [re.split("[;,]", dataset.licence_of[name])[0] for name in sets]
    families = [dataset.family_of[name] if dataset.family_of[name] != name else "-" for name in sets]
    columns = [
        ("set", list(sets)),
        ("unsafe", [str(unsafe[name] or "-") for name in sets]),
        ("safe", [str(len(rows[name]) - unsafe[name] or "-") for name in sets]),
        ("groups", [str(len({dataset.clusters[i] for i in rows[name]})) for name in sets]),
        ("family", families),
        ("licence", licences),
    ]
    number = f"{len(dataset)} prompts of {len(sets)} set{'s' * (len(sets) > 1)}"
    published = {file.sha256 for card in cards.values() for file in card.files}
    texts = [
        *(
            f"{name}: {card.source}. {card.citation}. Licence: {card.licence}. {card.caveat}"
            for name, card in cards.items()
        ),
        *(f"file {file.name}, sha256 {file.sha256}" for file in dataset.files if file.sha256 not in published),
        *(f"note: {sentence}" for sentence in dataset.notes),
    ]
    parts = [text_table(of_columns(columns, caption=f"{what}: {number}", spans=[len(columns) - 1]))]
    return "\n\n".join([*parts, "\n".join(_wrapped(text, "  ") for text in texts)])


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
