"""When two texts count as the same."""


def normalized(text: str) -> str:
    """The text with case folded and each run of white space replaced by one space."""
    return " ".join(text.casefold().split())
