"""What the labelled sets of an evaluation are, as text."""

from Safety_Detection.labelled_sets import LabelledDataset
from utils.data.catalogue import CONTRAST, JAILBREAKBENCH, OPENAI_MODERATION, XSTEST
from utils.data.sources import Found

CARDS = {"do_not_answer": CONTRAST, "xstest": XSTEST, "openai_moderation": OPENAI_MODERATION}


def data_sheet(dataset: LabelledDataset, found: Found) -> str:
    """Each set with its sizes, source and licence, then the files and notes."""
    what = "the bundled SAMPLE" if dataset.name == "sample" else f"data: {dataset.name}"
    lines = [f"{what}: {len(dataset)} prompts of {len(dataset.group_order)} sets"]
    for name in dataset.group_order:
        rows = [i for i, its in enumerate(dataset.groups) if its == name]
        unsafe = sum(dataset.labels[i] for i in rows)
        groups = len({dataset.clusters[i] for i in rows})
        lines.append(f"  {name}: {unsafe} unsafe, {len(rows) - unsafe} safe, {groups} groups")
        source = licence = citation = ""
        if name in CARDS:
            source, licence, citation = CARDS[name].source, CARDS[name].licence, CARDS[name].citation
        elif name == "jailbreakbench":
            source, licence, citation = (JAILBREAKBENCH[key] for key in ("path", "licence", "citation"))
        facts = {"source": source, "licence": licence or found.licence, "cite": citation}
        lines += [f"    {fact:8} {text}" for fact, text in facts.items() if text]
    lines += [f"  file {file.name}, sha256 {file.sha256}" for file in dataset.files]
    return "\n".join([*lines, *(f"  note: {sentence}" for sentence in dataset.notes)])
