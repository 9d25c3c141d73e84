"""The OpenAI loader against a server on loopback that speaks the API's wire format, and misbehaves."""

import time
from collections import Counter
from concurrent.futures import wait
from dataclasses import replace

import numpy as np
import pytest
import tiktoken
from embedding_server import KEY, vector

from Safety_Challenging.evaluate import TASK
from utils import config
from utils.embed import embedder as embedder_module
from utils.embed.embedder import Embedder
from utils.encoders import loading, openai_encoder, paper
from utils.encoders.registry import resolve
from utils.evaluation import run as evaluation_run
from utils.schema import EncoderOptions, InputError
from utils.store import embeddings as store

TEXTS = [f"{'why ' * (i % 5)}question number {i}" for i in range(700)]
IDS = [f"id {i}" for i in range(700)]


def test_vectors_batches_and_headers(server):
    server.seconds = 0.05
    server.misbehave = lambda number, inputs, handler: handler.answer(map(vector, inputs), backwards=True) or True
    embedded = Embedder(resolve("openai:some-model")).embed(TEXTS, IDS)
    assert embedded.matrix.tolist() == [vector(text) for text in TEXTS], "by index, whatever the order of the answer"
    [check] = server.checks
    assert sorted(server.texts) == sorted([*TEXTS, *check["input"]]), "each is sent once, but the one that is checked"
    assert all(len(request["input"]) <= 256 for request in server.requests)
    assert {request["model"] for request in server.requests} == {"some-model"}
    assert {one["encoding_format"] for one in server.requests if one is not check} == {"base64"}
    assert server.authorizations == {f"Bearer {KEY}"}
    assert server.most_under_way > 1, "several requests at once"
    assert (embedded.info.dimension, embedded.info.backend, embedded.device) == (4, "api", "the API")
    loading.load(resolve("openai:some-model", EncoderOptions(prompt="query: "))).encode(["bread"])
    assert server.texts[-1] == "query: bread"


def test_nothing_is_paid_for_that_can_not_be_kept(server, tmp_path):
    path, spec = tmp_path / "embeddings.sqlite", resolve("openai:some-model")
    kept = store.EmbeddingStore(path)
    Embedder(spec, kept).embed(TEXTS[:2], IDS[:2])
    kept.close()
    path.with_name(f"{path.name}-wal").mkdir()  # keeps even root from writing
    server.requests.clear()
    embedder = Embedder(spec, store.EmbeddingStore(path))
    with pytest.raises(InputError, match=r"the embedding store can't be used .* make it writable, or .*--no-cache"):
        embedder.embed(TEXTS[:3], IDS[:3])
    assert server.requests == []
    assert embedder.embed(TEXTS[:2], IDS[:2]).stats.computed == 0, "what is kept is read"


def test_what_passes_is_tried_again_and_retry_after_is_waited_for(server):
    limited = {"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}}

    def misbehave(number, inputs, handler):
        if number == 1:
            handler.reply(429, limited, Retry_After="2")
        if number == 2:
            handler.reply(500, {"error": {"message": "oops"}})
        if number == 3:
            handler.connection.close()
        return number <= 3

    server.misbehave = misbehave
    encoder = loading.load(resolve("openai:some-model"))
    assert encoder.encode(["bread"]).tolist() == [vector("bread")]
    assert len(server.requests) == 4 and server.waited[0] == 2, "the SDK alone would have waited half a second"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda inputs: [vector(text) for text in inputs[1:]], r"gave 1 embeddings for 2 texts"),
        (lambda inputs: [vector(text, 4 + (text == "b")) for text in inputs], r"embeddings of length 4, 5"),
        (lambda inputs: map(vector, inputs), r"length 4, 1536 was expected; is it the right model\?"),
    ],
)
def test_an_answer_of_the_wrong_length_is_refused(server, answer, message):
    server.misbehave = lambda number, inputs, handler: handler.answer(answer(inputs)) or True
    with pytest.raises(InputError, match=message):
        loading.load(resolve("text-embedding-3-small" if "1536" in message else "openai:some-model")).encode(["a", "b"])


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, {"code": "invalid_api_key"}, "refused the key in OPENAI_API_KEY"),
        (403, {}, "does not allow this key to use some-model"),
        (404, {"code": "model_not_found"}, "has no model some-model"),
        (429, {"code": "insufficient_quota"}, r"has no credit left \(status 429\); the answers so far are kept"),
        (429, {}, "still limits the rate after 7 tries"),
        (503, {}, r"failed 7 times \(status 503\)"),
        (400, {"code": "context_length"}, r"refused a request \(status 400, context_length\)"),
    ],
)
def test_a_refusal_is_one_line_without_the_servers_words(server, status, error, message):
    document = {"error": {"message": f"key {KEY} and the prompt", **error}}
    server.misbehave = lambda number, inputs, handler: handler.reply(status, document) or True
    with pytest.raises(InputError, match=message) as caught:
        loading.load(resolve("openai:some-model")).encode(["a"])
    assert KEY not in str(caught.value) and "the prompt" not in str(caught.value)


def test_what_was_paid_for_is_kept_when_a_request_fails(server, tmp_path):
    kept = store.EmbeddingStore(tmp_path / "embeddings.sqlite")
    refused = {"error": {"message": "no", "code": "invalid"}}

    def misbehave(number, inputs, handler):
        if number != 2:
            time.sleep(0.3)  # the others are under way while the second fails
            return False
        handler.reply(401, refused)
        return True

    server.misbehave = misbehave
    spec = resolve("openai:some-model")
    texts, ids = [f"{text} {i}" for i in range(3) for text in TEXTS], [f"id {i}" for i in range(2100)]
    with pytest.raises(InputError, match="refused the key"):
        Embedder(spec, kept).embed(texts, ids)
    sent = [request for request in server.requests if request not in server.checks]
    answered = [text for i, request in enumerate(sent) if i != 1 for text in request["input"]]
    assert len(sent) == 4, "after the failure nothing more is sent, except for the check of the answers under way"
    assert set(kept.get(spec.fingerprint, texts)) == set(answered)
    server.misbehave = lambda number, inputs, handler: False
    before = len(server.requests)
    again = Embedder(spec, kept).embed(texts, ids)
    assert again.stats.reused == len(answered)
    sent = [text for one in server.requests[before:] if one not in server.checks for text in one["input"]]
    assert sorted(sent) == sorted(set(texts) - set(answered)), "nothing is paid for twice"


def test_what_was_paid_for_is_kept_on_interrupt(server, tmp_path, monkeypatch):
    kept = store.EmbeddingStore(tmp_path / "embeddings.sqlite")
    server.seconds, real, calls = 0.3, wait, []

    def interrupted(*arguments, **more):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return real(*arguments, **more)

    monkeypatch.setattr(embedder_module, "wait", interrupted)
    spec = resolve("openai:some-model")
    texts, ids = [f"{text} {i}" for i in range(3) for text in TEXTS], [f"id {i}" for i in range(2100)]
    with pytest.raises(KeyboardInterrupt):
        Embedder(spec, kept).embed(texts, ids)
    assert len(server.requests) == 4 + len(server.checks) == 5
    assert set(kept.get(spec.fingerprint, texts)) == set(server.texts)


def raw(item):
    """An answer of the items given, in place of the server's."""
    return lambda number, inputs, handler: handler.reply(200, item) or True


def test_an_answer_that_is_none_is_one_line(server):
    documents = ["<html>", None, {"data": None}, {"data": [None]}, {"data": [{}]}]
    documents += [{"data": [{"embedding": value}]} for value in (None, [], [[1.0]], "!!", "AAA", [10**400])]
    encoder = loading.load(resolve("openai:some-model"))
    for document in documents:
        server.misbehave = raw(document)
        with pytest.raises(InputError, match=r"gave an answer without embeddings|gave 0 embeddings for 1 texts"):
            encoder.encode(["a"])


@pytest.mark.parametrize(
    ("indices", "order"),
    [
        ([None, None], [0, 1]),
        ([1, 0], [1, 0]),
        (["1", "0"], [1, 0]),
        ([0, None], None),
    ],
)
def test_the_order_of_an_answer(server, indices, order):
    rows = [[1.0, 2.0], [3.0, 4.0]]  # in that order in the answer: of a, the first text, is the row order[0]
    data = [
        {"embedding": row} | ({} if index is None else {"index": index})
        for row, index in zip(rows, indices, strict=True)
    ]
    server.misbehave = lambda number, inputs, handler: raw(
        {"data": data if len(inputs) == 2 else [{"embedding": rows[order["ab".index(inputs[0])]]}]}
    )(0, inputs, handler)
    encoder = loading.load(resolve("openai:some-model"))
    if order is None:
        with pytest.raises(InputError, match="numbers its embeddings wrongly"):
            encoder.encode(["a", "b"])
    else:
        assert encoder.encode(["a", "b"]).tolist() == [rows[i] for i in order]


@pytest.mark.parametrize(
    ("served", "taken"),
    [
        ("org/some-model", True),
        ("some-model-2024-05-13", True),
        ("some-model-v2", True),
        ("some-model-3-5", False),
        ("other", False),
    ],
)
def test_another_model_behind_the_name_is_noticed(server, served, taken):
    server.misbehave = lambda number, inputs, handler: handler.answer(map(vector, inputs), model=served) or True
    encoder_spec = resolve("openai:some-model")
    encoder = loading.load(encoder_spec)
    if taken:
        assert encoder.encode(["a"]).tolist() == [vector("a")]
    else:
        with pytest.raises(InputError, match=rf"with the model {served}, some-model was .* add --revision {served}$"):
            encoder.encode(["a"])
        meant = resolve("openai:some-model", EncoderOptions(revision=served))
        assert loading.load(meant).encode(["a"]).tolist() == [vector("a")]
        assert meant.fingerprint != encoder_spec.fingerprint, "its vectors are kept apart"


def test_vectors_of_two_served_models_are_not_mixed(server, tmp_path):
    kept, spec = store.EmbeddingStore(tmp_path / "embeddings.sqlite"), resolve("openai:some-model")
    served = ["some-model-2024-01-01"]
    server.misbehave = lambda number, inputs, handler: handler.answer(map(vector, inputs), model=served[0]) or True
    Embedder(spec, kept).embed(["a"], ["1"])
    Embedder(spec, kept).embed(["a", "b"], ["1", "2"])
    served[0] = "some-model-2025-01-01"
    with pytest.raises(InputError, match=r"answers with some-model-2025-01-01 now, .* are of some-model-2024-01-01"):
        Embedder(spec, kept).embed(["a", "c"], ["1", "3"])
    assert kept.get(spec.fingerprint, ["a", "b", "c"]).keys() == {"a", "b"}


def test_a_server_of_small_requests_gets_small_ones(server):
    most = 10

    def misbehave(number, inputs, handler):
        if len(inputs) > most:
            handler.reply((400, 413)[number % 2], {"error": {"message": "too many"}})
        return len(inputs) > most

    server.misbehave = misbehave
    embedded = Embedder(resolve("openai:some-model")).embed(TEXTS, IDS)
    assert embedded.matrix.tolist() == [vector(text) for text in TEXTS]
    taken = [one["input"] for one in server.requests if len(one["input"]) <= most]
    answered = Counter(text for texts in taken for text in texts)
    assert (answered - Counter(TEXTS)).total() == 1 and answered.keys() == set(TEXTS), "each once, but the one checked"
    # 256 is halved down to 8 or 32; of those that were under way at once, each may learn it for itself, in both forms.
    assert len(server.requests) - len(taken) <= 2 * 4 * 5


def test_a_server_without_base64_is_asked_for_numbers(server):
    def misbehave(number, inputs, handler):
        form = server.requests[-1]["encoding_format"]
        if form == "base64":
            handler.reply(422, {"error": {"message": "unknown encoding_format"}})
        else:
            handler.reply(200, {"data": [{"index": i, "embedding": vector(text)} for i, text in enumerate(inputs)]})
        return True

    server.misbehave = misbehave
    encoder = loading.load(resolve("openai:some-model"))
    assert encoder.encode(["a", "b"]).tolist() == [vector("a"), vector("b")]
    encoder.encode(["c"])
    assert [request["encoding_format"] for request in server.requests] == ["base64", "float", "float", "float"]


def test_a_timeout_is_called_one_and_is_not_tried_seven_times(server, monkeypatch):
    monkeypatch.setattr(openai_encoder, "SECONDS_TO_ANSWER", 0.2)
    server.seconds = 1.0
    with pytest.raises(InputError, match=r"did not answer within 0.2 s, 2 times; the answers so far are"):
        loading.load(resolve("openai:some-model")).encode(["a"])
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ALL_PROXY", "socks5://secret@127.0.0.1:9", "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY must name an http"),
        ("SSL_CERT_FILE", "/nonexistent.pem", ".* SSL_CERT_FILE a file with certificates; correct or unset them"),
        ("OPENAI_API_KEY", "sk\u2014secret", "OPENAI_API_KEY: has a character that is not ASCII"),
        ("OPENAI_API_KEY", "a secret\nb", "OPENAI_API_KEY: has a character that is not ASCII or can't be seen"),
    ],
)
def test_a_setting_that_no_request_can_be_made_with_is_named(server, monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"^{message}") as caught:
        loading.load(resolve("openai:some-model"))
    assert "secret" not in str(caught.value)


def test_another_server_or_model_shares_no_vectors(server, monkeypatch):
    here = resolve("openai:some-model")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://user:password@example.org/v1/")
    there = resolve("openai:some-model")
    assert there.source == "API at example.org/v1, model some-model", "without the password"
    monkeypatch.delenv("OPENAI_BASE_URL")
    official = resolve("openai:some-model")
    specs = [here, there, official, resolve("openai:other-model"), resolve("openai:text-embedding-3-large")]
    assert len({spec.fingerprint for spec in specs}) == 5
    assert specs[-1].fingerprint == resolve("text-embedding-v3").fingerprint
    assert paper.paper_entry(specs[-1])["name"] == "text-embedding-v3"
    elsewhere = replace(specs[-1], name="text-embedding-v3", source=here.source)
    assert paper.paper_entry(elsewhere) is None, "another server's is not the paper's"


def test_no_key_and_an_address_that_is_none_are_named(monkeypatch):
    with pytest.raises(InputError, match=r"needs a key; put OPENAI_API_KEY=\.\.\. into \.env"):
        loading.load(resolve("text-embedding-3-small"))
    for address in ("localhost:8000", "http://[::1", "http://a/v\n1"):
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        with pytest.raises(InputError, match="OPENAI_BASE_URL: not an address"):
            resolve("openai:some-model")


@pytest.fixture
def one_a_byte(monkeypatch):
    """A token for each byte."""
    tokens = {bytes([i]): i for i in range(256)}
    encoding = tiktoken.Encoding("bytes", pat_str=r"(?s).+", mergeable_ranks=tokens, special_tokens={})
    monkeypatch.setattr(openai_encoder, "_encoding", lambda model: encoding)


def test_tokens_and_cost_are_told_before_anything_is_sent(server, one_a_byte):
    said = []

    def misbehave(number, inputs, handler):
        said.append("a request")
        handler.answer([vector(text, 1536) for text in inputs])
        return True

    server.misbehave = misbehave
    # 700 texts, of which the longest have 40 tokens; price 0.02 dollars a million. Batches hold 256 texts at most, the
    # longest first, so the shortest of the first batch is the 256th longest.
    tokens = sum(map(len, TEXTS)) + sorted(map(len, TEXTS))[-256]
    Embedder(resolve("text-embedding-3-small"), note=said.append).embed(TEXTS, IDS)
    host = server.url.removeprefix("http://")
    assert said[1] == (
        f"sending 700 distinct texts, and one of them twice as a check, to {host}: {tokens} tokens, about "
        f"${tokens * 0.02 / 1e6:.4f}"
    )
    assert said[2] == "a request"


def test_a_text_longer_than_the_model_reads_is_cut_and_counted(server, one_a_byte):
    server.misbehave = lambda number, inputs, handler: handler.answer([vector(t, 1536) for t in inputs]) or True
    embedded = Embedder(resolve("text-embedding-3-small")).embed(["x" * 9000, "y"], ["0", "1"])
    assert embedded.truncated.tolist() == [True, False] and server.requests[0]["input"][0] == "x" * 8191


def test_the_key_appears_nowhere(server, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("OPENAI_LOG", "debug")
    arguments = ["--data", "sample", "--out", str(tmp_path / "out"), "--model", "openai:some-model"]
    assert evaluation_run.evaluate(TASK, arguments) == 0
    server.misbehave = lambda number, inputs, handler: handler.reply(401, {"error": {"message": KEY}}) or True
    assert evaluation_run.evaluate(TASK, [*arguments, "--prompt", "other: "]) == 2
    captured = capfd.readouterr()
    written = [p for folder in (tmp_path, config.cache_directory()) for p in folder.rglob("*") if p.is_file()]
    assert len(written) >= 3
    assert KEY not in captured.out + captured.err
    assert not any(KEY.encode() in path.read_bytes() for path in written)


def direction(text, dimension=64):
    """A vector of its own for each text, as of a real encoder: its cosine with another's is near 0."""
    return np.random.default_rng(sum(map(ord, text))).normal(size=dimension).astype("<f4").tolist()


def among(answers, alone=direction):
    """A server's answer: `answers` of the vectors of several texts, and `alone` of a single text."""
    return lambda number, inputs, handler: (
        handler.answer([alone(inputs[0])] if len(inputs) == 1 else answers([direction(text) for text in inputs]))
        or True
    )


@pytest.mark.parametrize(
    ("numbers", "name"),
    [("<f2", "float16"), (">f4", "big-endian float32")],
)
def test_base64_of_other_numbers_is_refused_by_their_name(server, tmp_path, numbers, name):
    server.numbers, server.misbehave = numbers, among(list)
    kept, spec = store.EmbeddingStore(tmp_path / "embeddings.sqlite"), resolve("openai:some-model")
    with pytest.raises(InputError, match=f"sends {name} in base64, where float32 .* or to refuse base64"):
        Embedder(spec, kept).embed(TEXTS, IDS)
    assert kept.get(spec.fingerprint, TEXTS) == {} and len(server.checks) == 1 and len(server.requests) == 4


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (lambda rows: rows[::-1], "the vector that it gave a different text of a batch; use a server that answers in"),
        # Each vector is mixed with half of the batch's mean: the cosine is below 0.99.
        (
            lambda rows: (np.array(rows) + np.mean(rows, axis=0) / 2).tolist(),
            r"\(cosine 0\.\d\d\), so its vectors can't",
        ),
        (lambda rows: [[*row, 0.0] for row in rows], "sends 65 numbers for a vector of 64 in base64"),
        (lambda rows: [rows[0]] * len(rows), "gave one and the same vector for [34] different texts"),
        (lambda rows: [[np.nan] * len(row) for row in rows], r"\(cosine -1\.00\)"),
    ],
)
def test_vectors_that_a_text_has_not_alone_are_refused(server, tmp_path, answers, message):
    server.misbehave = among(answers)
    kept, spec = store.EmbeddingStore(tmp_path / "embeddings.sqlite"), resolve("openai:some-model")
    texts = ["one", "a second", "the third text", "number four of them"]
    with pytest.raises(InputError, match=message):
        Embedder(spec, kept).embed(texts, IDS[:4])
    assert kept.get(spec.fingerprint, texts) == {}


def test_the_check_is_made_once_and_what_it_can_not_better_is_not_paid_for(server, tmp_path):
    kept, spec = store.EmbeddingStore(tmp_path / "embeddings.sqlite"), resolve("openai:some-model")
    embedder = Embedder(spec, kept)
    embedder.embed(TEXTS[:1], IDS[:1])
    assert [one["encoding_format"] for one in server.requests] == ["float"], "one text, as numbers: nothing to compare"
    embedder.embed(TEXTS[:300], IDS[:300])
    embedder.embed(TEXTS[:400], IDS[:400])
    # 299 texts are two batches and a check; then a single batch of 100, unchecked.
    assert sorted(len(one["input"]) for one in server.requests if one not in server.checks) == [43, 100, 256]
    assert len(server.checks) == 2
    before = len(server.requests)
    assert Embedder(spec, kept).embed(TEXTS[:400], IDS[:400]).stats.computed == 0 and len(server.requests) == before
