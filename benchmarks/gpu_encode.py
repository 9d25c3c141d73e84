"""Forward passes on a GPU: tokens per second by token budget, against batches of 32 and what the card can do.

    python benchmarks/gpu_encode.py [--models BERT-base,ST5-XXL,Mistral-7B] [--budgets 2048,...,131072]
        [--texts 6056] [--repeats 3] [--device cuda:0] [--peak-tflops T]
    python benchmarks/gpu_encode.py --device cpu --tiny     # only whether the script works, in seconds

Models have the shapes of the paper's encoders and random weights in bfloat16, texts the lengths of the paper's prompts
and random tokens, so nothing is downloaded. Batches are those of utils/embed/embedder.py; those of
sentence-transformers, 32 texts sorted by length, are the reference. Prints for each model what a batch must do at
least, a row for each budget, and at the end the least budget that is enough for all of them, which is what TOKEN_BUDGET
of utils/encoders/loaders.py should be. Only the forward pass is timed: no tokenizer, no copying to the card, no
pooling.

Exit status 3 if a model could not be measured, 2 if there is no such GPU.
"""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import positive  # noqa: E402
from utils import cli  # noqa: E402
from utils.embed import embedder  # noqa: E402
from utils.encoders import loaders  # noqa: E402
from utils.schema import InputError  # noqa: E402

# How many of the 6056 distinct texts of the paper's three sets have 6, 7, ... 50 of MiniLM's tokens, the two special
# ones included: mean 14.7, median 14, nine of ten at most 20.
TEXTS_OF_LENGTH = (
    *(8, 19, 86, 210, 355, 579, 698, 768, 859, 633, 495, 343, 220, 147, 112, 90, 52, 51, 45, 33, 31, 31, 33),
    *(27, 23, 13, 14, 11, 11, 8, 13, 10, 8, 7, 2, 2, 0, 1, 3, 2, 1, 1, 0, 0, 1),
)
SHORTEST = 6
BUDGETS = "2048,4096,8192,16384,32768,65536,131072"
REFERENCE_BATCH = 32
# A budget is sufficient for a model if it reaches this share of the tokens per second of its best one.
NEARLY_BEST = 0.95
# Dense bfloat16 operations by the makers' data sheets, by the driver's name of the card.
PEAK_FLOPS = {
    "NVIDIA H200": 989e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA L4": 121e12,
    "NVIDIA GeForce RTX 4090": 165e12,
}


@dataclass(frozen=True)
class Shape:
    """The sizes that determine a model's arithmetic.

    weights: those of the matrices that every token is multiplied by; an embedding table is only looked up. layers: the
    number of attention layers. width: heads times the size of a head.
    """

    weights: int
    layers: int
    width: int

    def flops(self, lengths: np.ndarray) -> float:
        """The least floating-point operations that encode texts of these lengths, int (n,), in tokens.

        A token costs one multiplication and one addition for each weight. In each layer it also takes the product of
        its query with the key of each of the L tokens of its text, and the sum of their L values: 2 L width operations
        each, 4 layers L width together. Norms, softmax and activations are left out.
        """
        lengths = np.asarray(lengths, dtype=np.float64)
        return float((2 * self.weights + 4 * self.layers * self.width * lengths) @ lengths)


def shape(model) -> Shape:
    """The shape of a transformers encoder."""
    import torch

    config = model.config
    head = getattr(config, "d_kv", None) or getattr(config, "head_dim", None)
    return Shape(
        weights=sum(part.weight.numel() for part in model.modules() if isinstance(part, torch.nn.Linear)),
        layers=config.num_hidden_layers,
        width=config.num_attention_heads * head if head else config.hidden_size,
    )


def builders(tiny: bool = False) -> dict[str, Callable]:
    """For each name a function that builds the model with random weights on torch's default device and dtype.

    Sentence-T5 XXL is the encoder of T5-11B: of the first T5, not the T5-XXL of version 1.1 with its gated activation.
    """
    from transformers import BertConfig, BertModel, MistralConfig, MistralModel, T5Config, T5EncoderModel

    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    bert = BertConfig(**(small if tiny else {}))
    t5 = {"d_model": 1024, "d_ff": 65536, "d_kv": 128, "num_heads": 128, "num_layers": 24}
    if tiny:
        t5 = {"d_model": 32, "d_ff": 128, "d_kv": 16, "num_heads": 4, "num_layers": 2}
    t5 = T5Config(**t5, vocab_size=32128, feed_forward_proj="relu")
    mistral = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}
    mistral = small | {"num_key_value_heads": 2} if tiny else mistral | {"num_key_value_heads": 8}
    mistral = MistralConfig(**mistral, vocab_size=32000, sliding_window=None, use_cache=False)
    mistral.is_causal = False  # as LLM2Vec has it
    return {
        "BERT-base": lambda: BertModel(bert, add_pooling_layer=False).eval(),
        "ST5-XXL": lambda: T5EncoderModel(t5).eval(),
        "Mistral-7B": lambda: MistralModel(mistral).eval(),
    }


def lengths_of(texts: int) -> np.ndarray:
    """Lengths in tokens of so many texts, distributed as the paper's prompts: int (texts,), ascending, nothing drawn.

    Text i has the quantile (i + 1/2) / texts.
    """
    bounds = np.cumsum(TEXTS_OF_LENGTH)
    ranks = (np.arange(texts) + 0.5) / texts * bounds[-1]
    return SHORTEST + np.searchsorted(bounds, ranks, side="left")


def inputs(lengths: np.ndarray, batches: Sequence[np.ndarray], vocabulary: int, left: bool, device: str) -> list[dict]:
    """The model's inputs for each batch: random tokens and the mask, (n, longest), padded on the `left` or right."""
    import torch

    made = []
    for batch in batches:
        length = torch.as_tensor(lengths[batch], device=device)[:, None]
        longest = int(lengths[batch].max())
        place = torch.arange(longest, device=device)
        mask = place >= longest - length if left else place < length
        tokens = torch.randint(5, vocabulary, mask.shape, device=device)
        made.append({"input_ids": tokens * mask, "attention_mask": mask.long()})
    return made


def seconds_of(work: Callable[[], None], repeats: int, device: str) -> float:
    """Median seconds of `work`, after one run that is not counted."""
    import torch

    def settle() -> None:
        if device != "cpu":
            torch.cuda.synchronize(device)

    work()
    taken = []
    for _ in range(repeats):
        settle()
        start = time.perf_counter()
        work()
        settle()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def matmul_flops(size: int, device: str) -> float:
    """Operations per second of a square bfloat16 matrix product: what the card reaches for a single large one."""
    import torch

    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))

    def work() -> None:
        for _ in range(20):
            torch.mm(a, b)

    return 20 * 2 * size**3 / seconds_of(work, 5, device)


def sufficient(rates: dict[str, dict[int, float]]) -> int | None:
    """The least budget with at least NEARLY_BEST of each model's best rate; None if there is none.

    rates: model to budget to tokens per second, without the budgets that did not fit.
    """
    good = [{b for b, rate in one.items() if rate >= NEARLY_BEST * max(one.values())} for one in rates.values()]
    return min(set.intersection(*good), default=None) if good else None


@dataclass(frozen=True)
class Card:
    """A device and its dense bfloat16 operations per second, as its maker states (None if unknown) and measured."""

    device: str
    stated: float | None
    measured: float


def measure(build: Callable, lengths: np.ndarray, budgets: Sequence[int], repeats: int, card: Card) -> dict[int, float]:
    """Prints the rows of one model; returns tokens per second by budget, without those that did not fit.

    Raises torch.OutOfMemoryError if the model itself does not fit.
    """
    import torch

    on_gpu = card.device != "cpu"
    gc.collect()  # the model before this one
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(card.device):
            model = build()
    finally:
        torch.set_default_dtype(torch.float32)
    work = shape(model)
    flops, tokens = work.flops(lengths), int(lengths.sum())
    print(f"{work.weights:,} weights that multiply, at least {flops / tokens:.4g} operations for a token")
    for name, limit in (("a large matmul", card.measured), ("the stated peak", card.stated)):
        if limit:
            print(f"limit by {name}: {limit * tokens / flops:,.0f} tokens/s")
    head = (
        "budget",
        "batches",
        "texts/s",
        "tokens/s",
        "with padding",
        "% of matmul",
        "% of stated",
        "peak GB",
        "x of 32",
    )
    print("".join(f"{word:>13}" for word in head))

    def seconds(batches: list[np.ndarray]) -> float:
        with torch.inference_mode():
            left = model.config.model_type == "mistral"
            made = inputs(lengths, batches, model.config.vocab_size, left, card.device)

            def forward() -> None:
                for one in made:
                    model(**one)

            return seconds_of(forward, repeats, card.device)

    rates: dict[int, float] = {}
    reference = None
    for budget in (None, *budgets):
        if budget is None:
            batches = embedder.batches(lengths, REFERENCE_BATCH * int(lengths.max()), REFERENCE_BATCH)
        else:
            batches = embedder.batches(lengths, budget)
        label = f"{REFERENCE_BATCH} texts" if budget is None else str(budget)
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(card.device)
        try:
            taken = seconds(batches)
        except torch.OutOfMemoryError:
            print(f"{label:>13}{len(batches):>13}  out of memory", flush=True)
            continue
        if budget is None:
            reference = taken
        else:
            rates[budget] = tokens / taken
        padded = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
        cells = [
            *(label, len(batches), f"{len(lengths) / taken:,.0f}", f"{tokens / taken:,.0f}", f"{padded / taken:,.0f}"),
            f"{flops / taken / card.measured:.1%}",
            f"{flops / taken / card.stated:.1%}" if card.stated else "-",
            f"{torch.cuda.max_memory_allocated(card.device) / 1e9:.1f}" if on_gpu else "-",
            f"{reference / taken:.2f}" if reference else "-",
        ]
        print("".join(f"{cell:>13}" for cell in cells), flush=True)
    return rates


def run(argv: Sequence[str] | None) -> int:
    flags = cli.Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    flags.add_argument("--models", metavar="NAMES", help="of BERT-base, ST5-XXL, Mistral-7B (default all)")
    flags.add_argument("--budgets", metavar="LIST", help=f"padded tokens of a batch (default {BUDGETS})")
    flags.add_argument("--texts", metavar="N", help="texts to encode (default 6056, as many as the paper has)")
    flags.add_argument("--repeats", metavar="N", default="3", help="timed runs, of which the median counts (default 3)")
    flags.add_argument("--device", metavar="DEVICE", default="cuda", help="cuda, cuda:1 or cpu (default cuda)")
    flags.add_argument("--tiny", action="store_true", help="tiny models and few texts: whether the script works")
    flags.add_argument("--peak-tflops", metavar="T", help="the card's dense bfloat16 TFLOP/s, if it isn't known here")
    settings = flags.parse_args(argv)
    budgets = settings.budgets or ("64,256,1024" if settings.tiny else BUDGETS)
    budgets = sorted({cli.whole_number(one.strip(), "--budgets", least=1) for one in budgets.split(",")})
    texts = cli.whole_number(settings.texts or ("256" if settings.tiny else "6056"), "--texts", least=1)
    repeats = cli.whole_number(settings.repeats, "--repeats", least=1)
    stated = None if settings.peak_tflops is None else positive(settings.peak_tflops, "--peak-tflops") * 1e12

    device = settings.device
    if device == "cpu" and not settings.tiny:
        raise InputError("--device cpu: 7 billion weights would take hours there; add --tiny, or name a GPU")
    import torch
    import transformers

    kind, _, index = device.partition(":")
    there = torch.cuda.device_count()
    if device != "cpu" and (kind != "cuda" or (index and not index.isdecimal()) or int(index or 0) >= there):
        raise InputError(f"--device {device}: this machine has {there} CUDA GPUs; --device cpu --tiny tries the script")
    built = builders(settings.tiny)
    chosen = list(dict.fromkeys(one.strip() for one in (settings.models or ",".join(built)).split(",")))
    for name in chosen:
        if name not in built:
            raise InputError(f"--models {name}: give one or more of {', '.join(built)}")

    name = "CPU" if device == "cpu" else torch.cuda.get_device_name(device)
    stated = stated or PEAK_FLOPS.get(name)
    card = Card(device, stated, matmul_flops(256 if settings.tiny else 8192, device))
    lengths = lengths_of(texts)
    print(f"{name}; torch {torch.__version__}, transformers {transformers.__version__}, bfloat16")
    peak = f"{stated / 1e12:,.0f}" if stated else "not known here (--peak-tflops)"
    print(f"TFLOP/s: {card.measured / 1e12:,.4g} by a large matmul, stated {peak}")
    print(f"{texts} texts, {lengths.sum()} tokens, median of {repeats} runs")
    if settings.tiny:
        print("TINY models: this says that the script works, and nothing of speed")
    rates: dict[str, dict[int, float]] = {}
    for name in chosen:
        print(f"\n{name}")
        try:
            rates[name] = measure(built[name], lengths, budgets, repeats, card)
        except torch.OutOfMemoryError:
            rates[name] = {}
            print("out of memory: the weights do not fit", flush=True)
    measured = {name: one for name, one in rates.items() if one}
    names, least = ", ".join(measured) or "no model", sufficient(measured) or "none"
    print(f"\nleast budget with {NEARLY_BEST:.0%} of the best tokens/s of each of {names}: {least}")
    print(f"TOKEN_BUDGET of a GPU is {loaders.TOKEN_BUDGET['cuda']} now")
    return 0 if len(measured) == len(chosen) else 3


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(lambda: run(argv))


if __name__ == "__main__":
    sys.exit(main())
