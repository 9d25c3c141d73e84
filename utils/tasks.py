"""What each task is called, asks and measures."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class About:
    """The description of a task, used wherever it is named.

    name: that of its results. package: the folder of its code.
    headline: the metric that ranks encoders; for detection, the metric of its headline detector.
    grouped_by: the column of the items that holds their groups.
    settings: those that affect its numbers, with the names that messages use.
    rows: the heading of a table by group.
    shown_beside: (metric, group) of what a report shows beside the headline.
    item_scores: columns that the report reads of the items, the headline aside.
    captions: what each figure shows, by the end of its name; `{metric}`, `{rows}`, `{interval}`, `{first}` and
    `{encoder}` are filled in.
    beside_headline: metrics by which encoders are compared besides. won_by_nothing: metrics by which an encoder that
    knows nothing is the best, so that they rank only encoders that are known to know something.
    paper_figures: the key of the paper's figures for the headline metric, None if the paper has none.
    published: how the dataset `paper` is called. resampled: what the bootstrap resamples within.
    """

    name: str
    title: str
    question: str
    package: str
    headline: str
    grouped_by: str
    settings: dict[str, str]
    rows: str
    shown_beside: tuple[tuple[str, str], ...] = ()
    item_scores: tuple[str, ...] = ()
    captions: dict[str, str] = field(default_factory=dict)
    beside_headline: tuple[str, ...] = ()
    won_by_nothing: tuple[str, ...] = ()
    paper_figures: str | None = None
    published: str = "the paper's"
    resampled: str = "within type or category"

    @property
    def metric(self) -> str:
        """The headline metric in words."""
        return self.headline.replace("_", " ")


# What a list of averages begins with, by the direction of the metric. It is not called the best: see won_by_nothing.
FIRST = {"lower": "lowest", "higher": "highest"}
_BY_GROUP = {
    "heatmap": "{metric} by encoder and {rows}; the average is last",
    "average": "{metric}: the average of each encoder{interval}, {first} first",
}

CHALLENGING = About(
    name="safety_challenging",
    title="Safety-Challenging",
    question="Does the encoder tell an unsafe prompt from a safe one that shares its words?",
    package="Safety_Challenging",
    headline="normalized_similarity",
    grouped_by="type",
    settings={"threshold": "threshold"},
    rows="type",
    shown_beside=(("pairwise_accuracy", "average"), ("triplet_accuracy", "average")),
    item_scores=("triplet_accuracy",),
    captions={**_BY_GROUP, "accuracy_curve": "pairwise accuracy at every threshold"},
    won_by_nothing=("normalized_similarity", "pairwise_accuracy", "triplet_accuracy"),
    paper_figures="normalized_similarity",
)
CONTRAST = About(
    name="safety_contrast",
    title="Safety-Contrast",
    question="How near to an unsafe prompt can a small safe edit stay?",
    package="Safety_Contrast",
    headline="boundary_similarity",
    grouped_by="category",
    settings={"threshold": "threshold"},
    rows="category",
    shown_beside=(
        ("guarded_purity", "average"),
        ("guarded_purity_others", "average"),
        ("mean_similarity", "average"),
        ("pairwise_accuracy", "average"),
        ("triplet_accuracy", "average"),
    ),
    beside_headline=("guarded_purity",),
    won_by_nothing=("boundary_similarity", "mean_similarity", "pairwise_accuracy", "triplet_accuracy"),
    item_scores=("mean_word_overlap",),
    captions={**_BY_GROUP, "overlap": "{metric} by word overlap of original and edit{interval}"},
)
TAXONOMY = About(
    name="safety_taxonomy",
    title="Safety-Taxonomy",
    question="Do unsafe prompts of one category lie together?",
    package="Safety_Taxonomy",
    headline="categorical_purity",
    grouped_by="category",
    settings={"top_k": "k"},
    rows="category",
    shown_beside=(("silhouette", "overall"), ("nmi", "overall")),
    item_scores=("silhouette",),
    captions={
        **_BY_GROUP,
        "purity_against_k": "average Categorical Purity against the number of neighbours{interval}, and chance",
        "tsne": "a t-SNE map of the prompts' standardised vectors for each encoder, a colour and a mark for each "
        "{rows}; trustworthiness is how far neighbours on a map are neighbours in the encoder's space, 1 is best",
    },
    paper_figures="categorical_purity_at_10",
)
DETECTION = About(
    name="safety_detection",
    title="Safety-Detection",
    question="What is left of a detector of unsafe prompts when it meets another dataset?",
    package="Safety_Detection",
    headline="auroc",
    grouped_by="set",
    settings={"top_k": "k", "seed": "seed", "detectors": "detectors"},  # the seed decides what is trained on
    rows="trained -> tested",
    captions={
        "heatmap": "area under the ROC curve by set trained on and set tested on; bold within a set by grouped "
        "five-fold; grey is a pair that was not evaluated, because both are of one family",
        "one_class": "area under the ROC curve of unsafe-only sets against safe-only sets, neither family trained on, "
        "and in smaller type the true positive rate at 1 % false positives; grey is a pair that was not evaluated, "
        "mostly because both are of one family",
        "roc": "ROC curves of {encoder}, a panel for each tested set, a line for each training side; of more "
        "than three sets, only the tested set itself and others",
    },
    published="the published",
    resampled="of groups of prompts",
)
# Their scores are means over items, so that encoders are compared item by item.
OF_ITEMS = {about.name: about for about in (CHALLENGING, CONTRAST, TAXONOMY)}
TASKS = {**OF_ITEMS, DETECTION.name: DETECTION}
