"""Safety-Contrast: how near to an unsafe prompt can a small safe edit stay?"""
