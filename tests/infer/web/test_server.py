"""The verb web: addresses, tokens, certificates, and an end that leaves nothing."""

import datetime
import inspect
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
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nst_rt.cli import main
from nst_rt.errors import InputError
from nst_rt.infer.web import server
from nst_rt.infer.web.certificates import names_in, self_signed
from nst_rt.infer.web.checks import Limits
from nst_rt.infer.web.server import Ready, _listening, serve
from nst_rt.infer.web.settings import Settings
from nst_rt.models.style_model import StyleModel


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "studio.example"])
def test_other_addresses_than_this_machines_need_a_token(
    capsys: pytest.CaptureFixture[str], host: str
) -> None:
    assert main(["web", "--host", host, "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert "--token" in said
    assert "HTTPS or localhost" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--token", "short"], "at least 8 characters"),
        (["--tls-cert", "x.pem"], "go together"),
        (["--tls-cert", "x.pem", "--tls-key", "y.pem"], "no such file"),
        (["--tls-cert", __file__, "--tls-key", __file__], "not a certificate"),
        (["--self-signed", "--tls-cert", __file__, "--tls-key", __file__], "another one"),
        (["--fps", "-1"], "0 or more"),
        (["--viewers", "0"], "--viewers must be positive"),
        (["--max-upload", "nan"], "--max-upload must be positive"),
        (["--photos", "/no/photos"], "no such folder"),
        (["--style", "/no/style"], "no such file"),
        (["--port", "70000"], "from 0 to 65535"),
        (["--host", "localhost.invalid", "--token"], "no such address"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    assert main(["web", "--port", "0", "--backend", "openvino", *options]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_the_defaults_in_the_help_are_those_of_the_library(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["web", "--help"])
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    said = dict(re.findall(r"--([\w-]+) \[?\w+\]? (?:(?! --).)*?default: ([\w.]*\w)", text))
    parameters = inspect.signature(serve).parameters
    for name in ("host", "port", "fps"):
        assert str(parameters[name].default).removesuffix(".0") == said[name]
    limits = Limits()
    assert {name: float(said[name]) for name in said.keys() & _LIMITS} == {
        "viewers": limits.viewers,
        "max-upload": limits.upload / 1e6,
        "max-pixels": limits.pixels / 1e6,
        "max-seconds": limits.seconds,
        "storage": limits.storage / 1e9,
    }


_LIMITS = {"viewers", "max-upload", "max-pixels", "max-seconds", "storage"}


def test_a_port_that_is_taken_is_said_to_be() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}: cannot be listened on"):
            serve(port=port)


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
def test_a_studio_with_token_and_certificate_opens_and_ends_without_a_trace(
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
        assert titles["starry_night_classic"] == "Starry night classic"  # the fast one's painting
        assert len(set(titles.values())) == len(titles)
        album = visitor.post(
            f"{link[1]}api/uploads?kind=album", headers={"Origin": link[1].rstrip("/")}
        )
        assert album.status_code == 200
    studio.send_signal(ended_by)
    output, errors = studio.communicate(timeout=120)
    assert "Traceback" not in errors
    assert str(tmp_path / "results") in errors
    assert list(tmp_path.rglob("nst-rt-web-*")) == []
    assert studio.returncode == 0
    facts = json.loads(output)
    assert facts["links"][0].startswith("https://")
    assert facts["results"] == str(tmp_path / "results")
    assert (tmp_path / "results").stat().st_mode & 0o077 == 0


def test_the_certificate_is_for_the_address_that_it_was_made_for(tmp_path: Path) -> None:
    made = self_signed(tmp_path, "192.168.1.7")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)
    assert {"localhost", "127.0.0.1", "192.168.1.7"} <= set(names_in(made.cert))
    assert re.fullmatch(r"(\w\w:){31}\w\w", made.fingerprint)


def vouching(folder: Path, *names: str) -> dict[str, Path]:
    """A certificate as an authority makes one: for these names and no others."""
    key = ec.generate_private_key(ec.SECP256R1())
    nobody = x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(nobody)
        .issuer_name(nobody)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([*map(x509.DNSName, names)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(secret)
    return {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"}


class Opened(Exception):
    """The studio could be opened; it ends with this."""


@pytest.fixture
def opened(
    two_styles: StyleModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Ready, Settings]]:
    """What a studio says when it opens, and how it was set up."""
    model = two_styles.save(tmp_path / "two.safetensors")
    known: list[Settings] = []
    monkeypatch.setattr(server, "gallery", dict)
    monkeypatch.setattr(server, "create_app", lambda engine, settings: known.append(settings))

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
def test_a_certificate_s_names_are_answered_to_and_one_of_them_is_the_link(
    opened: Callable[..., tuple[Ready, Settings]],
    tmp_path: Path,
    host: str,
    names: list[str],
    shown: str,
) -> None:
    ready, settings = opened(host=host, token="", **vouching(tmp_path, *names))
    assert urlsplit(ready.links[0]).hostname == shown
    assert {*names} <= {*settings.names}
    assert ready.camera


def test_a_link_holds_any_token(opened: Callable[..., tuple[Ready, Settings]]) -> None:
    token = "a+b&c d#e"
    ready, _ = opened(token=token)
    assert parse_qs(urlsplit(ready.links[0]).query) == {"token": [token]}


def test_all_networks_of_ipv6_are_those_of_ipv4_too() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 on this machine")
    with _listening("::", 0) as listening:
        port = listening.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), 10).close()
