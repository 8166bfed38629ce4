"""Visitors of a browser studio, with and without a browser."""

import json
import os
import re
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import uvicorn
from clips import write_clip
from starlette.applications import Starlette
from starlette.testclient import TestClient

from nst_rt.infer.web.server import server_config
from nst_rt.infer.web.settings import Limits, Settings
from nst_rt.infer.web.stylizers import encode_image

# Seconds, not a limit on speed: what has not happened by then, on the busiest machine, never will.
PATIENCE = float(os.environ.get("NST_RT_PATIENCE", "300"))
LIMITS = Limits(upload=512 * 10**6, storage=4 * 10**9, pixels=50 * 10**6, seconds=600, viewers=4)
# A live frame, smooth, so that JPEG keeps it.
FRAME = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8).repeat(16, 0).repeat(16, 1)
JPEG = encode_image(FRAME)

T = TypeVar("T")


def settings(
    folder: Path, *, undo: float = 0.0, limits: dict[str, Any] | None = None, **given: Any
) -> Settings:
    """Settings of a studio whose files are in a folder and that removes results at once."""
    root = folder / "visitors"
    root.mkdir(parents=True, exist_ok=True)
    changed = replace(LIMITS, **(limits or {}))
    return Settings(root, folder / "results", changed, undo=undo, **given)


def cut_clip(folder: Path) -> Path:
    """A video of which only the first half is there."""

    def noise(number: int) -> np.ndarray:
        return np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)

    clip = write_clip(folder / "cut.mkv", pts=range(0, 512 * 50, 512), picture=noise)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    return clip


class Client(TestClient):
    """A visitor's browser, which sends the Origin of its page and has opened the page."""

    def __init__(self, app: Any, host: str = "localhost:8765", link: str = "/") -> None:
        super().__init__(app, base_url=f"http://{host}", headers={"Origin": f"http://{host}"})
        self.get(link)

    def restarted(self, app: Any) -> "Client":
        """The same browser, which has not opened the page of the next studio yet."""
        later = Client(app, link="/nowhere")
        later.cookies.update(self.cookies)
        return later

    @property
    def visitor(self) -> str:
        """The visitor's id in the cookie."""
        [cookie] = self.cookies.jar
        session = json.loads(b64decode(str(cookie.value).partition(".")[0]))
        return str(session["visitor"])

    def live(self, **given: Any) -> Any:
        """Open the live channel."""
        return self.websocket_connect(f"ws://{self.base_url.netloc.decode()}/api/live", **given)

    def upload(self, file: Path, kind: str = "image", name: str = "") -> dict[str, Any]:
        """Upload a file; returns what the studio found in it."""
        answer = self.post(
            f"/api/uploads?kind={kind}",
            content=file.read_bytes(),
            headers={"X-Name": name or file.name},
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def job(self, **asked: Any) -> dict[str, Any]:
        answer = self.post("/api/jobs", json=asked)
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """The visitor's jobs, oldest first."""
        found: list[dict[str, Any]] = self.get("/api/jobs").json()["jobs"]
        return found

    def wait(self, job: dict[str, Any], *states: str) -> dict[str, Any]:
        """Wait until a job is in one of the states, by default any final one."""

        def there() -> dict[str, Any] | None:
            now: dict[str, Any]
            [now] = [each for each in self.jobs if each["id"] == job["id"]]
            return now if now["state"] in states else None

        states = states or ("done", "partial", "failed", "cancelled")
        found = until(there)
        assert found is not None
        return found

    def error(self, status: int, method: str, path: str, **given: Any) -> str:
        """Send a request that is refused with that status; returns the reason."""
        answer = self.request(method, path, **given)
        assert answer.status_code == status, answer.text
        reason = answer.json()["error"]
        assert not re.search(r"/tmp|Traceback|`|--[a-z]", reason)
        return str(reason)


def until(condition: Callable[[], T]) -> T:
    """Wait for a condition; returns its first true value."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s"
        time.sleep(0.02)
    return found


@dataclass(frozen=True)
class Studio:
    """A studio that listens on this machine."""

    url: str
    root: Path


@contextmanager
def serving(app: Starlette, port: int = 0) -> Iterator[int]:
    """Serve an application for browsers; yields the port."""
    config = server_config(app, port=port, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()
