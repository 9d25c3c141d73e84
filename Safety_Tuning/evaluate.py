"""Evaluates a tuned encoder beside its base, in one table, and writes it into the encoder's model card."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from Safety_Tuning import training_side, tuned_folder
from Safety_Tuning.evaluation import Compared, compared, datasets_of, evaluated_prompts, store_through_layer
from Safety_Tuning.model_card import model_card, summary, table, times
from utils import cli, config
from utils.embed.embedder import Embedder
from utils.encoders import registry
from utils.evaluation.settings import Settings, parser, settings_from
from utils.results.find import told_by_folder
from utils.store.embeddings import EmbeddingStore, default_path
from utils.tables import text_table


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    """Evaluates an encoder that Safety_Tuning.tune wrote beside its base, on all that it was not tuned on."""
    flags = cli.Parser(prog="python -m Safety_Tuning.evaluate", description=main.__doc__)
    flags.add_argument("folder", metavar="FOLDER", help="the folder of the tuned encoder")
    flags.add_argument("--results", metavar="FOLDER", help="folder of the result files (variable OUT)")
    cli.add_encoder_options(flags)
    flags.add_argument("--seed", metavar="N", type=cli.whole(0), default=42, help="of all that is drawn (default 42)")
    flags.add_argument("--quiet", action="store_true", help="print the table and nothing else")
    arguments = flags.parse_args(argv)
    evaluate(config.callers_path(arguments.folder), arguments)


def evaluate(folder: Path, arguments: argparse.Namespace) -> None:
    """Prints the table of an encoder and its base, and writes it into the folder's model card."""
    about, run = tuned_folder.read(folder)
    note = cli.notes(arguments)
    if run["evaluations"]:
        note(f"{folder.name}: its evaluation data have been looked at {times(run['evaluations'])} before")
    found = _compared(folder, run["base"], about, arguments)
    run["evaluations"].append(datetime.now(UTC).isoformat(timespec="seconds"))
    tuned_folder.write_run(folder, run, model_card(about, run, found.columns, found.notes))
    caption = f"{about['base']['label']} before and after tuning ({about['method']}, seed {about['seed']})"
    for sentence in found.notes:
        note(sentence)
    cli.show(f"{text_table(table(found.columns, about['base']['label'], caption))}\n\n{summary(found.columns)}")


def _compared(folder: Path, base: str, about: dict[str, Any], arguments: argparse.Namespace) -> Compared:
    names = [base, str(folder.resolve())]
    settings, note = settings_of(arguments, names), cli.notes(arguments)
    datasets = datasets_of("auto", settings)
    side, unseen, _ = training_side.load(about["data"]["name"], evaluated_prompts(datasets))
    store = EmbeddingStore(default_path())
    show = not arguments.quiet and sys.stderr.isatty()
    specs = [told_by_folder(registry.resolve(name, settings.encoder), name) for name in names]
    embedders = [Embedder(spec, store, show, note) for spec in specs]
    same = specs[0].fingerprint == about["base"]["fingerprint"]
    try:
        if about["method"] == "linear" and same and specs[1].base is None:
            layer = tuned_folder.layer_of(folder)
            store_through_layer(layer, datasets, side, unseen, embedders, store, settings)
        return compared(settings, datasets, side, unseen, embedders, note)
    finally:
        for embedder in embedders:
            embedder.close()


def settings_of(arguments: argparse.Namespace, names: Sequence[str]) -> Settings:
    """The settings of the tasks' evaluations: the base's own average similarity, as a tuned encoder has no other."""
    given = ["--model", ",".join(names), "--data", "auto", "--baseline", "own", "--seed", str(arguments.seed)]
    for name in ("device", "dtype"):
        value = getattr(arguments, name, None)
        given += [] if value is None else [f"--{name}", value]
    results = getattr(arguments, "results", None)
    given += [] if results is None else ["--out", results]
    given += ["--quiet"] if arguments.quiet else []
    return settings_from(parser("Safety_Tuning.evaluate", "").parse_args(given))


if __name__ == "__main__":
    sys.exit(main())
