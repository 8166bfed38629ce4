"""How a studio is set up, and what its visitors may ask of the machine."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from nst_rt.errors import StyleTransferError


class TooLargeError(StyleTransferError):
    """More bytes, pixels or seconds than the studio accepts."""


@dataclass(frozen=True)
class Limits:
    """What visitors may ask of this machine.

    Attributes:
        upload: maximum size of a file, bytes.
        storage: maximum size of all files, bytes; the oldest uploads make room, results never do.
        pixels: maximum number of pixels of an image or of a video frame.
        seconds: maximum duration of a video.
        viewers: maximum number of live viewers at once.
    """

    upload: int
    storage: int
    pixels: int
    seconds: float
    viewers: int


@dataclass(frozen=True)
class Settings:
    """How a studio is set up.

    Attributes:
        root: folder for uploads and unfinished work; removed at the end.
        results: folder for results, which stays; created if missing.
        limits: what visitors may ask of this machine.
        fps: frame rate of live viewers, held by stylizing at a smaller size; 0 never reduces it.
        photos: collection of photos that visitors may train on.
        start_from: what trainings start from: `gallery` or a model file.
        user_library: whether learned styles are kept in the library of the user who runs the
            studio, the last of which are offered; else in one of its own, in the results folder.
        train_arguments: further arguments of `nst-rt train`.
        token: secret that opens the page; None opens it to everyone who can reach it.
        names: names that the page answers to, beside those of this machine; see `Guard`.
        cookie: start of the cookie's name, different for each port of a host.
        https: whether the studio is served over HTTPS only.
        link: address for other devices, with the token; None if only this machine reaches it.
        fingerprint: SHA-256 of the certificate that was made for this run.
        instance: a random name, by which a page notices that its studio was started anew.
        undo: seconds during which removing and cancelling can be undone.
    """

    root: Path
    results: Path
    limits: Limits
    fps: float = 24.0
    photos: Path | None = None
    start_from: str = "gallery"
    user_library: bool = False
    train_arguments: tuple[str, ...] = ()
    token: str | None = None
    names: tuple[str, ...] = ()
    cookie: str = "nst_rt"
    https: bool = False
    link: str | None = None
    fingerprint: str | None = None
    undo: float = 10.0
    instance: str = field(default_factory=lambda: secrets.token_hex(8))
