"""The provenance of a report's numbers: files, encoders, settings and the environment."""

from collections.abc import Sequence

from utils.report.parts import Section
from utils.schema import DataFile
from utils.tasks import TASKS


def _origin(file: DataFile, dataset: str) -> dict:
    """The source and licence of an evaluated file, as far as its digest or name identifies it."""
    for task in TASKS.values():
        card = task.card_of(file)
        if card is not None:
            return {"source": card.source, "licence": card.licence, "citation": card.citation}
    if dataset == "sample":
        return {"source": "bundled with this project", "licence": "Apache-2.0", "citation": ""}
    return {"source": "provided by the user", "licence": "not known here", "citation": ""}


def provenance_of(sections: Sequence[Section]) -> dict:
    """The data files, the encoders with their settings, and the environment, for the page's template."""
    files = []
    for section in sections:
        for file in section.results[0].dataset_files:
            known = _origin(file, section.results[0].dataset_name)
            files.append({"task": section.about.title, **vars(file), **known})
    encoders = []
    for section in sections:
        for result in (*section.results, *section.variants):
            b = result.settings["baseline"]
            encoders.append(
                {
                    "task": section.about.title,
                    "encoder": vars(result.encoder),
                    "baseline": "-" if b is None else f"{b['value']:z.3f} ({b['source']})",
                    "created": result.created,
                    "device": result.environment.get("device", "-"),
                    "truncated": result.embedding.truncated,
                    "settings": {key: value for key, value in result.settings.items() if key != "baseline"},
                    "commit": result.environment.get("commit"),
                }
            )
    newest = max((r for section in sections for r in section.results), key=lambda r: r.created)
    return {"files": files, "encoders": encoders, "environment": newest.environment}
