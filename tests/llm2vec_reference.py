"""Writes llm2vec_reference.json: the vectors that the `llm2vec` package gives the tiny models of decoders.py.

It needs libraries of its own, in an environment apart:

    python3.11 -m venv reference && reference/bin/pip install \
        llm2vec==0.2.3 transformers==4.44.2 peft==0.12.0 torch==2.13.0 'numpy<2'
    reference/bin/python tests/llm2vec_reference.py
"""

import json
import tempfile
from pathlib import Path

import decoders
import peft
import torch
import transformers
from llm2vec import LLM2Vec

INSTRUCTION = "Tell what the text asks for:"


def main() -> None:
    torch.zeros(1).sin(), torch.zeros(1).cos()  # see utils/encoders/loaders.py, settle_vector_math
    document = {"made with": {"transformers": transformers.__version__, "peft": peft.__version__}, "vectors": {}}
    with tempfile.TemporaryDirectory() as scratch:
        for kind in decoders.BASES:
            folders = decoders.llm2vec(Path(scratch), kind)
            vectors = document["vectors"][kind] = {}
            model = load(folders, torch.float32)
            assert model.model.config._name_or_path == decoders.BASES[kind]
            instructed = [[INSTRUCTION, text] for text in decoders.TEXTS]
            vectors["plain"] = rounded(model.encode(decoders.TEXTS, show_progress_bar=False))
            vectors["instructed"] = rounded(model.encode(instructed, show_progress_bar=False))
            model = load(folders, torch.bfloat16)
            vectors["bfloat16"] = rounded(model.encode(decoders.TEXTS, show_progress_bar=False))
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(document, indent=0) + "\n")
    print(path.name, "written")


def load(folders: dict[str, Path], dtype: torch.dtype) -> LLM2Vec:
    return LLM2Vec.from_pretrained(
        str(folders["mntp"]),
        peft_model_name_or_path=str(folders["adapter"]),
        torch_dtype=dtype,
        pooling_mode="mean",
        max_length=512,
    )


def rounded(vectors: torch.Tensor) -> list[list[float]]:
    return [[round(value, 7) for value in row] for row in vectors.tolist()]


if __name__ == "__main__":
    main()
