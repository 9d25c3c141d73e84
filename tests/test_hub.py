"""Fetching from a Hugging Face hub on loopback: commits, gates, missing revisions, what is never fetched."""

import json
import os
import shutil
import subprocess
import sys
import threading
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import checkpoints
import decoders
import numpy as np
import pytest
from checkpoints import mean_pooled

from utils import config
from utils.encoders import registry

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "the-token-that-must-never-be-seen"


class Hub(ThreadingHTTPServer):
    """Serves folders as repositories. folders: repository to folder; commits: repository to its commit."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folders, self.commits, self.gated, self.fetched = {}, {}, set(), []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def serve(self, repository, folder, commit=COMMIT):
        self.folders[repository], self.commits[repository] = folder, commit


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.respond(True)

    def do_HEAD(self):
        self.respond(False)

    def respond(self, with_body):
        server, path = self.server, [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]
        kind = "api" if path[:2] == ["api", "models"] else "file"
        path = path[2:] if kind == "api" else path
        repository, rest = "/".join(path[:2]), path[2:]
        if repository not in server.folders:
            return self.reply(404, with_body, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "none"})
        folder, commit = server.folders[repository], server.commits[repository]
        if rest and rest[1] not in ("main", "refs/pr/5", commit):
            return self.reply(404, with_body, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "none"})
        files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        if kind == "api" and rest[0] == "revision":
            body = {"id": repository, "sha": commit, "siblings": [{"rfilename": name} for name in files]}
            return self.reply(200, with_body, {}, json.dumps(body).encode())
        if kind == "api" and rest[0] == "tree":
            body = [
                {"type": "file", "path": name, "size": (folder / name).stat().st_size, "oid": "0" * 40}
                for name in files
            ]
            return self.reply(200, with_body, {}, json.dumps(body).encode())
        if repository in server.gated and self.headers["Authorization"] != f"Bearer {TOKEN}":
            headers = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
            return self.reply(401, with_body, headers)
        content = (folder / "/".join(rest[2:])).read_bytes() if "/".join(rest[2:]) in files else None
        if content is None:
            return self.reply(404, with_body, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "none"})
        if with_body:
            server.fetched.append("/".join([repository, *rest[2:]]))
        headers = {"X-Repo-Commit": commit, "ETag": f'"{sha256(content).hexdigest()}"'}
        return self.reply(200, with_body, headers, content)

    def reply(self, status, with_body, headers, body=b"{}"):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub():
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def vectors(hub, tmp_path):
    """Vectors of a list of texts by the encoder of a name, in a process whose hub is ours; or its error."""
    code = (
        "import json, sys\n"
        "from utils.encoders.loading import load\n"
        "from utils.encoders.registry import resolve\n"
        "from utils.schema import EncoderOptions, InputError\n"
        "name, texts, options = json.loads(sys.argv[1])\n"
        "try:\n"
        "    spec = resolve(name, EncoderOptions(**options))\n"
        "    print(json.dumps([spec.revision, load(spec).encode(texts).tolist()]))\n"
        "except InputError as error:\n"
        "    print(json.dumps(str(error)))\n"
    )

    def run(name, texts, environment=(), **options):
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, json.dumps([name, texts, options])],
            cwd=config.ROOT,
            env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
            | {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
            | dict(environment),
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        assert TOKEN not in run.stdout + run.stderr
        return json.loads(run.stdout)

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


def test_one_file_is_fetched_alone_and_only_once(hub, tmp_path):
    folder = checkpoints.sentence_bert(tmp_path / "model")
    hub.serve("somebody/some-model", folder)
    code = (
        "import sys; from utils import hub\n"
        "for name in sys.argv[1:]:\n"
        f"    path = hub.one_file('somebody/some-model', '{COMMIT}', name)\n"
        "    print(path and path.name)\n"
    )
    environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}

    def files(*names, offline="0"):
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *names],
            cwd=config.ROOT, env={**os.environ, **environment, "HF_HUB_OFFLINE": offline},
            capture_output=True, text=True,
        )  # fmt: skip
        return run.stdout.split() or run.stderr.splitlines()[-1]

    assert "the model is not cached" in files("modules.json", offline="1")
    assert files("modules.json", "none.json") == ["modules.json", "None"]
    assert hub.fetched == ["somebody/some-model/modules.json"]
    assert files("modules.json", offline="1") == ["modules.json"]


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


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        ("modules.json", "modules.json"),
        ("sentence_bert_config.json", "sentence_bert_config.json"),
        ("1_Pooling", "1_Pooling"),
        ("model.safetensors", "model.safetensors"),
        (None, None),
    ],
)
def test_a_registered_encoder_whose_cache_has_no_list_of_files(vectors, tmp_path, without, missing):
    """Taken offline if what the registry says of its layout is there; 2_Normalize is a folder without a file."""
    entry = registry.known_encoders()["sentence-bert-all"]
    folder = checkpoints.sentence_mpnet(tmp_path / "model")
    expected = mean_pooled(folder, TEXTS)
    if without is not None:
        (shutil.rmtree if without == "1_Pooling" else os.remove)(folder / without)
    cache = tmp_path / "home" / "hub" / f"models--{entry['source'].replace('/', '--')}"
    shutil.copytree(folder, cache / "snapshots" / entry["revision"])
    got = vectors("sentence-bert-all", TEXTS, OFFLINE)
    if missing is None:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        assert np.array(got[1]) == pytest.approx(expected, abs=1e-5)
    else:
        assert got.startswith(
            f"--model {entry['source']}: is cached only in part, without '{missing}', and the Hugging"
        )


def test_simcse_which_has_no_layout_is_taken_from_such_a_cache(vectors, tmp_path):
    entry = registry.known_encoders()["sup-simcse"]
    folder = checkpoints.bert(tmp_path / "simcse")
    left_in_cache(tmp_path / "home", entry["source"], folder, PLAIN, entry["commit"].ljust(40, "0"))
    refs = tmp_path / "home" / "hub" / f"models--{entry['source'].replace('/', '--')}" / "refs"
    (refs / "refs" / "pr").mkdir(parents=True)
    (refs / "main").rename(refs / "refs" / "pr" / "5")
    assert len(vectors("sup-simcse", TEXTS, OFFLINE)[1]) == 2


UNUSABLE = [
    ({"ALL_PROXY": "socks5://user:secret@127.0.0.1:1"}, "ALL_PROXY must name an http:// or https:// proxy"),
    ({"HTTPS_PROXY": "foo://x"}, "HTTPS_PROXY must name an http:// or https:// proxy"),
    ({"HTTP_PROXY": "http://[::1"}, "HTTP_PROXY must name an http:// or https:// proxy"),
    ({"SSL_CERT_FILE": "/nonexistent.pem"}, "SSL_CERT_FILE must name a file with certificates"),
    ({"SSL_CERT_FILE": __file__}, "SSL_CERT_FILE must name a file with certificates"),
    ({"HF_ENDPOINT": "https://example.org\n"}, "HF_ENDPOINT must be an address such as https://huggingface.co"),
    ({"HF_HOME": __file__}, "HF_HOME must be a folder that can be read (Not a directory)"),
    ({"HF_ENDPOINT": "example.org"}, "HF_ENDPOINT must be an address such as https://huggingface.co"),
    ({"HF_TOKEN": "hf_a\N{EN DASH}b"}, "HF_TOKEN has a character that is not ASCII, such as a long dash"),
]


@pytest.mark.parametrize(("environment", "fault"), UNUSABLE)
def test_a_setting_that_no_request_can_be_made_with_is_named(vectors, environment, fault):
    message = vectors("somebody/some-model", TEXTS, environment)
    assert message.startswith(
        f"--model somebody/some-model: the Hugging Face hub can't be reached and the model is not cached; {fault}; "
    )
    assert "secret" not in message and "\n" not in message


def test_such_a_setting_does_not_matter_where_the_hub_is_not_needed(vectors, tmp_path):
    folder = checkpoints.sentence_bert(tmp_path / "model")
    shutil.copytree(folder, tmp_path / "home" / "hub" / "models--somebody--some-model" / "snapshots" / COMMIT)
    everything = {name: value for environment, _ in UNUSABLE for name, value in environment.items()}
    everything["HF_HOME"] = str(tmp_path / "home")
    _, got = vectors("somebody/some-model", TEXTS, everything, revision=COMMIT)
    assert np.array(got) == pytest.approx(mean_pooled(folder, TEXTS), abs=1e-5)
    everything["HF_HOME"] = __file__
    arguments = ["--data", "sample", "--bootstrap", "0", "--out", str(tmp_path / "out")]
    run = subprocess.run(
        [sys.executable, "-m", "Safety_Challenging.evaluate", *arguments],
        cwd=config.ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "0", **everything},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0 and "Traceback" not in run.stderr
    assert "average similarity from the evaluated set itself: BeaverTails: HF_ENDPOINT must be an address" in run.stderr


def test_a_plan_names_the_setting_too(monkeypatch, tmp_path):
    from utils import hub
    from utils.reproduce import machine

    for name, answer in {"is_offline": False, "reachable": False, "unusable_setting": "SSL_CERT_FILE is stale"}.items():
        monkeypatch.setattr(hub, name, lambda answer=answer: answer)
    [obstacle] = machine.obstacles(["st5-base"])["st5-base"]
    assert obstacle.sentence == "the weights are not cached, and SSL_CERT_FILE is stale"


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


def test_a_checkpoint_counts_as_cached_once_every_file_of_its_commit_is_there(hub, tmp_path):
    """Not while only the commit that a name stands for is noted, and not when a file has gone."""
    hub.serve("somebody/some-model", checkpoints.sentence_bert(tmp_path / "model"))
    code = (
        "from utils import hub\n"
        "from utils.schema import Checkpoint\n"
        "name = 'somebody/some-model'\n"
        "seen = [hub.cached(name, 'main')]\n"
        "commit = hub.commit(name, 'main')\n"
        "seen.append(hub.cached(name, 'main'))\n"
        "folder = hub.snapshot(Checkpoint(name, commit))\n"
        "asked = [('main', ''), (commit, commit[:7]), ('main', 'f'), ('f' * 40, '')]\n"
        "seen += [hub.cached(name, revision, expected) for revision, expected in asked]\n"
        "(folder / 'model.safetensors').unlink()\n"
        "print([*seen, hub.cached(name, 'main')], hub.has_token(), hub.is_offline())"
    )
    for token in ("", TOKEN):
        own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / f"home{token}"), "HF_HUB_OFFLINE": "0"}
        run = subprocess.run(
            [sys.executable, "-c", code],
            cwd=config.ROOT,
            env={**os.environ, **own, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": token},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout == f"{[False, False, True, True, False, False, False]} {bool(token)} False\n"
