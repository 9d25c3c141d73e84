"""Safety-Taxonomy: do unsafe prompts of one category lie together?"""

import utils  # noqa: F401  (reports missing packages before one of them is imported)
