"""Likely mistakes, answered with the command that was meant.

Everything here goes by names alone, so that an answer takes no import of PyTorch. What only the
content of a file shows is said by the library.
"""

import difflib
import glob
import mimetypes
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from nst_rt.errors import InputError
from nst_rt.files import check_input, shown_source
from nst_rt.gallery import gallery_style_names

Kind = Literal["image", "video", "style model", "camera", ""]

# Words for a verb that is called otherwise here.
_VERBS_MEANT = {
    "camera": "webcam",
    "cam": "webcam",
    "live": "webcam",
    "browser": "web",
    "studio": "web",
    "serve": "web",
    "photo": "image",
    "images": "image",
    "stylize": "image",
    "film": "video",
    "movie": "video",
    "gallery": "styles",
    "list": "styles",
    "help": "--help",
    "version": "--version",
}
# Words for an option that is called otherwise here; the first one that a verb has is meant.
_OPTIONS_MEANT = {
    "--video": ("--clip",),
    "--out": ("--output",),
    "--force": ("--overwrite",),
    "--gpu": ("--device",),
    "--model": ("--style",),
    "--quality": ("--crf",),
    "--epochs": ("--steps",),
    "--content": ("--style-image",),
}
# Names of sizes -> width and height in pixels.
_SIZES_MEANT = {
    "8k": (7680, 4320),
    "4k": (3840, 2160),
    "2160p": (3840, 2160),
    "1440p": (2560, 1440),
    "1080p": (1920, 1080),
    "720p": (1280, 720),
    "480p": (854, 480),
}


def kind_of(name: str) -> Kind:
    """What a name stands for, by its suffix; a camera is a number or a device."""
    if name.isdecimal() or name.startswith(("/dev/video", "rtsp://")):
        return "camera"
    suffix = Path(name).suffix.lower()
    if suffix == ".safetensors":
        return "style model"
    if suffix in (".mkv", ".webm", ".mts", ".m2ts"):  # which not every system knows
        return "video"
    kind = (mimetypes.guess_type(name)[0] or "").partition("/")[0]
    return "image" if kind == "image" else "video" if kind == "video" else ""


def verb_meant(arguments: Sequence[str], verbs: Sequence[str]) -> str:
    """The error message for a first argument that is no verb."""
    word, *others = arguments
    if word in _VERBS_MEANT:
        rest = "" if _VERBS_MEANT[word].startswith("-") else "".join(f" {each}" for each in others)
        return f"unknown verb {word!r}; try: nst-rt {_VERBS_MEANT[word]}{rest}"
    if word in gallery_style_names():
        files = [shown_source(each) for each in others if kind_of(each)] or ["photo.jpg"]
        verb = _verb_for(files[0])
        return f"{word} is a style, not a verb; try: nst-rt {verb} {files[0]} --style {word}"
    if (kind := kind_of(word)) or Path(word).exists():
        rest = "".join(f" {each}" for each in others)
        if kind == "style model":
            return f"{word}: a style model, not a verb; try: nst-rt image photo.jpg --style {word}"
        what = kind or ("file" if Path(word).is_file() else "folder")
        article = "an" if what == "image" else "a"
        shown = shown_source(word)
        return f"{shown}: {article} {what}, not a verb; try: nst-rt {_verb_for(word)} {shown}{rest}"
    near = difflib.get_close_matches(word, verbs, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown verb {word!r}: {hint}known are {', '.join(verbs)}"


def _verb_for(name: str) -> str:
    return {"video": "video", "camera": "webcam"}.get(kind_of(name), "image")


def option_meant(
    verb: str, arguments: Sequence[str], options: Mapping[str, Collection[str]]
) -> str:
    """The error message for arguments that a verb does not have.

    Args:
        verb: name of the verb.
        arguments: what it does not know.
        options: verb -> its flags.
    """
    option = next((each.partition("=")[0] for each in arguments if each.startswith("-")), None)
    if option is None and verb == "train":
        first, *others = map(shown_source, arguments)
        photos = others[0] if others else "PHOTOS"
        return (
            "the inputs of a training are named; try: nst-rt train "
            f"--style-image {first} --photos {photos}"
        )
    if option is None:
        return f"unknown arguments: {' '.join(map(shown_source, arguments))}"
    known = options[verb]
    meant = [each for each in _OPTIONS_MEANT.get(option, ()) if each in known]
    longer = [each for each in known if each.startswith(f"{option}-")]
    near = meant or longer or difflib.get_close_matches(option, known, n=1)
    others = [name for name, flags in options.items() if option in flags]
    if near and not (others and verb in others):
        hint = f"did you mean {near[0]}?"
    else:
        hint = "--help lists them"
    if others:
        hint = f"an option of {', '.join(others)}" + (f"; {hint}" if near else "")
    return f"unknown option {option} ({hint})"


def check_inputs(names: Sequence[str], wanted: Literal["image", "video"]) -> None:
    """Refuse inputs that are missing, or of a kind for which there is another verb.

    Args:
        names: files, folders and, for a video, `-`.
        wanted: what they should be.

    Raises:
        InputError: one line with the command to type.
    """
    for name in names:
        kind, shown = kind_of(name), shown_source(name)
        if kind == "camera" and not Path(name).is_file():
            raise InputError(f"{shown}: no such file; for a camera: nst-rt webcam {shown}")
        if name == "-" and wanted == "video":
            continue
        if not Path(name).exists():
            if name in gallery_style_names():
                files = (each for each in names if each != name and kind_of(each) == wanted)
                example = "film.mp4" if wanted == "video" else "photo.jpg"
                file = shown_source(next(files, example))
                raise InputError(
                    f"{name}: a style, not a file; try: nst-rt {wanted} {file} --style {name}"
                )
            raise InputError(f"{shown}: no such file" + ("" if Path(name).suffix else " or folder"))
        if kind == "style model":
            meant = f"nst-rt {'video FILM' if wanted == 'video' else 'image PHOTO'} --style {shown}"
            raise InputError(f"{shown}: a style model, not an input; try: {meant}")
        if kind == "video" and wanted == "image" and Path(name).is_file():
            raise InputError(f"{shown}: a video, not an image; try: nst-rt video {shown}")
        if wanted == "image" and videos_in(name) and not images_in(name):
            raise InputError(f"{shown}: a folder of videos; try: nst-rt video {shown}")
        if Path(name).is_file():
            check_input(name)


def videos_in(folder: str) -> list[str]:
    """The videos of a folder, in name order; empty for anything that is no folder."""
    return _files_in(folder, "video")


def images_in(folder: str) -> list[str]:
    """The images of a folder, in name order; empty for anything that is no folder."""
    return _files_in(folder, "image")


def _files_in(folder: str, kind: Kind) -> list[str]:
    if not Path(folder).is_dir():
        return []
    files = sorted(str(file) for file in Path(folder).iterdir() if file.is_file())
    return [file for file in files if kind_of(file) == kind]


def check_suffix(output: str | None, suffix: str) -> None:
    """Refuse the name of an output file without a suffix, which may be meant as a folder.

    Raises:
        InputError: one line with both names to choose from.
    """
    if output in (None, "-") or output.endswith("/") or Path(output).is_dir():
        return
    if not Path(output).suffix:
        raise InputError(
            f"{output}: has no suffix; write {output}{suffix}, or {output}/ for a folder"
        )


def expanded(names: Sequence[str]) -> list[str]:
    """The names, with patterns, which not every shell expands, replaced by what they match.

    Raises:
        InputError: a pattern that matches nothing.
    """
    found: list[str] = []
    for name in names:
        is_pattern = glob.has_magic(name) and not Path(name).exists()
        matches = sorted(glob.glob(name)) if is_pattern else [name]  # noqa: PTH207
        if not matches:
            raise InputError(f"{shown_source(name)}: no files match")
        found += matches
    return found


def size_meant(text: str, *, sides: int) -> str:
    """What to write instead of the name of a size, such as 4k; empty for any other text.

    Args:
        text: the value of an option.
        sides: 1 for the long side, 2 for width and height.
    """
    size = _SIZES_MEANT.get(text.lower())
    return "" if size is None else f"; for {text} write {'x'.join(map(str, size[:sides]))}"


def with_negative_values(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--option -2%` joined to `--option=-2%`.

    argparse would take the value for an option.
    """
    joined: list[str] = []
    for argument in arguments:
        is_value = re.match(r"-\.?\d", argument)
        if is_value and joined and re.fullmatch(r"--[a-z-]+", joined[-1]):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined
