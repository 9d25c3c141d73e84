"""Safety-Challenging: does the encoder tell an unsafe prompt from a safe one that shares its words?"""

import utils  # noqa: F401  (reports missing packages before one of them is imported)
