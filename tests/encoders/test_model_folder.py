"""What a local model's fingerprint covers, and which folders are refused."""

import json
import re
import shutil

import checkpoints
import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModel, AutoTokenizer

from utils.encoders.loading import load
from utils.encoders.registry import resolve
from utils.schema import EncoderOptions, InputError


@pytest.fixture
def folder(tmp_path):
    return checkpoints.sentence_bert(tmp_path / "tiny-bert")


def fingerprint(folder, **options):
    return resolve(str(folder), EncoderOptions(**options)).fingerprint


def test_a_fingerprint_is_of_every_file_that_can_be_loaded_and_of_no_name(folder, tmp_path):
    names = ("spiece.model", "vocab.bpe", "1_Pooling/config.json", "onnx/model.onnx", "openvino/openvino_model.bin")
    seen = {fingerprint(folder)}
    for number, name in enumerate(names, 1):
        for content in (b"{}", b"{ }"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
            seen.add(fingerprint(folder))
        assert len(seen) == 1 + 2 * number, name
    moved = resolve(str(folder.rename(tmp_path / "renamed")))
    assert (moved.name, moved.source) == ("renamed", "folder renamed") and moved.fingerprint in seen


def test_what_is_never_loaded_is_not_in_the_fingerprint(folder):
    before = fingerprint(folder)
    own_code = fingerprint(folder, trust_remote_code=True)
    for name in ("README.md", ".git/HEAD", ".cache/huggingface/trees/1.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("anything")
    assert (fingerprint(folder), fingerprint(folder, trust_remote_code=True)) == (before, own_code)
    assert own_code != before
    (folder / "optimizer.pt").write_text("anything")
    assert fingerprint(folder) == before
    assert fingerprint(folder, trust_remote_code=True) != own_code, "its own code may read it"
    for name in ("all-minilm-l6-v2", "tfidf"):  # which have no code of their own
        assert resolve(name, EncoderOptions(trust_remote_code=True)).fingerprint == resolve(name).fingerprint


def test_what_a_linked_folder_holds_is_in_the_fingerprint(folder, tmp_path):
    mean = folder / "1_Pooling"
    plain, elsewhere, cls = fingerprint(folder), tmp_path / "elsewhere", tmp_path / "cls"
    mean.rename(elsewhere)
    cls.mkdir()
    (cls / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, "pooling_mode_cls_token": True}))
    mean.symlink_to(elsewhere)
    assert fingerprint(folder) == plain, "the files are the same"
    mean.unlink()
    mean.symlink_to(cls)
    assert fingerprint(folder) == fingerprint(shutil.copytree(folder, tmp_path / "copy")) != plain
    torch.save({}, cls / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"1_Pooling/pytorch_model\.bin is pickled"):
        resolve(str(folder))


def test_a_list_of_modules_that_is_broken_or_leads_outside_the_folder_is_refused(folder):
    path = folder / "modules.json"
    modules = json.loads(path.read_text())
    for place in ("../elsewhere", "/elsewhere", ".hidden"):
        modules[1]["path"] = place
        path.write_text(json.dumps(modules))
        with pytest.raises(InputError, match=f"modules.json names the folder '{place}'.* copy the module into the mod"):
            resolve(str(folder))
    for broken in ("{", '["1_Pooling"]', "[{}]", "[" * 100_000):
        path.write_text(broken)
        with pytest.raises(InputError, match=r"modules\.json is not a list of modules"):
            resolve(str(folder))


def test_an_adapters_base_is_in_the_fingerprint(tmp_path):
    base = checkpoints.bert(tmp_path / "base")
    adapter = checkpoints.adapter(tmp_path / "adapter", base)
    tokenizer = AutoTokenizer.from_pretrained(adapter)

    def by_hand():
        model = PeftModel.from_pretrained(AutoModel.from_pretrained(base), adapter).eval()
        with torch.no_grad():
            return model(**tokenizer("bread", return_tensors="pt")).last_hidden_state[0].mean(dim=0).numpy()

    seen = []
    for seed in (0, 1):
        checkpoints.bert(base, seed)
        spec = resolve(str(adapter))
        vector = load(spec).encode(["bread"])[0]
        assert vector == pytest.approx(by_hand(), abs=1e-5)
        seen.append((spec.fingerprint, vector))
    assert seen[0][0] != seen[1][0] and np.abs(seen[0][1] - seen[1][1]).max() > 0.1
    torch.save({}, base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    with pytest.raises(InputError, match="base: no safetensors weights, and pickled ones are not loaded"):
        resolve(str(adapter))


@pytest.mark.parametrize("base", ["somebody/some-model", None])
def test_an_adapter_whose_base_is_not_on_this_machine_is_refused(tmp_path, base):
    adapter = checkpoints.adapter(tmp_path / "adapter", checkpoints.bert(tmp_path / "base"))
    card = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**card, "base_model_name_or_path": base}))
    with pytest.raises(
        InputError, match=f"is an adapter, and its base '{base}' is not a folder here.*merge_and_unload"
    ):
        resolve(str(adapter))


@pytest.mark.parametrize(("kind", "named"), [("SparseEncoder", True), ("CrossEncoder", False)])
def test_another_model_of_sentence_transformers_is_refused(tmp_path, kind, named):
    """Its tokens' mean would be taken. Without the type that newer versions write, its modules tell what it is."""
    other = checkpoints.other_type(tmp_path / "other", kind)
    if not named:
        (other / "config_sentence_transformers.json").unlink()
        package = re.sub("(?<=.)(?=[A-Z])", "_", kind).lower()
        modules = json.loads((other / "modules.json").read_text())
        modules[-1]["type"] = f"sentence_transformers.{package}.modules.Any"
        (other / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match=f"other: is a model of type {kind}, which does not give a text one dense"):
        resolve(str(other))


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 90868376\n"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "2_Dense/model.safetensors"])
def test_a_file_that_git_has_not_fetched_is_named(folder, name):
    (folder / "model.onnx").write_text(POINTER)  # not read
    resolve(str(folder))
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(POINTER)
    with pytest.raises(InputError, match=f"{name} is a pointer of Git LFS and not the file itself; run git lfs pull"):
        resolve(str(folder))
