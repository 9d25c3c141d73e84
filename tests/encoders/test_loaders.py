"""The real loaders on tiny checkpoints of the real architectures, against the models run by hand."""

import json
from dataclasses import replace

import checkpoints
import decoders
import numpy as np
import pytest
import torch
from checkpoints import mean_pooled
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertForMaskedLM,
    BertModel,
    T5EncoderModel,
)

from utils import config
from utils.embed.embedder import Embedder
from utils.encoders import registry
from utils.encoders.loading import load
from utils.encoders.registry import resolve
from utils.schema import Checkpoint, EncoderOptions, InputError
from utils.store import embeddings as store

TEXTS = ["how do i bake bread", "no", "a much longer text, to see that padding changes nothing at all"]
REFERENCE = json.loads((config.ROOT / "tests" / "llm2vec_reference.json").read_text())["vectors"]
INSTRUCTION = "Tell what the text asks for:"


def registered(name, *folders, **options):
    """A registry entry's spec whose checkpoints are folders here."""
    entry = dict(registry.known_encoders()[name])
    parts = tuple(Checkpoint("a folder", "0" * 40, folder) for folder in folders)
    entry.pop("checkpoints", None)
    spec = registry._registered(name, {**entry, "revision": "0" * 40, "commit": None}, EncoderOptions(**options))
    return replace(spec, checkpoints=parts)


def test_sentence_bert_on_mpnet_equals_its_modules(tmp_path):
    folder = checkpoints.sentence_mpnet(tmp_path / "mpnet")
    expected = mean_pooled(folder, TEXTS)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    vectors = load(registered("sentence-bert-all", folder)).encode(TEXTS)
    assert vectors == pytest.approx(expected, abs=1e-5)


def test_sentence_t5_equals_its_modules(tmp_path):
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


def test_simcse_equals_the_pooler_output(tmp_path):
    folder = checkpoints.bert(tmp_path / "simcse")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = [model(**tokenizer(text, return_tensors="pt")).pooler_output[0].numpy() for text in TEXTS]
    for name in ("sup-simcse", "unsup-simcse"):
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
    """Tolerance: a cosine of 0.9999; the package's own bfloat16 is at 0.9997 or less from its float32.

    Processors sum in bfloat16 in different ways: the reference, of a different one, has been met to 0.99997.
    """
    reference = REFERENCE[llm2vec[0]]
    expected, exact = np.array(reference["bfloat16"]), np.array(reference["plain"])
    vectors = loaded(llm2vec, dtype="auto").encode(decoders.TEXTS)

    def cosines(a, b):
        return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)

    assert cosines(vectors, expected).min() > 0.9999
    assert cosines(expected, exact).min() < 0.9998, "so the two dtypes can be told apart"


@pytest.mark.parametrize("kind", ["packaged", "llm2vec"])
def test_vectors_do_not_depend_on_order_or_batch(tmp_path, kind):
    """Tolerance: 1e-5 of vectors of length about 1; sums of float32 in another order differ by that at most."""
    if kind == "packaged":
        spec = resolve("all-minilm-l6-v2")
    else:
        spec = registered("llm2vec-mistral", *decoders.llm2vec(tmp_path, "mistral").values(), dtype="float32")
    texts = [f"{'why ' * (i % 7)}question {i}" for i in range(60)]
    ids = [str(i) for i in range(60)]
    embedder = Embedder(spec)
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


def test_texts_that_are_cut_off_are_counted_and_remembered(tmp_path):
    folder = checkpoints.sentence_bert(tmp_path / "tiny")
    texts, ids = ["x" * 62, "y" * 63, "short", "z" * 100], list("abcd")  # 64 tokens are read, two of them [CLS], [SEP]
    kept, said = store.EmbeddingStore(tmp_path / "embeddings.sqlite"), []
    for computed in (4, 0):
        embedded = Embedder(resolve(str(folder)), kept, note=said.append).embed(texts, ids)
        assert embedded.stats.computed == computed
        assert embedded.truncated.tolist() == [False, True, False, True]
        assert embedded.stats.truncated == 2
        assert said[-1].startswith("2 of 4 distinct texts are longer than the 64 tokens that tiny reads")
    assert embedded.matrix[3] == pytest.approx(mean_pooled(folder, ["z" * 62])[0], abs=1e-5)


def rewritten(folder, rename, file="model.safetensors"):
    """The folder, its weights under the names that `rename` gives; those it gives None are left out."""
    weights = {rename(key): value for key, value in load_file(folder / file).items()}
    save_file({key: value for key, value in weights.items() if key}, folder / file, metadata={"format": "pt"})
    return folder


def edited(folder, file, **changes):
    """The folder, the entries of a JSON file changed; those that become None are left out."""
    content = {**json.loads((folder / file).read_text()), **changes}
    (folder / file).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return folder


def test_missing_layers_and_weights_under_other_names_are_refused_and_not_made_up(tmp_path):
    # 39 weights, 37 without the pooler's two: 5 of the embeddings, 16 of each of the two layers.
    folder = rewritten(checkpoints.sentence_bert(tmp_path / "tiny"), lambda key: f"module.{key}")
    shown = [f"{part}embeddings.LayerNorm.bias, {part}embeddings.LayerNorm.weight" for part in ("", "module.")]
    with pytest.raises(InputError) as error:
        load(resolve(str(folder)))
    message = str(error.value)
    assert message.startswith(f"--model tiny: the checkpoint lacks weights of the model: 37 ({shown[0]}, ")
    assert f"; it has 39 ({shown[1]}, " in message and "\n" not in message
    rewritten(folder, lambda key: None if ".layer.1." in key else key.removeprefix("module."))
    with pytest.raises(InputError, match=r"lacks weights of the model: 16 \(encoder\.layer\.1\.attention\.output"):
        load(resolve(str(folder)))


@pytest.mark.parametrize("architecture", [BertModel, BertForMaskedLM])
def test_weights_that_the_configuration_leaves_unused_are_refused(tmp_path, architecture):
    """One layer of two would be run. A head for predicting words has 5 weights, which no encoder uses."""
    folder = checkpoints.bert(tmp_path / "tiny", architecture=architecture)
    load(resolve(str(folder)))
    edited(folder, "config.json", num_hidden_layers=1)
    with pytest.raises(InputError, match=r"leaves weights of the checkpoint unused: 16 \((bert\.)?encoder\.layer\.1\."):
        load(resolve(str(folder)))


def test_an_adapter_of_which_a_part_is_left_unused_is_refused(tmp_path):
    adapter = checkpoints.adapter(tmp_path / "adapter", checkpoints.bert(tmp_path / "base"))
    edited(adapter, "adapter_config.json", target_modules=["query"])
    with pytest.raises(InputError, match=r"checkpoint unused: 4 \(.*attention\.self\.value\.lora_A"):  # of two layers
        load(resolve(str(adapter)))


@pytest.mark.parametrize(
    ("part", "rename", "missing"),
    [
        ("base", lambda key: f"module.{key}", "embed_tokens"),
        ("mntp", lambda key: key.replace("lora_A", "lora_a"), "lora_A"),
        ("adapter", lambda key: key.replace("base_model.model.", "base_model."), "lora_A"),
    ],
)
def test_llm2vec_refuses_what_its_parts_lack(tmp_path, recwarn, part, rename, missing):
    folders = decoders.llm2vec(tmp_path, "mistral")
    [file] = folders[part].glob("*.safetensors")
    rewritten(folders[part], rename, file.name)
    with pytest.raises(InputError, match=rf"^--model llm2vec-mistral: .*lacks weights of the model: \d+ \(.*{missing}"):
        load(registered("llm2vec-mistral", *folders.values(), dtype="float32"))
    assert not [warning for warning in recwarn if "missing adapter keys" in str(warning.message)], "told once"


@pytest.mark.parametrize("part", ["base", "adapter"])
def test_llm2vec_refuses_what_its_parts_would_leave_unused(tmp_path, part):
    folders = decoders.llm2vec(tmp_path, "mistral")
    shown = r"layers\.1\." if part == "base" else r"layers\.0\.mlp\.down_proj\.lora_A"
    if part == "base":
        edited(folders[part], "config.json", num_hidden_layers=1)
    else:
        edited(folders[part], "adapter_config.json", target_modules=["q_proj"])
    with pytest.raises(InputError, match=rf"leaves weights of the checkpoint unused: \d+ \(.*{shown}"):
        load(registered("llm2vec-mistral", *folders.values(), dtype="float32"))


def test_a_tokenizer_of_fewer_or_more_words_than_the_model_is_refused(tmp_path):
    without = checkpoints.sentence_bert(tmp_path / "without")
    (without / "tokenizer.json").unlink()  # for which the library makes a tokenizer of the five special tokens
    edited(without, "tokenizer_config.json", tokenizer_class="BertTokenizer")
    more = checkpoints.sentence_bert(tmp_path / "more")  # 5 special tokens, 2 of each of 42 letters
    content = json.loads((more / "tokenizer.json").read_text())
    content["model"]["vocab"]["##bake"] = 89
    (more / "tokenizer.json").write_text(json.dumps(content))
    for folder, tokens in ((without, 5), (more, 90)):
        with pytest.raises(InputError, match=f"knows {tokens} tokens, and the model has vectors for 89; put the mod"):
            load(resolve(str(folder)))


def with_token(folder, **added):
    """The folder with a token more in its tokenizer, number 89, which is the first beyond the model's 89 vectors."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens("bake") if not added else tokenizer.add_special_tokens(added)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_token_beyond_the_models_vectors_is_refused_where_it_is_used(tmp_path):
    folder = checkpoints.sentence_bert(tmp_path / "tiny")
    texts = ["no", "how do i cook bread"]
    before = load(resolve(str(folder))).encode(texts)
    encoder = load(resolve(str(with_token(folder))))
    assert encoder.encode(texts) == pytest.approx(before, abs=1e-6)
    with pytest.raises(InputError, match=r"^--model tiny: a text has a token .* for which the model has no vector"):
        encoder.encode(["how do i bake bread"])
    padded = with_token(checkpoints.sentence_bert(tmp_path / "padded"), pad_token="<pad>")
    with pytest.raises(InputError, match="padded: its tokenizer knows 90 tokens, and the model has vectors for 89"):
        load(resolve(str(padded)))


def noted(folder):
    """The vectors of the texts, and what is noted of the folder's encoder."""
    notes = []
    matrix = Embedder(resolve(str(folder)), note=notes.append).embed(TEXTS, list("abc")).matrix
    assert notes[0].startswith("loading") and notes[-1].startswith("embedding 3 distinct texts")
    return matrix, notes[1:-1]


@pytest.mark.parametrize("architecture", [BertModel, BertForMaskedLM])
def test_a_plain_checkpoint_is_mean_pooled_and_that_is_noted(tmp_path, architecture):
    matrix, notes = noted(checkpoints.bert(tmp_path / "plain", architecture=architecture))
    assert matrix == pytest.approx(mean_pooled(tmp_path / "plain", TEXTS), abs=1e-5)
    assert notes == ["plain has no modules.json, so a text's vector is taken to be the mean of its tokens'"]
    assert noted(checkpoints.sentence_bert(tmp_path / "whole"))[1] == []


def test_static_embeddings_are_the_mean_of_their_tokens_vectors(tmp_path):
    """In the files of model2vec: no config.json, the only module in the folder itself, nothing is ever cut off."""
    tokenizer, folder = checkpoints.letter_tokenizer(), tmp_path / "static"
    tokenizer.save_pretrained(folder)
    table = torch.randn(len(tokenizer), 6, generator=torch.Generator().manual_seed(0))
    save_file({"embeddings": table}, folder / "model.safetensors")
    module = {"idx": 0, "name": "0", "path": ".", "type": "sentence_transformers.models.StaticEmbedding"}
    (folder / "modules.json").write_text(json.dumps([module]))
    text = "bake " * 300  # a token for each letter
    rows = [tokenizer(one, add_special_tokens=False)["input_ids"] for one in ["bake bread", text]]
    kept = store.EmbeddingStore(tmp_path / "embeddings.sqlite")
    for computed in (2, 0):
        embedded = Embedder(resolve(str(folder)), kept).embed(["bake bread", text], ["a", "b"])
        assert embedded.matrix == pytest.approx(np.stack([table[ids].mean(dim=0) for ids in rows]), abs=1e-5)
        assert (embedded.stats.computed, embedded.stats.truncated, embedded.info.max_tokens) == (computed, 0, None)
    assert load(resolve(str(folder))).token_counts([text]).tolist() == [1200]


@pytest.mark.parametrize("kind", ["sentence_bert", "sentence_mpnet"])
def test_a_limit_beyond_the_learned_positions_is_lowered_to_them(tmp_path, kind):
    # 64 of BERT's 64 positions, and 64 of MPNet's 66, which count from its padding token's index, 1, on.
    folder = getattr(checkpoints, kind)(tmp_path / "tiny")
    edited(folder, "sentence_bert_config.json", max_seq_length=1000)
    encoder = load(resolve(str(folder)))
    assert encoder.max_tokens == 64
    long, whole = "a " * 100, "a " * 62  # and two special tokens
    assert encoder.encode([long])[0] == pytest.approx(encoder.encode([whole])[0], abs=1e-6)
    assert encoder.token_counts([long, whole]).tolist() == [102, 64]


def test_a_checkpoint_with_code_of_its_own_is_not_run(tmp_path):
    folder = checkpoints.sentence_bert(tmp_path / "own-code")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.OwnModel"}}
    (folder / "config.json").write_text(json.dumps(config))
    marker = tmp_path / "it-ran"
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w')\nclass Own: pass\nclass OwnModel: pass\n")
    with pytest.raises(InputError, match="runs its own code; read it, then allow it with --trust-remote-code"):
        load(resolve(str(folder)))
    assert not marker.exists()
