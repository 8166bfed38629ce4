"""What an attacker may try: each is refused by an answer that the page can read."""

import asyncio
import json
import re
import stat
import zipfile
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image
from starlette.testclient import WebSocketDenialResponse
from visitors import Client, settings

from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.results import Record, Results
from nst_rt.infer.web.security import Guard
from nst_rt.infer.web.stylizers import SharedStylizer

STATIC = Path(str(resources.files("nst_rt.infer.web"))) / "static"
NESTED = "[" * 100_000  # more than a parser of JSON can go into


def png() -> bytes:
    file = BytesIO()
    Image.new("RGB", (40, 30)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/static/nothing.js", 404),
        ("GET", "/api/uploads/0/file", 400),
        ("POST", "/", 405),
        ("PUT", "/api/jobs", 405),
        ("POST", "/api/jobs/0/explode", 400),
        ("POST", "/api/uploads?kind=nothing", 400),
    ],
)
def test_every_refusal_is_json(client: Client, method: str, path: str, status: int) -> None:
    assert "\n" not in client.error(status, method, path)


def test_error_anywhere_is_json_with_strict_headers(
    shared: SharedStylizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a secret")

    client = Client(create_app(shared, settings(tmp_path)))
    monkeypatch.setattr(Guard, "_refusal", fail)
    answer = client.get("/")
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "http://localhost:x", "http://é"])
def test_origin_that_is_no_address_is_refused(client: Client, origin: str) -> None:
    headers = {"Origin": origin.encode()}
    assert "page" in client.error(403, "POST", "/api/jobs", headers=headers)


@pytest.mark.parametrize(
    ("site", "status"),
    [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)],
)
def test_other_pages_get_nothing_even_from_this_machine(
    client: Client, site: str, status: int
) -> None:
    """Another port of this machine is the same site, to which browsers send the cookie."""
    headers = {"Sec-Fetch-Site": site}
    for path in ("/api/uploads", "/api/jobs", "/api/studio", "/api/link"):
        assert client.get(path, headers=headers).status_code == status
    assert client.get("/", headers=headers).status_code == 200  # a link that is followed


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/live", {"Origin": "http://evil.example"}, 403),
        ("/api/live", {"Host": "evil.example"}, 421),
        ("/api/live", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("/api/other", {}, 404),
        ("/nowhere", {}, 403),
    ],
)
def test_refused_live_channel_says_why(
    client: Client, path: str, headers: dict[str, str], status: int
) -> None:
    if path == "/nowhere":
        client.cookies.clear()
    address = f"ws://localhost:8765{path}"
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect(address, headers=headers),
    ):
        pass
    assert refused.value.status_code == status
    assert refused.value.json()["error"]


def test_json_that_is_nested_too_deeply_or_too_long_is_refused(client: Client) -> None:
    assert "JSON" in client.error(400, "POST", "/api/jobs", content=NESTED[:60_000])
    with client.live() as channel:
        for text in (NESTED[:60_000], NESTED, '{"styles": {"x": 1' + "0" * 5000 + "}}"):
            channel.send_text(text)
            error = channel.receive_json()["error"]
            assert error != "internal error"


def test_token_of_other_letters_is_wrong_and_no_error(
    shared: SharedStylizer, tmp_path: Path
) -> None:
    app = create_app(shared, settings(tmp_path, token="correct-horse"))
    for token in ("%C3%A9", "%FF", "%00", "a" * 10_000, "correct-horse%0d%0a"):
        assert Client(app, link="/nowhere").get(f"/?token={token}").status_code == 403


def test_address_without_its_token_stays_here_and_adds_no_header(
    shared: SharedStylizer, tmp_path: Path
) -> None:
    app = create_app(shared, settings(tmp_path, token="correct-horse"))
    for more in ("//evil.example", "x=%0d%0aSet-Cookie:%20a=b", "next=http://evil.example"):
        visitor = Client(app, link="/nowhere")
        answer = visitor.get(f"/?token=correct-horse&{more}", follow_redirects=False)
        assert answer.headers["location"].startswith("/?")
        assert len(answer.headers.get_list("set-cookie")) == 1


def test_wrong_tokens_are_tried_one_after_the_other(
    shared: SharedStylizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(shared, settings(tmp_path, token="correct-horse"))
    trying, most, waited = 0, 0, 0

    async def sleep(seconds: float) -> None:
        nonlocal trying, most, waited
        assert seconds > 0
        trying, waited = trying + 1, waited + 1
        most = max(most, trying)
        for _ in range(10):
            await original(0)
        trying -= 1

    async def guess(token: str) -> int:
        async def receive() -> Any:
            raise AssertionError("nothing is read")

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))

        statuses: list[int] = []
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}
        query = {"query_string": f"token={token}".encode(), "scheme": "http", "server": None}
        await app({**scope, **query}, receive, send)
        return statuses[0]

    async def guess_all() -> list[int]:
        return await asyncio.gather(*map(guess, ["a", "b", "correct-horse", "c", "d"]))

    original = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert asyncio.run(guess_all()) == [403, 403, 303, 403, 403]
    assert (most, waited) == (1, 4)


def test_name_of_a_file_adds_no_header(client: Client) -> None:
    evil = 'a"; filename=b\r\nSet-Cookie: x=1\r\n\r\n<script>.png'
    headers = {"X-Name": quote(evil)}
    found = client.post("/api/uploads?kind=image", content=png(), headers=headers).json()
    assert "\n" not in found["name"]
    answer = client.get(f"/api/uploads/{found['id']}/stylized?style=waves")
    assert "set-cookie" not in answer.headers
    assert re.fullmatch(r"[\w%.-]+", answer.headers["x-name"])


@pytest.mark.parametrize("kind", ["image", "video", "archive"])
@pytest.mark.parametrize(
    "content",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b"<!doctype html><script>alert(1)</script>",
        b"GIF89a/*" + b"\0" * 50 + b"*/=alert(1)",
    ],
    ids=["svg", "html", "gif"],
)
def test_content_that_browsers_run_is_refused(client: Client, kind: str, content: bytes) -> None:
    client.error(400, "POST", f"/api/uploads?kind={kind}", content=content)


def test_foreign_file_among_results_is_downloaded_and_not_opened(
    shared: SharedStylizer, tmp_path: Path
) -> None:
    visitor = Client(create_app(shared, settings(tmp_path)))
    (page := tmp_path / "x.html").write_text("<script>alert(1)</script>")
    record = Record("images", "x", visitor.visitor, "done")
    files = dict.fromkeys(("x.html", "x.svg", "x.js", "x", "image.png"), page)
    Results(tmp_path / "results").keep("a", files, record)
    later = visitor.restarted(create_app(shared, settings(tmp_path)))
    for name in files:
        answer = later.get(f"/api/jobs/a/files/{name}")
        kind = "image/png" if name == "image.png" else "application/octet-stream"
        assert answer.headers["content-type"] == kind
        assert answer.headers["x-content-type-options"] == "nosniff"
    for name in ("..%2f..%2fx.html", "%2e%2e", "result.json", "x.html%00.png"):
        assert later.get(f"/api/jobs/a/files/{name}").status_code == 404


def test_archive_of_links_and_paths_writes_and_reads_nothing_elsewhere(
    client: Client, tmp_path: Path
) -> None:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("good.png", "../../../evil.png", "/tmp/evil.png", "..\\..\\evil.png"):
            archive.writestr(name, png())
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    answer = client.post("/api/uploads?kind=archive", content=packed.getvalue())
    assert answer.is_success
    assert [path.name for path in tmp_path.rglob("*") if path.is_symlink()] == []
    assert list(tmp_path.rglob("*evil*")) == []
    assert not Path("/tmp/evil.png").exists()


def test_page_makes_no_elements_of_texts() -> None:
    """Names of files and titles of styles, which visitors choose, can be no markup."""
    scripts = [file.read_text() for file in STATIC.rglob("*.js")]
    assert len(scripts) > 10
    for script in scripts:
        assert not re.search(r"innerHTML|outerHTML|document\.write|eval\(|new Function", script)
        for given in re.findall(r"insertAdjacentHTML\((.*)", script):
            assert re.fullmatch(r"""["'][^"'`]*["'], '[^'`$]*'\);""", given)  # a constant


def test_titles_of_visitors_are_sent_as_json_only(client: Client) -> None:
    evil = "<img src=x onerror=alert(1)>.png"
    headers = {"X-Name": quote(evil)}
    assert client.post("/api/uploads?kind=image", content=png(), headers=headers).is_success
    answer = client.get("/api/uploads")
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.text)[0]["name"] == evil


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_ids_are_long_and_random_and_those_of_others_are_unknown(
    client: Client, method: str
) -> None:
    ids = {client.post("/api/uploads?kind=image", content=png()).json()["id"] for _ in range(3)}
    assert len(ids) == 3
    other = Client(client.app)
    for id in ids:
        assert re.fullmatch(r"[0-9a-f]{32}", id)
        path = {"GET": "/original", "POST": "/photos", "DELETE": ""}[method]
        unknown = other.request(method, f"/api/uploads/{'0' * 32}{path}")
        known = other.request(method, f"/api/uploads/{id}{path}")
        assert (known.status_code, known.json()) == (unknown.status_code, unknown.json())
