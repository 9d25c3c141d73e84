"""Safety-Detection: what is left of a detector of unsafe prompts when it meets another dataset?"""

import utils  # noqa: F401  (tells where the packages are missing, before the first of them is imported)
