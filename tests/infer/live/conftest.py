"""A virtual X server, sessions on it, and a scene without motion to show there."""

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streams import free_port, mjpeg_stream
from tools import require_tools
from windows import CLI, SIZE, Session, start_python


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    """Name of a virtual screen."""
    require_tools("Xvfb", "xdotool")
    read, write = os.pipe()
    server = subprocess.Popen(
        # Without -noreset it restarts, and drops new clients, when its last client leaves.
        # Without -r a key that a busy machine is late to release repeats.
        ["Xvfb", "-noreset", "-r", "-displayfd", str(write), "-screen", "0", "1000x700x24"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        yield f":{pipe.readline().strip()}"
    server.terminate()
    server.wait()


@pytest.fixture
def window_manager(screen: str) -> Iterator[None]:
    """A window manager on it; only with one do windows fill the screen, or have the keyboard."""
    require_tools("openbox")
    manager = subprocess.Popen(
        ["openbox"], env={**os.environ, "DISPLAY": screen}, stderr=subprocess.DEVNULL
    )
    yield
    manager.terminate()
    manager.wait()


@pytest.fixture
def xdotool(screen: str) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["xdotool", *arguments],
            env={**os.environ, "DISPLAY": screen},
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stderr, end="")  # shown if the test fails
        return done.stdout.strip()

    return run


@pytest.fixture
def file_limit() -> Iterator[Callable[[int], None]]:
    """Limits the size of files in bytes, as a full disk would, until the test ends."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture(scope="module")
def still(astronaut: Path) -> np.ndarray:
    """A scene without motion."""
    with Image.open(astronaut) as photo:
        return np.asarray(photo.convert("RGB").resize(SIZE))[..., ::-1].copy()


@pytest.fixture
def stream(still: np.ndarray) -> Iterator[str]:
    """URL of a stream of it."""
    with mjpeg_stream(free_port(), still) as url:
        yield url


@pytest.fixture
def start(screen: str, xdotool: Callable[..., str]) -> Iterator[Callable[..., Session]]:
    """Starts sessions of the command line, which end with the test."""
    programs = []

    def started(*arguments: object) -> Session:
        command = ["webcam", *arguments, "--backend", "openvino"]
        programs.append(start_python(screen, CLI, *command))
        return Session(programs[-1], screen, xdotool)

    yield started
    for program in programs:
        program.kill()
        program.communicate()
