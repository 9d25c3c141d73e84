"""One of the paper's encoders, from its published weights: all 24 cells of its rows.

Opt in: SAFE_EMBED_PAPER_ENCODER names a Hugging Face cache that holds sentence-transformers/all-mpnet-base-v2.
"""

import csv
import os
import subprocess
import sys

import pytest

from utils import config

FOLDER = os.environ.get("SAFE_EMBED_PAPER_ENCODER")


@pytest.mark.skipif(FOLDER is None, reason="SAFE_EMBED_PAPER_ENCODER names no cache with the encoder's weights")
def test_the_24_cells_of_sbert_all_are_within_rounding(paper_data, tmp_path):
    environment = {**os.environ, "HF_HOME": FOLDER, "HF_HUB_OFFLINE": "1", "SAFE_EMBED_DATA_DIR": str(paper_data)}
    command = [sys.executable, "-m", "utils.reproduce", "run", "sentence-bert-all", "--format", "csv"]
    run = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=config.ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]
    cells = list(csv.DictReader(run.stdout.splitlines()))
    assert len(cells) == 24 and {cell["verdict"] for cell in cells} == {"within rounding"}
    assert max(abs(float(cell["difference"])) for cell in cells) <= 0.001
