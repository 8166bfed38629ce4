"""Who gets an answer from the studio, and who does not."""

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from visitors import Client, settings

from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.engine import Engine

TOKEN = "correct-horse"


@pytest.fixture
def locked(engine: Engine, tmp_path: Path) -> Starlette:
    return create_app(engine, settings(tmp_path, token=TOKEN))


@pytest.mark.parametrize("link", ["/", "/?token=", "/?token=wrong-horse", "/?token=correct-hors"])
def test_without_the_right_token_nothing_opens(locked: Starlette, link: str) -> None:
    visitor = Client(locked, link=link)
    page = visitor.get(link)
    assert page.status_code == 403
    assert "token" in page.text
    assert not visitor.cookies
    visitor.error(403, "GET", "/api/studio")
    visitor.error(403, "POST", "/api/uploads?kind=photo", content=b"x")
    with pytest.raises(WebSocketDisconnect), visitor.live():
        pass


def test_the_right_token_opens_and_leaves_the_address(locked: Starlette) -> None:
    visitor = Client(locked, link=f"/?token={TOKEN}")
    page = visitor.get(f"/?token={TOKEN}")
    assert page.status_code == 200
    visitor.cookies.clear()
    answer = visitor.get(f"/?token={TOKEN}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert TOKEN not in answer.headers["set-cookie"]
    assert "Max-Age=34560000" in answer.headers["set-cookie"]
    assert visitor.get("/api/studio").status_code == 200


@pytest.mark.parametrize("token", [TOKEN, "wrong-horse"])
def test_a_link_that_is_followed_again_leaves_the_address_and_keeps_the_visitor(
    locked: Starlette, token: str
) -> None:
    visitor = Client(locked, link=f"/?token={TOKEN}")
    again = visitor.get(f"/?token={token}", follow_redirects=False)
    assert (again.status_code, again.headers["location"]) == (303, "/")
    assert "set-cookie" not in again.headers
    assert visitor.get("/").status_code == 200


def test_a_forged_cookie_opens_nothing(locked: Starlette) -> None:
    visitor = Client(locked, link=f"/?token={TOKEN}")
    [cookie] = visitor.cookies.jar
    assert cookie.value
    visitor.cookies.clear()
    for forged in (cookie.value[:-1], "0" * 32 + cookie.value[32:], "", "."):
        visitor.cookies.set(cookie.name, forged)
        visitor.error(403, "GET", "/api/studio")


@pytest.mark.parametrize(("token", "opens"), [(TOKEN, True), ("staple-battery", False)])
def test_the_next_studio_knows_a_visitor_again_but_opens_only_for_its_own_token(
    locked: Starlette, engine: Engine, tmp_path: Path, token: str, opens: bool
) -> None:
    visitor = Client(locked, link=f"/?token={TOKEN}")
    [cookie] = visitor.cookies.jar
    other_results = create_app(engine, settings(tmp_path / "other", token=TOKEN))
    for app, admits in (
        (create_app(engine, settings(tmp_path, token=token)), opens),
        (other_results, False),
    ):
        later = Client(app, link="/nowhere")
        later.cookies.set(cookie.name, cookie.value or "")
        assert (later.get("/api/studio").status_code == 200) == admits
    visitor = Client(create_app(engine, settings(tmp_path, token=token)), link="/nowhere")
    visitor.cookies.set(cookie.name, cookie.value or "")
    visitor.get(f"/?token={token}")
    known = {each.value.partition(".")[0] for each in visitor.cookies.jar if each.value}
    assert known == {str(cookie.value).partition(".")[0]}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8765", 200),
        ("127.0.0.1:8765", 200),
        ("192.168.1.7:8765", 200),
        ("[::1]:8765", 200),
        ("evil.example:8765", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ],
)
def test_only_names_of_this_machine_are_answered_to(client: Client, host: str, status: int) -> None:
    """A foreign name that points here is DNS rebinding."""
    assert client.get("/", headers={"Host": host}).status_code == status


ORIGINS = ["", "null", "http://evil.example", "https://localhost:8765", "http://localhost:8766"]


def test_names_of_the_certificate_are_answered_to(engine: Engine, tmp_path: Path) -> None:
    names = ("studio.example.org", "*.box.example")
    app = create_app(engine, settings(tmp_path, names=names))
    for host, status in (
        ("studio.example.org:8765", 200),
        ("Studio.Box.Example", 200),
        ("example.org", 421),
        ("other.example.org", 421),
        ("box.example", 421),
        ("a.studio.box.example", 421),
    ):
        assert Client(app).get("/", headers={"Host": host}).status_code == status, host


@pytest.mark.parametrize("origin", ORIGINS)
def test_other_pages_can_change_nothing(client: Client, origin: str) -> None:
    client.headers["Origin"] = origin
    for method, path in (
        ("POST", "/api/uploads?kind=photo"),
        ("POST", "/api/jobs"),
        ("DELETE", "/api/jobs/0"),
        ("POST", "/api/jobs/0/cancel"),
    ):
        assert "own page" in client.error(403, method, path)


@pytest.mark.parametrize("origin", ORIGINS)
def test_other_pages_cannot_open_the_live_channel(client: Client, origin: str) -> None:
    with (
        pytest.raises(WebSocketDisconnect),
        client.live(headers={"Origin": origin}),
    ):
        pass


def test_each_answer_tells_browsers_to_be_strict(client: Client) -> None:
    for path in ("/", "/static/app.js", "/api/studio", "/nowhere", "/api/jobs/0/files/x"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_the_page_names_no_other_address() -> None:
    import nst_rt.infer.web

    static = Path(nst_rt.infer.web.__file__).parent / "static"
    names = "http://www.w3.org/"  # name spaces, which nobody fetches
    for file in static.iterdir():
        text = file.read_text().replace(names, "")
        assert "http://" not in text, file
        assert "https://" not in text, file
        assert "//cdn" not in text, file


@pytest.mark.parametrize("path", ["../app.py", "%2e%2e/app.py", "/etc/passwd"])
def test_static_files_are_all_that_is_read(client: Client, path: str) -> None:
    assert client.get(f"/static/{path}").status_code == 404


def test_visitors_do_not_see_one_anothers_files_and_jobs(client: Client, astronaut: Path) -> None:
    photo = client.upload(astronaut)
    other = Client(client.app)
    stylized = f"/api/uploads/{photo['id']}/painted?style=waves&size=64"
    assert client.get(stylized).status_code == 200
    other.error(400, "GET", stylized)
    other.error(400, "DELETE", f"/api/uploads/{photo['id']}")
    job = client.job(kind="optimize", content=photo["id"], style=photo["id"], size=32)
    assert other.get("/api/jobs").json() == []
    for method, what in (("POST", "/cancel"), ("DELETE", ""), ("GET", "/files/picture.png")):
        other.error(400, method, f"/api/jobs/{job['id']}{what}")
    other.error(400, "POST", "/api/jobs", json={"kind": "video", "video": photo["id"]})
    client.post(f"/api/jobs/{job['id']}/cancel")


def test_the_studio_works_for_a_client_that_follows_the_rules(client: Client) -> None:
    facts = client.get("/api/studio").json()
    assert [style["name"] for style in facts["styles"]] == ["waves", "night"]
    assert isinstance(client, TestClient)
