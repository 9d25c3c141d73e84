"""Vectors of an API through the linear layer in this file's folder, by openai, numpy and safetensors only."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from openai import OpenAI
from safetensors.numpy import load_file

FOLDER = Path(__file__).parent


def encode(texts: Sequence[str], client: OpenAI | None = None) -> np.ndarray:
    """The tuned vectors of texts, of length 1: float32 (n, d). client: with the key of OPENAI_API_KEY if None."""
    model = json.loads((FOLDER / "tuning.json").read_text(encoding="utf-8"))["base"]["model"]
    answer = (client or OpenAI()).embeddings.create(model=model, input=list(texts))
    rows = np.array([item.embedding for item in answer.data], dtype=np.float32)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True) @ load_file(FOLDER / "layer.safetensors")["weight"].T
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
