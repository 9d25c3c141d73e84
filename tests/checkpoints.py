"""Tiny checkpoints of real architectures with random weights, made where a test needs them."""

import json
from pathlib import Path

import numpy as np
import sentence_transformers
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789?'.,!-"


def letter_tokenizer() -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer whose pieces are single letters, in BERT's form."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", model_max_length=64, **names)


def bert(folder: Path, seed: int = 0, architecture: type = BertModel) -> Path:
    """A BERT of 16 dimensions and two layers, in the transformers format. architecture: with a head, or without."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=5 + 2 * len(LETTERS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    architecture(config).save_pretrained(folder)
    letter_tokenizer().save_pretrained(folder)
    return folder


def other_type(folder: Path, kind: str) -> Path:
    """A BERT as the class `kind` of sentence-transformers saves it, such as SparseEncoder."""
    architecture = BertForSequenceClassification if kind == "CrossEncoder" else BertForMaskedLM
    plain = bert(folder.with_name(f"plain-{folder.name}"), architecture=architecture)
    getattr(sentence_transformers, kind)(str(plain)).save_pretrained(str(folder), create_model_card=False)
    return folder


def sentence_bert(folder: Path, seed: int = 0) -> Path:
    """The same with mean pooling, in the sentence-transformers format."""
    bert(folder, seed)
    _sentence_transformer(folder, 16, [])
    return folder


def sentence_mpnet(folder: Path, seed: int = 0) -> Path:
    """An MPNet with mean pooling and vectors of length 1, as all-mpnet-base-v2 is laid out."""
    torch.manual_seed(seed)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    MPNetModel(MPNetConfig(vocab_size=5 + 2 * len(LETTERS), max_position_embeddings=66, **size)).save_pretrained(folder)
    letter_tokenizer().save_pretrained(folder)
    _sentence_transformer(folder, 16, [("2_Normalize", "Normalize")])
    return folder


def sentence_t5(folder: Path, seed: int = 0) -> Path:
    """A T5 encoder with mean pooling, a dense layer without bias and vectors of length 1, as sentence-t5-base is."""
    torch.manual_seed(seed)
    config = T5Config(vocab_size=5 + 2 * len(LETTERS), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    T5EncoderModel(config).save_pretrained(folder)
    letter_tokenizer().save_pretrained(folder)
    _sentence_transformer(folder, 16, [("2_Dense", "Dense"), ("3_Normalize", "Normalize")])
    dense = {"in_features": 16, "out_features": 12, "bias": False, "activation_function": "torch.nn.Identity"}
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text(json.dumps(dense))
    save_file({"linear.weight": torch.randn(12, 16)}, folder / "2_Dense" / "model.safetensors")
    return folder


def adapter(folder: Path, base: Path, seed: int = 0) -> Path:
    """A LoRA adapter on a BERT, with mean pooling, in the sentence-transformers format."""
    torch.manual_seed(seed)
    lora = LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights=False)
    get_peft_model(BertModel.from_pretrained(base), lora).save_pretrained(folder)
    letter_tokenizer().save_pretrained(folder)
    _sentence_transformer(folder, 16, [])
    return folder


def _sentence_transformer(folder: Path, dimension: int, more: list[tuple[str, str]]) -> None:
    listed = [("", "Transformer"), ("1_Pooling", "Pooling"), *more]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(listed)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64, "do_lower_case": False}))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": dimension, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def mean_pooled(folder, texts):
    """The vectors by hand: mean of the last hidden states over the tokens that are not padding."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        with torch.no_grad():
            rows.append(model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0).numpy())
    return np.stack(rows)
