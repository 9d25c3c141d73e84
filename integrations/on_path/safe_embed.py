"""Safe-Embed under one name, for a program that has packages called `utils` or `Safety_Detection` of its own.

Put this folder, which holds nothing else, on the path (PYTHONPATH or sys.path), then `from safe_embed import
load_detector`. The repository's packages are loaded as `safe_embed.utils` and `safe_embed.Safety_Detection`, whose
imports of each other are renamed when they are compiled, so that they neither take nor leave those names.
"""

import ast
import sys
from collections.abc import Sequence
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType

__path__ = [str(Path(__file__).resolve().parents[2])]  # makes this module a package, in which these are found


class Renaming(ast.NodeTransformer):
    """Puts the name of this package before absolute imports of the repository's."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        if node.level == 0 and node.module and _is_ours(node.module):
            node.module = f"{__name__}.{node.module}"
        return node

    def visit_Import(self, node: ast.Import) -> ast.Import:
        for one in [one for one in node.names if _is_ours(one.name)]:
            if one.asname is None:  # `import utils.files` makes the name `utils`
                package = one.name.partition(".")[0]
                node.names.append(ast.alias(f"{__name__}.{package}", package))
            one.name = f"{__name__}.{one.name}"
        return node


class Loader(SourceFileLoader):
    """Loads a module from its source with its imports renamed, and neither reads nor writes bytecode beside it."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        tree = Renaming().visit(ast.parse(self.get_data(path), path))
        return self.source_to_code(ast.fix_missing_locations(tree), path)


class Finder:
    """Finds the repository's packages in this package."""

    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """The spec of a module of the repository, None for every other one."""
        above, _, name = fullname.partition(".")
        if above != __name__ or not _is_ours(name) or path is None:
            return None
        return FileFinder(path[0], (Loader, SOURCE_SUFFIXES)).find_spec(fullname)


def _is_ours(name: str) -> bool:
    package = name.partition(".")[0]
    return package == "utils" or package.startswith("Safety_")


sys.meta_path.insert(0, Finder)

from safe_embed.Safety_Detection.guardrail.saved import load_detector  # noqa: E402  (found by what is above)
from safe_embed.utils.schema import InputError  # noqa: E402

__all__ = ["InputError", "load_detector"]
