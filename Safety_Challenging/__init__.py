"""Safety-Challenging: does the encoder tell an unsafe prompt from a safe one that shares its words?"""

import utils  # noqa: F401  (tells where the packages are missing, before the first of them is imported)
