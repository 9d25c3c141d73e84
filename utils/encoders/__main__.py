"""The command line of the registry: its table, and an encoder's average similarity."""

import sys
from collections.abc import Sequence
from typing import cast

from utils import cli, config
from utils.encoders.paper import paper_entry, paper_figures
from utils.encoders.registry import known_encoders, resolve
from utils.schema import Baseline, EncoderOptions, InputError, is_control, shown
from utils.tables import Table, number, of_columns, text_table


def _needs(entry: dict) -> str:
    """What a user needs before an encoder can be used."""
    if entry["loader"] == "openai":
        return "API key"
    return "HF token" if entry.get("gated") else ""


def registry_table() -> Table:
    """The registry, with the paper's average similarity b."""
    entries = known_encoders()
    averages = [paper_figures().get(name, {}).get("average_similarity") for name in entries]
    columns = [
        ("encoder", list(entries)),
        ("size", ["-" if entry["loader"] == "openai" else entry["parameters"] for entry in entries.values()]),
        ("dim", [str(entry["dimension"] or "-") for entry in entries.values()]),
        ("licence", [entry["licence"] for entry in entries.values()]),
        ("needs", list(map(_needs, entries.values()))),
        ("b", ["" if average is None else number(average) for average in averages]),
    ]
    note = (
        "b: the paper's average similarity of two unrelated prompts. Also accepted: any Hugging Face id "
        "(organisation/name), openai:MODEL, mteb:NAME (an extra), a folder with a model."
    )
    return of_columns(columns, notes=[note])


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    """Lists the registry, or computes an encoder's average similarity."""
    flags = cli.Parser(prog="python -m utils.encoders", description=main.__doc__)
    commands = flags.add_subparsers(dest="command", metavar="COMMAND")
    average = commands.add_parser(
        "average", help="average similarity over BeaverTails, as the paper defines it (kept once computed)"
    )
    average.add_argument(
        "name", metavar="ENCODER", help="a name of the list, a Hugging Face id, openai:MODEL, mteb:NAME, a folder"
    )

    arguments = flags.parse_args(argv)
    if arguments.command is None:
        print(text_table(registry_table()))
    else:
        _print_average(arguments.name)


def _print_average(name: str) -> None:
    from utils.embed.average_similarity import beavertails_average_similarity
    from utils.embed.embedder import Embedder
    from utils.store import embeddings as store

    spec = resolve(name, EncoderOptions(device=config.setting("DEVICE"), dtype=config.setting("DTYPE")))
    if is_control(spec):
        raise InputError(f"{name}: a control's average similarity is that of the evaluated prompts; name an encoder")
    kept = store.EmbeddingStore(store.default_path())
    embedder = Embedder(spec, kept, sys.stderr.isatty(), cli.note)
    average = cast(Baseline, beavertails_average_similarity(embedder))  # as it is required
    embedder.close()
    cli.show(f"average similarity of {shown(spec.name)} over BeaverTails, 250,000 pairs of prompts")
    print(f"  mean                {average.value:z.4f}")
    print(f"  median              {average.median:z.4f}")
    print(f"  standard deviation  {average.standard_deviation:z.4f}")
    paper = paper_entry(spec)
    if paper is not None:
        print(f"  paper's mean        {paper['average_similarity']:z.3f}")


if __name__ == "__main__":
    sys.exit(main())
