"""Evaluates encoders on Safety-Detection."""

import sys

from Safety_Detection.task import TASK
from utils.evaluation.run import evaluate

if __name__ == "__main__":
    sys.exit(evaluate(TASK))
