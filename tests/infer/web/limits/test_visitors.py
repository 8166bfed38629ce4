"""What one visitor may ask for at a time, and those who send slowly or leave."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from visitors import LIMITS, Client, serving, settings, until

from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.limits import visitors
from nst_rt.infer.web.limits.storage import Storage
from nst_rt.infer.web.limits.visitors import InFlight, TooManyError, TooSlowError, steady
from nst_rt.infer.web.originals import Originals
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.infer.web.uploads import _MAX_ALBUMS, Uploads


def png() -> bytes:
    file = BytesIO()
    Image.new("RGB", (40, 30)).save(file, "PNG")
    return file.getvalue()


def test_requests_in_flight_are_limited_for_each_visitor_and_for_all() -> None:
    requests = InFlight("previews", each=2, total=3)
    for _ in range(3):  # they end
        with ExitStack() as stack:
            for visitor in ("me", "me", "you"):
                stack.enter_context(requests.one(visitor))
            for visitor in ("me", "you", "another"):
                with pytest.raises(TooManyError, match="previews"), requests.one(visitor):
                    pass
    assert not requests._counts


def test_oldest_album_makes_room_for_a_new_one_unless_all_are_used(
    client: Client, tmp_path: Path
) -> None:
    other = Client(client.app)
    kept = other.post("/api/uploads?kind=album").json()["id"]
    ids = [client.post("/api/uploads?kind=album").json()["id"] for _ in range(_MAX_ALBUMS + 3)]
    listed = [each["id"] for each in client.get("/api/uploads").json()]
    assert listed == ids[3:]
    assert [each["id"] for each in other.get("/api/uploads").json()] == [kept]
    assert len(list((tmp_path / "visitors").iterdir())) == _MAX_ALBUMS + 1
    image = client.post("/api/uploads?kind=image", content=png())  # of which there may be more
    assert image.is_success


def test_albums_that_are_all_in_use_are_no_more_than_allowed(
    tmp_path: Path, decoders: Decoders
) -> None:
    uploads = Uploads(tmp_path, LIMITS, Storage(10**9), decoders)

    async def fill() -> None:
        for _ in range(_MAX_ALBUMS):
            album = await uploads.new_album("me", "x")
            album.claim("job")
        with pytest.raises(TooManyError):
            await uploads.new_album("me", "x")
        await uploads.new_album("another", "x")

    asyncio.run(fill())


def test_uploads_of_a_visitor_at_once_are_limited(tmp_path: Path, decoders: Decoders) -> None:
    uploads = Uploads(tmp_path, LIMITS, Storage(10**9), decoders)

    async def slow(go: asyncio.Event) -> AsyncIterator[bytes]:
        await go.wait()
        yield png()

    async def send() -> list[Any]:
        go = asyncio.Event()
        album = await uploads.new_album("me", "x")

        def receive(owner: str) -> Any:
            return uploads.receive(slow(go), owner=owner, kind="image", name="x", size=0)

        sent = [asyncio.create_task(receive("me")) for _ in range(8)]
        await asyncio.sleep(0.1)
        with pytest.raises(TooManyError):
            await receive("me")
        with pytest.raises(TooManyError):
            await uploads.receive_into(album, slow(go), 0)
        sent.append(asyncio.create_task(receive("another")))
        await asyncio.sleep(0.1)
        go.set()
        return await asyncio.gather(*sent)

    assert [upload.facts["width"] for upload in asyncio.run(send())] == [40] * 9


def test_too_many_jobs_are_answered_by_429(
    client: Client, astronaut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = threading.Event()
    plan = ("x", lambda job: end.wait(), (), 1.0)
    monkeypatch.setattr("nst_rt.infer.web.routes.jobs.PLANS", {"optimize": lambda *_: plan})
    for _ in range(6):
        client.job(kind="optimize")
    assert "6" in client.error(429, "POST", "/api/jobs", json={"kind": "optimize"})
    end.set()


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Lets all images that are asked for wait for an event."""
    go = threading.Event()
    frame = Originals.frame

    def wait(self: Originals, *given: Any, **settings: Any) -> Any:
        go.wait()
        return frame(self, *given, **settings)

    monkeypatch.setattr(Originals, "frame", wait)
    yield go
    go.set()


@contextmanager
def opened(shared: SharedStylizer, folder: Path) -> Iterator[tuple[httpx2.Client, str]]:
    """A visitor of a real server, and the address of an image that they uploaded."""
    with serving(create_app(shared, settings(folder))) as port:
        base = f"http://localhost:{port}"
        with httpx2.Client(base_url=base, headers={"Origin": base}, timeout=None) as visitor:
            visitor.get("/", follow_redirects=True)
            image = visitor.post("/api/uploads?kind=image", content=png()).json()["id"]
            yield visitor, f"/api/uploads/{image}"


def sent(visitor: httpx2.Client, request: str, body: bytes = b"", **headers: str) -> socket.socket:
    """Send a request of one's own; returns the connection."""
    connection = socket.create_connection(("localhost", visitor.base_url.port or 0))
    cookies = "; ".join(f"{each.name}={each.value}" for each in visitor.cookies.jar)
    known = {"Host": visitor.base_url.netloc.decode(), "Cookie": cookies}
    known |= {"Origin": visitor.headers["Origin"], **headers}
    lines = [f"{request} HTTP/1.1", *(f"{name}: {value}" for name, value in known.items())]
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return connection


def answered(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the answer."""
    with connection, connection.makefile("rb") as file:
        status = int(file.readline().split()[1])
        head = iter(file.readline, b"\r\n")
        [size] = [int(line.split()[1]) for line in head if line.lower().startswith(b"content-len")]
        return status, file.read(size)


def is_refused(connection: socket.socket) -> bool:
    """Whether a request is answered by 429 at once; otherwise it waits."""
    connection.settimeout(0.5)
    try:
        first = connection.recv(16, socket.MSG_PEEK)
    except TimeoutError:
        connection.settimeout(None)
        return False
    assert first.split()[1] == b"429"
    assert json.loads(answered(connection)[1])["error"]
    return True


@pytest.mark.parametrize("path", ["original", "stylized?style=waves&size=32"])
def test_images_that_are_asked_for_at_once_are_limited_and_abandoned_ones_do_not_count(
    shared: SharedStylizer,
    tmp_path: Path,
    waiting: threading.Event,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def few(kind: str, *, each: int, total: int) -> InFlight:
        return InFlight(kind, each=3, total=10)

    monkeypatch.setattr("nst_rt.infer.web.routes.uploads.InFlight", few)
    with opened(shared, tmp_path) as (visitor, address):
        request = f"GET {address}/{path}"
        first, second, third = (sent(visitor, request) for _ in range(3))
        assert not any(map(is_refused, (first, second, third)))
        assert is_refused(sent(visitor, request))
        third.close()  # it has waited for nothing, and another one may come
        last = until(lambda: None if is_refused(fourth := sent(visitor, request)) else fourth)
        waiting.set()
        assert [answered(each)[0] for each in (first, second, last)] == [200] * 3


def test_preview_whose_visitor_left_before_its_turn_is_not_made(
    shared: SharedStylizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, go = [], threading.Event()

    def preview(video: Any, *given: Any, check: Callable[[], None], **more: Any) -> Any:
        made.append(video)
        go.wait()
        until(lambda: check())  # raises an error once it is noticed

    async def checked(self: Uploads, kind: str, path: Path, name: str) -> tuple[Path, Any]:
        return path, {"width": 64, "height": 48, "seconds": 1.0}

    monkeypatch.setattr("nst_rt.infer.web.routes.uploads.preview_video", preview)
    monkeypatch.setattr(Uploads, "_checked", checked)
    with opened(shared, tmp_path) as (visitor, _):
        video = visitor.post("/api/uploads?kind=video", content=b"x").json()["id"]
        request = f"GET /api/uploads/{video}/preview?style=waves"
        connections = [sent(visitor, request) for _ in range(3)]
        assert not any(map(is_refused, connections))
        assert is_refused(sent(visitor, request))
        for connection in connections:
            connection.close()
        go.set()
        until(lambda: not any(each["needed"] for each in visitor.get("/api/uploads").json()))
        assert len(made) == 1


def test_upload_that_stops_ends_and_leaves_nothing(
    shared: SharedStylizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visitors, "STALL_SECONDS", 0.3)
    root = tmp_path / "visitors"
    with opened(shared, tmp_path) as (visitor, _):
        before = sorted(root.rglob("*"))
        album = visitor.post("/api/uploads?kind=album").json()["id"]
        kept = sorted(root.rglob("*"))
        for path in (
            "/api/uploads?kind=image",
            "/api/uploads?kind=archive",
            f"/api/uploads/{album}/photos",
            "/api/jobs",
        ):
            for headers, body in (
                ({"Content-Length": "100000"}, b"a" * 1000),
                ({"Transfer-Encoding": "chunked"}, b"3e8\r\n" + b"a" * 1000 + b"\r\n"),
            ):
                status, answer = answered(sent(visitor, f"POST {path}", body, **headers))
                assert (status, "too slow" in json.loads(answer)["error"]) == (408, True)
        until(lambda: sorted(root.rglob("*")) == kept)
        assert len(kept) == len(before) + 2
        for _ in range(10):  # who leaves is no longer in flight
            sent(visitor, f"POST {path}", **{"Content-Length": "9"}).close()
        until(lambda: visitor.post("/api/uploads?kind=image", content=png()).is_success)


def test_byte_now_and_then_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "STALL_SECONDS", 0.2)

    async def drip() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield b"x"

    async def flow() -> AsyncIterator[bytes]:
        for _ in range(40):
            await asyncio.sleep(0.01)
            yield bytes(2**15)

    async def read(chunks: AsyncIterator[bytes]) -> int:
        return sum([len(chunk) async for chunk in steady(chunks)])

    with pytest.raises(TooSlowError):
        asyncio.run(read(drip()))
    assert asyncio.run(read(flow())) == 40 * 2**15
