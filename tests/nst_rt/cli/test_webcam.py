"""What the verb webcam says."""

import json
from typing import Any

import pytest
from streams import free_port

from nst_rt.cli import main
from nst_rt.infer.live.webcam import LiveReport
from nst_rt.infer.live.webcam import webcam as live


@pytest.mark.parametrize("verb", ["webcam", "video", "image", "photos"])
def test_passwords_of_urls_are_not_shown(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://me:P@ssw0rd@127.0.0.1:{free_port()}/cam?pwd=hidden"
    arguments = {
        "webcam": [url, "--no-window", "--mjpeg", "0"],
        "video": [url, "out.mp4"],
        "image": [url, "-o", "out.png"],
        "photos": [url, "-o", "out.zip"],
    }
    assert main([verb, *arguments[verb]]) == 2
    said = capsys.readouterr()
    assert "127.0.0.1" in said.err
    for secret in ("me:", "ssw0rd", "hidden"):
        assert secret not in said.err + said.out


def test_a_url_too_many_shows_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["webcam", "0", "rtsp://admin:P@ssw0rd@host/live"])
    said = capsys.readouterr().err
    assert "rtsp://host/live" in said
    assert "ssw0rd" not in said


def test_the_report_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def show(source: str, **_: Any) -> LiveReport:
        asked.append(source)
        return LiveReport(0, 0.0, (), "")

    monkeypatch.setattr(live, "stylize_webcam", show)
    url = "rtsp://admin:P@ssw0rd@host/live"
    assert main(["webcam", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"] == "rtsp://host/live"
    assert asked == [url]
