"""The real loaders on tiny checkpoints of the real architectures, against the models run by hand."""

import json
from dataclasses import replace
from pathlib import Path

import checkpoints
import decoders
import numpy as np
import pytest
import torch
from peft import PeftModel
from test_encoders import mean_pooled
from transformers import AutoModel, AutoTokenizer, LlamaModel, MistralModel, T5EncoderModel

from utils import embed, encoders, loaders, store
from utils.encoders import load, resolve
from utils.schema import Checkpoint, EncoderOptions, InputError

TEXTS = ["how do i bake bread", "no", "a much longer text, to see that padding changes nothing at all"]
REFERENCE = json.loads((Path(__file__).parent / "llm2vec_reference.json").read_text())["vectors"]
INSTRUCTION = "Tell what the text asks for:"


def registered(name, *folders, **options):
    """A registry entry's spec whose checkpoints are folders here."""
    entry = dict(encoders.registry()[name])
    parts = tuple(Checkpoint("a folder", "0" * 40, folder) for folder in folders)
    entry.pop("checkpoints", None)
    spec = encoders._registered(name, {**entry, "revision": "0" * 40, "commit": None}, EncoderOptions(**options))
    return replace(spec, checkpoints=parts)


def test_sentence_bert_on_mpnet_equals_its_modules(tmp_path):
    folder = checkpoints.sentence_mpnet(tmp_path / "mpnet")
    expected = mean_pooled(folder, TEXTS)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    vectors = load(registered("sentence-bert-all", folder)).encode(TEXTS)
    assert vectors == pytest.approx(expected, abs=1e-5)


def test_sentence_t5_equals_its_modules(tmp_path):
    from safetensors.torch import load_file

    folder = checkpoints.sentence_t5(tmp_path / "t5")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), T5EncoderModel.from_pretrained(folder).eval()
    dense = load_file(folder / "2_Dense" / "model.safetensors")["linear.weight"]
    expected = []
    for text in TEXTS:
        encoded = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            row = dense @ model(**encoded).last_hidden_state[0].mean(dim=0)
        expected.append((row / row.norm()).numpy())
    encoder = load(registered("st5-base", folder))
    assert encoder.dimension == 12
    assert encoder.encode(TEXTS) == pytest.approx(np.stack(expected), abs=1e-5)


@pytest.mark.parametrize("name", ["sup-simcse", "unsup-simcse"])
def test_simcse_equals_the_pooler_output(tmp_path, name):
    folder = checkpoints.bert(tmp_path / "simcse")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = [model(**tokenizer(text, return_tensors="pt")).pooler_output[0].numpy() for text in TEXTS]
    encoder = load(registered(name, folder))
    vectors = encoder.encode(TEXTS)
    assert vectors == pytest.approx(np.stack(expected), abs=1e-5)
    assert np.abs(vectors - mean_pooled(folder, TEXTS)).max() > 0.1, "and not the mean"
    assert encoder.max_tokens == 64 and encoder.token_counts(["abc"]).tolist() == [5]


@pytest.fixture(scope="module", params=decoders.BASES)
def llm2vec(request, tmp_path_factory):
    kind = request.param
    return kind, decoders.llm2vec(tmp_path_factory.mktemp("llm2vec"), kind)


def loaded(llm2vec, **options):
    kind, folders = llm2vec
    options = {"dtype": "float32"} | options
    return load(registered(f"llm2vec-{kind}", *folders.values(), **options))


@pytest.mark.parametrize(("how", "prompt"), [("plain", ""), ("instructed", INSTRUCTION)])
def test_llm2vec_equals_the_llm2vec_package(llm2vec, how, prompt):
    # The last two texts are longer than the 400 tokens that the package reads: one is cut by words, one to nothing.
    encoder = loaded(llm2vec, prompt=prompt)
    expected = np.array(REFERENCE[llm2vec[0]][how])
    assert encoder.encode(decoders.TEXTS) == pytest.approx(expected, abs=1e-5)
    alone = np.concatenate([encoder.encode([text]) for text in decoders.TEXTS])
    assert alone == pytest.approx(expected, abs=1e-5), "without padding"
    assert (encoder.token_counts(decoders.TEXTS) > encoder.max_tokens).tolist() == [False] * 5 + [True] * 2


def test_llm2vec_in_bfloat16_equals_the_llm2vec_package_in_bfloat16(llm2vec):
    """Tolerance: a cosine of 0.99999; the package's own bfloat16 is at 0.9997 or less from its float32."""
    reference = REFERENCE[llm2vec[0]]
    expected, exact = np.array(reference["bfloat16"]), np.array(reference["plain"])
    vectors = loaded(llm2vec, dtype="auto").encode(decoders.TEXTS)

    def cosines(a, b):
        return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)

    assert cosines(vectors, expected).min() > 0.99999
    assert cosines(expected, exact).min() < 0.9998, "so the two dtypes can be told apart"


def test_llm2vec_merges_one_adapter_and_keeps_the_other(llm2vec):
    folders = llm2vec[1]
    encoder = loaded(llm2vec)
    assert isinstance(encoder.model, PeftModel)
    adapters = [module for name, module in encoder.model.named_modules() if name.endswith("lora_A")]
    assert len(adapters) == 7 * decoders.LAYERS and all(list(adapter) == ["default"] for adapter in adapters)
    plain = AutoModel.from_pretrained(folders["base"]).layers[0].self_attn.q_proj.weight
    merged = encoder.model.base_model.model.layers[0].self_attn.q_proj.base_layer.weight
    assert (merged - plain).abs().max() > 0.01
    # PEFT keeps adapters in float32 over a base in bfloat16, for the package as for us.
    for name, weight in loaded(llm2vec, dtype="auto").model.named_parameters():
        assert weight.dtype == (torch.float32 if "lora_" in name else torch.bfloat16), name


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("padding", [0, 5])
def test_config_is_causal_false_makes_a_decoder_attend_in_both_directions(llm2vec, attention, padding):
    kind, folders = llm2vec
    architecture = MistralModel if kind == "mistral" else LlamaModel
    model = architecture.from_pretrained(folders["base"], attn_implementation=attention).eval()
    ids = torch.tensor([[0] * padding + [5, 6, 7, 8], [0] * padding + [5, 6, 7, 9]])
    mask = torch.tensor([[0] * padding + [1] * 4] * 2)

    def first_token():
        with torch.no_grad():
            return model(input_ids=ids, attention_mask=mask).last_hidden_state[:, padding]

    one, other = first_token()
    assert torch.equal(one, other), "a decoder's first token does not see the last"
    model.config.is_causal = False
    one, other = first_token()
    assert (one - other).abs().max() > 0.01
    with torch.no_grad():
        bare = model(input_ids=ids[:, padding:]).last_hidden_state[:, 0]
    assert torch.stack([one, other]).numpy() == pytest.approx(bare.numpy(), abs=1e-5), "padding changes nothing"


@pytest.mark.parametrize("kind", ["packaged", "t5", "llm2vec"])
def test_vectors_do_not_depend_on_order_or_batch(tmp_path, kind):
    """Tolerance: 1e-5 of vectors of length about 1; sums of float32 in another order differ by that at most."""
    if kind == "packaged":
        spec = resolve("all-minilm-l6-v2")
    elif kind == "t5":
        spec = registered("st5-base", checkpoints.sentence_t5(tmp_path / "t5"))
    else:
        spec = registered("llm2vec-mistral", *decoders.llm2vec(tmp_path, "mistral").values(), dtype="float32")
    texts = [f"{'why ' * (i % 7)}question {i}" for i in range(60)]
    ids = [str(i) for i in range(60)]
    embedder = embed.Embedder(spec)
    together = embedder.embed(texts, ids).matrix
    order = np.random.default_rng(0).permutation(60)
    shuffled = embedder.embed([texts[i] for i in order], ids).matrix
    embedder._encoder.token_budget = 1
    alone = embedder.embed(texts, ids).matrix
    scale = np.linalg.norm(together, axis=1, keepdims=True)
    assert shuffled / scale[order] == pytest.approx(together[order] / scale[order], abs=1e-5)
    assert alone / scale == pytest.approx(together / scale, abs=1e-5)


def test_two_devices_give_the_vectors_of_one(tmp_path):
    folder = checkpoints.sentence_bert(tmp_path / "tiny")
    one, two = load(resolve(str(folder))), load(resolve(str(folder), EncoderOptions(device="cpu,cpu")))
    try:
        assert two.token_budget == 2 * one.token_budget and two.device == "cpu, cpu"
        assert two.encode(TEXTS) == pytest.approx(one.encode(TEXTS), abs=1e-6)
    finally:
        two.close()


def test_llm2vec_takes_one_device(llm2vec):
    with pytest.raises(InputError, match="runs on one device"):
        loaded(llm2vec, device="cpu,cpu")


def test_memory_that_ends_is_a_memory_error_and_nothing_else_is(monkeypatch, tmp_path):
    encoder = load(resolve(str(checkpoints.sentence_bert(tmp_path / "tiny"))))

    def failing(message):
        def encode(*arguments, **more):
            raise torch.OutOfMemoryError(message) if message.startswith("CUDA") else RuntimeError(message)

        return encode

    for words in ("CUDA out of memory. Tried to allocate 2 GiB", "DefaultCPUAllocator: can't allocate memory"):
        monkeypatch.setattr(encoder.model, "encode", failing(words))
        with pytest.raises(MemoryError):
            encoder.encode(["a"])
    monkeypatch.setattr(encoder.model, "encode", failing("a shape is wrong"))
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        encoder.encode(["a"])


def test_weights_that_do_not_fit_are_named():
    def build():
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(InputError, match="weights don't fit the device's memory; try --dtype bfloat16"):
        loaders._loaded(resolve("all-minilm-l6-v2"), build)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_backend_whose_packages_are_missing_says_so(backend, tmp_path):
    folder = checkpoints.sentence_bert(tmp_path / "tiny")
    with pytest.raises(
        InputError, match=rf"--backend {backend}: can't be used with tiny here \(.*transformers 5\); use torch"
    ):
        load(resolve(str(folder), EncoderOptions(backend=backend)))
    with pytest.raises(InputError, match="add --dtype float32"):
        resolve(str(folder), EncoderOptions(backend=backend, dtype="bfloat16"))


def test_texts_that_are_cut_off_are_counted_and_remembered(tmp_path):
    folder = checkpoints.sentence_bert(tmp_path / "tiny")
    texts, ids = ["x" * 62, "y" * 63, "short", "z" * 100], list("abcd")  # 64 tokens are read, two of them [CLS], [SEP]
    kept, said = store.EmbeddingStore(tmp_path / "embeddings.sqlite"), []
    for computed in (4, 0):
        embedded = embed.Embedder(resolve(str(folder)), kept, note=said.append).embed(texts, ids)
        assert embedded.stats.computed == computed
        assert embedded.truncated.tolist() == [False, True, False, True]
        assert embedded.stats.truncated == 2
        assert said[-1].startswith("2 of 4 distinct texts are longer than the 64 tokens that tiny reads")
    assert embedded.matrix[3] == pytest.approx(mean_pooled(folder, ["z" * 62])[0], abs=1e-5)


def test_a_checkpoint_with_code_of_its_own_is_not_run(tmp_path):
    folder = checkpoints.sentence_bert(tmp_path / "own-code")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.OwnModel"}}
    (folder / "config.json").write_text(json.dumps(config))
    marker = tmp_path / "it-ran"
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w')\nclass Own: pass\nclass OwnModel: pass\n")
    with pytest.raises(InputError, match="runs code of its own; read it, then allow it with --trust-remote-code"):
        load(resolve(str(folder)))
    assert not marker.exists()
