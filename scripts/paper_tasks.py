"""Runs the two tasks of the paper's tables in one process for utils/reproduce, so that each encoder is loaded once."""

import sys

from Safety_Challenging.evaluate import TASK as CHALLENGING
from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils.evaluation.run import evaluate_all

if __name__ == "__main__":
    sys.exit(evaluate_all((CHALLENGING, TAXONOMY), "scripts.paper_tasks", show_data=False))
