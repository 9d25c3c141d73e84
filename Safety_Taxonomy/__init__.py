"""Safety-Taxonomy: do unsafe prompts of one category lie together?"""

import utils  # noqa: F401  (tells where the packages are missing, before the first of them is imported)
