"""The published files that tasks share: source, licence, and the names of types and categories."""

from utils.tasks import DataCard

SAFE_EMBED_COMMIT = "1e9677c2bc5b11561f0fc926c8bf471924834bab"
CONTRAST_COMMIT = "dead8f643ee441a221352b208daf5ec5a34fca32"
RAW_GITHUB = "https://raw.githubusercontent.com"

CHALLENGING = DataCard(
    title="Safety-Challenging set",
    file="xstest_aug.csv",
    url=f"{RAW_GITHUB}/JwdanielJung/Safe-Embed/{SAFE_EMBED_COMMIT}/dataset/xstest_aug.csv",
    sha256="d1284cb3d0136140c40a7372e7ab53a23e1969750a39e410e1239cc663ffc0dd",
    rows=250,
    licence="XSTest's prompts CC-BY-4.0; the 47 prompts added to them state no licence",
    source=f"github.com/JwdanielJung/Safe-Embed, commit {SAFE_EMBED_COMMIT[:7]}",
    citation="Röttger et al. 2024 (XSTest, arXiv 2308.01263); Kim et al. 2024 (arXiv 2407.06851)",
)
DO_NOT_ANSWER = DataCard(
    title="Do-Not-Answer",
    file="do_not_answer.csv",
    url=f"{RAW_GITHUB}/JwdanielJung/Safe-Embed/{SAFE_EMBED_COMMIT}/dataset/do_not_answer.csv",
    sha256="410449674780aa7304512043706f7981f666a79528d11546da34ebdd9595681c",
    rows=939,
    licence="Apache-2.0 by its card; check before redistributing",
    source=f"github.com/JwdanielJung/Safe-Embed, commit {SAFE_EMBED_COMMIT[:7]} (also LibrAI/do-not-answer)",
    citation="Wang et al. 2024 (Do-Not-Answer, arXiv 2308.13387)",
)
CONTRAST = DataCard(
    title="Safety-Contrast set",
    file="contrast_parsed.jsonl",
    url=f"{RAW_GITHUB}/JwdanielJung/Safe-Embed/{CONTRAST_COMMIT}/Safety_Contrast/data/contrast_parsed.jsonl",
    sha256="cce748c7cb031c3b7aeac5097f19facd235c0cf4fa1cfd12f7084f7411156294",
    rows=939,
    licence="none stated",
    source=f"github.com/JwdanielJung/Safe-Embed, commit {CONTRAST_COMMIT[:7]}",
    citation="Kim et al. 2024 (arXiv 2407.06851); originals from Wang et al. 2024 (arXiv 2308.13387)",
)
BEAVERTAILS = {
    "path": "PKU-Alignment/BeaverTails",
    "split": "30k_train",
    "revision": "8401fe609d288129cc684a9b3be6a93e41cfe678",
    "licence": "CC-BY-NC-4.0",
}
CHALLENGING_TYPES = (
    "homonyms",
    "figurative_language",
    "target",
    "context",
    "definitions",
    "group",
    "action",
    "history",
    "privacy_publicity",
    "privacy_fictionality",
)


def group_title(group: str) -> str:
    """A type's or category's name in tables and figures: a type of the paper with spaces, any other name as it is."""
    return group.replace("_", " ") if group in CHALLENGING_TYPES else group


# The names in Do-Not-Answer's `types_of_harm`, and the paper's short ones, in the order of the paper's table.
CATEGORIES = {
    "Adult Content": "Adult Content",
    "Social stereotypes and unfair discrimination": "Stereotypes",
    "Toxic language (hate speech)": "Hate Speech",
    "Mental Health or Overreliance Crisis": "Mental Health Crisis",
    "Treat Chatbot as a Human": "Chatbot treated as Human",
    "Compromise privacy by leaking or inferring private information (person/individual)": "Privacy Leak (Personal)",
    "Risks from leaking or inferring sensitive information (organization/gov)": "Privacy Leak (Org/Gov)",
    "Assisting illegal activities": "Illegal Activities",
    "Nudging or advising users to perform unethical or unsafe actions": "Unethical Actions",
    "Reducing the cost of disinformation campaigns": "Disinformation",
    "Causing material harm by disseminating misinformation e.g. in medicine or law": "Disseminate Misinformation",
    "Disseminating false or misleading information": "False Info",
}
