import math
from pathlib import Path

import pytest

from nst_rt.images.io import load_image
from nst_rt.metrics.fingerprint import fingerprint, fingerprint_distance


def test_fingerprint_knows_a_painting_again(painting: Path) -> None:
    paintings = [load_image(file) for file in sorted(painting.parent.glob("*.jpg"))]
    prints = [fingerprint(image) for image in paintings]
    assert len(paintings) > 2
    for image, known in zip(paintings, prints, strict=True):
        assert len(known) == 32
        height, width = image.shape[-2:]
        part = image[..., height // 8 :, : -width // 8]
        distances = [fingerprint_distance(fingerprint(part), other) for other in prints]
        assert min(distances) == fingerprint_distance(fingerprint(part), known)


def test_fingerprint_distance_is_zero_for_the_same_and_symmetric() -> None:
    one, other = (0.0, 1.0, 2.0), (0.3, 1.0, 2.4)
    assert fingerprint_distance(one, one) == 0
    assert fingerprint_distance(one, other) == pytest.approx(math.sqrt(0.25 / 3))
    assert fingerprint_distance(other, one) == fingerprint_distance(one, other)
