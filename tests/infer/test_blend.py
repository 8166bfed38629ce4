"""Styles of several models in one set, and their blends."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blends import small_network

from nst_rt.errors import UnknownNameError
from nst_rt.images.convert import frame_to_tensor, tensor_to_frame
from nst_rt.images.io import Frame, load_image
from nst_rt.infer.blend import StyleSet
from nst_rt.infer.frame_stylizer import load_frame_stylizer
from nst_rt.infer.stylizer import Stylizer, load_style
from nst_rt.infer.timeline import load_blend
from nst_rt.models.merge import with_styles
from nst_rt.models.style_model import Style, StyleModel, gallery_files
from nst_rt.models.transformer import TransformerNet

EXACT: dict[str, Any] = {"backend": "torch", "precision": "f32", "stroke_size": "1:1"}


def model(name: str, seed: int, parent: StyleModel | None = None) -> StyleModel:
    """An unrelated style, or one like a parent's that was trained a little further."""
    network = small_network(seed=seed)
    if parent is not None:
        pairs = zip(network.parameters(), parent.network.parameters(), strict=True)
        for parameter, inherited in pairs:
            parameter.copy_(inherited + parameter / 4)
    return StyleModel(network, (Style(name),))


PARENT = model("parent", 0)
CHILD = model("child", 1, PARENT)
UNRELATED = model("unrelated", 2)


@pytest.fixture(scope="module")
def frame(astronaut: Path) -> Frame:
    return tensor_to_frame(load_image(astronaut, size=96))


@pytest.fixture
def stylizer() -> Stylizer:
    return Stylizer(StyleSet(PARENT, CHILD, UNRELATED), "parent", **EXACT)


def stylized(network: TransformerNet, frame: Frame) -> np.ndarray:
    with torch.no_grad():
        return tensor_to_frame(network(frame_to_tensor(frame), torch.ones(1, 1))).astype(int)


def test_related_styles_blend_by_weights(stylizer: Stylizer, frame: Frame) -> None:
    stylizer.set_style({"parent": 1, "child": 3})
    assert len(stylizer.passes) == 1
    network = with_styles(PARENT.network, [0])
    ends = PARENT.network.state_dict(), CHILD.network.state_dict()
    network.load_state_dict({k: 0.25 * ends[0][k] + 0.75 * ends[1][k] for k in ends[0]})
    assert np.abs(stylizer(frame) - stylized(network, frame)).max() <= 1


def test_unrelated_styles_blend_by_outputs(stylizer: Stylizer, frame: Frame) -> None:
    stylizer.set_style({"parent": 1, "unrelated": 3})
    assert len(stylizer.passes) == 2
    mix = 0.25 * stylized(PARENT.network, frame) + 0.75 * stylized(UNRELATED.network, frame)
    assert np.abs(stylizer(frame) - mix).max() <= 1
    np.testing.assert_array_equal(stylizer.start_shrunk(frame)(), stylizer(frame))


def test_passes_group_related_styles(stylizer: Stylizer) -> None:
    passes = stylizer.style_set.passes({"child": 1, "unrelated": 2, "parent": 1})
    assert [each.fraction for each in passes] == [0.5, 0.5]
    assert len(stylizer.style_set.passes(["child", "parent"])) == 1


def test_architectures_blend_by_outputs(frame: Frame) -> None:
    network = TransformerNet("classic", width=4, blocks=1).eval().requires_grad_(False)
    style_set = StyleSet(PARENT, StyleModel(network, (Style("classic"),)))
    stylizer = Stylizer(style_set, ["parent", "classic"], **EXACT)
    mix = (stylized(PARENT.network, frame) + stylized(network, frame)) / 2
    assert np.abs(stylizer(frame) - mix).max() <= 2


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "torch", "onnx"])
def test_styles_of_other_models_compile_nothing(
    frame: Frame, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    style_set = StyleSet(PARENT, CHILD, UNRELATED)
    stylizer = Stylizer(style_set, "parent", **EXACT | {"backend": backend})
    stylizer(frame)
    stylizer.start_shrunk(frame)()
    if backend == "openvino":
        failing = lambda *_: pytest.fail("compiled again")  # noqa: E731
        monkeypatch.setattr(stylizer._backend, "_compiled", failing)
    for each in (CHILD, UNRELATED, PARENT):
        stylizer.set_style(each.style_names[0])
        assert stylizer.is_ready(*frame.shape[:2])
        for got in (stylizer(frame), stylizer.start_shrunk(frame)()):
            assert np.abs(got - stylized(each.network, frame)).max() <= 1


def test_blending_leaves_weights_alone(stylizer: Stylizer) -> None:
    before = stylizer.style_set.passes("parent")[0].weights.copy()
    stylizer.style_set.passes({"parent": 0.5, "child": 0.5})
    np.testing.assert_array_equal(stylizer.style_set.passes("parent")[0].weights, before)


def test_names_are_unique_and_models_can_be_removed() -> None:
    twin = model("parent", 5)
    style_set = StyleSet(PARENT, CHILD)
    assert style_set.add(twin) == {"parent": "parent 2"}
    assert style_set.names == ["parent", "child", "parent 2"]
    passes = style_set.passes("parent 2")
    style_set.remove(twin)
    assert style_set.names == ["parent", "child"]
    assert passes[0].weights.size
    with pytest.raises(UnknownNameError):
        style_set.passes("parent 2")


def test_blends_of_files_and_gallery_styles(tmp_path: Path, frame: Frame) -> None:
    file = PARENT.save(tmp_path / "mine.safetensors")
    style_set, names = load_blend({str(file): 3, "udnie": 1})
    assert names == {"parent": 0.75, "udnie": 0.25}
    assert style_set.names[0] == "parent"
    blend, *ends = (
        load_style(style, backend="torch", stroke_size="1:1")
        for style in ([file, "udnie"], file, "udnie")
    )
    mix = np.mean([end(frame).astype(float) for end in ends], axis=0)
    assert np.abs(blend(frame) - mix).max() <= 2


def test_the_gallery_is_added_to_switch_to(tmp_path: Path) -> None:
    file = PARENT.save(tmp_path / "mine.safetensors")
    style_set, blend = load_blend(file, with_gallery=True)
    assert blend == {"parent": 1}
    assert style_set.names == ["parent", *gallery_files()]
    assert load_blend("udnie", with_gallery=True)[0].names == [*gallery_files()]


def test_titles_are_unique() -> None:
    same = Style("great_wave", "The Great Wave"), Style("great_wave_2", "The Great Wave")
    styles = StyleSet(StyleModel(small_network(styles=2), same), PARENT)
    assert styles.titles == {
        "great_wave": "The Great Wave",
        "great_wave_2": "Great wave 2",
        "parent": "Parent",
    }


def test_all_styles_of_the_fast_gallery_are_related() -> None:
    fast = [name for name, file in gallery_files().items() if file.stem == "gallery"]
    style_set, blend = load_blend(fast)
    assert len(style_set.passes(blend)) == 1


def test_timeline_over_several_files(tmp_path: Path, frame: Frame) -> None:
    files = [m.save(tmp_path / f"{m.style_names[0]}.safetensors") for m in (PARENT, UNRELATED)]
    text = f"{files[0]}@0,{files[1]}@1,udnie@2"
    frame_stylizer = load_frame_stylizer(text, fade=0.5, **EXACT)
    shown = {time: frame_stylizer.stylize(frame, time) for time in (0.0, 1.0, 1.5, 2.5)}
    alone = [load_style(n, **EXACT)(frame).astype(float) for n in (*files, "udnie")]
    expected = {0: alone[0], 1: (alone[0] + alone[1]) / 2, 1.5: alone[1], 2.5: alone[2]}
    for time, wanted in expected.items():
        assert np.abs(shown[time] - wanted).max() <= 1
