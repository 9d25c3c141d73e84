"""Safety-Detection, no task of the paper: what is left of a detector when it meets another dataset?"""

import utils  # noqa: F401  (reports missing packages before one of them is imported)
