"""Safety-Contrast: how near to an unsafe prompt can a small safe edit stay?"""

import utils  # noqa: F401  (reports missing packages before the first of them is imported)
