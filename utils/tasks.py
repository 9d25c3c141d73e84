"""What each task is called, asks, and is headlined by: said once, read by all."""

HEADLINES = {
    "safety_challenging": "normalized_similarity",
    "safety_contrast": "boundary_similarity",
    "safety_taxonomy": "categorical_purity",
}
TITLES = {
    "safety_challenging": (
        "Safety-Challenging",
        "Does the encoder tell an unsafe prompt from a safe one that shares its words?",
        (("pairwise_accuracy", "average"), ("triplet_accuracy", "average")),
    ),
    "safety_contrast": (
        "Safety-Contrast",
        "How near to an unsafe prompt can a small safe edit stay?",
        (("mean_similarity", "average"), ("pairwise_accuracy", "average"), ("triplet_accuracy", "average")),
    ),
    "safety_taxonomy": (
        "Safety-Taxonomy",
        "Do unsafe prompts of one category lie together?",
        (("silhouette", "overall"), ("nmi", "overall")),
    ),
}
NUMBERS = {
    "safety_challenging": ("normalized_similarity", "triplet_accuracy"),
    "safety_contrast": ("boundary_similarity", "mean_word_overlap"),
    "safety_taxonomy": ("categorical_purity", "silhouette"),
}
FIGURE_CAPTIONS = {
    "heatmap": "by {group}, an encoder a row; the last column is the average",
    "average": "the average of each encoder{interval}, best first",
    "accuracy_curve": "pairwise accuracy at every threshold",
    "overlap": "boundary similarity by word overlap of original and edit{interval}",
    "purity_against_k": "average Categorical Purity against the number of neighbours{interval}, and chance",
}
