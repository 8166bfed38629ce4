"""Training of several networks, one style each, within a given time on one device.

For a GPU that is available for minutes: photos are decoded once, the losses are compiled once, and
the styles share the time evenly. Loss and recipe are those of `StyleTraining`.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nst_rt.devices import fast_dtype
from nst_rt.errors import InputError, NotFiniteError
from nst_rt.losses import PerceptualLoss, grid_pattern
from nst_rt.models.merge import with_styles
from nst_rt.models.style_model import StyleModel
from nst_rt.models.transformer import MULTIPLE, TransformerNet
from nst_rt.train.task import StyleTraining, style_ramp_factor
from resident.photos import ResidentPhotos

LOSSES = ("total", "content", "style", "tv", "grid")
_WARM_UP_STEPS = 3
_TIMED_STEPS, _TIMED_SECONDS = 100, 3.0  # the speed is measured until one of them is reached
_PLANNED = 0.95  # fraction of a style's time; the rest is for a device that slows down
_SAVE_SECONDS, _REPORT_SECONDS = 120.0, 10.0  # maximum intervals
_RECENT = 100  # number of steps that reported losses are the mean of

LossesOf = Callable[[Tensor, Mapping[str, Tensor], Tensor], Tensor]


class ResidentTraining:
    """Train one network per style of a task, each from the task's initial network.

    Args:
        task: task without a motion term and without `affine_only`, on its device.
        photos: photos to train on.
        sources: source -> number of photos, for the record.
        batch_size: number of crops per step.
        clip: maximum norm of the gradient of a step.
        compiled: compile the losses; if compiling fails, train without.
        save: called with the model of a style at its end, and at intervals before.
        report: called with each line of the log.
        clock: returns the time in seconds.

    Raises:
        InputError: a task with motion or `affine_only`.
    """

    def __init__(
        self,
        task: StyleTraining,
        photos: ResidentPhotos,
        *,
        sources: Mapping[str, int],
        batch_size: int,
        clip: float,
        compiled: bool,
        save: Callable[[StyleModel], object],
        report: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if task.motion_weight or len(task.style_images) < len(task.styles):
            raise InputError("training within a time has neither motion nor `affine_only`")
        task.on_fit_start()  # loads VGG19 and measures the style images
        self.task = task
        self.photos = photos
        self.sources = sources
        self.batch_size = batch_size
        self.clip = clip
        self.save, self.report = save, report
        self.clock = clock
        # One network for all styles, so that it is compiled once.
        self._network = with_styles(task.network, [0]).to(task.device)
        self._network.use_channels_last()
        self._losses = _losses_of(self._network, task.loss, task.grid_weight)
        self._compiled = compiled

    def train(self, end: float) -> list[str]:
        """Train all styles, until the time `end` at the latest.

        Returns:
            The styles that were not finished; for some of them an earlier state was saved.
        """
        names = list(self.task.style_images)
        seconds = self._seconds_per_step(end)
        unfinished = []
        for number, name in enumerate(names):
            begin = self.clock()
            share = (end - begin) / (len(names) - number)
            steps = int(_PLANNED * share / seconds)
            if steps < 1:
                self.report(f"{name}: no time left")
                unfinished.append(name)
                continue
            try:
                done = self._train_one(number, steps, begin + share, self._save)
            except NotFiniteError as error:
                self.report(f"{name}: {error}")
                unfinished.append(name)
                continue
            taken = self.clock() - begin
            seconds = taken / done
            self.report(
                f"{name}: done, {done} of {steps} steps of {self.batch_size} crops in {taken:.0f} s"
                f", {self.batch_size / seconds:.3g} crops/s"
            )
        return unfinished

    def _seconds_per_step(self, end: float) -> float:
        """Measure the speed over a few steps, whose result is discarded; the first ones compile."""
        begin = self.clock()
        limit = (end - begin) / 10  # where a step takes long
        plain = self._losses
        try:
            if self._compiled:
                self._losses = torch.compile(plain, dynamic=False)
                self._train_one(0, _WARM_UP_STEPS, begin + limit)
        except Exception as error:  # compilers fail in many ways, and training works without
            cause = str(error).strip().partition("\n")[0]
            self.report(f"trains without compiling ({type(error).__name__}: {cause})")
            self._losses = plain
        self._train_one(0, _WARM_UP_STEPS, self.clock() + limit)
        warm = self.clock()
        steps = self._train_one(0, _TIMED_STEPS, warm + min(limit, _TIMED_SECONDS))
        seconds = max(self.clock() - warm, 1e-9) / steps
        self.report(
            f"ready after {warm - begin:.0f} s; {self.batch_size / seconds:.3g} crops/s, "
            f"{len(self.task.style_images)} styles in {end - self.clock():.0f} s"
        )
        return seconds

    def _save(self, style: int, network: nn.Module, steps: int, losses: dict[str, float]) -> None:
        """Pass a style's model with its record to `save`."""
        assert isinstance(network, TransformerNet)
        record = self.task.record(
            steps=steps,
            batch_size=self.batch_size,
            photos=self.sources,
            skipped=len(self.photos.skipped),
            losses={name: float(f"{value:.4g}") for name, value in losses.items()},
        )
        weight = self.task.loss.style_weight * self.task.style_factors[style]
        record["recipe"] |= {"style_weight": weight, "style_factors": None}
        name = self.task.styles[style].name
        record["style_images"] = {name: record["style_images"][name]}
        record["earlier"] = self.task.start.earlier[name]
        copy = with_styles(network, [0]).eval().requires_grad_(False)
        self.save(StyleModel(copy, (self.task.styles[style],), record))

    def _train_one(
        self,
        style: int,
        steps: int,
        end: float,
        save: Callable[[int, nn.Module, int, dict[str, float]], None] | None = None,
    ) -> int:
        """Train one style for a number of steps, or until `end`; returns the number of steps done.

        Raises:
            NotFiniteError: the loss is no longer finite; an earlier model that was saved stays.
        """
        task, network = self.task, self._network
        network.load_state_dict(with_styles(task.network, [style]).state_dict())
        optimizer, schedule = task.adam_one_cycle(
            network, steps, fused=task.device.type == "cuda" or None
        )
        moving = get_ema_multi_avg_fn(task.hparams["ema_decay"])  # type: ignore[no-untyped-call]
        average = AveragedModel(network, multi_avg_fn=moving)
        targets = {layer: target[style, None] for layer, target in task.targets.items()}
        factor = torch.tensor([task.style_factors[style]], device=task.device)
        recent: deque[Tensor] = deque(maxlen=_RECENT)
        begin = reported = saved = self.clock()
        every = min(_SAVE_SECONDS, (end - begin) / 3)  # in case it is cut off
        for step in range(1, steps + 1):
            ramp = style_ramp_factor(step, steps, task.style_ramp)
            losses = self._losses(self.photos.crops(self.batch_size), targets, ramp * factor)
            losses[0].backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), self.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            average.update_parameters(network)
            recent.append(losses.detach())
            now = self.clock()
            last = step == steps or now + (now - begin) / step > end  # no time for another step
            due = now - saved >= every
            if save and (last or due or now - reported >= _REPORT_SECONDS):
                means = _means(recent, step)
                speed = step * self.batch_size / max(now - begin, 1e-9)
                losses_now = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
                name = task.styles[style].name
                self.report(f"{name}: step {step} of {steps}, {speed:.3g} crops/s, {losses_now}")
                reported = now
                if last or due:
                    save(style, average.module, step, means)
                    saved = now
            if last:
                break
        recent[-1].tolist()  # waits for the device
        return step


def _losses_of(network: TransformerNet, loss: PerceptualLoss, grid_weight: float) -> LossesOf:
    """A function from crops, targets of a style and its factor to the `LOSSES`, shape (5,)."""
    device = loss.features.mean.device
    low = fast_dtype(device).itemsize == 2
    style = torch.ones(1, 1, device=device)

    def losses(crops: Tensor, targets: Mapping[str, Tensor], factor: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            stylized = network(crops, style)
        terms = loss(stylized, loss.content_target(crops), targets, factor)
        grid = grid_pattern(stylized.float(), MULTIPLE)
        total = terms.total + grid_weight * grid
        return torch.stack([total, terms.content, terms.styles.mean(), terms.tv, grid])

    return losses


def _means(recent: Sequence[Tensor], step: int) -> dict[str, float]:
    """Name -> mean loss of the last steps.

    Raises:
        NotFiniteError: a loss that is not finite.
    """
    means = dict(zip(LOSSES, torch.stack(tuple(recent)).mean(0).tolist(), strict=True))
    if not math.isfinite(means["total"]):
        raise NotFiniteError(f"the loss became {means['total']} before step {step}")
    return means
