"""Paint the style pictures that ship with the package.

Each one is drawn from seeded noise alone, so it can be regenerated and is free of copyright (CC0).
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Field = NDArray[np.float32]
Points = NDArray[np.float64]

# Painted at twice the final size, so that shrinking smooths every edge.
WIDTH, HEIGHT = 1280, 1024
CORNER = (HEIGHT - 1, WIDTH - 1)
YS, XS = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)


def noise(rng: Generator, scale: float, octaves: int = 4, stretch: float = 1.0) -> Field:
    """Fractal noise of unit variance in blobs `scale` pixels tall and `stretch` times as wide."""
    total = np.zeros_like(XS)
    for octave in range(octaves):
        cell = scale / 2**octave
        shape = int(HEIGHT / cell) + 4, int(WIDTH / cell / stretch) + 4
        grid = rng.standard_normal(shape, np.float32) / 2**octave
        total += cv2.resize(grid, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.asarray((total - total.mean()) / total.std(), np.float32)


def blur(field: Field, sigma: float) -> Field:
    """Soften with a Gaussian."""
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32)


def smoothstep(low: float, high: float, value: Field | Points) -> Field:
    """Ease from 0 at `low` to 1 at `high`."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def ramp(position: Field, colors: str) -> Field:
    """Blend along space-separated hex colors; position runs from 0 to 1."""
    stops = np.array([list(bytes.fromhex(color)) for color in colors.split()])
    at = np.linspace(0, 1, len(stops))
    channels = [np.interp(position, at, stop) for stop in stops.T]
    return np.stack(channels, axis=-1).astype(np.float32)


def relief(height: Field) -> Field:
    """Light from the upper left on a surface, around zero."""
    return np.asarray(-np.gradient(height, axis=0) - np.gradient(height, axis=1), np.float32)


def finish(painting: Field) -> Image:
    """Shrink a painting to its final size and round it to bytes."""
    small = cv2.resize(painting, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
    return np.clip(small, 0, 255).astype(np.uint8)


def stroke(
    canvas: Image,
    rng: Generator,
    path: Points,
    widths: Points,
    fray: float = 0.3,
    paint: Points | tuple[()] = (),
) -> None:
    """Drag a brush along (y, x) points; the canvas's last channel takes the load of paint."""
    ahead = np.gradient(path, axis=0)
    normals = ahead[:, ::-1] * (1, -1) / (np.linalg.norm(ahead, axis=1, keepdims=True) + 1e-6)
    bristles = int(np.clip(widths.max() / 2.5, 4, 16))
    thickness = max(2, int(1.5 * widths.max() / bristles))
    for side in rng.permutation(np.linspace(-0.5, 0.5, bristles)):
        # Bristles touch down and lift off at different moments, which frays the ends.
        first, last = len(path) * rng.uniform((0, 1 - fray), (fray / 2, 1))
        line = (path + normals * (widths * side)[:, None])[round(first) : round(last), ::-1]
        streak = np.multiply(paint, 1 + rng.normal(0, 0.09) - 0.25 * side)
        weight = rng.uniform(90, 230) - 100 * abs(side)
        cv2.polylines(
            canvas,
            [np.rint(line * 8).astype(np.int32)],
            False,
            (*np.clip(streak, 0, 255), weight),
            thickness,
            cv2.LINE_AA,
            3,
        )


def load(canvas: Image) -> Field:
    """How much paint lies on the canvas, from 0 to 1."""
    return np.asarray(canvas[..., -1] / 255, np.float32)


def cover(
    canvas: Image,
    rng: Generator,
    flow: Field,
    colors: Field,
    width: float,
    length: float,
    share: float,
) -> None:
    """Cover a share of the canvas with strokes that follow the flow, each in its local color."""
    gap, steps = width * 0.8, 14
    grid = np.mgrid[0 : HEIGHT + gap : gap, 0 : WIDTH + gap : gap].reshape(2, -1).T
    starts = rng.permutation(grid)[: int(share * len(grid))]
    points = [starts + rng.uniform(-gap, gap, starts.shape)]
    for _ in range(steps - 1):
        y, x = np.clip(points[-1], 0, CORNER).astype(int).T
        points.append(points[-1] + flow[y, x] * (length / steps))
    taper = np.sin(np.pi * np.linspace(0.08, 1, steps) ** 0.7) ** 0.7
    y, x = np.clip(points[steps // 2], 0, CORNER).astype(int).T
    for path, color in zip(np.stack(points, axis=1), colors[y, x], strict=True):
        paint = color * rng.normal(1, 0.1) + rng.normal(0, 10, 3)
        stroke(canvas, rng, path, taper * width * rng.uniform(0.55, 1.1), paint=paint)


def swirls(rng: Generator) -> Image:
    """Thick strokes of night blue and gold, whirling around a few vortices."""
    stream = 0.3 * noise(rng, 500, 2) + 0.0006 * YS
    glow = np.zeros_like(stream)
    for x, y, size, turn, heat in [
        (390, 360, 250, 1, 1.0),
        (930, 250, 190, -1, 0.9),
        (1000, 730, 230, 1, 1.0),
        (300, 850, 180, -1, 0.8),
        (660, 600, 140, -1, 0.75),
        (90, 100, 130, -1, 0.75),
        (1220, 470, 120, -1, 0.75),
        (650, 90, 120, 1, 0.65),
    ]:
        far = np.hypot(XS - x, YS - y) / size
        stream += turn * 3 * np.exp(-far)
        glow = np.maximum(glow, heat * np.exp(-((far / 0.5) ** 2)))
    down, right = np.gradient(stream)
    # A little downhill drift opens the closed orbits into spirals.
    flow = np.stack([0.2 * down - right, 0.2 * right + down], axis=-1)
    flow /= np.linalg.norm(flow, axis=-1, keepdims=True) + 1e-6
    bands = 0.5 + 0.5 * np.sin(6 * stream + 0.5 * noise(rng, 200))
    night = ramp(bands, "0a1238 10245f 163a86 1f5fae 2f86b8 86bfc4")
    fire = ramp(bands, "a63c14 d9691a eda024 f8cc4e fdeaa6")
    embers = 0.85 * smoothstep(1.5, 1.9, noise(rng, 70, 2))
    warm = np.maximum(smoothstep(0.3, 0.6, glow + 0.1 * noise(rng, 90)), embers)[..., None]
    colors = night + (fire - night) * warm
    canvas = np.dstack([colors, np.zeros_like(XS)]).astype(np.uint8)
    for width, length, share in [(60, 300, 1), (36, 190, 1), (24, 130, 0.9), (17, 90, 0.6)]:
        cover(canvas, rng, flow, colors, width, length, share)
    light = relief(blur(load(canvas), 1.2))
    return finish(canvas[..., :3] * (1 + 3 * np.clip(light, -0.16, 0.16))[..., None])


def lay_tiles(
    rng: Generator, regions: Field, rows: Field, size: int
) -> tuple[NDArray[np.int64], Points]:
    """Relax Voronoi cells into tiles that line up along the rows and stay within their region."""
    down, right = np.gradient(blur(rows, 3))
    turns = np.stack([right, down], axis=-1) / (np.hypot(right, down)[..., None] + 1e-6)
    grid = np.mgrid[size / 2 : HEIGHT : size, size / 2 : WIDTH : size].reshape(2, -1).T
    sites = np.clip(grid + rng.uniform(-size / 3, size / 3, grid.shape), 0, CORNER)
    labels = np.zeros(XS.shape, np.int64)
    for _ in range(20):
        nearest = np.full_like(XS, np.inf)
        for label, (y, x) in enumerate(sites.astype(int)):
            view = np.s_[max(0, y - 2 * size) : y + 2 * size, max(0, x - 2 * size) : x + 2 * size]
            cos, sin = turns[y, x]
            u, v = XS[view] - x, YS[view] - y
            # A norm near the maximum norm, turned to the rows, is what makes the cells square.
            across, along = np.square(u * cos + v * sin), np.square(v * cos - u * sin)
            far = 2 * across * across + along * along
            far[regions[view] != regions[y, x]] += 1e9
            closer = far < nearest[view]
            nearest[view][closer] = far[closer]
            labels[view][closer] = label
        areas = np.bincount(labels.ravel(), minlength=len(sites))[:, None]
        sums = [np.bincount(labels.ravel(), axis.ravel(), len(sites)) for axis in (YS, XS)]
        sites = np.where(areas > 0, np.stack(sums, axis=1) / np.maximum(areas, 1), sites)
    return labels, sites


def mosaic(rng: Generator) -> Image:
    """A blazing sun above rolling fields, in jewel-colored glass tiles with dark grout."""
    gold, ruby = "d98a14 f7c93c fbe08a", "7d1030 b81532 e2402c"
    radius = np.hypot(XS - 760, YS - 400)
    flames = radius + 46 * np.cos(11 * np.arctan2(YS - 400, XS - 760) + radius / 85)
    layers = [
        (radius, "141c66 1b3fa8 1f7fd0 35b3c9"),
        (372 - flames, ruby),
        (306 - flames, "d63a1c ef7d1a f8a62e"),
        (196 - radius, gold),
        (130 - radius, "0f6f86 22a7a8"),
        (96 - radius, gold),
        (50 - radius, ruby),
    ]
    for level, swell, length, phase, palette in [
        (590, 60, 190, 2.6, "0b5a6a 128f8a 4cc9a4"),
        (700, 70, 230, 0.2, "5a1a78 9a2a96 d860a4"),
        (800, 64, 200, 4.4, "0f5f38 2f9a45 b4cf3e"),
        (915, 50, 170, 1.3, "11308a 1d6fd0 58c4e0"),
    ]:
        depth = YS - level - swell * np.sin(XS / length + phase) - 0.06 * (XS - 640)
        layers += [(depth, gold), (depth - 34, palette)]
    for x, y, size in [(190, 790, 110), (1075, 700, 122), (560, 900, 94)]:
        disc = size - np.hypot(XS - x, YS - y)
        petals = disc + 10 * np.cos(8 * np.arctan2(YS - y, XS - x))
        layers += [(petals, "e0568a fbc4cc"), (disc - 40, ruby), (disc - 74, gold)]
    regions, rows = np.zeros_like(XS), np.zeros_like(XS)
    for number, (depth, _) in enumerate(layers):
        regions[depth >= 0] = number
        rows[depth >= 0] = depth[depth >= 0]

    labels, sites = lay_tiles(rng, regions, rows, 30)
    y, x = np.clip(sites, 0, CORNER).astype(int).T
    shade = 0.5 - 0.5 * np.cos(rows[y, x] / 50) + rng.normal(0, 0.14, len(sites))
    palettes = np.stack([ramp(shade, palette) for _, palette in layers])
    hues = palettes[regions[y, x].astype(int), np.arange(len(sites))]
    stars = (regions[y, x] == 0) & (rng.random(len(sites)) < 0.03)
    hues[stars] = palettes[3, stars]
    hues = hues * rng.normal(1, 0.13, (len(sites), 1)) + rng.normal(0, 9, hues.shape)

    edges = np.diff(labels, axis=0, append=labels[-1:]) != 0
    edges |= np.diff(labels, axis=1, append=labels[:, -1:]) != 0
    inner = np.asarray(cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, 5), np.float32)
    inner += 0.3 * noise(rng, 16, 2)
    tilt = rng.normal(0, 0.008, sites.shape)
    lean = ((np.stack([YS, XS], axis=-1) - sites[labels]) * tilt[labels]).sum(axis=-1)
    bevel = relief(blur(np.minimum(inner, 9), 1.5))
    light = 0.86 + lean + 0.17 * bevel + 0.06 * noise(rng, 16, 3) + 0.3 * smoothstep(3, 15, inner)
    glass = hues[labels] * light[..., None] + 55 * smoothstep(0.7, 1.3, bevel)[..., None]
    grout = np.array([34, 28, 34], np.float32) + 8 * noise(rng, 8, 2)[..., None]
    return finish(grout + (glass - grout) * smoothstep(1.4, 3.4, inner)[..., None])


def sky_strokes(rng: Generator) -> Field:
    """Broad, nearly level sweeps of a half-dry brush."""
    canvas = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    along = np.linspace(0, 1, 16)
    for y, x in rng.uniform((0, -300), (620, WIDTH), (60, 2)):
        wave = y + rng.uniform(4, 20) * np.sin(5 * along + x)
        path = np.stack([wave, x + along * rng.uniform(120, 520)], axis=1)
        stroke(canvas, rng, path, np.sin(0.2 + 2.6 * along) * rng.uniform(10, 46), 0.8)
    return load(canvas)


def range_strokes(rng: Generator, ridge: Field, near: float) -> Field:
    """The brushwork of one mountain range: wrinkles down its slopes and pines on its crest."""
    canvas = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    slope = np.gradient(blur(ridge[None], 12)[0])
    along = np.linspace(0, 1, 9)
    for x in rng.integers(0, WIDTH, 200):
        lean = rng.uniform(40, 120) * np.array([1, np.sign(slope[x]) * rng.uniform(0.2, 0.9)])
        path = np.array([ridge[x] + rng.exponential(85), x]) + along[:, None] * lean
        path += rng.normal(0, 4, path.shape).cumsum(axis=0)
        stroke(canvas, rng, path, np.sin(0.3 + 2.7 * along) * rng.uniform(8, 20), 0.5)
    for x in rng.integers(0, WIDTH, int(26 * near)):
        tall, foot = rng.uniform(40, 80) * near, ridge[x] + rng.uniform(0, 30)
        for level in np.linspace(0.1, 1, 7):
            span = tall * 0.32 * level * rng.uniform(0.6, 1.2)
            y = foot - tall * (1 - level)
            bough = np.array([[y + 0.3 * span, x - span], [y, x], [y + 0.3 * span, x + span]])
            stroke(canvas, rng, bough, np.array([3.0, 7.0, 3.0]) * near)
    return load(canvas)


def branch(
    canvas: Image, rng: Generator, start: Points, angle: float, width: float
) -> list[Points]:
    """Draw a crooked branch that forks into thinner ones, and return where it would flower."""
    bends = angle + rng.normal(0, 0.28, 6).repeat(4) + rng.normal(0, 0.05, 24)
    steps = np.stack([np.sin(bends), np.cos(bends)], axis=1) * width * 0.55
    path = start + steps.cumsum(axis=0)
    stroke(canvas, rng, path, width * np.linspace(1, 0.55, 24) * rng.uniform(0.8, 1.2, 24), 0.1)
    if width < 9:
        return [path[-1]]
    buds = branch(canvas, rng, path[-3], angle + rng.normal(0, 0.2), width * 0.72)
    for at in rng.integers(6, 20, 2):
        turn = rng.choice([-1, 1]) * rng.uniform(0.5, 1)
        buds += branch(canvas, rng, path[at], angle + turn, width * rng.uniform(0.35, 0.55))
    return buds


def ink(rng: Generator) -> Image:
    """Misty ink-wash mountains under a vermilion sun, with a flowering branch in front."""
    tooth, hair = noise(rng, 7, 2), noise(rng, 9, 2, 5)
    feather, wet = noise(rng, 60, 5), noise(rng, 300, 4, 2)
    grain = 0.6 * noise(rng, 22, 3) + 0.4 * tooth
    cloud = wet + 0.12 * feather
    black = 0.03 + 0.24 * smoothstep(-0.2, 1.6, cloud) * (1 + 0.5 * grain)
    black += 0.12 * np.exp(-(((cloud + 0.2) / 0.05) ** 2)) * smoothstep(-1, 1, grain)
    sweeps = sky_strokes(rng)
    black += 0.2 * smoothstep(0.1, 0.7, blur(sweeps, 2) * (1 - 0.4 * hair)) + 0.2 * blur(sweeps, 12)
    black += smoothstep(3.1, 3.4, noise(rng, 12, 1))
    sun = 130 + 4 * feather - np.hypot(XS - 900, YS - 260)
    red = smoothstep(-4, 5, sun) * (0.75 + 0.2 * grain + 0.2 * wet)
    red += 0.35 * np.exp(-((sun / 7) ** 2)) + 0.12 * smoothstep(-70, 0, sun)
    red += 0.16 * np.exp(sun.clip(max=0) / 220) * (1 + 0.5 * wet)

    for level, peak, where, spread, shade, mist, near in [
        (540, 200, 1020, 150, 0.22, 120, 0),
        (640, 350, 620, 130, 0.45, 150, 0.5),
        (770, 270, 1170, 130, 0.65, 140, 0.8),
        (880, 170, 300, 200, 0.85, 120, 1.2),
        (990, 130, 1000, 260, 1.2, 110, 1.7),
    ]:
        ridge = level - peak * np.exp(-(abs((XS[0] - where) / spread) ** 1.4))
        ridge -= 24 * noise(rng, 200, 6)[0]
        depth = YS - ridge + 4 * feather + 2 * grain
        body = smoothstep(-3, 5, depth)
        fade = np.exp(-np.maximum(depth, 0) / np.maximum(mist * (1 + 0.3 * wet), 40))
        wash = fade * (1 + 0.18 * grain + 0.12 * feather) + 0.35 * np.exp(-((depth / 5) ** 2))
        lines = range_strokes(rng, ridge, near)
        dry = smoothstep(0.1, 0.45, lines * (1 - 0.3 * tooth - 0.2 * grain))
        marks = (0.55 * dry + 0.5 * blur(lines, 8)) * (0.25 + fade)
        # Mist hides what lies behind the foot of each range.
        black *= 1 - 0.85 * body
        black += shade * (0.8 * body * wash + 1.3 * marks)
        black += 0.16 * body * smoothstep(-1, 2, feather + 0.6 * grain)
        red *= 1 - 0.9 * body

    canvas = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    buds = branch(canvas, rng.spawn(1)[0], np.array([330.0, -30.0]), -0.1, 44)
    lines = load(canvas)
    dry = smoothstep(0.12, 0.4, blur(lines, 1.5) * (1 - 0.35 * hair))
    black += dry * (1.5 + 0.8 * lines + 0.2 * grain) + 0.3 * blur(lines, 10)
    for y, x in buds:
        far, turn = np.hypot(XS - x, YS - y), np.arctan2(YS - y, XS - x) + rng.uniform(0, 6)
        petal = rng.uniform(22, 30) * (0.6 + 0.4 * abs(np.cos(2.5 * turn))) - far + 2 * feather
        tint = 0.75 + 0.2 * grain + 0.5 * np.exp(-((petal / 3) ** 2)) + rng.normal(0, 0.12)
        red = np.maximum(red, smoothstep(-2, 2, petal) * tint)
        stamens = np.exp(-(((far - 9) / 2) ** 2)) * smoothstep(0.3, 0.9, np.cos(5 * turn))
        black += stamens + 0.8 * smoothstep(5, 2, far)
    paper = ramp(0.5 + 0.2 * noise(rng, 90) + 0.15 * tooth, "efdcb4 f8edd6")
    # How strongly each pigment absorbs red, green and blue.
    soot, vermilion = np.array([[1.08, 0.98, 0.82], [0.12, 1.25, 1.75]], np.float32)
    return finish(paper * np.exp(-black[..., None] * soot - red[..., None] * vermilion))


def main() -> None:
    """Paint every picture into the output directory."""
    parser = argparse.ArgumentParser(description="Paint the style pictures.")
    default = Path(__file__).resolve().parent.parent / "nst_rt" / "assets" / "styles"
    parser.add_argument("output", nargs="?", type=Path, default=default, metavar="OUTPUT_DIR")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    for seed, paint in enumerate((swirls, mosaic, ink)):
        picture = cv2.cvtColor(paint(np.random.default_rng(seed)), cv2.COLOR_RGB2BGR)
        path = output / f"{paint.__name__}.jpg"
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
