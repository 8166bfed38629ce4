"""Distilling: the fast network learns what a trained, wider one paints, without the losses.

    python benchmarks/distil.py TEACHER PHOTOS -o STUDENT.safetensors

The student's pastiche shall equal the teacher's, pixel by pixel (Hinton et al. 2015, for images).
A step takes a tenth of the time of one of training, since VGG19 is not needed. What comes of it,
and of training that goes on from it, is measured by networks.py with --model NAME=FILE.
"""

import argparse
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch.nn import functional as F

from nst_rt.models.style_model import StyleModel, find_style
from nst_rt.models.transformer import TransformerNet
from nst_rt.train.data import Photos


def main() -> None:
    """Train a student, and save it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", metavar="TEACHER", help="a style or a model file")
    parser.add_argument("photos", metavar="PHOTOS", help="a folder, a zip archive or a list")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--size", type=int, default=192, help="side of the crops, pixels")
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    options = parser.parse_args()
    model, style = find_style(options.teacher)
    weights = model.style_weights(style)
    network = distilled(model, weights, options)
    chosen = next(known for known in model.styles if known.name == style)
    name = replace(chosen, name=options.output.stem)
    StyleModel(network, (name,), {"teacher": style, "steps": options.steps}).save(options.output)


def distilled(
    teacher: StyleModel, weights: torch.Tensor, options: argparse.Namespace
) -> TransformerNet:
    """A network of one style that paints as the teacher does in the style `weights`."""
    torch.manual_seed(0)
    student = TransformerNet("fast", 1, dilation=2).to(memory_format=torch.channels_last)
    teacher.network.use_channels_last()
    optimizer = torch.optim.Adam(student.parameters(), options.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, total_steps=options.steps, pct_start=0.1
    )
    batches = Photos(options.photos, size=options.size).train_dataloader()
    one = torch.ones(1, 1)
    for step, batch in enumerate(islice(batches, options.steps)):
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                wanted = teacher.network(images, weights)
            loss = F.mse_loss(student(images, one).float(), wanted.float())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}: error {loss.item() ** 0.5:.4f}", flush=True)
    return student.eval().requires_grad_(False).to(memory_format=torch.contiguous_format)


if __name__ == "__main__":
    main()
