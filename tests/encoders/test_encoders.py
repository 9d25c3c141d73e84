"""A name in, an encoder out: real loaders on the packaged MiniLM and on tiny checkpoints."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import checkpoints
import numpy as np
import pytest
import torch

from utils import config, hub, schema
from utils.embed.embedder import Embedder
from utils.encoders import __main__ as encoders_main
from utils.encoders import loading, paper, registry, tfidf
from utils.encoders.loading import load
from utils.encoders.registry import resolve
from utils.schema import CONTROLS, EncoderOptions, InputError, control_order, is_control, is_word_overlap


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoints.sentence_bert(tmp_path_factory.mktemp("models") / "tiny-bert")


def test_registry_entries_are_complete():
    for name, entry in registry.known_encoders().items():
        for key in ("label", "family", "loader", "source", "revision", "licence", "parameters", "dtype"):
            assert entry[key], (name, key)
        assert {"dimension", "max_tokens", "prompt"} <= entry.keys() and entry["dtype"] in schema.DTYPES[1:], name
        assert not entry["prompt"] or entry["documented"], f"{name}: a prompt says where it is documented"
        for part in entry.get("checkpoints", [entry] if entry["loader"] == "sentence-transformers" else []):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+", part["source"])
            pinned = re.fullmatch(r"[0-9a-f]{40}", part["revision"])
            assert pinned or part["revision"] == "main" or re.fullmatch(r"[0-9a-f]{7,}", part["commit"])


def test_the_registry_table_fits_a_terminal_and_lists_every_encoder(capsys):
    assert encoders_main.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[2 : 2 + len(registry.known_encoders())]] == list(
        registry.known_encoders()
    )


def test_paper_figures_are_those_of_the_paper_and_of_the_registry():
    figures = paper.paper_figures()
    assert len(figures) == 11
    for name, entry in figures.items():
        assert len(entry["normalized_similarity"]) == 10 and len(entry["categorical_purity_at_10"]) == 12
        mean = np.mean(list(entry["categorical_purity_at_10"].values()))
        assert entry["average_categorical_purity"] == pytest.approx(mean, abs=0.002), name
        registered = registry.known_encoders()[name]
        assert registered["label"] == entry["label"]
        assert all(source in entry["checkpoint"] for source in registered["source"].split(" + ")[-2:])


def test_resolving_and_help_import_no_heavy_library():
    code = (
        "import sys; from utils.encoders.registry import resolve; resolve('all-minilm-l6-v2').fingerprint;"
        "import Safety_Taxonomy.evaluate, Safety_Contrast.evaluate, Safety_Challenging.evaluate;"
        "print([m for m in ('torch', 'transformers', 'sentence_transformers', 'pandas', 'sklearn', 'datasets')"
        " if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=config.ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_packaged_minilm_gives_its_modules_vectors():
    encoder = load(resolve("all-minilm-l6-v2"))
    assert (encoder.dimension, encoder.max_tokens) == (384, 256)
    texts = ["That is a happy person", "That is a happy dog", "Today is a sunny day"]
    vectors = encoder.encode(texts)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    # By the model's own modules, one text at a time and no sentence-transformers: mean over tokens, length 1.
    packaged = loading._packaged_folder(resolve("all-minilm-l6-v2"))
    expected = checkpoints.mean_pooled(packaged, texts)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert vectors == pytest.approx(expected, abs=1e-5)


def test_an_altered_package_is_refused(tmp_path, monkeypatch):
    spec = resolve("all-minilm-l6-v2")
    model = tmp_path / "altered_package" / "model"
    shutil.copytree(loading._packaged_folder(spec), model)
    (tmp_path / "altered_package" / "__init__.py").write_text("raise RuntimeError('this package must not be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    altered = replace(spec, package="altered_package")
    assert loading._packaged_folder(altered) == model, "located without being imported"
    with (model / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\xff")
    with pytest.raises(InputError, match=r"model\.safetensors is not the pinned file: SHA-256 expected 53aa51172d14"):
        load(altered)
    with pytest.raises(InputError, match=r"not installed; run: source setup\.sh"):
        load(replace(spec, package="no_such_package_here"))


def test_a_local_folder_loads_and_gives_its_modules_vectors(folder):
    texts = ["how do i bake bread", "a much longer text, to see that padding changes nothing at all", "no"]
    encoder = load(resolve(str(folder)))
    assert encoder.encode(texts) == pytest.approx(checkpoints.mean_pooled(folder, texts), abs=1e-5)
    assert encoder.token_counts(["abc", "a b"]).tolist() == [5, 4]
    prompted = load(resolve(str(folder), EncoderOptions(prompt="query: ")))
    assert prompted.encode(["bread"]) == pytest.approx(checkpoints.mean_pooled(folder, ["query: bread"]), abs=1e-5)
    assert prompted.token_counts(["abc"]).tolist() == [5 + 6]


def test_fingerprints_tell_apart_what_changes_a_vector(folder, tmp_path):
    """tests/encoders/test_model_folder.py has the files of a folder."""
    other = checkpoints.sentence_bert(tmp_path / "tiny-bert", seed=1)
    options = [EncoderOptions(), EncoderOptions(prompt="query: "), EncoderOptions(dtype="bfloat16")]
    variants = [resolve(str(folder), option).fingerprint for option in options]
    variants += [resolve(name).fingerprint for name in (str(other), "all-minilm-l6-v2", "tfidf")]
    assert len(set(variants)) == len(variants)
    assert resolve(str(folder), EncoderOptions(device="cpu")).fingerprint == variants[0]


@pytest.fixture
def pinned(monkeypatch):
    """A hub where every revision of the registry is the commit that the registry expects."""

    def commit(repository, revision, expected=""):
        return revision if len(revision) == 40 else expected.ljust(40, "0")

    monkeypatch.setattr(hub, "commit", commit)


def test_every_registry_encoder_keeps_its_fingerprint(pinned):
    """A fingerprint that moves takes every vector that people have stored with it."""
    kept = json.loads((Path(__file__).parent / "fingerprints.json").read_text())
    assert {name: resolve(name).fingerprint for name in registry.known_encoders()} == kept


def test_two_registry_encoders_are_controls_and_one_of_them_is_word_overlap(pinned):
    specs = [resolve(name) for name in registry.known_encoders()]
    for encoders in (specs, [spec.info() for spec in specs]):
        assert [encoder.name for encoder in encoders if is_word_overlap(encoder)] == ["tfidf"]
        assert [encoder.name for encoder in encoders if is_control(encoder)] == list(CONTROLS)
    assert sorted(["random", "zeta", "tfidf", "alpha"], key=control_order) == ["zeta", "alpha", "tfidf", "random"]


ST5_COMMIT = "50c53e206f8b01c9621484a3c0aafce4e55efebf"


@pytest.mark.parametrize(
    ("name", "options", "of_paper"),
    [
        ("st5-base", {}, "st5-base"),
        ("sup-simcse", {}, "sup-simcse"),
        ("sentence-transformers/sentence-t5-base", {"revision": ST5_COMMIT}, "st5-base"),
        ("sentence-transformers/sentence-t5-base", {"revision": "1" * 40}, None),
        ("st5-base", {"prompt": "query: "}, None),
        # Its mean and not its pooler's output, which is what the registry and the paper take.
        ("princeton-nlp/sup-simcse-bert-base-uncased", {"revision": "90bd602" + "0" * 33}, None),
    ],
)
def test_the_papers_figures_are_those_of_its_own_weights(pinned, name, options, of_paper):
    spec = resolve(name, EncoderOptions(**options))
    for encoder in (spec, spec.info()):
        found = paper.paper_entry(encoder)
        assert (found and found["name"]) == of_paper
    assert paper.paper_entry(replace(spec, source="folder st5-base")) is None, "not by its name alone"


def test_dtype_is_the_models(folder):
    encoder = load(resolve(str(folder), EncoderOptions(dtype="bfloat16")))
    assert {p.dtype for p in encoder.model.parameters()} == {torch.bfloat16}
    vectors = encoder.encode(["how do i bake bread"])
    assert vectors.dtype == np.float32
    assert vectors == pytest.approx(checkpoints.mean_pooled(folder, ["how do i bake bread"]), abs=0.05)


def test_tfidf_by_hand():
    # Words: cat (1 text), dog (2 of 2). idf = ln((1 + n) / (1 + df)) + 1: cat ln(3/2) + 1, dog ln(3/3) + 1 = 1.
    cat = np.log(1.5) + 1
    length = np.hypot(cat, 1)
    words, rows = tfidf.fit_words(["Cat dog", "dog"])
    assert rows.toarray() == pytest.approx(np.array([[cat / length, 1 / length], [0, 1]]))
    # A text that is not among them: of its words only cat is known, so its row is cat alone.
    assert words.rows(["cats cat", "?"]).toarray() == pytest.approx(np.array([[1, 0], [0, 0]]))
    assert tfidf.without_known_word(words.rows(["cats cat", "?"])).tolist() == [False, True]
    with pytest.raises(InputError, match="no text has a word of two letters or more"):
        tfidf.fit_words(["a b", "?"])


def test_random_vectors_depend_on_the_text_alone():
    texts = ["", "bread", "How do I bake bread?", "\ud800"]
    spec, encoder = resolve("random"), load(resolve("random"))
    rows = encoder.encode(texts)
    assert rows.shape == (4, spec.dimension) == (4, 384) and rows.dtype == np.float32
    assert (encoder.encode(texts[::-1]) == rows[::-1]).all() and (encoder.encode(["bread"]) == rows[1]).all()
    embedded = Embedder(spec).embed(["bread", "other", "bread"], ["a", "b", "c"]).matrix
    assert (embedded[[0, 2]] == rows[1]).all() and not (embedded[1] == rows[1]).any()
    for text, row in zip(texts, rows, strict=True):
        seed = int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest(), "little")
        assert (row == np.random.default_rng(seed).standard_normal(384, dtype=np.float32)).all()
    # A numpy that draws other numbers needs a new revision in the registry.
    assert rows[1, :3] == pytest.approx([-0.2510023, 0.1848213, 0.1994303], abs=1e-6)


def test_the_label_says_what_makes_it_another_encoder_than_the_name_alone():
    def label(**options):
        return resolve("all-minilm-l6-v2", EncoderOptions(**options)).label

    assert label() == label(dtype="float32") == label(prompt="") == label(device="cpu") == "MiniLM-L6"
    assert label(prompt="query: ") == "MiniLM-L6 (own prompt)"
    assert label(prompt="query: ", dtype="bfloat16") == "MiniLM-L6 (own prompt, bfloat16)"
    spec = resolve("st5-base", EncoderOptions(revision="0123456789abcdef" * 2 + "01234567"))
    assert spec.label == "ST5-Base (0123456789ab)"


def test_pickled_weights_are_refused(folder, tmp_path):
    pickled = shutil.copytree(folder, tmp_path / "pickled")
    torch.save({}, pickled / "pytorch_model.bin")
    load(resolve(str(pickled)))  # safetensors beside it: those are read
    (pickled / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no safetensors weights, and pickled ones are not loaded"):
        resolve(str(pickled))
    half = shutil.copytree(folder, tmp_path / "half")
    (half / "2_Dense").mkdir()
    torch.save({}, half / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"2_Dense/pytorch_model.bin is pickled"):
        resolve(str(half))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("all-minilm-l6-v2", {"revision": "main"}, "--revision"),
        ("tfidf", {"prompt": "query: "}, "--prompt: can't be chosen for tfidf"),
        ("random", {"revision": "2"}, "--revision: random has only one, 1"),
        ("random", {"dtype": "float16"}, "--dtype"),
    ],
)
def test_options_that_an_encoder_does_not_have_are_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        resolve(name, EncoderOptions(**options))
