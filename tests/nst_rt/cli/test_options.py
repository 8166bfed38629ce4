import argparse
import inspect

import pytest

from nst_rt.cli.options import (
    add_backend_arguments,
    add_style_arguments,
    take_style_settings,
)
from nst_rt.infer.frame_stylizer import load_frame_stylizer

GIVEN = {
    "--style": "a=3,b=1",
    "--fade": "2.5",
    "--strength": "0.3",
    "--preserve-colors": None,
    "--compare": None,
    "--stroke-size": "4%",
    "--backend": "torch",
    "--device": "cpu",
    "--precision": "f32",
}
TAKEN = {
    "style": "a=3,b=1",
    "fade": 2.5,
    "strength": 0.3,
    "preserve_colors": True,
    "compare": True,
    "stroke_size": "4%",
    "backend": "torch",
    "device": "cpu",
    "precision": "f32",
}


def options_of(arguments: list[str], *, over_time: bool) -> dict[str, object]:
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS, exit_on_error=False)
    add_style_arguments(parser, over_time=over_time)
    add_backend_arguments(parser)
    parser.add_argument("--crf")
    return vars(parser.parse_args(arguments))


def test_style_options_are_named_as_keyword_arguments() -> None:
    arguments = [text for pair in GIVEN.items() for text in pair if text is not None]
    options = options_of([*arguments, "--crf", "20"], over_time=True)
    assert take_style_settings(options) == TAKEN
    assert options == {"crf": "20"}
    assert set(TAKEN) <= set(inspect.signature(load_frame_stylizer).parameters)


def test_options_not_given_are_left_out() -> None:
    assert take_style_settings(options_of([], over_time=False)) == {}


def test_fade_is_for_videos_only() -> None:
    with pytest.raises(SystemExit):
        options_of(["--fade", "1"], over_time=False)
