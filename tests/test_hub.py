"""Fetching from a Hugging Face hub on loopback: commits, gates, missing revisions, what is never fetched."""

import importlib
import json
import multiprocessing
import os
import shutil
import threading
from pathlib import Path

import checkpoints
import decoders
import numpy as np
import pytest
from checkpoints import mean_pooled
from hub_server import COMMIT, TOKEN, Hub
from huggingface_hub import constants

from utils import config
from utils import hub as hub_module
from utils.encoders import registry
from utils.encoders.loading import load
from utils.encoders.registry import resolve
from utils.schema import EncoderOptions, InputError

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def hub():
    server = Hub()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()


def vectors_in_fork(sender, output, environment, name, texts, options):
    """Sends what the fixture vectors returns, in a process that has the libraries, and whose hub is that of its own."""
    with Path(output).open("w") as stream:
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
    os.environ.update(environment)
    importlib.reload(constants)
    try:
        spec = resolve(name, EncoderOptions(**options))
        sender.send([spec.revision, load(spec).encode(texts).tolist()])
    except InputError as error:
        sender.send(str(error))


@pytest.fixture
def vectors(hub, tmp_path):
    """Vectors of a list of texts by the encoder of a name, in a process whose hub is ours; or its error."""

    def run(name, texts, environment=(), **options):
        receiver, sender = FORK.Pipe(duplex=False)
        output = tmp_path / "output"
        environment = {
            "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", **dict(environment)
        }  # fmt: skip
        process = FORK.Process(target=vectors_in_fork, args=(sender, output, environment, name, texts, options))
        process.start()
        sender.close()
        try:
            got = receiver.recv()
        except EOFError:
            pytest.fail(output.read_text())
        process.join()
        assert TOKEN not in output.read_text() and TOKEN not in json.dumps(got)
        return got

    return run


TEXTS = ["how do i bake bread", "no"]


def test_any_checkpoint_is_fetched_at_one_commit_and_then_works_offline(hub, vectors, tmp_path):
    folder = checkpoints.sentence_bert(tmp_path / "model")
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    (folder / "own.py").write_text("raise SystemExit")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"not read")
    hub.serve("somebody/some-model", folder)
    revision, got = vectors("somebody/some-model", TEXTS)
    assert revision == COMMIT and np.array(got) == pytest.approx(mean_pooled(folder, TEXTS), abs=1e-5)
    names = {name.removeprefix("somebody/some-model/") for name in hub.fetched}
    assert "model.safetensors" in names and not names & {"pytorch_model.bin", "own.py", "onnx/model.onnx"}
    del hub.folders["somebody/some-model"]
    assert vectors("somebody/some-model", TEXTS, {"HF_HUB_OFFLINE": "1"}) == [revision, got]


def left_in_cache(home, repository, folder, names, commit=COMMIT):
    """A cache in which another program has left these files of a repository, and no list of all of them."""
    snapshot = home / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for name in names:
        shutil.copy(folder / name, snapshot / name)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(commit)


PLAIN = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
OFFLINE = {"HF_HUB_OFFLINE": "1"}


def test_what_another_program_left_in_the_cache_is_completed(hub, vectors, tmp_path):
    """Of its four files alone a model without pooling, lengths and limit would be made, and nobody told."""
    folder = checkpoints.sentence_mpnet(tmp_path / "model")
    hub.serve("somebody/some-model", folder)
    left_in_cache(tmp_path / "home", "somebody/some-model", folder, PLAIN)
    message = vectors("somebody/some-model", TEXTS, OFFLINE)
    assert message == (
        "--model somebody/some-model: is cached only in part, without 'modules.json', and the Hugging Face hub can't "
        "be reached; connect, set HF_ENDPOINT to a mirror, or give a folder"
    )
    assert vectors("somebody/some-model", TEXTS, {"HF_ENDPOINT": "http://127.0.0.1:9"}) == message
    _, got = vectors("somebody/some-model", TEXTS)
    assert np.linalg.norm(got, axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert not {f"somebody/some-model/{name}" for name in PLAIN} & set(hub.fetched), "only what was missing"
    assert vectors("somebody/some-model", TEXTS, OFFLINE) == [COMMIT, got]


@pytest.mark.parametrize("missing", ["modules.json", "model.safetensors", None])
def test_a_registered_encoder_whose_cache_has_no_list_of_files(vectors, tmp_path, missing):
    """Taken offline if what the registry says of its layout is there; 2_Normalize is a folder without a file."""
    entry = registry.known_encoders()["sentence-bert-all"]
    folder = checkpoints.sentence_mpnet(tmp_path / "model")
    expected = mean_pooled(folder, TEXTS)
    if missing is not None:
        (folder / missing).unlink()
    cache = tmp_path / "home" / "hub" / f"models--{entry['source'].replace('/', '--')}"
    shutil.copytree(folder, cache / "snapshots" / entry["revision"])
    got = vectors("sentence-bert-all", TEXTS, OFFLINE)
    if missing is None:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        assert np.array(got[1]) == pytest.approx(expected, abs=1e-5)
    else:
        assert got.startswith(f"--model {entry['source']}: is cached only in part, without '{missing}', and the Hugg")


PROXY = hub_module.UNUSABLE_PROXY
ADDRESS = "HF_ENDPOINT must be an address such as https://huggingface.co, and a proxy's one such as http://"
UNUSABLE = [
    ({"ALL_PROXY": "socks5://user:secret@127.0.0.1:1"}, PROXY),
    ({"HTTPS_PROXY": "foo://user:secret@x"}, PROXY),
    ({"SSL_CERT_FILE": "/nonexistent.pem"}, PROXY),
    ({"SSL_CERT_FILE": __file__}, PROXY),
    ({"HTTP_PROXY": "http://[::1"}, ADDRESS),
    ({"HF_ENDPOINT": "example.org"}, ADDRESS),
    ({"HF_TOKEN": "hf_a\N{EN DASH}b"}, "HF_TOKEN has a character that is not ASCII, such as a long dash"),
]


@pytest.mark.parametrize(("environment", "fault"), UNUSABLE)
def test_a_setting_that_no_request_can_be_made_with_is_named(vectors, environment, fault):
    message = vectors("somebody/some-model", TEXTS, environment)
    assert message.startswith(
        f"--model somebody/some-model: the Hugging Face hub can't be reached and the model is not cached; {fault}"
    )
    assert "secret" not in message and "\n" not in message


def test_an_adapter_of_the_hub_is_refused_as_its_base_is_not_pinned(hub, vectors, tmp_path):
    base = checkpoints.bert(tmp_path / "base")
    hub.serve("somebody/adapter", checkpoints.adapter(tmp_path / "adapter", base))
    message = vectors("somebody/adapter", TEXTS)
    assert message.startswith(
        f"--model somebody/adapter: is an adapter, and its revision does not pin its base '{base}'"
    )


def test_a_cache_that_cannot_be_written_is_named(hub, vectors, tmp_path):
    hub.serve("somebody/some-model", checkpoints.sentence_bert(tmp_path / "model"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "hub").write_text("no folder")
    message = vectors("somebody/some-model", TEXTS)
    assert message.startswith("--model somebody/some-model: can't be kept in the Hugging Face cache (")
    assert message.endswith("); make room, or set HF_HOME to another folder")


def test_simcse_comes_from_its_conversion_and_only_from_the_pinned_one(hub, vectors, tmp_path):
    folder = checkpoints.bert(tmp_path / "simcse")
    repository = "princeton-nlp/sup-simcse-bert-base-uncased"
    commit = "90bd602" + "0" * 33
    hub.serve(repository, folder, commit)
    revision, got = vectors("sup-simcse", TEXTS)
    assert revision == commit and len(got[0]) == 16
    hub.commits[repository] = "f" * 40
    message = vectors("sup-simcse", TEXTS)
    assert message.startswith(f"--model {repository}: refs/pr/5 is commit fffffff now, not the pinned 90bd602;")


def test_llm2vec_fetches_its_three_checkpoints_through_the_gate(hub, vectors, tmp_path):
    folders = decoders.llm2vec(tmp_path, "mistral")
    parts = registry.known_encoders()["llm2vec-mistral"]["checkpoints"]
    for part, folder in zip(parts, folders.values(), strict=True):
        commit = part["revision"] if part["revision"] != "main" else COMMIT
        hub.serve(part["source"], folder, commit)
    base = parts[0]["source"]
    hub.gated.add(base)
    message = vectors("llm2vec-mistral", decoders.TEXTS)
    assert message == (
        f"--model {base}: is gated: accept its terms at https://huggingface.co/{base} and put a token into HF_TOKEN"
    )
    revision, got = vectors("llm2vec-mistral", decoders.TEXTS, {"HF_TOKEN": TOKEN}, dtype="float32")
    assert revision == " + ".join([parts[0]["revision"], COMMIT, parts[2]["revision"]])
    reference = json.loads((config.ROOT / "tests" / "llm2vec_reference.json").read_text())["vectors"]["mistral"]
    assert np.array(got) == pytest.approx(np.array(reference["plain"]), abs=1e-5)


def test_a_revision_a_repository_or_safetensors_that_are_not_there(hub, vectors, tmp_path):
    folder = checkpoints.sentence_bert(tmp_path / "model")
    hub.serve("somebody/some-model", folder)
    message = vectors("somebody/some-model", TEXTS, revision="v9")
    assert message.startswith("--model somebody/some-model: has no revision 'v9'; see https://huggingface.co/somebody/")
    message = vectors("somebody/some-model", TEXTS, revision="1" * 40)
    assert message.startswith(f"--model somebody/some-model: has no revision '{'1' * 40}'")
    message = vectors("somebody/other", TEXTS)
    assert message == (
        "--model somebody/other: is not on the hub, or is private: check the name, or put a token into HF_TOKEN"
    )
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    hub.commits["somebody/some-model"] = "2" * 40
    message = vectors("somebody/some-model", TEXTS)
    assert message.startswith("--model somebody/some-model: no safetensors weights, and pickled ones are not loaded")
