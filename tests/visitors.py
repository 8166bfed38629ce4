"""Visitors of a browser studio, with and without a browser."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.testclient import TestClient

from nst_rt.infer.web.settings import Settings

# Not a limit on speed: what has not come by then, on the busiest machine, never will.
PATIENCE = 300.0

T = TypeVar("T")


def settings(folder: Path, **given: Any) -> Settings:
    """Those of a studio whose files are in a folder; what is removed there is so at once."""
    root = folder / "visitors"
    root.mkdir(parents=True, exist_ok=True)
    return Settings(root, folder / "results", **{"undo": 0.0, **given})


class Client(TestClient):
    """A visitor's browser: it says where its page is from, and has opened the page."""

    def __init__(self, app: Any, host: str = "localhost:8765", link: str = "/") -> None:
        super().__init__(app, base_url=f"http://{host}", headers={"Origin": f"http://{host}"})
        self.get(link)

    def live(self, **given: Any) -> Any:
        """The live channel."""
        return self.websocket_connect(f"ws://{self.base_url.netloc.decode()}/api/live", **given)

    def upload(self, file: Path, kind: str = "photo", name: str = "") -> dict[str, Any]:
        """What the studio found in a file."""
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

    def wait(self, job: dict[str, Any], *states: str) -> dict[str, Any]:
        """The job when it has come to one of the states, by default any end."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            [now] = [other for other in self.get("/api/jobs").json() if other["id"] == job["id"]]
            if now["state"] in (states or ("done", "partial", "failed", "cancelled")):
                found: dict[str, Any] = now
                return found
            time.sleep(0.05)
        raise AssertionError(f"waited {PATIENCE:.0f} s for {job}")

    def error(self, status: int, method: str, path: str, **given: Any) -> str:
        """What the studio says when it refuses with that status."""
        answer = self.request(method, path, **given)
        assert answer.status_code == status, answer.text
        reason = answer.json()["error"]
        assert not re.search(r"/tmp|Traceback", reason)
        return str(reason)


def until(condition: Callable[[], T]) -> T:
    """What it gives as soon as that is true."""
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
    """Let browsers reach an application; gives the port."""
    config = uvicorn.Config(
        app, port=port, ws="websockets-sansio", log_level="warning", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()
