"""Completion scripts for shells, made by shtab from the parsers of the verbs."""

import argparse
from collections.abc import Iterable
from functools import cache
from typing import Any

import shtab

from nst_rt.cli.options import constant, signature_types
from nst_rt.gallery import gallery_style_names

# By the name of the value that an option or an input sets. What is not listed is a text or number.
_STYLES = ("style", "model", "models")
_FILES = (
    *(
        "paths",
        "photos",
        "photo",
        "source",
        "content",
        "style_image",
        "save_style",
        "output",
        "out",
        "clip",
        "record",
    ),
    *("pairs", "timelapse", "plot", "content_mask", "tls_cert", "tls_key", "recipes"),
    "token_file",
)
_FOLDERS = ("snapshots", "results", "runs")
# Choices that the library checks, which says more about a wrong one than argparse would.
_CHOSEN = ("backend", "precision", "codec")
# Functions of the shell.
_FUNCTION = "_nst_rt_style_or_file"
_FUNCTION_OF_START = "_nst_rt_start"
_MOST_SIMILAR = "gallery"  # what --from takes beside styles and files


def script(
    parser: argparse.ArgumentParser, verbs: Iterable[argparse.ArgumentParser], shell: str
) -> str:
    """The script that completes `nst-rt` in a shell.

    Args:
        parser: of `nst-rt`; its actions and those of its verbs are changed.
        verbs: parsers of the verbs, with all options.
        shell: one of shtab's.
    """
    styles, starts = _styles(), _styles(_FUNCTION_OF_START, _MOST_SIMILAR)
    for verb in verbs:
        for action in verb._actions:
            _prepare(action, starts if action.dest == "start_from" else styles)
    return str(shtab.complete(parser, shell=shell, preamble=_functions()[shell]))


def _prepare(action: Any, styles: dict[str, str]) -> None:
    """Tell shtab what completes the value of an option or an input."""
    if action.dest in (*_STYLES, "start_from"):
        action.complete = styles
    elif action.dest in _FILES:
        action.complete = shtab.FILE
    elif action.dest in _FOLDERS:
        action.complete = shtab.DIRECTORY
    elif action.dest in _CHOSEN:
        action.choices = _choices()[action.dest]


@cache
def _choices() -> dict[str, Iterable[str]]:
    types = signature_types("nst_rt.infer.stylizer:Stylizer")
    codecs = constant("nst_rt.infer.video.encoder:DEFAULT_CRF")
    return {**{name: types[name] for name in ("backend", "precision")}, "codec": tuple(codecs)}


def _styles(function: str = _FUNCTION, *others: str) -> dict[str, str]:
    """What completes a style, by shell: a function of `_functions`, or the names themselves."""
    names = " ".join([*others, *gallery_style_names()])
    return {"bash": function, "zsh": function, "tcsh": f"({names})"}


def _functions() -> dict[str, str]:
    """The functions that complete the styles that ship, and model files, by shell."""
    names = " ".join(gallery_style_names())
    bash = f"""
{_FUNCTION}() {{
  compgen -W "{names}" -- "$1"
  compgen -f -X '!*.safetensors' -- "$1"
  compgen -d -- "$1"
}}
{_FUNCTION_OF_START}() {{
  compgen -W "{_MOST_SIMILAR}" -- "$1"
  {_FUNCTION} "$1"
}}"""
    zsh = f"""
{_FUNCTION}() {{
  _alternative 'styles:style:({names})' 'files:model file:_files -g "*.safetensors"'
}}
{_FUNCTION_OF_START}() {{
  _alternative 'gallery:most similar style:({_MOST_SIMILAR})' \
    'styles:style:({names})' 'files:model file:_files -g "*.safetensors"'
}}"""
    return {"bash": bash, "zsh": zsh, "tcsh": ""}
