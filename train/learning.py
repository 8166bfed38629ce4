"""Learning a style within minutes, on the images that it is for.

The same perceptual loss as a training, from a network that has a style already, without an end
that is known beforehand: images come and go, the learning rate falls slowly, and the averaged
weights can be used at any time. Lightning is not needed here.
"""

import copy
import math
import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nst_rt.devices import fast_dtype, torch_device
from nst_rt.errors import NotFiniteError
from nst_rt.images.color import is_flat
from nst_rt.images.convert import Frame, frame_to_tensor, resize, resize_to, tensor_to_frame
from nst_rt.images.style_image import Vividness, prepared_style_image
from nst_rt.learning.library import KEY
from nst_rt.learning.messages import Figures
from nst_rt.learning.request import GALLERY, GALLERY_STYLE, Image, LearningRequest
from nst_rt.losses import (
    TRAINING_CONTENT_FOCUS,
    TRAINING_CONTENT_LAYERS,
    TRAINING_GRID_WEIGHT,
    TRAINING_STYLE_LAYERS,
    TRAINING_TV_WEIGHT,
    PerceptualLoss,
    grid_pattern,
)
from nst_rt.metrics.boldness import boldness, median_boldness
from nst_rt.metrics.fingerprint import fingerprint
from nst_rt.metrics.stability import pan_error
from nst_rt.models.merge import amplified, with_styles
from nst_rt.models.style_model import Style, StyleModel, find_style
from nst_rt.models.transformer import MULTIPLE, TransformerNet
from nst_rt.train.start import closest_style

CROP = 224  # side of the crops, pixels
BATCH = 2  # crops per step
LEARNING_RATE = 2e-3
_WARM_UP, _CONSTANT = 10, 150  # steps: until the full learning rate, and until it begins to fall
_EMA_DECAY = 0.98
_CLIP = 5.0  # maximum norm of a gradient
_ZOOM = 3.0  # maximum ratio of an image's short side to the side of a crop of it
_EXPOSURE = 0.2  # maximum change of the brightness of a crop, as a fraction
_ATTEMPTS = 20  # to find a crop that is not flat
_KEPT = 128  # images at a time
_ASIDE, _EVERY = 4, 8  # number of images that are kept aside, and one of how many
_GAUGED = 4  # crops
_PATIENCE = 1200  # crops without getting better, after which a style is settled
_BETTER = 0.01  # fraction by which the loss must fall to count as better
_CONTRAST = 0.9  # fraction of the style image's that is wanted
_CONTRAST_SIZE = 384  # pixels of the images on which it is measured
_MAX_GAIN = 1.25
_FAILURES = 10  # steps in a row without finite gradients


class Images:
    """The images that a style is learned on, and a few that are kept aside to judge it by.

    Args:
        seed: of what is random.

    Attributes:
        training: images to learn on, shape (H, W, 3), uint8 RGB.
        others: images from elsewhere, likewise; where there are any, every second crop is of them.
        aside: images to judge by, likewise.
        seen: number of images so far.
    """

    def __init__(self, seed: int = 0) -> None:
        self.training: list[Image] = []
        self.others: list[Image] = []
        self.aside: list[Image] = []
        self.seen = 0
        self._own = 0  # of those seen
        self._random = np.random.default_rng(seed)

    def add(self, image: Image, *, is_other: bool = False) -> bool:
        """Take an image, shape (H, W, 3), uint8 RGB; whether those to judge by have changed.

        When there are many, it takes the place of one of them.

        Args:
            image: the image.
            is_other: whether it is one of the `others`; nothing is judged by these, unless there is
                nothing else.
        """
        self.seen += 1
        if is_other:
            self._keep(image, self.others)
            return not self.training and len(self.others) == 1
        self._own += 1
        if self._own % _EVERY == 2 and len(self.aside) < _ASIDE:
            self.aside.append(image)
            return True
        self._keep(image, self.training)
        return len(self.training) == 1

    def _keep(self, image: Image, images: list[Image]) -> None:
        if len(images) < _KEPT:
            images.append(image)
        else:
            images[self._random.integers(_KEPT)] = image

    @property
    def judged(self) -> list[Image]:
        """The images to judge by: those kept aside, or else the first one."""
        return self.aside or self.training[:1] or self.others[:1]

    def batch(self, count: int) -> Tensor | None:
        """Random crops, shape (N, 3, S, S), RGB in [0, 1]; None if all have a single color."""
        sources = [images for images in (self.training, self.others) if images]
        if not sources:
            return None
        crops = [self._crop(sources[n % len(sources)], self._random) for n in range(count)]
        found = [crop for crop in crops if crop is not None]
        return torch.cat(found) if found else None

    def judged_crops(self) -> Tensor | None:
        """The same crops each time of the images to judge by; None if they have a single color."""
        random = np.random.default_rng(1)
        images = self.judged
        crops = [self._crop([images[n % len(images)]], random) for n in range(_GAUGED)]
        found = [crop for crop in crops if crop is not None]
        return torch.cat(found) if found else None

    def _crop(self, images: list[Image], random: np.random.Generator) -> Tensor | None:
        """A square at a random place and scale, mirrored at random, a little brighter or darker."""
        for _ in range(_ATTEMPTS):
            image = images[random.integers(len(images))]
            height, width = image.shape[:2]
            shortest = min(height, width)
            zoom = math.exp(random.uniform(0, math.log(_ZOOM)))
            side = max(round(shortest / zoom), min(CROP, shortest))
            y, x = random.integers(height - side + 1), random.integers(width - side + 1)
            crop = resize_to(_tensor(image[y : y + side, x : x + side]), (CROP, CROP))
            if not is_flat(crop):
                crop = (crop * random.uniform(1 - _EXPOSURE, 1 + _EXPOSURE)).clamp(0, 1)
                return crop.flip(3) if random.random() < 0.5 else crop
        return None


class Learner:
    """Learns a style, a step at a time.

    Args:
        request: what to learn.
        known: the style as it was learned before, to go on from.
        device: PyTorch device; None for the fastest.

    Attributes:
        images: what it learns on; add to it at any time.
        crops: number of crops so far, with those of earlier sessions.
        seconds: time spent on them.

    Raises:
        UnknownNameError, InputError, StyleModelError: a start that cannot be used.
        BackendError: a device that is not there.
    """

    def __init__(
        self,
        request: LearningRequest,
        known: StyleModel | None = None,
        device: str | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.request = request
        self.images = Images()
        self._clock = clock
        self._device = torch_device(device)
        self._low = fast_dtype(self._device).itemsize == 2
        heaviest = max(range(len(request.weights)), key=request.weights.__getitem__)
        self._style_images = request.tensors()
        self._main = self._style_images[heaviest]
        self._fingerprint = fingerprint(self._main)
        self._loss = PerceptualLoss(
            content_layers=TRAINING_CONTENT_LAYERS,
            style_layers=TRAINING_STYLE_LAYERS,
            content_weight=1.0,
            style_weight=request.style_weight,
            tv_weight=TRAINING_TV_WEIGHT,
            content_focus=TRAINING_CONTENT_FOCUS,
            device=self._device,
        )
        prepared = [prepared_style_image(image, request.style_size) for image in self._style_images]
        self._preparation = [each.facts() for each in prepared]
        weighted = [
            (weight, self._loss.style_target(each.image.to(self._device)))
            for weight, each in zip(request.weights, prepared, strict=True)
        ]
        self._target = {
            layer: torch.stack([weight * target[layer] for weight, target in weighted]).sum(0)
            for layer in TRAINING_STYLE_LAYERS
        }
        self._one = torch.ones(1, 1, device=self._device)
        self.crops, self.seconds = 0, 0.0
        self._settling, self._settling_crops = math.inf, 0
        self.restart(known)

    def restart(self, known: StyleModel | None = None) -> None:
        """Begin again from the start, or from what was learned before."""
        network, self.started_from = self._start() if known is None else _of_known(known)
        self.crops, self.seconds = 0, 0.0
        if known is not None:
            self.crops, self.seconds = known.training["crops"], known.training["seconds"]
        self._network = network.requires_grad_(True).train().to(self._device)
        self._network.use_channels_last()
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=LEARNING_RATE)
        moving = get_ema_multi_avg_fn(_EMA_DECAY)  # type: ignore[no-untyped-call]
        self._average = AveragedModel(self._network, multi_avg_fn=moving)
        self._best = copy.deepcopy(self._averaged)  # by the images to judge by
        self._best_loss: float | None = None  # None until they judge it
        self._steps = self._failures = 0
        self._recent: deque[float] = deque(maxlen=20)  # seconds per crop
        self.go_on()

    def _start(self) -> tuple[TransformerNet, str]:
        start = self.request.start_from
        model, name = find_style(GALLERY_STYLE if start == GALLERY else start)
        index = model.style_names.index(name)
        if start == GALLERY:
            index = closest_style(model, self._fingerprint)
        return with_styles(model.network, [index]), model.style_names[index]

    def step(self) -> bool:
        """Learn from a few crops; False if there is nothing to learn from.

        Raises:
            NotFiniteError: again and again, the gradients are not finite.
        """
        begin = self._clock()
        crops = self.images.batch(BATCH)
        if crops is None:
            return False
        total = self._total(self._network, crops.to(self._device))
        self._optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), _CLIP)
        if not torch.isfinite(norm):
            self._failures += 1
            if self._failures == _FAILURES:
                raise NotFiniteError("the loss became NaN or infinite; lower `style_weight`")
            return True
        self._failures = 0
        self._steps += 1
        rate = LEARNING_RATE * min(1, self._steps / _WARM_UP, (_CONSTANT / self._steps) ** 0.5)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._average.update_parameters(self._network)
        self.crops += len(crops)
        self._recent.append((self._clock() - begin) / len(crops))
        self.seconds += self._clock() - begin
        return True

    @property
    def rate(self) -> float:
        """Crops per second, over the last steps."""
        return len(self._recent) / sum(self._recent) if self._recent else 0.0

    def judge(self) -> bool:
        """Whether the style is better than the best one so far, by crops that were kept aside.

        The loss of these crops is the measure; `is_settled` follows from it, too.
        """
        crops = self.images.judged_crops() if self.images.judged else None
        if crops is None:
            return False
        if self._best_loss is None:
            self._best_loss = self._judged(self._best, crops)
        loss = self._judged(self._averaged, crops)
        if loss < self._settling * (1 - _BETTER):
            self._settling, self._settling_crops = loss, self.crops
        if not loss < self._best_loss:
            return False
        self._best, self._best_loss = self._with_contrast(self._averaged), loss
        return True

    def _with_contrast(self, network: TransformerNet) -> TransformerNet:
        """A copy of a network, amplified where its images have less contrast than wanted.

        The loss falls a little short of the contrast of some style images.
        """
        images = [resize(_tensor(image), _CONTRAST_SIZE) for image in self.images.judged]
        found = [Vividness.of(self._stylized(image, network)).deviation for image in images]
        wanted = _CONTRAST * Vividness.of(self._main).deviation
        gain = min(max(wanted / max(statistics.median(found), 1e-3), 1.0), _MAX_GAIN)
        return amplified(network, gain)

    def forget_judgement(self) -> None:
        """Judge anew, as when other images are kept aside."""
        self._best_loss = None
        self.go_on()

    def go_on(self) -> None:
        """Learn further, also if it was settled."""
        self._settling, self._settling_crops = math.inf, self.crops

    @property
    def is_settled(self) -> bool:
        """Whether the style has not got better for a while."""
        return self.crops - self._settling_crops >= _PATIENCE

    def model(self, figures: Figures | None = None) -> StyleModel:
        """The best style so far, rounded as its file will be."""
        network = with_styles(self._best, [0]).half().float().cpu()
        request = self.request
        record: dict[str, Any] = {
            KEY: request.key,
            "crops": self.crops,
            "seconds": round(self.seconds, 1),
            "is_settled": self.is_settled,
            "start_from": self.started_from,
            "style_images": self._preparation,
            "images": len(self.images.training) + len(self.images.others),
            "recipe": {
                "size": CROP,
                "batch_size": BATCH,
                "style_size": request.style_size,
                "style_weight": request.style_weight,
                "style_layers": dict(TRAINING_STYLE_LAYERS),
                "content_layers": dict(TRAINING_CONTENT_LAYERS),
                "learning_rate": LEARNING_RATE,
            },
        }
        if figures is not None:
            record["figures"] = {k: v and round(v, 3) for k, v in vars(figures).items()}
        style = Style(request.name, fingerprint=self._fingerprint)
        return StyleModel(network.eval().requires_grad_(False), (style,), record)

    def preview(self) -> Image | None:
        """The first of the images to judge by, stylized, shape (H, W, 3), uint8 RGB."""
        for image in self.images.judged:
            return np.ascontiguousarray(self._stylized_frame(image[..., ::-1])[..., ::-1])
        return None

    def figures(self) -> Figures | None:
        """Boldness and stability on the images to judge by; None without images."""
        images = self.images.judged
        if not images:
            return None
        tensors = [_tensor(image) for image in images]
        bold = median_boldness([boldness(self._stylized(t), t, self._main) for t in tensors])
        # Smaller photos would be enlarged too much for a pan.
        photos = [image[..., ::-1] for image in images[:2] if min(image.shape[:2]) >= CROP]
        pan = pan_error(self._stylized_frame, photos).relative if photos else None
        return Figures(bold.strokes, bold.contrast, bold.chroma, pan)

    @property
    def _averaged(self) -> TransformerNet:
        network = self._average.module
        assert isinstance(network, TransformerNet)
        return network

    @torch.no_grad()
    def _stylized(self, image: Tensor, network: TransformerNet | None = None) -> Tensor:
        """An image, shape (1, 3, H, W), in the best style so far, or by another network."""
        network = self._best if network is None else network
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._low):
            stylized: Tensor = network(image.to(self._device), self._one)
        return stylized.float().cpu().clamp(0, 1)

    def _stylized_frame(self, frame: Frame) -> Frame:
        return tensor_to_frame(self._stylized(frame_to_tensor(frame)))

    @torch.no_grad()
    def _judged(self, network: nn.Module, crops: Tensor) -> float:
        return float(self._total(network, crops.to(self._device)))

    def _total(self, network: nn.Module, crops: Tensor) -> Tensor:
        """The loss of crops (N, 3, S, S)."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._low):
            stylized = network(crops, self._one)
        terms = self._loss(stylized, self._loss.content_target(crops), self._target)
        return terms.total + TRAINING_GRID_WEIGHT * grid_pattern(stylized.float(), MULTIPLE)


def _tensor(image: Image) -> Tensor:
    """An image, shape (H, W, 3), uint8 RGB, as shape (1, 3, H, W), RGB in [0, 1]."""
    return frame_to_tensor(image[..., ::-1])


def _of_known(known: StyleModel) -> tuple[TransformerNet, str]:
    return copy.deepcopy(known.network), known.training["start_from"]
