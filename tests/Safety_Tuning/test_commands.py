"""Tuning from the command line: what is written, that it is loaded anywhere, resumed, and refused."""

import csv
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from checkpoints import sentence_bert
from embedding_server import KEY, EmbeddingServer, vector
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

from Safety_Tuning import build_data, evaluate, layers, methods, tune
from utils import config
from utils.embed.embedder import Embedder
from utils.encoders import loading, registry
from utils.schema import InputError
from utils.store.embeddings import EmbeddingStore, default_path

HAZARDS = {"theft": ["steal", "take", "rob", "grab"], "blows": ["hit", "beat", "kick", "punch"]}
THINGS = ["a car", "a bank", "the bread", "my money", "an old bike", "his hat"]


@pytest.fixture
def sets(tmp_path):
    """A file of three families with two hazards, and safe prompts."""
    path = tmp_path / "sets.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "prompt", "label", "set", "type"])
        number = 0
        for name, way in (("one", "how to {} {}"), ("two", "please {} {} now"), ("three", "{} {} for me")):
            for hazard, words in HAZARDS.items():
                for word in words:
                    for thing in THINGS[:3]:
                        number += 1
                        writer.writerow([number, way.format(word, thing), 1, name, hazard])
            for thing in THINGS:
                number += 1
                writer.writerow([number, way.format("paint", thing), 0, name, ""])
        for thing in THINGS:
            for verb in ("draw", "sell", "describe"):
                number += 1
                writer.writerow([number, f"{verb} {thing}", 0, "plain", ""])
    return path


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """Results of this test alone, and a tuning of few steps with few candidates."""
    monkeypatch.setenv("OUT", str(tmp_path / "results"))
    monkeypatch.setattr(methods, "LINEAR", replace(methods.LINEAR, steps=20, triples=16, ordinary=8))
    monkeypatch.setattr(layers, "LAYERS", replace(layers.LAYERS, steps=8, triples=12, ordinary=6))
    monkeypatch.setattr(tune.choice, "SHARES", (0.6,))


@pytest.fixture
def base(tmp_path):
    return sentence_bert(tmp_path / "base")


def vectors(folder, texts):
    model = SentenceTransformer(str(folder), device="cpu")
    return model.encode(texts, normalize_embeddings=True)


@pytest.mark.parametrize("method", ["linear", "layers"])
def test_a_tuned_encoder_is_loaded_anywhere_and_counts_its_evaluations(method, sets, base, tmp_path, capsys):
    out, given = tmp_path / "tuned", ["--data", str(sets), "--method", method, "--force", "--seed", "1"]
    assert tune.main([str(base), "--out", str(out), *given]) == 0
    said = capsys.readouterr()
    assert "before and after tuning" in said.out and "verdict" in said.out and "guarded purity" in said.out
    texts = ["steal a car", "bake some bread"]
    assert np.abs(vectors(out, texts) - vectors(base, texts)).max() > 1e-3, "it has changed"
    spec = registry.resolve(str(out))
    here = loading.load(spec).encode(texts)
    assert here == pytest.approx(vectors(out, texts), abs=1e-5)
    assert sorted(spec.tuned_on) == ["one", "plain", "three", "two"]
    with (config.ROOT / "Safety_Taxonomy" / "sample.csv").open(encoding="utf-8") as stream:
        asked = [row["question"] for row in csv.DictReader(stream)]
    stored = EmbeddingStore(default_path()).get(spec.fingerprint, asked)
    assert np.stack([stored[text] for text in asked]) == pytest.approx(vectors(out, asked), abs=1e-5)
    assert ("loading tuned" in said.err) == (method == "layers"), "vectors of the base go through a linear layer"
    card = (out / "README.md").read_text()
    assert "whose mean this is: 3" in card
    assert "evaluated with this folder once" in card and "base_model: folder base" in card
    assert not (tmp_path / ".tuned.tuning").exists()

    assert evaluate.main([str(out)]) == 0
    said = capsys.readouterr()
    assert "have been looked at once before" in said.err
    assert "evaluated with this folder 2 times" in (out / "README.md").read_text()
    assert registry.resolve(str(out)).fingerprint == spec.fingerprint, "an evaluation leaves the encoder as it was"

    assert tune.main([str(base), "--out", str(out), *given]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_stopped_tuning_continues_with_the_parts_that_are_finished(sets, base, tmp_path, capsys, monkeypatch):
    given = [str(base), "--out", str(tmp_path / "tuned"), "--data", str(sets), "--method", "linear", "--no-evaluation"]
    measure, calls = tune.choice.measure, []

    def stopped(*arguments):
        calls.append(arguments[1])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(tune.choice, "measure", stopped)
    assert tune.main([*given, "--force"]) == 130
    assert not (tmp_path / "tuned").exists()
    assert tune.main([*given, "--force"]) == 0 and len(calls) == 3, "the first part is not measured again"
    about = json.loads((tmp_path / "tuned" / "tuning.json").read_text())
    assert about["parts"] == 2 and len(about["held_out"]) == 2

    whole = tmp_path / "whole"
    assert tune.main([str(base), "--out", str(whole), *given[3:], "--force"]) == 0
    texts = ["steal a car", "bake some bread"]
    assert (vectors(whole, texts) == vectors(tmp_path / "tuned", texts)).all(), "as if it had not been stopped"


def test_nothing_is_written_where_the_base_is_better_untouched(sets, base, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tune.choice, "chosen", lambda measured: tune.BASE)
    out = tmp_path / "tuned"
    assert tune.main([str(base), "--out", str(out), "--data", str(sets), "--method", "linear"]) == 3
    assert "better than the base" in capsys.readouterr().err and not out.exists()


def test_mistakes_get_one_line(base, tmp_path, capsys):
    def refused(*arguments):
        assert tune.main(list(arguments)) == 2
        [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        return line

    assert "has no modules that can be tuned" in refused("tfidf")
    assert "one encoder is tuned at a time" in refused("tfidf,random")
    assert "has a hazard" in refused(str(base), "--data", "sample", "--out", str(tmp_path / "x"))
    assert evaluate.main([str(base)]) == 2
    assert "has no tuning.json" in capsys.readouterr().err


def test_the_data_are_counted(sets, capsys):
    assert build_data.main(["--data", str(sets)]) == 0
    said = capsys.readouterr().out
    assert "108 prompts of 4 families" in said.replace("  ", " ") and "hazards: theft 36, blows 36" in said


def test_an_apis_layer_pays_once_and_is_used_without_this_program(sets, tmp_path, capsys, monkeypatch):
    server = EmbeddingServer()
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    out = tmp_path / "tuned"
    given = ["--data", str(sets), "--method", "linear", "--force", "--out", str(out)]
    assert tune.main(["openai:small", *given]) == 0
    assert KEY not in "".join(path.read_text(errors="replace") for path in out.iterdir())
    asked = len(server.requests)
    assert evaluate.main([str(out)]) == 0 and len(server.requests) == asked, "every vector is stored as the base's"

    spec, texts = registry.resolve(str(out)), ["steal a car", "bake some bread"]
    assert spec.fingerprint != registry.resolve("openai:small").fingerprint
    here = Embedder(spec).embed(texts, texts).matrix
    weight = load_file(out / "layer.safetensors")["weight"]
    base = np.array([vector(text) for text in texts])
    by_hand = (base / np.linalg.norm(base, axis=1, keepdims=True)) @ weight.T
    assert here == pytest.approx(by_hand / np.linalg.norm(by_hand, axis=1, keepdims=True), abs=1e-5)
    code = (
        "import json, api_encoder; print(json.dumps(api_encoder.encode(['steal a car', 'bake some bread']).tolist()))"
    )
    alone = subprocess.run([sys.executable, "-c", code], cwd=out, capture_output=True, text=True, check=True)
    assert json.loads(alone.stdout) == pytest.approx(here, abs=1e-5)
    server.shutdown()
    (out / "tuning.json").write_text("{}")
    assert evaluate.main([str(out)]) == 2
    assert "has no tuning.json that can be read" in capsys.readouterr().err
    with pytest.raises(InputError, match="does not name the encoder"):
        registry.resolve(str(out))
