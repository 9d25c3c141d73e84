"""Evaluates encoders on Safety-Challenging."""

import sys

from Safety_Challenging.task import TASK
from utils.evaluation.run import evaluate

if __name__ == "__main__":
    sys.exit(evaluate(TASK))
