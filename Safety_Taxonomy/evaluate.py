"""Evaluates encoders on Safety-Taxonomy."""

import sys

from Safety_Taxonomy.task import TASK
from utils.evaluation.run import evaluate

if __name__ == "__main__":
    sys.exit(evaluate(TASK))
