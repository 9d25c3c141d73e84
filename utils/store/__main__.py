"""The command line of the embedding store: lists what it holds, prunes it, and writes vectors to a file."""

import argparse
import sys
from collections.abc import Sequence

from utils import cli
from utils.schema import InputError, shown
from utils.store.embeddings import EmbeddingStore, default_path
from utils.tables import Cell, of_rows, text_table
from utils.tasks import TASKS


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    """Lists what the store holds of each encoder, or removes all that it holds of one."""
    flags = cli.Parser(prog="python -m utils.store", description=main.__doc__)
    flags.add_argument("--prune", metavar="ENCODER", help="remove all of this encoder (a name or a fingerprint)")
    commands = flags.add_subparsers(dest="command", metavar="COMMAND")
    about = (
        "Writes the vectors of a task's texts to a file, with ids and without texts. What is not stored is computed."
    )
    export = commands.add_parser("export", help="write the vectors of a task's texts to a file", description=about)
    export.add_argument("--task", metavar="TASK", required=True, choices=tuple(TASKS), help=", ".join(TASKS))
    export.add_argument("--model", metavar="NAME", help=cli.with_variable("encoder", "MODEL"))
    export.add_argument("--data", metavar="DATA", help=cli.with_variable("auto, paper, sample or a file", "DATA"))
    export.add_argument("--out", metavar="FILE", required=True, help="the file: .parquet, .npz or .jsonl")
    cli.add_encoder_options(export)
    export.add_argument("--no-cache", action="store_true", help="neither read nor write the embedding store")
    export.add_argument("--quiet", action="store_true", help="print the last line and nothing else")

    arguments = flags.parse_args(argv)
    if arguments.command == "export":
        return _export(arguments)
    kept = EmbeddingStore(default_path())
    contents = kept.contents()
    if arguments.prune is not None:
        chosen = [one for one in contents if arguments.prune in (one.name, one.fingerprint)]
        if not chosen:
            raise InputError(f"--prune {arguments.prune}: not in the store; python -m utils.store shows what is")
        for one in chosen:
            kept.prune(one.fingerprint)
            cli.show(f"removed {one.vectors} vectors and {one.maps} maps of {shown(one.name)} ({one.fingerprint})")
        return
    rows = [[one.name, one.fingerprint, one.vectors, one.maps, Cell(f"{one.size / 2**20:.1f}")] for one in contents]
    table = of_rows("", ["encoder", "fingerprint", "vectors", "maps", "MiB"], rows, keys=2)
    cli.show(text_table(table) if rows else "the store is empty")
    cli.show(f"\n{kept.path}")


def _export(arguments: argparse.Namespace) -> None:
    """Writes the vectors of a task's texts."""
    from utils import config
    from utils.embed.embedder import Embedder
    from utils.embed.vectors import check_vectors_file, embed_dataset, write_vectors
    from utils.encoders.registry import resolve
    from utils.files import shown_path

    note = cli.notes(arguments)
    spec = resolve(cli.one_encoder(arguments, "a file of vectors"), cli.encoder_options(arguments))
    path = config.callers_path(arguments.out)
    check_vectors_file(path, spec)
    dataset, found = TASKS[arguments.task].load(cli.chosen(arguments, "data")[0], None)
    for sentence in (*([f"using the bundled sample, {found.how}"] if found.name == "sample" else ()), *dataset.notes):
        note(sentence)
    kept = None if arguments.no_cache else EmbeddingStore(default_path())
    embedder = Embedder(spec, kept, show_progress=not arguments.quiet and sys.stderr.isatty(), note=note)
    embedded = embed_dataset(embedder, dataset)
    embedder.close()
    write_vectors(path, dataset, embedded)
    n, dimension = embedded.matrix.shape
    encoder = f"{spec.name}@{spec.fingerprint[:7]}"
    cli.show(f"wrote {shown_path(path)}: {n} vectors of {dimension} numbers by {encoder}")


if __name__ == "__main__":
    sys.exit(main())
