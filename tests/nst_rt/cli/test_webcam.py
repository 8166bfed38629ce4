import json
from typing import Any

import pytest
from streams import free_port

from nst_rt.cli import main
from nst_rt.infer.live import camera, webcam
from nst_rt.infer.live.webcam import LiveResult

SECRETS = ("admin", "ssw0rd", "hidden")


@pytest.mark.parametrize(
    "arguments",
    [
        ("webcam", "{url}", "--no-window", "--mjpeg", "0"),
        ("video", "{url}", "out.mp4"),
        ("image", "{url}", "-o", "out.png"),
    ],
)
def test_errors_show_no_passwords(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://admin:P@ssw0rd@127.0.0.1:{free_port()}/cam?pwd=hidden"
    assert main([argument.format(url=url) for argument in arguments]) == 2
    said = capsys.readouterr()
    assert "127.0.0.1" in said.err
    assert not any(secret in said.err + said.out for secret in SECRETS)


def test_usage_errors_show_no_passwords(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["webcam", "0", "rtsp://admin:P@ssw0rd@host/live"])
    said = capsys.readouterr().err
    assert "rtsp://host/live" in said
    assert not any(secret in said for secret in SECRETS)


def test_options_reach_the_library_and_the_report_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {}

    def stylize(source: str, **options: Any) -> LiveResult:
        given.update(options, source=source)
        return LiveResult(50, 2.0, ("out.mp4",), "torch f32 on cpu")

    monkeypatch.setattr(webcam, "stylize_webcam", stylize)
    url = "rtsp://admin:P@ssw0rd@host/live"
    options = ["--no-window", "--size", "640x480", "--style", "udnie", "--no-mirror", "--fps", "0"]
    options += ["--fullscreen", "--rotate", "2.5", "--loop"]
    assert main(["webcam", url, *options, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["source"] == "rtsp://host/live"
    assert (facts["frames"], facts["backend"]) == (50, "torch f32 on cpu")
    del given["on_output"]
    expected = {"window": False, "size": (640, 480), "style": "udnie", "mirror": False, "fps": 0}
    expected |= {"fullscreen": True, "rotate": 2.5, "loop": True}
    assert given == {"source": url, **expected}
    given.clear()
    options = ["--style-image", "a.jpg=0.7,b.jpg=0.3", "--minutes", "2", "--photos", "mine/"]
    options += ["--style-size", "384", "--style-weight", "5", "--from", "udnie"]
    assert main(["webcam", *options, "--save-style", "out.safetensors"]) == 0
    del given["on_output"]
    expected = {"source": "0", "style_image": "a.jpg=0.7,b.jpg=0.3", "minutes": 2.0}
    expected |= {"photos": "mine/", "style_size": 384, "style_weight": 5.0}
    assert given == expected | {"start_from": "udnie", "save_style": "out.safetensors"}
    capsys.readouterr()
    assert main(["webcam"]) == 0
    assert given["source"] == "0"
    assert capsys.readouterr().out.splitlines()[1:] == ["out.mp4"]


@pytest.mark.parametrize(
    ("cameras", "text"), [({0: "Front", 2: "Back"}, "0: Front\n2: Back\n"), ({}, None)]
)
def test_cameras_are_listed(
    cameras: dict[int, str],
    text: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(camera, "list_cameras", lambda: cameras)
    assert main(["webcam", "--list"]) == 0
    assert capsys.readouterr().out == (text or f"{camera.NO_CAMERA}\n")
    assert main(["webcam", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["cameras"]
    assert {each["index"]: each["name"] for each in listed} == cameras
