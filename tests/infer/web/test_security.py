"""Who gets an answer from the studio, and who does not."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from starlette.applications import Starlette
from starlette.websockets import WebSocketDisconnect
from visitors import Client, settings

from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.stylizers import SharedStylizer

TOKEN = "correct-horse"


@pytest.fixture
def locked(shared: SharedStylizer, tmp_path: Path) -> Starlette:
    return create_app(shared, settings(tmp_path, token=TOKEN))


@pytest.mark.parametrize("link", ["/", "/?token=", "/?token=wrong-horse", "/?token=correct-hors"])
def test_nothing_opens_without_the_right_token(locked: Starlette, link: str) -> None:
    visitor = Client(locked, link=link)
    page = visitor.get(link)
    assert page.status_code == 403
    assert "token" in page.text
    assert not visitor.cookies
    visitor.error(403, "GET", "/api/studio")
    visitor.error(403, "POST", "/api/uploads?kind=image", content=b"x")
    with pytest.raises(WebSocketDisconnect), visitor.live():
        pass


def test_token_is_exchanged_for_a_cookie_and_leaves_the_address(locked: Starlette) -> None:
    visitor = Client(locked, link="/nowhere")
    answer = visitor.get(f"/?token={TOKEN}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "max-age=34560000" in cookie
    assert TOKEN not in cookie
    assert visitor.get("/").status_code == 200
    assert visitor.get("/api/studio").status_code == 200


@pytest.mark.parametrize("https", [False, True])
def test_cookie_is_secure_over_https(shared: SharedStylizer, tmp_path: Path, https: bool) -> None:
    visitor = Client(create_app(shared, settings(tmp_path, https=https)), link="/nowhere")
    answer = visitor.get("/", follow_redirects=False)
    assert ("secure" in answer.headers["set-cookie"].lower()) == https


@pytest.mark.parametrize("token", [TOKEN, "wrong-horse"])
def test_link_that_is_followed_again_keeps_the_visitor(locked: Starlette, token: str) -> None:
    visitor = Client(locked, link=f"/?token={TOKEN}")
    again = visitor.get(f"/?token={token}", follow_redirects=False)
    assert (again.status_code, again.headers["location"]) == (303, "/")
    assert "set-cookie" not in again.headers
    assert visitor.get("/").status_code == 200


def test_forged_cookie_opens_nothing(locked: Starlette) -> None:
    visitor = Client(locked, link=f"/?token={TOKEN}")
    [cookie] = visitor.cookies.jar
    value = str(cookie.value)
    visitor.cookies.clear()
    session, _, signature = value.partition(".")
    for forged in (value[:-1], f"e30=.{signature}", f"{session}.", session, "", "."):
        visitor.cookies.set(cookie.name, forged)
        visitor.error(403, "GET", "/api/studio")


@pytest.mark.parametrize(("token", "opens"), [(TOKEN, True), ("staple-battery", False)])
def test_next_studio_recognizes_a_visitor_but_opens_for_its_own_token_only(
    locked: Starlette, shared: SharedStylizer, tmp_path: Path, token: str, opens: bool
) -> None:
    visitor = Client(locked, link=f"/?token={TOKEN}")
    later = visitor.restarted(create_app(shared, settings(tmp_path, token=token)))
    assert (later.get("/api/studio").status_code == 200) == opens
    later.get(f"/?token={token}")
    assert later.get("/api/studio").status_code == 200
    assert later.visitor == visitor.visitor


def test_cookie_of_another_results_folder_opens_nothing(
    locked: Starlette, shared: SharedStylizer, tmp_path: Path
) -> None:
    [cookie] = Client(locked, link=f"/?token={TOKEN}").cookies.jar
    app = create_app(shared, settings(tmp_path / "other", token=TOKEN))
    other = Client(app, link=f"/?token={TOKEN}")
    [own] = other.cookies.jar
    other.cookies.clear()
    other.cookies.set(own.name, str(cookie.value))
    other.error(403, "GET", "/api/studio")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8765", 200),
        ("127.0.0.1:8765", 200),
        ("192.168.1.7:8765", 200),
        ("[::1]:8765", 200),
        ("studio.example.org:8765", 200),
        ("Studio.Box.Example", 200),
        ("evil.example:8765", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("example.org", 421),
        ("other.example.org", 421),
        ("box.example", 421),
        ("a.studio.box.example", 421),
    ],
)
def test_host_must_be_an_address_or_a_name_of_this_machine_or_its_certificate(
    shared: SharedStylizer, tmp_path: Path, host: str, status: int
) -> None:
    """A foreign name that points here is DNS rebinding."""
    names = ("studio.example.org", "*.box.example")
    client = Client(create_app(shared, settings(tmp_path, names=names)))
    assert client.get("/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    "origin",
    ["", "null", "http://evil.example", "https://localhost:8765", "http://localhost:8766"],
)
def test_other_pages_can_change_nothing_and_open_no_live_channel(
    client: Client, origin: str
) -> None:
    client.headers["Origin"] = origin
    for method, path in (
        ("POST", "/api/uploads?kind=image"),
        ("POST", "/api/jobs"),
        ("DELETE", "/api/jobs/0"),
        ("POST", "/api/jobs/0/cancel"),
    ):
        assert "own page" in client.error(403, method, path)
    with pytest.raises(WebSocketDisconnect), client.live(headers={"Origin": origin}):
        pass


@pytest.mark.parametrize(
    "path", ["/", "/static/app.js", "/api/studio", "/nowhere", "/api/jobs/0/files/x"]
)
def test_every_answer_has_strict_headers(client: Client, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["../app.py", "%2e%2e/app.py", "/etc/passwd"])
def test_only_static_files_are_served(client: Client, path: str) -> None:
    assert client.get(f"/static/{path}").status_code == 404


def test_uploads_and_jobs_belong_to_their_visitor(client: Client, astronaut: Path) -> None:
    image = client.upload(astronaut)
    other = Client(client.app)
    stylized = f"/api/uploads/{image['id']}/stylized?style=waves&size=64"
    assert client.get(stylized).status_code == 200
    other.error(400, "GET", stylized)
    other.error(400, "DELETE", f"/api/uploads/{image['id']}")
    job = client.job(kind="optimize", content=image["id"], style_image=image["id"], size=32)
    assert other.jobs == []
    for method, what in (("POST", "/cancel"), ("DELETE", ""), ("GET", "/files/image.png")):
        other.error(400, method, f"/api/jobs/{job['id']}{what}")
    other.error(400, "POST", "/api/jobs", json={"kind": "video", "video": image["id"]})
    client.post(f"/api/jobs/{job['id']}/cancel")


def test_link_with_the_token_is_for_those_who_were_let_in(
    shared: SharedStylizer, tmp_path: Path
) -> None:
    link = f"https://studio.example:8765/?token={TOKEN}"
    given = settings(tmp_path, token=TOKEN, link=link, fingerprint="AB:CD")
    app = create_app(shared, given)
    stranger, visitor = Client(app), Client(app, link=f"/?kiosk&token={TOKEN}")
    for path in ("/api/link", "/api/link.svg"):
        assert TOKEN not in stranger.error(403, "GET", path)
    known = visitor.get("/api/link").json()
    assert known == {"link": link, "camera": False, "fingerprint": "AB:CD"}
    code = visitor.get("/api/link.svg")
    assert code.headers["content-type"] == "image/svg+xml"
    assert ElementTree.fromstring(code.text).tag.endswith("svg")
    kiosk = visitor.get(f"/?kiosk&token={TOKEN}", follow_redirects=False)
    assert "kiosk" in kiosk.headers["location"]
    assert visitor.get("/?kiosk").text != visitor.get("/").text
    here = Client(create_app(shared, settings(tmp_path)))
    assert here.get("/api/link").json()["link"] is None
    here.error(404, "GET", "/api/link.svg")
