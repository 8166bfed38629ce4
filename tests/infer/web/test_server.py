"""The verb web: addresses, tokens, certificates, and cleaning up."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from nst_rt.cli import main
from nst_rt.errors import InputError
from nst_rt.infer.web import server
from nst_rt.infer.web.security import certificate_names, self_signed_certificate
from nst_rt.infer.web.server import Ready, serve
from nst_rt.infer.web.settings import Settings


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "studio.example"])
def test_address_that_others_reach_needs_a_token(
    capsys: pytest.CaptureFixture[str], host: str
) -> None:
    assert main(["web", "--host", host, "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert "--token" in said
    assert "--self-signed" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--token", "short"], "token"),
        (["--tls-cert", "x.pem"], "--tls-key"),
        (["--tls-cert", "x.pem", "--tls-key", "y.pem"], "x.pem"),
        (["--tls-cert", __file__, "--tls-key", __file__], "certificate"),
        (["--self-signed", "--tls-cert", __file__, "--tls-key", __file__], "--self-signed"),
        (["--fps", "-1"], "--fps"),
        (["--viewers", "0"], "--viewers"),
        (["--max-upload", "nan"], "--max-upload"),
        (["--photos", "/no/photos"], "/no/photos"),
        (["--style", "/no/style"], "/no/style"),
        (["--port", "70000"], "65535"),
        (["--host", "localhost.invalid", "--token"], "localhost.invalid"),
    ],
)
def test_invalid_options_are_reported_in_one_line(
    capsys: pytest.CaptureFixture[str], options: list[str], word: str
) -> None:
    assert main(["web", "--port", "0", "--backend", "openvino", *options]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert said.count("\n") == 1


def test_port_in_use_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=str(port)):
            serve(port=port)


@pytest.mark.slow
@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_studio_with_token_and_certificate_opens_and_cleans_up(
    tmp_path: Path, ended_by: signal.Signals
) -> None:
    command = [sys.executable, "-m", "nst_rt", "web", "--host", "0.0.0.0", "--port", "0"]
    command += ["--token", "--self-signed", "--json", "--backend", "openvino"]
    command += ["--results", str(tmp_path / "results")]
    studio = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert studio.stderr is not None
    link = re.search(r"(https://localhost:\d+/)\?token=([\w-]{16})", studio.stderr.readline())
    assert link is not None
    assert str(tmp_path / "results") in studio.stderr.readline()
    [certificate] = tmp_path.rglob("cert.pem")
    assert next(tmp_path.rglob("key.pem")).stat().st_mode & 0o077 == 0
    trusting = ssl.create_default_context(cafile=certificate)
    with httpx2.Client(verify=trusting, follow_redirects=True) as visitor:
        assert visitor.get(link[1]).status_code == 403
        assert visitor.get(link[0]).status_code == 200
        facts = visitor.get(f"{link[1]}api/studio").json()
        titles = {style["name"]: style["title"] for style in facts["styles"]}
        assert "starry_night" in titles
        assert titles["starry_night_classic"] == "Starry night classic"  # same painting
        assert len(set(titles.values())) == len(titles)
        assert facts["results"] == str(tmp_path / "results")  # the browser is on this machine
        assert facts["packaged_photos"] > 0
        assert all(pace["unit"] > 0 for pace in facts["pace"].values())
        jobs = visitor.get(f"{link[1]}api/jobs").json()
        assert jobs["instance"] == facts["instance"]
        assert jobs["styles"] == list(titles)
        album = visitor.post(
            f"{link[1]}api/uploads?kind=album", headers={"Origin": link[1].rstrip("/")}
        )
        assert album.status_code == 200
    studio.send_signal(ended_by)
    output, errors = studio.communicate(timeout=120)
    assert "Traceback" not in errors
    assert list(tmp_path.rglob("nst-rt-web-*")) == []
    assert studio.returncode == 0
    facts = json.loads(output)
    assert facts["links"][0].startswith("https://")
    assert facts["results"] == str(tmp_path / "results")
    assert (tmp_path / "results").stat().st_mode & 0o077 == 0


def test_self_signed_certificate_covers_its_addresses(tmp_path: Path) -> None:
    made = self_signed_certificate(tmp_path, "192.168.1.7")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)
    assert {"localhost", "127.0.0.1", "192.168.1.7"} <= set(certificate_names(made.cert))
    assert re.fullmatch(r"(\w\w:){31}\w\w", made.fingerprint)


Opens = Callable[..., tuple[Ready, Settings]]


class Opened(Exception):
    """Raised to end a studio when it is ready."""


@pytest.fixture
def opened(model: Path, monkeypatch: pytest.MonkeyPatch) -> Opens:
    """What a studio reports when it is ready, and its settings."""
    known: list[Settings] = []
    monkeypatch.setattr(server, "gallery_files", dict)
    monkeypatch.setattr(server, "create_app", lambda shared, settings: known.append(settings))

    def ended(ready: Ready) -> None:
        raise Opened(ready)

    def opened(**options: Any) -> tuple[Ready, Settings]:
        with pytest.raises(Opened) as end:
            serve(port=0, models=[model], backend="torch", on_ready=ended, **options)
        return end.value.args[0], known[-1]

    return opened


@pytest.mark.parametrize(
    ("host", "names", "shown"),
    [
        ("0.0.0.0", ["studio.example.org", "www.example.org"], "studio.example.org"),
        ("0.0.0.0", ["*.example.org", "localhost", "box.lan"], "box.lan"),
        ("127.0.0.1", ["studio.example.org"], "127.0.0.1"),
    ],
)
def test_names_of_the_certificate_are_answered_to_and_linked(
    opened: Opens,
    tmp_path: Path,
    host: str,
    names: list[str],
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = self_signed_certificate(tmp_path)
    monkeypatch.setattr(server, "certificate_names", lambda file: tuple(names))
    ready, settings = opened(host=host, token="", tls_cert=made.cert, tls_key=made.key)
    assert urlsplit(ready.links[0]).hostname == shown
    assert {*names} <= {*settings.names}
    assert ready.camera
    assert settings.https
    assert settings.cookie == f"nst_rt_{urlsplit(ready.links[0]).port}"  # browsers share cookies


def test_link_quotes_the_token(opened: Opens) -> None:
    token = "a+b&c d#e"
    ready, _ = opened(token=token)
    assert parse_qs(urlsplit(ready.links[0]).query) == {"token": [token]}


def test_link_for_other_devices(opened: Opens) -> None:
    ready, settings = opened()
    assert (ready.others, settings.link) == (None, None)
    ready, settings = opened(host="0.0.0.0", token="", self_signed=True)
    assert ready.others == settings.link == ready.links[0]
    assert settings.fingerprint == ready.fingerprint
    kiosk, settings = opened(host="0.0.0.0", token="12345678", kiosk=True)
    assert kiosk.others == kiosk.links[0]
    query = parse_qs(urlsplit(kiosk.links[0]).query, keep_blank_values=True)
    assert query == {"kiosk": [""], "token": ["12345678"]}
    assert "kiosk" not in (settings.link or "kiosk")
    local, _ = opened(kiosk=True)
    assert urlsplit(local.links[0]).query == "kiosk"


def test_qr_code_is_printed_on_a_terminal_for_other_devices(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def printed(others: str | None) -> str:
        def serve(*, on_ready: Callable[[Ready], None], **options: Any) -> None:
            on_ready(Ready(("https://box:1/",), others, None, True, tmp_path))

        monkeypatch.setattr(server, "serve", serve)
        assert main(["web"]) == 0
        return capsys.readouterr().err

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    codes = [printed(others).count("\u2588") for others in (None, "https://box:1/")]
    assert codes[0] == 0 < codes[1]
