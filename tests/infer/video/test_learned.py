"""Videos in a style that is learned on their own frames."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from blends import small_network
from clips import write_clip
from PIL import Image
from videos import packets

from nst_rt.errors import InputError, VideoError
from nst_rt.images.io import Frame
from nst_rt.infer.learning.learn import Learning
from nst_rt.infer.video import default_output, learned, stylize_video, work_path
from nst_rt.infer.video.learned import frames_of_videos
from nst_rt.infer.video.sampling import spread_frames
from nst_rt.learning.library import KEY
from nst_rt.models.style_model import Style, StyleModel

SETTINGS: dict[str, Any] = {"segment": 10, "backend": "torch", "precision": "f32", "size": 64}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames, each of another gray."""
    return write_clip(tmp_path_factory.mktemp("source") / "in.mp4", pts=range(0, 512 * 60, 512))


@pytest.fixture
def art(tmp_path: Path, painting: Path) -> Path:
    file = tmp_path / "art.png"
    Image.open(painting).resize((80, 80)).save(file)
    return file


@pytest.fixture
def learn(monkeypatch: pytest.MonkeyPatch) -> list[list[Frame]]:
    """Learn another network each time, without any work; the frames that it was to learn on."""
    shown: list[list[Frame]] = []

    def instead(learning: Learning, frames: Iterable[Frame], **_: object) -> StyleModel:
        shown.append(list(frames))
        network = small_network(seed=len(shown))
        training = {KEY: learning.request.key}
        model = StyleModel(network.half().float(), (Style(learning.request.name),), training)
        return model

    monkeypatch.setattr(learned, "learned", instead)
    return shown


def interrupt(done: float, total: float | None, note: str) -> None:
    if done == 34:
        raise KeyboardInterrupt


def test_resumed_video_has_its_own_network(
    source: Path, art: Path, tmp_path: Path, learn: list[list[Frame]]
) -> None:
    whole, output = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    stylize_video(source, whole, style_image=art, **SETTINGS)
    learn.clear()  # so that the next one is the same network again
    with pytest.raises(KeyboardInterrupt):
        stylize_video(source, output, style_image=art, progress=interrupt, **SETTINGS)
    assert len(learn) == 1
    assert (work_path(output) / "style.safetensors").exists()
    done = stylize_video(source, output, style_image=art, resume=True, **SETTINGS)
    assert len(learn) == 1  # what the library has by now does not matter
    assert done.resumed == 30
    assert packets(output) == packets(whole)
    assert not work_path(output).exists()


def test_another_style_image_cannot_resume(
    source: Path, art: Path, tmp_path: Path, learn: list[list[Frame]]
) -> None:
    output = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        stylize_video(source, output, style_image=art, progress=interrupt, **SETTINGS)
    Image.open(art).rotate(90).save(art)  # under the same name
    with pytest.raises(InputError, match="style image"):
        stylize_video(source, output, style_image=art, resume=True, **SETTINGS)
    done = stylize_video(source, output, style_image=art, overwrite=True, **SETTINGS)
    assert (done.frames, done.resumed) == (60, 0)
    assert len(learn) == 2


def test_video_is_learned_on_its_own_part(
    source: Path, art: Path, tmp_path: Path, learn: list[list[Frame]], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    done = stylize_video(source, style_image=art, start=1, end=1.4, **SETTINGS)
    assert done.output == Path("in_art.mp4") == default_output(source, {"art": 1.0})
    assert done.frames == 10
    grays = {round(float(frame.mean())) for frame in learn[0]}
    assert len(grays) == 10


@pytest.mark.usefixtures("learn")
def test_mistakes_are_noticed_before_learning(
    source: Path, art: Path, tmp_path: Path, learn: list[list[Frame]]
) -> None:
    bad: list[tuple[Path, dict[str, Any]]] = [
        (tmp_path / "missing.mp4", {}),
        (source, {"crf": 99}),
        (source, {"size": -1}),
        (source, {"style": "udnie"}),
        (source, {"minutes": -1}),
        (source, {"save_style": tmp_path / "x.jpg"}),
    ]
    for file, options in bad:
        with pytest.raises((InputError, VideoError)):
            stylize_video(file, tmp_path / "o.mp4", style_image=art, **{**SETTINGS, **options})
    assert not learn


def test_frames_are_spread(source: Path, tmp_path: Path) -> None:
    frames = list(spread_frames(source, count=8, size=32))
    assert [frame.shape for frame in frames] == [(24, 32, 3)] * 8
    grays = [float(frame.mean()) for frame in frames]
    assert len({round(gray) for gray in grays}) == 8
    assert grays != sorted(grays)
    part = list(spread_frames(source, count=8, size=1000, start=0.2, end=0.3))
    assert part[0].shape == (48, 64, 3)  # not enlarged
    assert list(spread_frames("-", count=8, size=32)) == []
    assert len(list(frames_of_videos([source, tmp_path / "missing.mp4", source]))) > 8


def test_frames_of_folders_and_animations(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    images = [Image.new("RGB", (32, 24), (10 * n, 0, 0)) for n in range(20)]
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
    (folder / "7.png").write_text("damaged")
    assert len(list(spread_frames(folder, count=50, size=16))) == 19
    assert len(list(spread_frames(folder, count=5, size=16))) == 5
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:])
    assert len(list(spread_frames(tmp_path / "a.webp", count=5, size=16))) == 5
    reds = sorted(int(frame[0, 0, 2]) for frame in spread_frames(folder, count=5, size=100))
    assert (reds[0], reds[-1]) == (0, 190)  # from the first to the last
