"""Fingerprints of styles."""

import math
from pathlib import Path

import pytest

from nst_rt.images.io import load_image
from nst_rt.metrics.fingerprint import fingerprint, fingerprint_distance


@pytest.mark.slow
def test_fingerprint_recognizes_a_crop_of_its_image(painting: Path) -> None:
    images = [load_image(file) for file in sorted(painting.parent.glob("*.jpg"))]
    prints = [fingerprint(image) for image in images]
    assert len(images) > 2
    for image, known in zip(images, prints, strict=True):
        assert len(known) == 32
        height, width = image.shape[-2:]
        crop = fingerprint(image[..., height // 8 :, : -width // 8])
        distances = [fingerprint_distance(crop, other) for other in prints]
        assert min(distances) == fingerprint_distance(crop, known)


def test_fingerprint_distance() -> None:
    one, other = (0.0, 1.0, 2.0), (0.3, 1.0, 2.4)
    assert fingerprint_distance(one, one) == 0
    assert fingerprint_distance(one, other) == pytest.approx(math.sqrt(0.25 / 3))
    assert fingerprint_distance(other, one) == fingerprint_distance(one, other)
