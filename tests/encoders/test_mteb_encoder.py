"""Encoders of MTEB's registry on tiny checkpoints, as MTEB's own wrappers give their vectors."""

import importlib.util
import json
import shutil

import checkpoints
import pytest

from utils.encoders.loading import load
from utils.encoders.registry import resolve
from utils.schema import EncoderOptions, InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*prompts:UserWarning", "ignore:Task name any:UserWarning")
needs_mteb = pytest.mark.skipif(importlib.util.find_spec("mteb") is None, reason="MTEB, an extra, is not installed")
NAME, COMMIT = "tiny/encoder", "0123456789abcdef0123456789abcdef01234567"
TEXTS = ["how do i bake bread", "no", "a much longer text, to see that padding changes nothing at all"]


def meta(**more):
    """An entry of MTEB's registry."""
    from mteb.models import ModelMeta, SentenceTransformerEncoderWrapper

    given = {"loader": SentenceTransformerEncoderWrapper, "name": NAME, "revision": COMMIT, "framework": []}
    unknown = dict.fromkeys([name for name, field in ModelMeta.model_fields.items() if field.is_required()])
    return ModelMeta(**{**unknown, **given, **more})


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """Registers a tiny checkpoint, in the hub's cache, in MTEB's registry. own: its own prompts."""
    from huggingface_hub import constants
    from mteb.models.model_implementations import MODEL_REGISTRY

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def register(own=None, **more):
        folder = tmp_path / "models--tiny--encoder" / "snapshots" / COMMIT
        shutil.rmtree(folder, ignore_errors=True)
        checkpoints.sentence_bert(folder)
        if own is not None:
            (folder / "config_sentence_transformers.json").write_text(json.dumps(own))
        monkeypatch.setitem(MODEL_REGISTRY, NAME, meta(**more))
        return folder

    return register


def by_mteb(texts, task="STSBenchmark"):
    """The vectors that a model of MTEB's gives the texts of one of MTEB's own tasks."""
    import mteb
    from datasets import Dataset
    from torch.utils.data import DataLoader

    inputs = DataLoader(Dataset.from_dict({"text": texts}), batch_size=2)
    metadata = mteb.get_task(task).metadata
    return mteb.get_model(NAME, device="cpu").encode(inputs, task_metadata=metadata, hf_split="", hf_subset="")


CASES = {
    "of the registry": ({"model_prompts": {"STS": "alike: ", "query": "q: "}}, {"prompts": {"STS": "no"}}, "alike: "),
    "of the checkpoint": ({}, {"prompts": {"STS": "same: ", "query": "q: "}}, "same: "),
    "by default": ({}, {"prompts": {"any": "text: ", "query": "q: "}, "default_prompt_name": "any"}, "text: "),
    "of queries only": ({"model_prompts": {"query": "query: ", "document": "passage: "}}, None, ""),
    "none": ({}, None, ""),
}


@needs_mteb
@pytest.mark.parametrize(("arguments", "own", "prompt"), CASES.values(), ids=CASES)
def test_the_prompt_is_the_one_that_mteb_gives_a_symmetric_task(registered, arguments, own, prompt):
    registered(own, loader_kwargs=arguments)
    spec = resolve(f"mteb:{NAME}")
    assert (spec.prompt, spec.revision) == (prompt, COMMIT)
    got = load(spec).encode(TEXTS)
    assert got == pytest.approx(by_mteb(TEXTS), abs=1e-6)
    registered(loader_kwargs={})
    assert got == pytest.approx(by_mteb([prompt + text for text in TEXTS]), abs=1e-6)


@needs_mteb
def test_everything_that_chooses_a_vector_is_in_the_fingerprint(registered):
    from mteb.models import SentenceTransformerEncoderWrapper

    class Other(SentenceTransformerEncoderWrapper):
        pass

    registered()
    specs = [resolve(f"mteb:{NAME}", EncoderOptions(trust_remote_code=True))]
    for more in (
        {"loader_kwargs": {"model_prompts": {"STS": "alike: "}}},
        {"loader_kwargs": {"model_kwargs": {"torch_dtype": "bfloat16"}}},
        {"loader": Other},
        {"revision": "2"},
    ):
        registered(**more)
        specs.append(resolve(f"mteb:{NAME}", EncoderOptions(trust_remote_code=True)))
    assert len({spec.fingerprint for spec in specs}) == 5
    assert [spec.dtype for spec in specs] == ["auto", "auto", "bfloat16", "auto", "auto"]
    assert specs[3].prompt == "(that of Other for STS)"
    assert specs[0].info().source.startswith(f"{NAME}, SentenceTransformerEncoderWrapper of MTEB 2.")


@needs_mteb
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("intfloat/multilingual-e5-smal", "nearest: mteb:intfloat/multilingual-e5-small, mteb:"),
        ("E5-small-v2", "nearest: mteb:intfloat/e5-small-v2"),
        ("zzzz", "MTEB has no such encoder; nearest: none"),
        ("colbert-ir/colbertv2.0", "MTEB has no loader that gives a text one vector (late-interaction, text)"),
        ("nomic-ai/nomic-embed-text-v1.5", "may run its own code; read it, then allow it with --trust-remote-code"),
        # Its wrapper, not its entry, allows the code.
        ("OpenSearch-AI/Ops-MoA-Conan-embedding-v1", "may run its own code; read it"),
    ],
)
def test_what_is_refused_in_one_line(name, message):
    with pytest.raises(InputError) as caught:
        resolve(f"mteb:{name}")
    assert str(caught.value).startswith(f"--model mteb:{name}: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


@needs_mteb
def test_mteb_leaves_no_choice(registered):
    registered(loader_kwargs={"model_prompts": {"STS": "alike: "}})
    only = f"--revision: mteb:{NAME} has only one, {COMMIT}; leave the flag out"
    with pytest.raises(InputError, match=only):
        resolve(f"mteb:{NAME}", EncoderOptions(revision="main"))
    for option, value in (("prompt", ""), ("dtype", "float16")):
        with pytest.raises(InputError, match=f"--{option}: can't be chosen for mteb:{NAME}; leave the flag out"):
            resolve(f"mteb:{NAME}", EncoderOptions(**{option: value}))


@needs_mteb
def test_a_checkpoint_that_is_not_cached_needs_the_hub(registered):
    shutil.rmtree(registered())
    with pytest.raises(InputError, match="the Hugging Face hub can't be reached and the model is not cached"):
        resolve(f"mteb:{NAME}")


def test_without_mteb_its_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs MTEB, which is an extra: pip install -r requirements-mteb\.txt"):
        resolve(f"mteb:{NAME}")
