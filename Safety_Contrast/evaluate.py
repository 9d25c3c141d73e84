"""Evaluates encoders on Safety-Contrast."""

import sys

from Safety_Contrast.task import TASK
from utils.evaluation.run import evaluate

if __name__ == "__main__":
    sys.exit(evaluate(TASK))
