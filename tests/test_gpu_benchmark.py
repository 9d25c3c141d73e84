"""benchmarks/gpu_encode.py: its arithmetic against torch's count, its lengths against the data, a run on the CPU."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import gpu_encode
from utils.config import ROOT
from utils.encoders.registry import known_encoders

NAMES = ["BERT-base", "ST5-XXL", "Mistral-7B"]


def counted(model, texts, length):
    """What torch counts of one forward pass. Attention step by step: its count knows no fused kernel of the CPU's."""
    model.config._attn_implementation = "eager"
    tokens = torch.ones(texts, length, dtype=torch.long, device=model.device)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(input_ids=tokens)
    return counter.get_total_flops()


@pytest.mark.parametrize("tiny", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_operations_are_those_that_torch_counts(name, tiny):
    # On the meta device the real shapes have no memory and no arithmetic; only the operations are there to count.
    with torch.device("meta"):
        model = gpu_encode.builders(tiny)[name]()
    for texts, length in ((4, 16), (1, 50), (3, 1)):
        assert gpu_encode.shape(model).flops(np.full(texts, length)) == counted(model, texts, length)


def test_weights_and_operations_by_hand():
    shapes = {}
    for name, build in gpu_encode.builders().items():
        with torch.device("meta"):
            shapes[name] = gpu_encode.shape(build())
    assert shapes == {
        # 12 layers of 4 matrices 768 x 768 and 2 of 768 x 3072
        "BERT-base": gpu_encode.Shape(12 * (4 * 768 * 768 + 2 * 768 * 3072), 12, 768),
        # 24 layers of 4 matrices 1024 x 16384 (128 heads of 128) and 2 of 1024 x 65536
        "ST5-XXL": gpu_encode.Shape(24 * (4 * 1024 * 16384 + 2 * 1024 * 65536), 24, 16384),
        # 32 layers: query and output 4096 x 4096, key and value 4096 x 1024 (8 heads of 128), 3 of 4096 x 14336
        "Mistral-7B": gpu_encode.Shape(32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336), 32, 4096),
    }
    # Texts of 3 and 5 tokens, 10 weights, 2 layers of width 4: 8 tokens x 20, and 4 x 2 x 4 x (9 + 25).
    assert gpu_encode.Shape(10, 2, 4).flops(np.array([3, 5])) == 160 + 1088


def test_shapes_have_the_sizes_of_the_encoders_in_the_known_encoders():
    parameters = {}
    for name, build in gpu_encode.builders().items():
        with torch.device("meta"):
            parameters[name] = sum(one.numel() for one in build().parameters())
    # BERT's pooler is left out (768 x 768 + 768), Sentence-T5's last dense layer (1024 x 768), Mistral's output
    # (32000 x 4096).
    assert f"{(parameters['BERT-base'] + 590592) / 1e6:.0f}M" == known_encoders()["sup-simcse"]["parameters"]
    assert f"{(parameters['ST5-XXL'] + 786432) / 1e9:.2f}B" == known_encoders()["st5-xxl"]["parameters"]
    assert f"{(parameters['Mistral-7B'] + 131072000) / 1e9:.1f}B" == known_encoders()["llm2vec-mistral"]["parameters"]


def test_a_budget_that_does_not_fit_is_said_and_the_next_goes_on(capsys):
    def build():
        model = gpu_encode.builders(tiny=True)["BERT-base"]()

        def full(_, arguments, named):
            if named["input_ids"].numel() > 300:
                raise torch.OutOfMemoryError("out of memory")

        model.register_forward_pre_hook(full, with_kwargs=True)
        return model

    lengths = gpu_encode.lengths_of(64)  # in batches of 32 more than 300 tokens
    rates = gpu_encode.measure(build, lengths, [150, 300, 600], 1, gpu_encode.Card("cpu", 1e12, 1e12))
    assert list(rates) == [150, 300]
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["32", "texts", "2", "out", "of", "memory"] in rows
    assert rows[-1][0] == "600" and rows[-1][2:] == ["out", "of", "memory"]


def run(*arguments):
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_encode.py"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_runs_on_the_cpu():
    done = run("--device", "cpu", "--tiny", "--texts", "64", "--budgets", "128,1024", "--repeats", "1")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for name in NAMES:
        rows = [line.split() for line in lines[lines.index(name) + 1 :]]
        head = next(i for i, row in enumerate(rows) if row and row[0] == "budget")
        reference, small, large = rows[head + 1 : head + 4]
        # 64 texts in batches of 32 are two; 1024 tokens hold 32 of the longest and more of the rest.
        assert reference[:3] == ["32", "texts", "2"] and reference[-1] == "1.00"
        assert small[0] == "128" and int(small[1]) > 2
        assert large[:2] == ["1024", "2"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--device cuda: this machine has 0 CUDA GPUs"),
        (["--device", "cuda:x"], "--device cuda:x: this machine has 0 CUDA GPUs"),
        (["--device", "cpu"], "--device cpu: "),
        (["--device", "cpu", "--tiny", "--models", "gpt"], "--models gpt: give one or more of BERT-base"),
        (["--budgets", "64,none"], "--budgets none: give a whole number"),
        (["--peak-tflops", "nan"], "--peak-tflops nan: give a number above 0"),
    ],
)
def test_what_can_not_be_done_is_one_line(arguments, says, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert gpu_encode.main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.startswith(f"error: {says}") and output.err.count("\n") == 1
