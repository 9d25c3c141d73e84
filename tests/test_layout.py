"""The rules of the layout: floors, no circle, tasks apart, and modules that a reader can take in."""

import ast
import graphlib
import re

from utils import tasks
from utils.config import ROOT

# A room imports only rooms before it. A command line may also import what is above its own room.
FLOORS = (
    "schema", "config", "tasks", "files", "parts", "model_folder", "cli", "tables", "hub", "openai_api",
    "metrics", "data", "store", "encoders", "embed", "results", "compare", "figures", "evaluation",
    "report", "reproduce",
)  # fmt: skip
# The same within Safety_Detection; its commands are above its rooms.
DETECTION_FLOORS = ("sets", "detectors", "protocol", "shown", "guardrail", "server")
TASKS = tasks.PACKAGES
# What is no task of the paper and may use the tasks, as they may not use it.
ABOVE = ("Safety_Tuning",)
# Where utils may name a task: the list, the variables' help, and an address in a card.
NAMED_IN = ("tasks", "config", "data.catalogue")


def modules(*folders):
    """Module name to path, of every Python file under the folders."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}


PROGRAM = modules("utils", *TASKS, *ABOVE)


def imported(source, known):
    """Which of the known modules a source imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (named | {node.module}) & known.keys()
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known.keys()
    return found


IMPORTS = {name: imported(path.read_text(encoding="utf-8"), PROGRAM) for name, path in PROGRAM.items()}


def room(name):
    """The floor of a module, as a number. The tasks are above utils, and their commands above their rooms."""
    parts = name.split(".")
    if parts[0] == "utils":
        return FLOORS.index(parts[1])
    if parts[0] in ABOVE:
        return 2 * len(FLOORS)
    rooms = DETECTION_FLOORS if parts[0] == "Safety_Detection" else ("writing",)
    return len(FLOORS) + (rooms.index(parts[1]) if len(parts) == 3 else len(rooms))


def upward(imports):
    """Each import of a room that is above the importer's own, command lines aside."""
    library = {name: found for name, found in imports.items() if not name.endswith(("__main__", "__init__"))}
    return [(name, one) for name, found in library.items() for one in sorted(found) if room(one) > room(name)]


def test_imports_are_read_wherever_they_stand():
    source = "from utils import files\nimport utils.schema\ndef f():\n    from utils.data.reading import rows\n"
    assert imported(source, PROGRAM) == {"utils.files", "utils.schema", "utils.data.reading"}


def test_a_room_imports_only_what_is_below_it():
    assert upward({"utils.files": {"utils.config", "utils.report.render"}}) == [("utils.files", "utils.report.render")]
    assert upward(IMPORTS) == []


def test_no_module_imports_itself_by_way_of_others():
    list(graphlib.TopologicalSorter(IMPORTS).static_order())  # raises CycleError, which names the circle


def test_a_task_imports_no_other_folder_but_utils_and_utils_none():
    folders = [path.name for path in ROOT.iterdir() if path.is_dir() and path.name.isidentifier()]
    known = modules(*(folder for folder in folders if folder != "tests"))
    outside = [(name, one) for name, path in PROGRAM.items()
               if not name.startswith(ABOVE) for one in sorted(imported(path.read_text(encoding="utf-8"), known))
               if one.split(".")[0] not in ("utils", name.split(".")[0])]  # fmt: skip
    assert {"integrations", "benchmarks", "scripts"} <= set(folders) and outside == []


def texts(source):
    """The strings of a source, those that document it aside."""
    nodes = list(ast.walk(ast.parse(source)))
    bodies = [node.body for node in nodes if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    documents = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    strings = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {node.value for node in strings if id(node) not in documents}


def test_the_library_names_no_task_and_no_metric_that_ranks():
    """Metrics are functions of utils.metrics, which may have their names."""
    assert texts('"""x"""\ndef f():\n    "y"\n    return f"z{1}" + "w"\n') == {"z", "w"}
    metrics = {metric for task in tasks.tasks_by_items() for metric in (task.headline, *task.beside_headline)}
    names = re.compile("|".join([r"\b[Ss]afety_[A-Za-z]", *map(re.escape, sorted(metrics))]))
    allowed = ("utils.metrics.", *(f"utils.{name}" for name in NAMED_IN))
    library = [name for name in PROGRAM if name.startswith("utils.") and not name.startswith(allowed)]
    named = {name: list(filter(names.search, texts(PROGRAM[name].read_text(encoding="utf-8")))) for name in library}
    assert {name: strings for name, strings in named.items() if strings} == {}


def test_nothing_imports_a_command_line():
    for name, path in modules("utils", *TASKS, *ABOVE, "benchmarks", "integrations").items():
        assert not [one for one in imported(path.read_text(encoding="utf-8"), PROGRAM) if "__main__" in one], name


def test_only_command_lines_import_the_flags():
    allowed = ("__main__", "utils.evaluation.settings", "utils.evaluation.run", *TASKS, *ABOVE)
    assert [name for name in IMPORTS if "utils.cli" in IMPORTS[name] and not name.endswith("__main__")
            and not name.startswith(allowed[1:])] == []  # fmt: skip


def test_a_modules_first_line_says_one_thing():
    for path in modules("utils", *TASKS, *ABOVE, "benchmarks", "integrations").values():
        first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        assert first.endswith((".", "?")) and "; " not in first and ". " not in first, f"{path}: {first}"


def test_a_commit_is_checked_with_the_version_of_ruff_that_the_tests_have():
    pinned = re.findall("^ruff==.*", (ROOT / "requirements-dev.txt").read_text(), re.M)
    assert set(re.findall("ruff==[0-9.]+", (ROOT / ".pre-commit-config.yaml").read_text())) == set(pinned)
