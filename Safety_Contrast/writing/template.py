"""The words of a request: the paper's, this project's own, or a user's."""

import hashlib
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from utils import config
from utils.data import sources
from utils.data.catalogue import CATEGORIES, RAW_GITHUB, SAFE_EMBED_COMMIT, DataCard
from utils.files import shown_path
from utils.schema import InputError

OWN_FILE = Path(__file__).with_name("template.yaml")
PAPER = DataCard(
    title="the paper's template of the contrast set",
    file="gpt_templates.yaml",
    url=f"{RAW_GITHUB}/JwdanielJung/Safe-Embed/{SAFE_EMBED_COMMIT}/Safety_Contrast/gpt_templates.yaml",
    sha256="2bf08c6563388c7cc31f82d8b9a023996730bfa66fc38987447c61dbc24b881c",
    rows=1,
    licence="none stated",
    source=f"github.com/JwdanielJung/Safe-Embed, commit {SAFE_EMBED_COMMIT[:7]}",
    citation="Kim et al. 2024 (arXiv 2407.06851)",
)
FORM = "give paper, own, or a YAML file like Safety_Contrast/writing/template.yaml"
# What a template may ask to be filled in: this project's names, then the paper's.
FIELDS = ("category", "explanation", "prompt", "category_explanation", "sentence")


@dataclass(frozen=True)
class Original:
    """An unsafe prompt: its id, its category as the data file names it, the category's short name, and its text."""

    id: str
    category: str
    shown: str
    text: str


@dataclass(frozen=True)
class Template:
    """The words of a request.

    name: `paper`, `own`, or a file's name. digest: SHA-256 of its file. system: '' for no system message.
    again: what a further request says of an unusable answer. explanations: of categories, by short name.
    is_papers: whether it is in the paper's form, in which categories have their long names and answers no schema.
    """

    name: str
    digest: str
    system: str
    user: str
    again: str
    explanations: dict[str, str] = field(repr=False)
    is_papers: bool = False

    @property
    def description(self) -> str:
        """What it is, for a summary and the card of a set."""
        if self.digest == PAPER.sha256:
            return f"the paper's template ({PAPER.source})"
        return "this project's own template, not the paper's" if self.name == "own" else f"the template {self.name}"

    def messages(self, original: Original, before: Sequence[dict]) -> list[dict]:
        """The conversation that asks for an original's edits.

        before: the journal's entries of its earlier answers; the last of them is shown with what was wrong with it.
        """
        explanation = self.explanations.get(original.shown, f"it falls under {original.shown}")
        user = self.user.format(
            category=original.category if self.is_papers else original.shown,
            explanation=explanation,
            category_explanation=explanation,
            prompt=original.text,
            sentence=original.text,
        )
        messages = [{"role": "system", "content": self.system}] if self.system else []
        messages.append({"role": "user", "content": user})
        for entry in before[-1:]:
            messages += [
                {"role": "assistant", "content": entry["answer"] or "(nothing)"},
                {"role": "user", "content": self.again.format(problem=entry["problem"])},
            ]
        return messages


def template_of(choice: str, note: Callable[[str], None]) -> Template:
    """The template that `--template` names: `paper`, `own`, a file, or `auto` for the paper's where it can be had.

    note: called with a sentence if `auto` has to take our own. Raises InputError for anything else.
    """
    if choice == "own":
        return _read(OWN_FILE, "own")
    if choice not in ("auto", "paper"):
        return _read(config.callers_path(choice), Path(choice).name)
    try:
        found = sources.published(PAPER, "Safety_Contrast")
    except InputError as error:
        if choice == "paper":
            raise
        cause = str(error).partition(";")[0]
        note(f"NOT THE PAPER'S WORDS: the request is in this project's own, as {cause}")
        return _read(OWN_FILE, "own")
    return _read(found.path, "paper")


def _read(path: Path, name: str) -> Template:
    try:
        content = path.read_bytes()
        document = yaml.safe_load(content)
        own = yaml.safe_load(OWN_FILE.read_bytes())
        parts = _of_paper(document) if "contrast_templates" in document else dict(document)
        template = Template(
            name=name,
            digest=hashlib.sha256(content).hexdigest(),
            system=parts.get("system", ""),
            user=parts["user"],
            again=parts.get("again", own["again"]),
            explanations=parts.get("explanations", {}),
            is_papers="contrast_templates" in document,
        )
        asked = {name for _, name, _, _ in string.Formatter().parse(template.user) if name is not None}
        if not asked & {"prompt", "sentence"}:
            raise ValueError("the request does not hold {prompt}")
        if asked - {*FIELDS}:
            raise ValueError(f"{{{min(asked - {*FIELDS})}}} is none of {', '.join(FIELDS)}")
        template.messages(Original("", "", "", ""), [{"answer": "", "problem": ""}])
        return template
    except OSError as error:
        raise InputError(f"--template {shown_path(path)}: can't be read ({error.strerror}); {FORM}") from None
    except KeyError as missing:
        raise InputError(f"--template {shown_path(path)}: has no {missing}; {FORM}") from None
    except (ValueError, TypeError, AttributeError, IndexError, yaml.YAMLError) as error:
        reason = "not YAML" if isinstance(error, yaml.YAMLError) else error
        raise InputError(f"--template {shown_path(path)}: is no template ({reason}); {FORM}") from None


def _of_paper(document: dict) -> dict:
    """The parts of a template in the paper's form, of which the first is used, as the official code does."""
    policies = {policy["category"]: policy["explanation"] for policy in document["Do_not_answer_policies"]}
    return {
        "user": document["contrast_templates"][0]["content"],
        "explanations": {CATEGORIES.get(name, name): text for name, text in policies.items()},
    }
