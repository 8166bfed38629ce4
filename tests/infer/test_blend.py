"""Styles of several files as one palette."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nst_rt.errors import InputError, UnknownNameError
from nst_rt.images.io import Frame, frame_to_tensor, load_image, tensor_to_frame
from nst_rt.infer.blend import StyleSet, full_style_set, load_style_set
from nst_rt.infer.frame_stylizer import FrameStylizer, load_frame_stylizer
from nst_rt.infer.stylizer import Stylizer, load_style
from nst_rt.models.merge import with_styles
from nst_rt.models.style_model import Style, StyleModel, gallery_files
from nst_rt.models.transformer import TransformerNet


def model(name: str, seed: int, parent: StyleModel | None = None) -> StyleModel:
    """A style of its own, or one that was trained from another a little."""
    generator = torch.Generator().manual_seed(seed)
    if parent is None:
        network = TransformerNet("fast", trunk=8, decoder=4, blocks=1)
    else:
        network = with_styles(parent.network, [0])
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator) / 3
        parameter.data = noise if parent is None else parameter + noise / 4
    return StyleModel(network.eval().requires_grad_(False), (Style(name),))


PARENT = model("parent", 0)
CHILD = model("child", 1, PARENT)
STRANGER = model("stranger", 2)


@pytest.fixture(scope="module")
def frame(astronaut: Path) -> Frame:
    return tensor_to_frame(load_image(astronaut, size=96))


@pytest.fixture
def stylizer() -> Stylizer:
    style_set = StyleSet(PARENT, CHILD, STRANGER)
    return Stylizer(style_set, "parent", backend="torch", precision="f32", stroke_size="1:1")


def stylized(network: TransformerNet, frame: Frame) -> np.ndarray:
    with torch.no_grad():
        return tensor_to_frame(network(frame_to_tensor(frame), torch.ones(1, 1))).astype(int)


def test_a_blend_of_two_children_is_the_network_of_interpolated_weights(
    stylizer: Stylizer, frame: Frame
) -> None:
    assert len(stylizer.style_set.passes({"parent": 1, "child": 3})) == 1
    stylizer.set_style({"parent": 1, "child": 3})
    network = with_styles(PARENT.network, [0])
    ends = PARENT.network.state_dict(), CHILD.network.state_dict()
    network.load_state_dict({k: 0.25 * ends[0][k] + 0.75 * ends[1][k] for k in ends[0]})
    assert np.abs(stylizer.stylize(frame) - stylized(network, frame)).max() <= 1


def test_a_blend_of_strangers_is_the_mix_of_outputs(stylizer: Stylizer, frame: Frame) -> None:
    assert len(stylizer.style_set.passes({"parent": 1, "stranger": 1})) == 2
    stylizer.set_style({"parent": 1, "stranger": 3})
    mix = 0.25 * stylized(PARENT.network, frame) + 0.75 * stylized(STRANGER.network, frame)
    assert np.abs(stylizer.stylize(frame) - mix).max() <= 1
    np.testing.assert_array_equal(stylizer.start_shrunk(frame)(), stylizer.stylize(frame))


def test_children_share_a_pass_beside_a_stranger(stylizer: Stylizer) -> None:
    passes = stylizer.style_set.passes({"child": 1, "stranger": 2, "parent": 1})
    assert [each.share for each in passes] == [0.5, 0.5]


def test_architectures_never_share_a_pass(frame: Frame) -> None:
    network = TransformerNet("classic", width=4, blocks=1).eval().requires_grad_(False)
    classic = StyleModel(network, (Style("classic"),))
    stylizer = Stylizer(
        StyleSet(PARENT, classic), {"parent": 1, "classic": 1}, backend="torch", stroke_size="1:1"
    )
    mix = (stylized(PARENT.network, frame) + stylized(network, frame)) / 2
    assert np.abs(stylizer.stylize(frame) - mix).max() <= 2


@pytest.mark.parametrize("backend", ["openvino", "torch", "onnx"])
def test_switching_compiles_nothing(frame: Frame, backend: str, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    stylizer = Stylizer(
        StyleSet(PARENT, CHILD, STRANGER),
        "parent",
        backend=backend,  # type: ignore[arg-type]
        precision="f32",
        stroke_size="1:1",
    )
    stylizer.stylize(frame)
    stylizer.start_shrunk(frame)()
    if backend == "openvino":
        failing = lambda *_: pytest.fail("compiled again")  # noqa: E731
        monkeypatch.setattr(stylizer._backend, "_compiled", failing)
    for each in (CHILD, STRANGER, PARENT):
        stylizer.set_style(each.styles[0].name)
        assert stylizer.is_ready(*frame.shape[:2])
        for got in (stylizer.stylize(frame), stylizer.start_shrunk(frame)()):
            assert np.abs(got - stylized(each.network, frame)).max() <= 1


def test_weights_that_were_used_are_not_written_to(stylizer: Stylizer) -> None:
    before = stylizer.style_set.passes("parent")[0].weights.copy()
    stylizer.style_set.passes({"parent": 0.5, "child": 0.5})
    np.testing.assert_array_equal(stylizer.style_set.passes("parent")[0].weights, before)


def test_names_stay_apart_and_models_can_leave() -> None:
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


@pytest.mark.parametrize("blend", [{"parent": 0}, {"parent": -1, "child": 2}, {}])
def test_weights_that_cannot_be(blend: dict[str, float]) -> None:
    with pytest.raises(InputError):
        StyleSet(PARENT, CHILD).passes(blend)


def test_styles_of_files_and_of_the_gallery_go_together(tmp_path: Path, frame: Frame) -> None:
    file = PARENT.save(tmp_path / "mine.safetensors")
    style_set, names = load_style_set([str(file), "udnie"])
    assert names == {str(file): "parent", "udnie": "udnie"}
    assert style_set.names[0] == "parent"
    blend = load_style({str(file): 1, "udnie": 1}, backend="torch", stroke_size="1:1")
    ends = [load_style(n, backend="torch", stroke_size="1:1") for n in (str(file), "udnie")]
    mix = np.mean([each.stylize(frame).astype(float) for each in ends], axis=0)
    assert np.abs(blend.stylize(frame) - mix).max() <= 2
    style_set, name = full_style_set(str(file))
    assert name == "parent"
    assert style_set.names == ["parent", *gallery_files()]


def test_all_styles_of_the_fast_gallery_are_kindred() -> None:
    fast = [name for name, file in gallery_files().items() if file.stem == "gallery"]
    style_set, _ = load_style_set(fast)
    assert len(style_set.passes(dict.fromkeys(fast, 1.0))) == 1


def test_a_timeline_goes_through_several_files(tmp_path: Path, frame: Frame) -> None:
    files = [m.save(tmp_path / f"{m.styles[0].name}.safetensors") for m in (PARENT, STRANGER)]
    text = f"{files[0]}@0,{files[1]}@1,udnie@2"
    frame_stylizer = load_frame_stylizer(
        text, fade=0.5, backend="torch", precision="f32", stroke_size="1:1"
    )
    ends = [
        FrameStylizer(load_style(str(n), backend="torch", precision="f32", stroke_size="1:1"))
        for n in (*files, "udnie")
    ]
    shown = {time: frame_stylizer.stylize(frame, time) for time in (0.0, 1.0, 1.5, 2.5)}
    alone = [end.stylize(frame, 0).astype(float) for end in ends]
    for time, wanted in ((0, alone[0]), (1, (alone[0] + alone[1]) / 2), (1.5, alone[1])):
        assert np.abs(shown[time] - wanted).max() <= 1
    assert np.abs(shown[2.5] - alone[2]).max() <= 1
