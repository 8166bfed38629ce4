"""Training with all photos resident on the device: styles one after another, in a given time.

For a GPU that one has for minutes: photos are decoded once, the losses are compiled once, and the
styles share the time evenly. What is trained is a `StyleTraining`, by its own loss and recipe.
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
from nst_rt.train.record import training_record
from nst_rt.train.resident.photos import ResidentPhotos
from nst_rt.train.schedule import adam_one_cycle, risen
from nst_rt.train.task import StyleTraining

LOSSES = ("total", "content", "style", "tv", "grid")
_WARM, _TIMED = 3, 100  # steps at most, before there is a speed to plan with
_TIMED_FOR = 3.0  # seconds
_PLANNED = 0.95  # of a style's time; the rest is for a device that slows down
_RECENT = 100  # steps that losses are the mean of

LossesOf = Callable[[Tensor, Mapping[str, Tensor], Tensor], Tensor]


class ResidentTraining:
    """Train each painting of a task by itself, all from the task's network as it is.

    Args:
        task: without motion and without `affine_only`, on its device.
        photos: to train on.
        sources: number of photos by source, for the record.
        batch_size: crops in a step.
        clip: norm that a step's gradients have at most.
        compiled: compile the losses; where that fails, train without.
        save: called with the model of a style at its end, and now and then before.
        save_every, report_every: seconds at most.
        report: called with lines to read.
        clock: in seconds.

    Raises:
        InputError: a task that is not of that kind.
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
        save_every: float = 120.0,
        report_every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if task.motion_weight or len(task.paintings) < len(task.styles):
            raise InputError("this training knows neither motion nor affine_only")
        if batch_size < 1:
            raise InputError(f"the batch size must be positive, not {batch_size}")
        task.on_fit_start()  # VGG19, and what it sees in the paintings
        self.task = task
        self.photos = photos
        self.sources = sources
        self.batch_size = batch_size
        self.clip = clip
        self.save, self.report = save, report
        self.save_every, self.report_every = save_every, report_every
        self.clock = clock
        # One for all styles, so that it is compiled once.
        self._network = with_styles(task.network, [0]).to(task.device)
        self._network.use_channels_last()
        self._losses = _losses_of(self._network, task.loss, task.grid_weight)
        self._compiled = compiled

    def train(self, end: float) -> list[str]:
        """Train until `end` on the clock at most.

        Returns:
            The styles that were not trained to the end; of some, an earlier state was saved.
        """
        names = list(self.task.paintings)
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
                done = self._style(number, steps, begin + share, self._kept)
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
        """From a few steps, whose result is dropped; the first ones compile."""
        begin = self.clock()
        most = (end - begin) / 10  # of the time, where a step takes long
        plain = self._losses
        try:
            if self._compiled:
                self._losses = torch.compile(plain, dynamic=False)
                self._style(0, _WARM, begin + most)
        except Exception as error:  # compilers fail in many ways, and there is a way without
            cause = str(error).strip().partition("\n")[0]
            self.report(f"trains without compiling ({type(error).__name__}: {cause})")
            self._losses = plain
        self._style(0, _WARM, self.clock() + most)
        warm = self.clock()
        steps = self._style(0, _TIMED, warm + min(most, _TIMED_FOR))
        seconds = max(self.clock() - warm, 1e-9) / steps
        self.report(
            f"ready after {warm - begin:.0f} s; {self.batch_size / seconds:.3g} crops/s, "
            f"{len(self.task.paintings)} styles in {end - self.clock():.0f} s"
        )
        return seconds

    def _kept(self, style: int, network: nn.Module, steps: int, losses: dict[str, float]) -> None:
        """Have a style's model saved."""
        assert isinstance(network, TransformerNet)
        record = training_record(
            self.task,
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
        record["earlier"] = self.task.earlier[name]
        copy = with_styles(network, [0]).eval().requires_grad_(False)
        self.save(StyleModel(copy, (self.task.styles[style],), record))

    def _style(
        self,
        style: int,
        steps: int,
        end: float,
        keep: Callable[[int, nn.Module, int, dict[str, float]], None] | None = None,
    ) -> int:
        """Train one painting for some steps, or until `end`; returns how many steps it were.

        Raises:
            NotFiniteError: the loss is no longer finite; what was saved before stays.
        """
        task, network = self.task, self._network
        network.load_state_dict(with_styles(task.network, [style]).state_dict())
        optimizer, schedule = adam_one_cycle(
            network,
            steps,
            learning_rate=task.learning_rate,
            affine_factor=task.affine_factor,
            warm_up=task.warm_up,
            fused=task.device.type == "cuda" or None,
        )
        moving = get_ema_multi_avg_fn(task.ema_decay)  # type: ignore[no-untyped-call]
        average = AveragedModel(network, multi_avg_fn=moving)
        targets = {layer: target[style, None] for layer, target in task.targets.items()}
        factor = torch.tensor([task.style_factors[style]], device=task.device)
        recent: deque[Tensor] = deque(maxlen=_RECENT)
        begin = reported = saved = self.clock()
        every = min(self.save_every, (end - begin) / 3)  # should it be cut off before its end
        for step in range(1, steps + 1):
            rise = risen(step, steps, task.style_ramp)
            losses = self._losses(self.photos.crops(self.batch_size), targets, rise * factor)
            losses[0].backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), self.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            average.update_parameters(network)
            recent.append(losses.detach())
            now = self.clock()
            last = step == steps or now + (now - begin) / step > end  # no time for another
            due = now - saved >= every
            if keep and (last or due or now - reported >= self.report_every):
                means = _means(recent, step)
                self.report(self._line(style, step, steps, self.clock() - begin, means))
                reported = now
                if last or due:
                    keep(style, average.module, step, means)
                    saved = now
            if last:
                break
        recent[-1].tolist()  # waits for the device
        return step

    def _line(
        self, style: int, step: int, steps: int, seconds: float, means: Mapping[str, float]
    ) -> str:
        speed = step * self.batch_size / max(seconds, 1e-9)
        losses = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
        name = list(self.task.paintings)[style]
        return f"{name}: step {step} of {steps}, {speed:.3g} crops/s, {losses}"


def _losses_of(network: TransformerNet, loss: PerceptualLoss, grid_weight: float) -> LossesOf:
    """A function from crops, targets of a style and its factor to `LOSSES`, shape (5,)."""
    device = loss.features.mean.device
    low = fast_dtype(device).itemsize == 2
    style = torch.ones(1, 1, device=device)

    def losses(crops: Tensor, targets: Mapping[str, Tensor], factor: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            pastiche = network(crops, style)
        terms = loss(pastiche, loss.content_target(crops), targets, factor)
        grid = grid_pattern(pastiche.float(), MULTIPLE)
        total = terms.total + grid_weight * grid
        return torch.stack([total, terms.content, terms.styles.mean(), terms.tv, grid])

    return losses


def _means(recent: Sequence[Tensor], step: int) -> dict[str, float]:
    """Name -> mean of the last steps' losses.

    Raises:
        NotFiniteError: one that is not finite.
    """
    means = dict(zip(LOSSES, torch.stack(tuple(recent)).mean(0).tolist(), strict=True))
    if not math.isfinite(means["total"]):
        raise NotFiniteError(f"the loss became {means['total']} before step {step}")
    return means
