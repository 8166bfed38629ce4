"""A machine that runs out of disk, memory or file descriptors, or whose files and clock change."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from PIL import Image
from tools import missing_tool

from nst_rt.infer.video import VideoReader, work_path
from nst_rt.models.style_model import StyleModel

_SECONDS = 300  # after which a program hangs
_MIB = 2**20


@pytest.fixture(scope="module")
def inputs(
    tmp_path_factory: pytest.TempPathFactory, two_styles: StyleModel, astronaut: Path
) -> Path:
    """A style model, five photos and a film of noise, which needs much room."""
    folder = tmp_path_factory.mktemp("inputs")
    two_styles.save(folder / "two.safetensors")
    (folder / "photos").mkdir()
    with Image.open(astronaut) as photo:
        for number in range(5):
            part = photo.convert("RGB").crop((40 * number, 0, 40 * number + 320, 300))
            part.save(folder / "photos" / f"{number}.png")
    noise = np.random.default_rng(0).integers(0, 256, (60, 96, 128, 3), np.uint8)
    write_clip(
        folder / "in.mp4",
        pts=range(0, 512 * 60, 512),
        size=(128, 96),
        audio="aac",
        picture=noise.__getitem__,
    )
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own of one MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        missing_tool("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def command(inputs: Path, verb: str, *arguments: object) -> list[str]:
    model = inputs / "two.safetensors"
    options = ["--style", f"{model}:waves", "--backend", "torch", "--stroke-size", "1:1"]
    return [sys.executable, "-m", "nst_rt", verb, *map(str, arguments), *options]


def run(line: list[str], prelude: str = "") -> tuple[int, str]:
    """Exit code and standard error of a program, in which a prelude ran before."""
    if prelude:
        code = (
            f"{textwrap.dedent(prelude)}\nfrom nst_rt.cli import main\nsys.exit(main(sys.argv[1:]))"
        )
        line = [line[0], "-c", f"import sys\n{code}", *line[3:]]
    done = subprocess.run(line, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.name != ".nst-rt.json"]


def test_full_disk_keeps_finished_images(inputs: Path, small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(600_000))
    line = command(inputs, "image", inputs / "photos", "-o", small_disk / "out", "--strength", 0)
    code, told = run(line)
    assert (code, "No space" in told) == (3, True), told
    kept = {path: path.read_bytes() for path in (small_disk / "out").glob("*.png")}
    assert 1 <= len(kept) < 5
    assert not hidden(small_disk)
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert run([*line, "--resume"])[0] == 0
    assert len(list((small_disk / "out").glob("*.png"))) == 5
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_full_disk_keeps_the_earlier_video(inputs: Path, small_disk: Path) -> None:
    output = small_disk / "out.mp4"
    output.write_bytes(b"earlier")
    (small_disk / "filler").write_bytes(bytes(_MIB - 200_000))
    line = command(inputs, "video", inputs / "in.mp4", "-o", output, "--strength", 0)
    code, told = run([*line, "--overwrite"])
    assert code in (2, 3)
    assert "No space" in told
    assert output.read_bytes() == b"earlier"
    assert not hidden(small_disk)
    (small_disk / "filler").unlink()
    assert run([*line, "--overwrite", *(["--resume"] if code == 3 else [])])[0] == 0
    assert len(list(VideoReader(output))) == 60
    assert [path.name for path in small_disk.iterdir()] == ["out.mp4"]


@pytest.mark.torture
@pytest.mark.parametrize("verb", ["image", "video"])
def test_read_only_folder(inputs: Path, small_disk: Path, verb: str) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    source, name = {"image": ("photos/0.png", "a.png"), "video": ("in.mp4", "a.mp4")}[verb]
    code, told = run(command(inputs, verb, inputs / source, "-o", small_disk / name))
    assert (code, told.count("\n")) == (2, 1), told
    assert name in told


@pytest.mark.parametrize("deleted", ["source", "output"])
def test_files_deleted_during_a_conversion(inputs: Path, tmp_path: Path, deleted: str) -> None:
    """A source that was opened is read to its end; without its folder an output is impossible."""
    source, folder = tmp_path / "in.mp4", tmp_path / "out"
    shutil.copy(inputs / "in.mp4", source)
    folder.mkdir()
    prelude = f"""
        import shutil
        from pathlib import Path
        from nst_rt.infer.frame_stylizer import FrameStylizer
        start, left = FrameStylizer.start, [20]
        def deleting(self, *arguments, **options):
            left[0] -= 1
            if not left[0]:
                if {deleted!r} == "source":
                    Path({str(source)!r}).unlink()
                else:
                    shutil.rmtree({str(folder)!r})
            return start(self, *arguments, **options)
        FrameStylizer.start = deleting
    """
    line = command(inputs, "video", source, "-o", folder / "out.mp4")
    code, told = run(line, prelude)
    assert code != 0
    assert "No such file" in told
    assert len(told.strip().splitlines()) == 1, told
    assert not (folder / "out.mp4").exists()


@pytest.mark.torture
def test_clock_that_jumps(inputs: Path, tmp_path: Path) -> None:
    """By a day back and forth at each reading: durations come from another clock."""
    prelude = """
        import itertools, time
        real, jumps = time.time, itertools.cycle([86400.0, -86400.0, 3e8])
        time.time = lambda: real() + next(jumps)
    """
    output = tmp_path / "out.mp4"
    line = [*command(inputs, "video", inputs / "in.mp4", "-o", output), "--json"]
    code, told = run(line, prelude)
    assert code == 0, told
    assert len(list(VideoReader(output))) == 60
    assert not work_path(output).exists()


@pytest.mark.parametrize("verb", ["image", pytest.param("video", marks=pytest.mark.torture)])
def test_out_of_file_descriptors(inputs: Path, tmp_path: Path, verb: str) -> None:
    prelude = """
        import os, resource
        from nst_rt.infer.frame_stylizer import FrameStylizer
        import nst_rt.infer.video, nst_rt.infer.photos, nst_rt.infer.backends.torch
        start = FrameStylizer.start
        def starved(self, *arguments, **options):
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            return start(self, *arguments, **options)
        FrameStylizer.start = starved
        stylize = FrameStylizer.stylize
        def starved_too(self, *arguments, **options):
            done = stylize(self, *arguments, **options)
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            return done
        FrameStylizer.stylize = starved_too
    """
    source, name = {"image": ("photos/0.png", "a.png"), "video": ("in.mp4", "a.mp4")}[verb]
    output = tmp_path / name
    output.write_bytes(b"earlier")
    code, told = run(
        [*command(inputs, verb, inputs / source, "-o", output), "--overwrite"], prelude
    )
    assert code in (2, 3), told
    assert os.strerror(errno.EMFILE) in told
    assert output.read_bytes() == b"earlier"
    assert not hidden(tmp_path)


@pytest.mark.torture
@pytest.mark.parametrize("size", [1200, 4000])
def test_little_memory_left(inputs: Path, tmp_path: Path, size: int) -> None:
    """With 200 MB left once all is loaded, a photo is stylized, or refused in one line."""
    if not sys.platform.startswith("linux"):
        pytest.skip("limits of memory are those of Linux")
    with Image.open(inputs / "photos" / "0.png") as photo:
        photo.resize((size, size)).save(tmp_path / "large.jpg")
    prelude = f"""
        import resource
        import psutil, torch
        from nst_rt.infer import photos
        torch.set_num_threads(1)
        load = photos.load_frame_stylizer
        def limited(*arguments, **options):
            loaded = load(*arguments, **options)
            most = psutil.Process().memory_info().vms + 200 * {_MIB}
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            return loaded
        photos.load_frame_stylizer = limited
    """
    output = tmp_path / "out.jpg"
    output.write_bytes(b"earlier")
    line = command(inputs, "image", tmp_path / "large.jpg", "-o", output)
    code, told = run([*line, "--overwrite"], prelude)
    assert code in (0, 2), told
    if code:
        assert len(told.strip().splitlines()) == 1, told
        assert "memory" in told
        assert output.read_bytes() == b"earlier"
    assert not hidden(tmp_path)
