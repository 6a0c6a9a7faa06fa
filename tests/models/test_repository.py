"""The served models: their files are the recorded ones, their tensors the documented ones, on every
backend.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from triton_models.repository import (
    MODELS,
    ROOT,
    Backend,
    ModelFileChanged,
    ServedModel,
    engine_command,
    load_manifest,
    model_path,
    render,
    render_split,
    verify,
)
from triton_models.vision_language.checkpoint import CheckpointRecord, names_in, recorded
from triton_models.vision_language.graph import plan_command
from triton_models.vision_language.halves import Halves
from triton_models.vision_language.idefics3 import Idefics3Split
from triton_models.vision_language.llava_onevision import LlavaOnevisionSplit
from triton_models.vision_language.qwen2_5_vl import Qwen25VLSplit
from triton_models.vision_language.split import Split

ONNX_MODELS = [model for model in MODELS if not model.only_python]
BACKENDS: list[Backend] = ["python", "onnxruntime", "tensorrt"]


def session(model: ServedModel) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(model_path(model.name)), options, providers=["CPUExecutionProvider"]
    )


def pictures(model: ServedModel, count: int) -> np.ndarray[Any, Any]:
    """Noise over a gradient: every picture another one, the same on each run."""
    size = model.inputs[0].dims[0]
    ramp = np.linspace(0, 200, size)[None, :, None, None]
    noise = np.random.default_rng(7).integers(0, 56, (count, *model.inputs[0].dims))
    return (ramp + noise).astype(np.uint8)


def answer(model: ServedModel, images: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    names = [output.name for output in model.outputs]
    return dict(zip(names, session(model).run(names, {model.inputs[0].name: images}), strict=True))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT, tmp_path / "triton_models"))


def test_every_committed_file_is_the_recorded_one() -> None:
    """The digests and sizes of the manifest are those of the files."""
    found = verify(ROOT)
    assert {"vision_encoder", "object_detector", "content_screen", "vocabulary"} == {
        file.name for file in found
    }
    assert [file.size for file in found] == [(ROOT / file.file).stat().st_size for file in found]


def test_the_committed_files_stay_small() -> None:
    """All of them together fit in 45 MB, so that a clone stays quick."""
    assert sum(file.size for file in load_manifest().files) <= 45_000_000


@pytest.mark.parametrize("name", ["vision_encoder", "object_detector", "content_screen"])
def test_a_flipped_byte_is_refused(copied: Path, name: str) -> None:
    """One changed byte in a weight file stops verification and rendering, and the error names all three
    facts.
    """
    file = model_path(name, copied)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelFileChanged) as refused:
        render(copied, copied / "served", "python", instances=1)
    recorded = next(f for f in load_manifest(copied).files if f.name == name)
    assert (refused.value.file, refused.value.expected) == (file, recorded.sha256)
    assert refused.value.found != recorded.sha256 and len(refused.value.found) == 64
    assert all(fact in str(refused.value) for fact in (name, recorded.sha256, refused.value.found))
    assert not (copied / "served").exists()


def test_a_missing_file_is_refused(copied: Path) -> None:
    """A checkout without the weights is told so, not served half."""
    model_path("vision_encoder", copied).unlink()
    with pytest.raises(ModelFileChanged, match="no file"):
        verify(copied)


def tensors(config: str) -> list[tuple[str, str, str]]:
    return re.findall(r'name: "(\w+)" data_type: (\w+) dims: (\[[^]]*\])', config)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_each_backend_is_asked_with_the_same_tensors(tmp_path: Path, model: ServedModel) -> None:
    """Names, types and shapes in the rendered configuration do not depend on who computes."""
    configs = {}
    for backend in BACKENDS:
        render(ROOT, tmp_path / backend, backend, instances=2)
        configs[backend] = (tmp_path / backend / model.name / "config.pbtxt").read_text()
    expected = [
        (tensor.name, f"TYPE_{tensor.datatype}", str(list(tensor.dims)))
        for tensor in (*model.inputs, *model.outputs)
    ]
    assert {backend: tensors(text) for backend, text in configs.items()} == dict.fromkeys(BACKENDS, expected)
    assert all(
        f"max_batch_size: {model.max_batch}" in text and "count: 2" in text for text in configs.values()
    )


@pytest.mark.parametrize(("backend", "kind"), [("onnxruntime", "KIND_CPU"), ("tensorrt", "KIND_GPU")])
def test_production_backends_batch_and_warm_up(tmp_path: Path, backend: Backend, kind: str) -> None:
    """They gather requests for a moment, run once before they are ready, and run where the backend runs."""
    render(ROOT, tmp_path, backend, instances=1)
    for model in ONNX_MODELS:
        text = (tmp_path / model.name / "config.pbtxt").read_text()
        assert all(f in text for f in (f'backend: "{backend}"', kind, "dynamic_batching", "model_warmup"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_reader_is_always_served_by_python(tmp_path: Path, backend: Backend) -> None:
    """Its package is Python, so no other backend is offered for it."""
    render(ROOT, tmp_path, backend, instances=1)
    folder = tmp_path / "text_reader"
    assert 'backend: "python"' in (folder / "config.pbtxt").read_text()
    assert ["model.py"] == [file.name for file in (folder / "1").iterdir()]


def test_rendering_again_leaves_nothing_of_the_other_backend(tmp_path: Path) -> None:
    """A target that held python models holds only ONNX files after it was rendered for ONNX Runtime."""
    render(ROOT, tmp_path, "python", instances=1)
    render(ROOT, tmp_path, "onnxruntime", instances=1)
    assert ["model.onnx"] == [file.name for file in (tmp_path / "vision_encoder" / "1").iterdir()]


def test_no_instances_is_refused(tmp_path: Path) -> None:
    """A model that no instance serves would never answer."""
    with pytest.raises(ValueError, match="instances"):
        render(ROOT, tmp_path, "python", instances=0)


@pytest.mark.parametrize("model", ONNX_MODELS, ids=lambda model: model.name)
def test_two_pictures_give_the_documented_shapes(model: ServedModel) -> None:
    """uint8 pixels in, fp32 out, with the shapes the configuration promises."""
    outputs = answer(model, pictures(model, 2))
    assert {o.name: (2, *o.dims) for o in model.outputs} == {name: o.shape for name, o in outputs.items()}
    assert all(o.dtype == np.float32 and np.isfinite(o).all() for o in outputs.values())


@pytest.mark.parametrize("model", ONNX_MODELS, ids=lambda model: model.name)
def test_a_batch_answers_as_single_pictures_do(model: ServedModel) -> None:
    """What a picture is said to show does not depend on which pictures it was sent with."""
    images = pictures(model, 2)
    together = answer(model, images)
    alone = [answer(model, images[i : i + 1]) for i in range(2)]
    for name, values in together.items():
        np.testing.assert_allclose(np.concatenate([one[name] for one in alone]), values, rtol=1e-3, atol=1e-4)
        assert not np.allclose(values[0], values[1], rtol=1e-6, atol=1e-9)


def test_the_embedding_is_the_mean_of_the_grid() -> None:
    """Both come from the same features, so either may be stored and the other derived."""
    model = MODELS[0]
    outputs = answer(model, pictures(model, 1))
    np.testing.assert_allclose(outputs["grid"].mean((1, 2)), outputs["embedding"], rtol=1e-4, atol=1e-5)


def test_the_detector_answers_in_parts_of_its_input() -> None:
    """Boxes lie in 0..1 with the second corner after the first; scores are probabilities."""
    model = MODELS[1]
    outputs = answer(model, pictures(model, 1))
    boxes, scores = outputs["boxes"], outputs["scores"]
    assert 0 <= boxes.min() and boxes.max() <= 1 and (boxes[..., 2:] >= boxes[..., :2]).all()
    assert 0 <= scores.min() and scores.max() <= 1


def test_the_screen_answers_a_probability() -> None:
    """A score from 0 to 1 that depends on the picture."""
    score = answer(MODELS[3], pictures(MODELS[3], 2))["score"]
    assert ((score >= 0) & (score <= 1)).all() and score[0, 0] != score[1, 0]


def test_only_onnx_models_have_a_path() -> None:
    """Who asks for the reader's file is told which models have one."""
    with pytest.raises(KeyError, match="vision_encoder"):
        model_path("text_reader")


def test_an_engine_is_built_for_every_batch_the_configuration_allows() -> None:
    """trtexec is given the smallest and the largest batch in the input's own shape."""
    command = engine_command(MODELS[0], Path("vision_encoder/1"))
    assert "--minShapes=images:1x260x260x3" in command and "--maxShapes=images:32x260x260x3" in command


# ---------------------------------------------------------------- split models


SPLITS: list[Split] = [
    Idefics3Split(
        width=48, image_token="<image>", image_token_id=3, mean=(0.5,) * 3, std=(0.5,) * 3, scale=1 / 255,
        resample=1, side=16, tokens_a_tile=4, longest=16, tiled=False,
    ),
    LlavaOnevisionSplit(
        width=48, image_token="<image>", image_token_id=3, mean=(0.5,) * 3, std=(0.5,) * 3, scale=1 / 255,
        resample=3, side=24, patches=3, resolutions=((24, 24),), most_tiles=9,
    ),
    Qwen25VLSplit(
        width=48, image_token="<|image_pad|>", image_token_id=3, mean=(0.5,) * 3, std=(0.5,) * 3, scale=1 / 255,
        resample=3, patch=14, merge=2, window=2, frames=2, least=784, most=31360,
    ),
]  # fmt: skip
SPLIT_TENSORS = {
    "idefics3": {"images": ("UINT8", [-1, 16, 16, 3])},
    "llava_onevision": {
        "images": ("UINT8", [-1, 24, 24, 3]),
        "sources": ("INT64", [-1, -1]),
        "weights": ("FP32", [-1, -1]),
    },
    "qwen2_5_vl": {
        "patches": ("UINT8", [-1, 16, 3, 14, 14]),
        "places": ("INT64", [-1, 16, 2]),
        "filled": ("BOOL", [-1, 16]),
        "order": ("INT64", [-1]),
    },
}


def halves_of(split: Split, folder: Path) -> Path:
    """The vision half alone, its graph a few bytes: nothing here looks into it."""
    (folder / "vision").mkdir(parents=True)
    (folder / "vision" / "model.onnx").write_bytes(b"a graph")
    (folder / "vision" / "preprocessor_config.json").write_text("{}")
    files = tuple(recorded(folder, name) for name in names_in(folder))
    source = CheckpointRecord(
        architecture="Tiny", model_type="tiny", licence="apache-2.0", revision="x", files=()
    )
    told = Halves(split=split, source=source, files=files, made_with={})
    (folder / "halves.json").write_text(told.model_dump_json())
    return folder


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.kind)
def test_a_split_model_is_asked_with_the_tensors_of_its_class(
    tmp_path: Path, split: Split, backend: Backend
) -> None:
    """On every backend; one request is one picture, so that nothing is batched."""
    made = render_split(halves_of(split, tmp_path / "halves"), "vlm_0123456789ab", tmp_path, backend)
    text = (made / "config.pbtxt").read_text()
    inputs = [(name, f"TYPE_{kind}", str(dims)) for name, (kind, dims) in SPLIT_TENSORS[split.kind].items()]
    assert [*inputs, ("visual_tokens", "TYPE_FP32", "[-1, 48]")] == tensors(text)
    assert 'name: "vlm_0123456789ab"' in text and f'backend: "{backend}"' in text
    assert "max_batch_size: 0" in text and "dynamic_batching" not in text
    files = {"python": {"model.py", "model.onnx", "onnx_session.py"}}.get(backend, {"model.onnx"})
    assert files == {file.name for file in (made / "1").iterdir()}


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.kind)
def test_a_plan_is_built_for_the_first_request_and_named_as_the_server_looks_for_it(
    tmp_path: Path, split: Split
) -> None:
    """TensorRT's border: every free dimension of the warm-up is 1, which is the least of the plan's profile."""
    made = render_split(halves_of(split, tmp_path / "halves"), "vlm_x", tmp_path, "tensorrt")
    text = (made / "config.pbtxt").read_text()
    assert 'default_model_filename: "model.plan"' in text and "KIND_GPU" in text
    command = plan_command(split, made / "1" / "model.onnx")
    (least,) = [part for part in command if part.startswith("--minShapes=")]
    assert f"--saveEngine={made / '1' / 'model.plan'}" in command
    for name, (_, dims) in SPLIT_TENSORS[split.kind].items():
        smallest = [abs(length) for length in dims]
        assert f"{name}:{'x'.join(map(str, smallest))}" in least
        assert re.search(rf'key: "{name}" value {{ data_type: \w+ dims: {re.escape(str(smallest))} ', text)


@pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt"])
def test_what_is_filled_is_warmed_up_filled(tmp_path: Path, backend: Backend) -> None:
    """A mean over no places at all is no number: ones come from a file, for Triton knows only zeros and noise."""
    made = render_split(halves_of(SPLITS[2], tmp_path / "halves"), "vlm_x", tmp_path, backend)
    assert 'input_data_file: "filled"' in (made / "config.pbtxt").read_text()
    assert b"\1" * 16 == (made / "warmup" / "filled").read_bytes()


def test_a_changed_graph_is_not_rendered(tmp_path: Path) -> None:
    """Nor is a folder without its facts; nothing is written."""
    folder = halves_of(SPLITS[0], tmp_path / "halves")
    (folder / "vision" / "model.onnx").write_bytes(b"a grapf")
    with pytest.raises(ModelFileChanged, match=r"model\.onnx"):
        render_split(folder, "vlm_x", tmp_path / "served", "python")
    (folder / "halves.json").unlink()
    with pytest.raises(ModelFileChanged, match=r"halves\.json"):
        render_split(folder, "vlm_x", tmp_path / "served", "python")
    assert not (tmp_path / "served").exists()


# ---------------------------------------------------------------- vocabulary


@pytest.fixture(scope="module")
def vocabulary() -> dict[str, list[dict[str, Any]]]:
    read: dict[str, list[dict[str, Any]]] = json.loads((ROOT / "vocabulary.json").read_text())
    return read


def test_every_class_and_every_label_has_a_word(vocabulary: dict[str, list[dict[str, Any]]]) -> None:
    """1000 classes, 80 labels, none without a word; each class can be said by a node of its own or of its
    kind.
    """
    assert (1000, 80) == (len(vocabulary["leaves"]), len(vocabulary["detector"]))
    assert all(row["word"].strip() for rows in vocabulary.values() for row in rows)
    assert set(range(1000)) == {leaf for node in vocabulary["nodes"] for leaf in node["leaves"]}


def test_node_ids_are_unique(vocabulary: dict[str, list[dict[str, Any]]]) -> None:
    """An id names one node in provenance and in evidence."""
    assert [] == [i for i, count in Counter(node["id"] for node in vocabulary["nodes"]).items() if count > 1]


def test_the_words_are_everyday_words(vocabulary: dict[str, list[dict[str, Any]]]) -> None:
    """A few classes whose first name in WordNet nobody uses, or that means something else in a caption."""
    words = {leaf["synset"]: leaf["word"] for leaf in vocabulary["leaves"]}
    assert ("rooster", "horse", "taxi") == (words["n01514668"], words["n02389026"], words["n02930766"])
    assert ("crane", "construction crane") == (words["n02012849"], words["n03126707"])
    assert ("ruler or tape measure", "slot machine", "kite bird") == (
        words["n04118776"], words["n04243546"], words["n01608432"],
    )  # fmt: skip


def test_pixels_name_no_brand(vocabulary: dict[str, list[dict[str, Any]]]) -> None:
    """Classes called after a product are said as what it is."""
    words = {leaf["synset"]: leaf["word"] for leaf in vocabulary["leaves"]}
    assert ("portable media player", "vintage car", "off-road vehicle", "sticking plaster") == (
        words["n03584254"], words["n03777568"], words["n03594945"], words["n02786058"],
    )  # fmt: skip


def test_a_zebra_is_never_called_a_horse(vocabulary: dict[str, list[dict[str, Any]]]) -> None:
    """Only the horse's own class says "horse"; the kind above both is a hoofed animal."""
    zebra = [leaf["synset"] for leaf in vocabulary["leaves"]].index("n02391049")
    covering = {node["word"] for node in vocabulary["nodes"] if zebra in node["leaves"]}
    assert {"zebra", "hoofed animal", "animal"} == covering


def test_a_drink_is_said_with_its_vessel(vocabulary: dict[str, list[dict[str, Any]]]) -> None:
    """A photograph shows a cup of espresso, which can be counted, and the detector's cup is the same one."""
    (espresso,) = [node for node in vocabulary["nodes"] if node["word"] == "cup of espresso"]
    (cup,) = [row for row in vocabulary["detector"] if row["label"] == "cup"]
    (index,) = espresso["leaves"]
    assert (False, "cup") == (espresso["mass_noun"], vocabulary["leaves"][index]["coco"])
    assert index in cup["parent_node_leaves"]


def test_kinds_cover_their_members(vocabulary: dict[str, list[dict[str, Any]]]) -> None:
    """A golden retriever counts towards dog and animal, not towards cat; a rooster towards chicken."""
    index = {leaf["synset"]: i for i, leaf in enumerate(vocabulary["leaves"])}
    covering = {
        name: {node["word"] for node in vocabulary["nodes"] if index[synset] in node["leaves"]}
        for name, synset in {"retriever": "n02099601", "rooster": "n01514668"}.items()
    }
    assert {"golden retriever", "dog", "animal"} == covering["retriever"]
    assert {"rooster", "chicken", "bird", "animal"} <= covering["rooster"]


def test_species_of_a_family_with_unknown_members_ask_for_more(
    vocabulary: dict[str, list[dict[str, Any]]],
) -> None:
    """A zebra might be a donkey the tagger does not know, and so might any kind below the hoofed animals;
    a dog breed is known well enough.
    """
    family = {node["id"]: node["family"] for node in vocabulary["nodes"]}
    zebra, retriever, ungulate = "n02391049", "n02099601", "n02370806"
    equine, bovid = "n02374149", "n02401031"
    assert (True, False, False) == (family[zebra], family[retriever], family[ungulate])
    assert (True, True) == (family[equine], family[bovid])


def test_people_are_marked_as_people(vocabulary: dict[str, list[dict[str, Any]]]) -> None:
    """What is never given a colour is known by its sense."""
    senses = {node["word"]: node["sense"] for node in vocabulary["nodes"]}
    assert ("person", "person", "animal", "place") == tuple(
        senses[word] for word in ("person", "scuba diver", "dog", "landscape")
    )


def test_the_detector_is_believed_about_dogs_only_where_the_tagger_sees_a_carnivore(
    vocabulary: dict[str, list[dict[str, Any]]],
) -> None:
    """The classes that must support a label stand beside it; a person needs none, a banana is not said at
    all.
    """
    labels = {row["label"]: row for row in vocabulary["detector"]}
    retriever = [leaf["synset"] for leaf in vocabulary["leaves"]].index("n02099601")
    assert (
        retriever in labels["dog"]["parent_node_leaves"]
        and retriever not in labels["car"]["parent_node_leaves"]
    )
    assert (True, None) == (labels["person"]["sayable"], labels["person"]["parent_node_leaves"])
    assert labels["banana"]["sayable"] is False
