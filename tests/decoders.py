"""Tiny language models with two LoRA adapters, laid out like LLM2Vec's, written without transformers or PEFT.

The same bytes come out wherever this runs, so that the numbers of the `llm2vec` package, which needs libraries that
can't share an environment with ours (llm2vec_reference.py), can be compared with ours.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

WIDTH, INNER, LAYERS, HEADS, RANK = 32, 48, 2, 4, 4
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789?'.,!-[]/"
# What the two bases are called in the configuration of the MNTP adapter; the package chooses the chat turn by it.
BASES = {"mistral": "mistralai/Mistral-7B-Instruct-v0.2", "llama3": "meta-llama/Meta-Llama-3-8B-Instruct"}
TEXTS = [
    "how do i bake bread",
    "no",
    "  two spaces before, and a newline after\n",
    "A question? With [INST] brackets [/INST] of its own, and digits 12345.",
    "a much longer text that makes all the others of its batch be padded on the left by a good many tokens",
    "words " * 130,
    "x" * 450,
]


def mistral_tokenizer() -> Tokenizer:
    """BPE after SentencePiece's manner: a space is a character of the word that follows, `<s>` opens a text."""
    special = ["<unk>", "<s>", "</s>"]
    merges = [("▁", "a"), ("▁", "t"), ("o", "r"), ("I", "N"), ("IN", "ST"), ("S", "T"), ("▁", "w")]
    pieces = [*special, "▁", "\n", *LETTERS, *dict.fromkeys("".join(pair) for pair in merges)]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 1)])
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False, special=True) for piece in special])
    return tokenizer


def llama3_tokenizer() -> Tokenizer:
    """Byte-level BPE after Llama 3's manner; `<|begin_of_text|>` opens a text, and a turn has tokens of its own."""
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    merges = [("Ġ", "a"), ("Ġ", "t"), ("o", "r"), ("u", "s"), ("us", "er"), ("e", "r"), ("Ċ", "Ċ")]
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    words = Regex(r"\p{L}+| ?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False, special=True) for piece in special])
    begin = tokenizer.token_to_id(special[0])
    tokenizer.post_processor = processors.TemplateProcessing(
        f"{special[0]} $A", f"{special[0]} $A $B", [(special[0], begin)]
    )
    return tokenizer


def llm2vec(folder: Path, kind: str) -> dict[str, Path]:
    """Folders `base`, `mntp` and `adapter` of a tiny LLM2Vec. kind: mistral or llama3."""
    folders = {part: folder / kind / part for part in ("base", "mntp", "adapter")}
    for path in folders.values():
        path.mkdir(parents=True)
    tokenizer = mistral_tokenizer() if kind == "mistral" else llama3_tokenizer()
    size = tokenizer.get_vocab_size()
    config = {
        "architectures": ["MistralForCausalLM" if kind == "mistral" else "LlamaForCausalLM"],
        "model_type": "mistral" if kind == "mistral" else "llama",
        "_name_or_path": BASES[kind],
        "vocab_size": size,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS // 2,
        "max_position_embeddings": 1024,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "attention_dropout": 0.0,
    }
    config |= {"sliding_window": None} if kind == "mistral" else {"attention_bias": False}
    generator = np.random.default_rng(7)

    def normal(*shape: int, scale: float) -> np.ndarray:
        return generator.normal(0, scale, shape).astype(np.float32)

    narrow = WIDTH // 2
    linear = {
        "self_attn.q_proj": (WIDTH, WIDTH),
        "self_attn.k_proj": (narrow, WIDTH),
        "self_attn.v_proj": (narrow, WIDTH),
        "self_attn.o_proj": (WIDTH, WIDTH),
        "mlp.gate_proj": (INNER, WIDTH),
        "mlp.up_proj": (INNER, WIDTH),
        "mlp.down_proj": (WIDTH, INNER),
    }
    weights = {"embed_tokens.weight": normal(size, WIDTH, scale=1.0), "norm.weight": np.ones(WIDTH, np.float32)}
    for layer in range(LAYERS):
        for name, shape in linear.items():
            weights[f"layers.{layer}.{name}.weight"] = normal(*shape, scale=0.3)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"layers.{layer}.{name}.weight"] = normal(WIDTH, scale=0.1) + 1
    base = {f"model.{name}": weight for name, weight in weights.items()}
    base["lm_head.weight"] = normal(size, WIDTH, scale=0.1)
    save_file(base, folders["base"] / "model.safetensors", metadata={"format": "pt"})
    for part in ("base", "mntp"):
        (folders[part] / "config.json").write_text(json.dumps(config))
        _save_tokenizer(tokenizer, folders[part], kind)
    for part in ("mntp", "adapter"):
        adapter = {
            "peft_type": "LORA",
            "base_model_name_or_path": str(folders["base"]),
            "r": RANK,
            "lora_alpha": 2 * RANK,
            "lora_dropout": 0.05,
            "target_modules": [name.split(".")[1] for name in linear],
            "bias": "none",
            "task_type": None,
            "inference_mode": True,
            "fan_in_fan_out": False,
        }
        (folders[part] / "adapter_config.json").write_text(json.dumps(adapter))
        low_rank = {}
        for layer in range(LAYERS):
            for name, (out, into) in linear.items():
                key = f"base_model.model.layers.{layer}.{name}"
                low_rank[f"{key}.lora_A.weight"] = normal(RANK, into, scale=0.2)
                low_rank[f"{key}.lora_B.weight"] = normal(out, RANK, scale=0.2)
        save_file(low_rank, folders[part] / "adapter_model.safetensors", metadata={"format": "pt"})
    return folders


def _save_tokenizer(tokenizer: Tokenizer, folder: Path, kind: str) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    if kind == "mistral":
        described = {
            "tokenizer_class": "LlamaTokenizer",
            "legacy": True,
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
        }
    else:
        described = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|eot_id|>",
            "model_input_names": ["input_ids", "attention_mask"],
        }
    described |= {"clean_up_tokenization_spaces": False, "model_max_length": 1024}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
