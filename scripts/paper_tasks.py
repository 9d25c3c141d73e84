"""Runs the two tasks of the paper's tables in one process for utils/reproduce, so that each encoder is loaded once."""

import sys

from utils.evaluation.run import evaluate_all
from utils.tasks import TASKS

if __name__ == "__main__":
    tasks = [task for task in TASKS.values() if task.paper_figures]
    sys.exit(evaluate_all(tasks, "scripts.paper_tasks", show_data=False))
