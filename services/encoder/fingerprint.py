"""Which models, and which preparation of their inputs, made an encoding."""

from __future__ import annotations

from collections.abc import Iterable

from captionstream.contracts.evidence import EncoderFingerprint
from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.values import ModelReference
from triton_models.repository import MODELS, Manifest, load_manifest

PREPARATION = "1"
"""To be raised when views, thresholds, colour names or box geometry change: encodings then differ."""


def fingerprint(models: Iterable[ModelReference]) -> EncoderFingerprint:
    """The same for the same models in any order, and only for those."""
    ordered = tuple(sorted(models, key=lambda model: model.name))
    parts = [f"{model.name} {model.version} {model.digest}" for model in ordered]
    digest = sha256_hex("\n".join([f"preparation {PREPARATION}", *parts]).encode())
    return EncoderFingerprint(digest=digest, models=ordered)


def recorded_fingerprint() -> EncoderFingerprint:
    """Of the models as this copy records them."""
    return fingerprint(served_models(load_manifest()))


def served_models(manifest: Manifest) -> list[ModelReference]:
    """The models that look at an image, as recorded; several packaged files have one digest over theirs."""
    names = {model.name for model in MODELS}
    models = [
        ModelReference(name=file.name, version=file.version, digest=file.sha256)
        for file in manifest.files
        if file.name in names
    ]
    for name in sorted({part.name for part in manifest.packaged} & names):
        parts = [part for part in manifest.packaged if part.name == name]
        digest = sha256_hex("\n".join(sorted(part.sha256 for part in parts)).encode())
        models.append(ModelReference(name=name, version=parts[0].source.version, digest=digest))
    return models


def served_versions(manifest: Manifest) -> dict[str, str]:
    """The version under which each model is served; a model without a file of its own has only the first."""
    recorded = {file.name: file.version for file in manifest.files}
    return {model.name: recorded.get(model.name, "1") for model in MODELS}
