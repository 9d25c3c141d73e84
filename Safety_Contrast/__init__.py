"""Safety-Contrast: how near to an unsafe prompt can a small safe edit stay?"""

import utils  # noqa: F401  (tells where the packages are missing, before the first of them is imported)
