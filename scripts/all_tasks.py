"""Every task in one process, so that an encoder is loaded once. scripts/all.sh calls it, then the report."""

import sys

from Safety_Challenging.evaluate import TASK as CHALLENGING
from Safety_Contrast.evaluate import TASK as CONTRAST
from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils.evaluation import evaluate_all

if __name__ == "__main__":
    sys.exit(evaluate_all((CHALLENGING, CONTRAST, TAXONOMY), "scripts.all_tasks"))
