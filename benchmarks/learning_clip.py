"""A style that is learned on a clip's own frames, on photos, or both: flicker and boldness.

    python benchmarks/learning_clip.py CLIP --photos PHOTOS --styles art/*.jpg

All networks see the same number of crops. The clip and packaged photos, half of the crops each, are
what `nst-rt video` learns on; with `--photos`, the clip and these photos, likewise.
Flicker is the relative warping error by the clip's optical flow, see `nst_rt.infer.evaluate.clip`,
of the network alone and stabilized; strokes and contrast (`nst_rt.metrics.boldness`) are medians
over frames from all over the clip that were not learned on.
"""

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

from nst_rt.images.collection import find_photos
from nst_rt.images.convert import frame_to_tensor
from nst_rt.images.io import Frame, load_image
from nst_rt.infer.evaluate.clip import evaluate_clip
from nst_rt.infer.learning.content import other_photos, photo_frames
from nst_rt.infer.stylizer import load_style
from nst_rt.infer.video.sampling import spread_frames
from nst_rt.learning.request import LearningRequest
from nst_rt.metrics.boldness import boldness, median_boldness
from nst_rt.models.style_model import StyleModel
from nst_rt.train.learning import Learner

_SIZE = 1000  # long side of frames, pixels
_FRAMES = 48  # of the clip, and as many photos
_MEASURED = 6  # further frames


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", metavar="CLIP")
    parser.add_argument("--photos", required=True, metavar="PHOTOS")
    parser.add_argument("--styles", nargs="+", required=True, metavar="FILE", type=Path)
    parser.add_argument("--crops", type=int, default=600)
    parser.add_argument("--frames", type=int, default=30, help="frames whose flicker is measured")
    options = parser.parse_args()
    frames = list(spread_frames(options.clip, count=_FRAMES + _MEASURED, size=_SIZE))
    own, measured = frames[_MEASURED:], frames[:_MEASURED]
    photos = list(photo_frames(find_photos(options.photos), len(own)))
    packaged = list(other_photos(None))
    print("| style | learned on | flicker, network alone | stabilized | strokes | contrast |")
    print(f"|{' --- |' * 6}")
    for file in options.styles:
        contents: dict[str, tuple[list[Frame], list[Frame]]] = {
            "the clip": (own, []),
            "photos": (photos, []),
            "the clip and packaged photos": (own, packaged),
            "the clip and photos": (own, photos),
        }
        for name, (content, others) in contents.items():
            model = learned(file, content, others, options.crops)
            figures = measure(model, options.clip, measured, file, options.frames)
            print(f"| {' | '.join([file.stem, name, *figures])} |", flush=True)


def learned(
    file: Path, content: Iterable[Frame], others: Iterable[Frame], crops: int
) -> StyleModel:
    """A style learned from a number of crops; of others, if there are any, every second one."""
    learner = Learner(LearningRequest.of(file))
    for frame in content:
        learner.images.add(frame[..., ::-1])
    for frame in others:
        learner.images.add(frame[..., ::-1], is_other=True)
    while learner.crops < crops:
        learner.step()
    learner.judge()
    return learner.model()


def measure(
    model: StyleModel, clip: str, frames: Iterable[Frame], file: Path, count: int
) -> list[str]:
    """Flicker of the network alone and stabilized, strokes and contrast of a style on a clip."""
    with tempfile.TemporaryDirectory() as folder:
        saved = model.save(Path(folder) / "style.safetensors")
        errors = evaluate_clip(str(saved), clip, frames=count).errors
    moving = [errors[name].moving for name in ("plain", "stabilized")]
    stylizer, style = load_style(model, stroke_size="1:1"), load_image(file)
    bold = median_boldness(
        [boldness(frame_to_tensor(stylizer(f)), frame_to_tensor(f), style) for f in frames]
    )
    return [
        *("-" if error is None else f"{error.relative:.3f}" for error in moving),
        "-" if bold.strokes is None else f"{bold.strokes:.2f}",
        f"{bold.contrast:.2f}",
    ]


if __name__ == "__main__":
    main()
