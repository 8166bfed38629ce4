from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation

from nst_rt.infer.video.encoder import FrameEncoder, Shape, choose_encoding
from nst_rt.infer.video.probe import Colors

EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


@pytest.mark.parametrize("color", [(255, 255, 255), (128, 128, 128), (26, 26, 230), (38, 128, 204)])
def test_colors_are_rounded_not_truncated(tmp_path: Path, color: tuple[int, int, int]) -> None:
    shape = Shape(64, 48, Fraction(1), Fraction(25), Fraction(1, 25), Colors())
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        encoder = FrameEncoder(container, choose_encoding(".mp4", crf=1), shape)
        encoder.encode(np.full((48, 64, 3), color, np.uint8), 0)
        encoder.finish(1)
    with av.open(str(tmp_path / "v.mp4")) as container:
        [frame] = container.decode(video=0)
    shown = frame.reformat(format="bgr24", interpolation=EXACT).to_ndarray()
    assert np.abs(shown.mean((0, 1)) - color).max() <= 1
