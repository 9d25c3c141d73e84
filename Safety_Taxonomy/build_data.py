"""Finds the Do-Not-Answer prompts, or fetches them, and says what was found, where, and under which licence."""

import sys

from utils.data.catalogue import TAXONOMY_FORMAT
from utils.evaluation.data_sheet import show_data

if __name__ == "__main__":
    sys.exit(show_data("Safety_Taxonomy", TAXONOMY_FORMAT))
