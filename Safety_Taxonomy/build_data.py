"""Finds the Safety-Taxonomy prompts, or fetches them, and prints what was found, where, and under which licence."""

import sys

from Safety_Taxonomy.task import TASK
from utils.evaluation.run import show_data

if __name__ == "__main__":
    sys.exit(show_data(TASK))
