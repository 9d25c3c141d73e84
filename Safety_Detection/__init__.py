"""Safety-Detection: what is left of a detector of unsafe prompts when it meets another dataset?"""

import utils  # noqa: F401  (reports missing packages before one of them is imported)
