"""Tunes an encoder on published labelled sets, and writes one that knows more about safety."""

import argparse
import hashlib
import json
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from tqdm import tqdm

from Safety_Tuning import choice, evaluate, training_side, tuned_folder
from Safety_Tuning.candidate import BASE, Candidate
from Safety_Tuning.choice import Measured
from Safety_Tuning.evaluation import datasets_of, evaluated_prompts, unit_vectors
from Safety_Tuning.model_card import model_card
from Safety_Tuning.training_side import TrainingSide
from utils import cli, config
from utils.embed.embedder import Embedder
from utils.encoders import registry
from utils.encoders.registry import nearest_names
from utils.files import check_writable, shown_path, write_whole
from utils.results.program import environment
from utils.schema import EncoderSpec, InputError
from utils.store.embeddings import EmbeddingStore, default_path

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from Safety_Tuning.methods import Method
    from utils.encoders.loaders import SentenceTransformerEncoder

METHODS = ("layers", "linear")
NOT_SHIPPED = 3


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Tunes an encoder on published sets, evaluates it beside its base, and writes it with a model card."""
    flags = cli.Parser(prog="python -m Safety_Tuning.tune", description=main.__doc__)
    flags.add_argument("base", nargs="?", metavar="BASE", help="the same as --model")
    flags.add_argument("--model", metavar="NAME", help="encoder to tune (variable MODEL)")
    flags.add_argument(
        "--method",
        choices=METHODS,
        default=METHODS[0],
        help="layers trains the top layers of a transformer, linear one layer on its vectors (default layers)",
    )
    flags.add_argument("--data", metavar="DATA", help="sets to tune on, as for detection (variable DATA)")
    flags.add_argument("--out", metavar="FOLDER", help="where the encoder is written (default models/BASE-safe)")
    flags.add_argument("--seed", metavar="N", type=cli.whole(0), default=42, help="of all that is drawn (default 42)")
    flags.add_argument("--force", action="store_true", help="write an encoder that is no better than its base, too")
    flags.add_argument("--no-evaluation", action="store_true", help="leave the evaluation to Safety_Tuning.evaluate")
    cli.add_encoder_options(flags)
    flags.add_argument("--quiet", action="store_true", help="print the table and nothing else")
    arguments = flags.parse_args(argv)

    note = cli.notes(arguments)
    name, spec = _base(arguments)
    out = config.callers_path(arguments.out or str(config.ROOT / "models" / f"{spec.name.replace('/', '--')}-safe"))
    tuned_folder.refuse_existing(out)
    check_writable(out.parent)
    data = cli.chosen(arguments, "data")[0]
    prompts = evaluated_prompts(datasets_of("auto", evaluate.settings_of(arguments, [name])))
    side, _, notes = training_side.load(data, prompts)
    note(f"tuning {spec.name} on {len(side)} prompts of {len(side.family_names)} families")
    for sentence in notes:
        note(sentence)

    embedder = Embedder(spec, EmbeddingStore(default_path()), not arguments.quiet and sys.stderr.isatty(), note)
    made = Tuning(arguments, name, spec, side, embedder, out, note)
    if not made.run():
        return NOT_SHIPPED
    cli.note(f"wrote {shown_path(out)}")
    if not arguments.no_evaluation:
        evaluate.evaluate(out, arguments)
    return 0


def _base(arguments: argparse.Namespace) -> tuple[str, EncoderSpec]:
    """The encoder that is tuned: a name by which it is found from anywhere, and resolved."""
    if arguments.base is not None and arguments.model not in (None, arguments.base):
        raise InputError(f"--model {arguments.model}: {arguments.base} was named too; give one of them")
    arguments.model = arguments.base or arguments.model
    name, where = cli.chosen(arguments, "model")
    if "," in name:
        raise InputError(f"{where} {name}: one encoder is tuned at a time; name one")
    spec = registry.resolve(name, cli.encoder_options(arguments))
    weights = spec.loader in ("packaged", "sentence-transformers")
    if spec.base is not None or not (weights or (spec.loader == "openai" and arguments.method == "linear")):
        near = ", ".join(nearest_names(name)) or "all-minilm-l6-v2"
        raise InputError(
            f"{where} {name}: has no modules that can be tuned; give a sentence-transformers encoder, such as {near}, "
            "or one of an API with --method linear"
        )
    folder = config.callers_path(name)
    return str(folder.resolve()) if spec.loader != "packaged" and folder.is_dir() else name, spec


class Tuning:
    """One tuning, from which the same command continues after it was stopped.

    name: of the base, by which it is found again. out: the folder that is written. What is finished before is kept
    beside it.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        name: str,
        spec: EncoderSpec,
        side: TrainingSide,
        embedder: Embedder,
        out: Path,
        note: Callable[[object], None],
    ) -> None:
        self.arguments, self.spec, self.side, self.embedder = arguments, spec, side, embedder
        self.name, self.out, self.note = name, out, note
        self.seed, self.started = arguments.seed, time.monotonic()
        self.partial, self.signature = out.with_name(f".{out.name}.tuning"), ""

    def _signature(self, settings: dict[str, Any]) -> str:
        """A digest of all that the weights depend on, but for rounding by the device."""
        parts = {
            "settings": settings,
            "candidates": [choice.PARTS, choice.MODELS, choice.SHARES, choice.EXPONENTS],
            "base": self.spec.fingerprint,
            "method": self.arguments.method,
            "seed": self.seed,
            "prompts": hashlib.sha256(json.dumps([self.side.ids, self.side.prompts]).encode()).hexdigest(),
            "hazards": self.side.hazards,
        }
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def run(self) -> bool:
        """Tunes and writes the folder. Returns whether it was written: not where the base is better untouched."""
        side = self.side
        base = unit_vectors(self.embedder, side.prompts, side.ids)
        self.embedder.close()  # its model is not needed in memory beside the one that is tuned
        model = None if self.spec.loader == "openai" else self._model()
        method, settings = self._method(base, model)
        self.signature = self._signature(settings)
        parts = choice.parts(side)
        measured = [
            self._part(f"{number} of {len(parts)}", number, method, families)
            for number, families in enumerate(parts, 1)
        ]
        chosen = choice.chosen(measured)
        if chosen == BASE:
            self.note(f"{self.spec.name}: no tuning is better than the base on families that were held out")
            if not self.arguments.force:
                self.note("nothing is written; --force writes an encoder all the same")
                return False
            chosen = Candidate(choice.SHARES[0], 0.0)
        everything = np.arange(len(side))
        seeds = range(self.seed * choice.MODELS, (self.seed + 1) * choice.MODELS)
        with self._bar(len(seeds) * method.how.steps, "tuning on all families") as progress:
            trained = method.mean([method.trained(everything, seed, progress) for seed in seeds])
        tuned = method.put(model, trained, chosen)
        about = self._about(settings, chosen, measured)
        run = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self.started, 1),
            "base": self.name,
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "evaluations": [],
        }
        tuned_folder.write(tuned, about, run, model_card(about, run, [], []), self.out)
        shutil.rmtree(self.partial, ignore_errors=True)
        return True

    def _model(self) -> "SentenceTransformer":
        from utils.encoders import loading

        return cast("SentenceTransformerEncoder", loading.load(self.spec)).model

    def _method(self, base: np.ndarray, model: "SentenceTransformer | None") -> tuple["Method", dict[str, Any]]:
        from Safety_Tuning.layers import MOST_TOKENS, OF_ALL, Layers
        from Safety_Tuning.methods import Linear

        if model is None or self.arguments.method == "linear":
            linear = Linear(self.side, base)
            return linear, asdict(linear.how)
        layers = Layers(self.side, base, model, f"--model {self.spec.name}")
        return layers, asdict(layers.how) | {"of_all": OF_ALL, "tokens": MOST_TOKENS}

    def _part(self, title: str, number: int, method: "Method", families: Sequence[str]) -> dict[Candidate, Measured]:
        """What the candidates do on a part of the families: measured now, or by a run that was stopped."""
        path = self.partial / f"part-{number}.json"
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["signature"] == self.signature and kept["families"] == list(families):
                return {Candidate(**its["candidate"]): Measured(**its["measured"]) for its in kept["found"]}
        except (OSError, ValueError, KeyError, TypeError):
            pass
        with self._bar(method.how.steps, f"held out {title}: {', '.join(families)}") as progress:
            found = dict(choice.measure(method, families, self.seed, progress))
        rows = [{"candidate": asdict(one), "measured": asdict(its)} for one, its in found.items()]
        self.partial.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"signature": self.signature, "families": list(families), "found": rows}))
        self.note(_said(title, found))
        return found

    @contextmanager
    def _bar(self, steps: int, title: str) -> Iterator[Callable[[dict[str, float]], None]]:
        """A progress bar of the steps of a tuning: what moves it on, given the losses by name."""
        shown = not self.arguments.quiet and sys.stderr.isatty()
        with tqdm(total=steps, unit="step", desc=title, disable=not shown, leave=False) as bar:

            def step(losses: dict[str, float]) -> None:
                bar.set_postfix({name: f"{loss:.3f}" for name, loss in losses.items()}, refresh=False)
                bar.update()

            yield step

    def _about(
        self, settings: dict[str, Any], chosen: Candidate, measured: list[dict[Candidate, Measured]]
    ) -> dict[str, Any]:
        return {
            "name": self.out.name,
            "base": asdict(self.spec.info()) | self.spec.recipe,
            "method": self.arguments.method,
            "settings": settings,
            "seed": self.seed,
            "signature": self.signature,
            "parts": len(measured),
            "models": choice.MODELS,
            "chosen": asdict(chosen),
            "held_out": [[{**asdict(one), **asdict(its)} for one, its in part.items()] for part in measured],
            "families": self.side.family_names,
            "seen": self.side.seen,
            "data": {
                "name": cli.chosen(self.arguments, "data")[0],
                "prompts": len(self.side),
                "left_out": self.side.left_out,
                "licences": self.side.licence_of,
            },
            "packages": environment(None)["packages"],
        }


def _said(title: str, found: dict[Candidate, Measured]) -> str:
    """A sentence on the base and on the candidate that would be chosen by a part of the families alone."""
    best = choice.chosen([found])
    base, its = found[BASE], found[best]
    return (
        f"held out {title}: partial AUROC {base.detection:.3f} to {its.detection:.3f} at share {best.share:g} and "
        f"exponent {best.exponent:g}, purity "
        f"{base.purity:.3f} to {its.purity:.3f}, triplet {base.triplet:.3f} to {its.triplet:.3f}, similarity "
        f"{base.similarity:.3f} to {its.similarity:.3f}, neighbours kept {its.kept:.3f}"
    )


if __name__ == "__main__":
    sys.exit(main())
