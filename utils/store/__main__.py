"""The command line of the embedding store: lists what it holds, and prunes it."""

import sys
from collections.abc import Sequence

from utils.schema import InputError, shown
from utils.store.embeddings import EmbeddingStore, default_path
from utils.tables import of_columns, text_table


def main(argv: Sequence[str] | None = None) -> int:
    """Lists what the store holds of each encoder, or removes all that it holds of one."""
    from utils.cli import Parser, run, show

    flags = Parser(prog="python -m utils.store", description=main.__doc__, allow_abbrev=False)
    flags.add_argument("--prune", metavar="ENCODER", help="remove all of this encoder (a name or a fingerprint)")

    def work() -> None:
        arguments = flags.parse_args(argv)
        kept = EmbeddingStore(default_path())
        contents = kept.contents()
        if arguments.prune is not None:
            chosen = [one for one in contents if arguments.prune in (one.name, one.fingerprint)]
            if not chosen:
                raise InputError(f"--prune {arguments.prune}: not in the store; python -m utils.store shows what is")
            for one in chosen:
                kept.prune(one.fingerprint)
                show(f"removed {one.vectors} vectors and {one.maps} maps of {shown(one.name)} ({one.fingerprint})")
            return
        rows = [[*map(str, list(vars(one).values())[:-1]), f"{one.size / 2**20:.1f}"] for one in contents]
        headings = ["encoder", "fingerprint", "vectors", "maps", "MiB"]
        columns = list(zip(headings, zip(*rows, strict=True), strict=True)) if rows else []
        show(text_table(of_columns(columns, keys=2)) if rows else "the store is empty")
        show(f"\n{kept.path}")

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
