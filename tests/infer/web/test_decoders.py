"""Decoders that crash, hang or need too much memory cost one request, and nothing else."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import crashing
import httpx2
import numpy as np
import psutil
import pytest
from clips import write_clip
from pictures import deep_png
from PIL import Image
from visitors import JPEG, LIMITS, Client, cut_clip, serving, settings, until
from websockets.sync.client import ClientConnection, connect

from nst_rt.errors import InputError, StyleTransferError, VideoError
from nst_rt.infer.video import probe
from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.decoding import conversion, videos
from nst_rt.infer.web.decoding.images import image_frame, whole_image
from nst_rt.infer.web.decoding.pool import Decoders, WorkerError
from nst_rt.infer.web.limits.storage import BLOCK, Storage
from nst_rt.infer.web.routes import live
from nst_rt.infer.web.settings import TooLargeError
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.infer.web.uploads import _CHECKS
from nst_rt.infer.web.work import optimize, video

NIGHT = {"styles": {"night": 1}}
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Decoders]:
    """Decoders of this test alone, with little memory."""
    made = Decoders(tmp_path, replace(LIMITS, pixels=1000))
    yield made
    made.close()
    assert not list(tmp_path.glob("decoded-*"))


@pytest.fixture
def crasher(tmp_path: Path) -> Path:
    """A file at which OpenCV's reader of animated PNGs crashes, but not ours."""
    levels = np.random.default_rng(0).integers(0, 2**16, (32, 48, 4), np.uint16)
    content = bytearray(deep_png(levels, frames=2))
    content[content.rindex(b"fcTL") + 3] = 0xFF
    file = tmp_path / "crasher.png"
    file.write_bytes(content)
    code = "import sys, crashing; crashing.apng_reader(sys.argv[1], None)"
    path = os.pathsep.join(sys.path)
    opened = subprocess.run(
        [sys.executable, "-c", code, str(file)], env={**os.environ, "PYTHONPATH": path}
    )
    if opened.returncode != -signal.SIGSEGV:
        pytest.skip("this OpenCV does not crash")
    return file


def process_of(decoders: Decoders) -> int:
    return decoders.run("x", os.getpid)


def test_file_that_crashes_a_decoder_is_refused_in_one_line(
    decoders: Decoders, crasher: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = process_of(decoders)
    with pytest.raises(InputError, match=r"crasher\.png.*SIGSEGV") as refusal:
        decoders.run(crasher, partial(crashing.apng_reader, crasher, LIMITS))
    assert "\n" not in str(refusal.value)
    assert [each.levelno for each in caplog.records] == [logging.WARNING]
    assert process_of(decoders) not in (before, os.getpid())
    with pytest.raises(InputError, match="checksum"):  # our own loaders avoid that reader
        decoders.run(crasher, partial(whole_image, crasher))


def test_others_go_on_beside_a_crash(own: Decoders) -> None:
    with ThreadPoolExecutor(6) as visitors:
        others = [visitors.submit(own.run, "x", partial(crashing.work, 1.0)) for _ in range(3)]
        bad = [visitors.submit(own.run, "bad", crashing.crash) for _ in range(3)]
        assert [type(each.exception()) for each in bad] == [InputError] * 3
        assert len({each.result() for each in others}) == 3


def test_task_that_takes_too_long_is_refused(own: Decoders) -> None:
    with pytest.raises(InputError, match=r"x\.jpg.*0\.2 s"):
        own.run("x.jpg", crashing.hang, seconds=0.2)
    assert process_of(own)


@ON_LINUX
def test_task_that_needs_too_much_memory_is_refused(own: Decoders, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="memory"):
        own.run("x", crashing.devour)
    Image.new("RGB", (60_000, 3000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 10**6
    with pytest.raises(InputError, match="memory"):
        own.run("bomb.png", partial(image_frame, tmp_path / "bomb.png", 512))
    assert process_of(own)


@pytest.mark.parametrize("wait", [0.0, 0.5])  # noticed when a task comes, or before
def test_process_that_is_killed_is_replaced(own: Decoders, wait: float) -> None:
    for _ in range(3):
        before = process_of(own)
        os.kill(before, signal.SIGKILL)
        with ThreadPoolExecutor() as other:
            other.submit(crashing.work, wait).result()
        assert process_of(own) != before


def test_signal_to_all_processes_of_the_studio_refuses_nothing(
    own: Decoders, tmp_path: Path
) -> None:
    """As service managers send it: the studio then ends jobs in its own order."""
    told = tmp_path / "told"
    with ThreadPoolExecutor() as visitors:
        running = visitors.submit(own.run, "x", partial(crashing.tell_and_work, told))
        os.kill(until(lambda: told.exists() and int(told.read_text() or 0)), signal.SIGTERM)
        assert running.result() == 2


def test_processes_are_replaced_after_some_tasks(tmp_path: Path) -> None:
    decoders = Decoders(tmp_path, LIMITS, workers=1, tasks=2)
    used = [process_of(decoders) for _ in range(4)]
    decoders.close()
    assert (used[0], used[2]) == (used[1], used[3])
    assert used[0] != used[2]


def test_results_are_those_of_the_function(own: Decoders, tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (40, 50, 4), np.uint8)
    Image.fromarray(levels).save(tmp_path / "x.png")
    frame, alpha = own.run("x", partial(whole_image, tmp_path / "x.png"))
    assert alpha is not None
    np.testing.assert_array_equal(alpha, levels[:, :, 3].astype(int) * 257)
    np.testing.assert_array_equal(frame, whole_image(tmp_path / "x.png")[0])
    frame[:] = 0  # writable
    with pytest.raises(VideoError, match=r"x\.png"):
        own.run("x", partial(probe, tmp_path / "x.png"))
    with pytest.raises(WorkerError, match="ZeroDivisionError"):
        own.run("x", crashing.fail)


@ON_LINUX
def test_temporary_files_of_workers_have_room_and_no_more(tmp_path: Path) -> None:
    storage = Storage(10 * BLOCK)
    decoders = Decoders(tmp_path, LIMITS, workers=1, storage=storage)
    zeros = partial(np.zeros, 8 * BLOCK, np.uint8)
    assert decoders.run("x", zeros, writes=8 * BLOCK).nbytes == 8 * BLOCK
    with pytest.raises(TooLargeError):
        decoders.run("x", zeros, writes=10 * BLOCK)
    with pytest.raises(InputError, match="large"):
        decoders.run("x", zeros, writes=7 * BLOCK)
    assert decoders.run("x", zeros).nbytes == 8 * BLOCK  # the limit was that of one task
    decoders.close()
    assert storage.total == 0


@ON_LINUX
def test_part_of_a_video_is_no_larger_than_the_room_for_it(own: Decoders, tmp_path: Path) -> None:
    clip, part = cut_clip(tmp_path), tmp_path / "part.mp4"
    write = partial(videos.write_clip, clip, part, start=0, seconds=2, size=64)
    own.run("x", write)
    whole = part.stat().st_size
    part.unlink()
    before = set(tmp_path.iterdir())
    with pytest.raises(StyleTransferError, match="large"):
        own.run("x", partial(write, most=whole // 2))
    assert sum(file.stat().st_size for file in set(tmp_path.iterdir()) - before) <= whole // 2


def test_closing_refuses_what_runs_and_what_comes(tmp_path: Path) -> None:
    decoders = Decoders(tmp_path, LIMITS, workers=1)
    process = process_of(decoders)
    with ThreadPoolExecutor() as visitors:
        running, waiting = (visitors.submit(decoders.run, "x", crashing.hang) for _ in range(2))
        until(running.running)
        decoders.close()
        for each in (running, waiting):
            with pytest.raises(InputError, match="closing"):
                each.result()
    with pytest.raises(InputError, match="closing"):
        process_of(decoders)
    until(lambda: not psutil.pid_exists(process))


def test_studio_that_closes_does_not_wait_for_a_decoder(
    shared: SharedStylizer, tmp_path: Path, astronaut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next studio names the job that waited for it."""
    monkeypatch.setattr(optimize, "image_values", crashing.hang_at)
    app = create_app(shared, settings(tmp_path))
    with Client(app) as client:
        image = client.upload(astronaut)["id"]
        client.job(kind="optimize", content=image, style_image=image)
        until(lambda: list((tmp_path / "visitors").rglob("*.busy")))
    with client.restarted(create_app(shared, settings(tmp_path))) as later:
        later.get("/")
        [job] = later.jobs
    assert job["state"] == "failed"
    assert "ended" in job["error"]


@pytest.mark.slow
@ON_LINUX
def test_processes_end_with_a_studio_that_is_killed(tmp_path: Path) -> None:
    """Busy or not; and its main program, which serves at once, is not run again by them."""
    script = tmp_path / "studio.py"
    script.write_text(
        "import os, threading, time\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        "from nst_rt.infer.web.decoding.pool import Decoders\n"
        "from nst_rt.infer.web.settings import Limits\n"
        f"decoders = Decoders(Path({str(tmp_path)!r}), Limits(1, 1, 1, 1, 1))\n"
        "nap = partial(time.sleep, 3600)\n"
        "threading.Thread(target=decoders.run, args=('x', nap), daemon=True).start()\n"
        "print(decoders.run('x', os.getpid), flush=True)\n"
        "time.sleep(3600)\n"
    )
    folder = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((folder, *sys.path))}
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment
    ) as studio:
        assert studio.stdout is not None
        idle = int(studio.stdout.readline())
        # Two, the one that they were forked from, and the one that counts their locks.
        found = until(lambda: four_children(studio.pid))
        studio.kill()
        assert studio.stdout.read() == ""
    assert idle in {each.pid for each in found}
    until(lambda: not any(each.is_running() for each in found))


def four_children(process: int) -> list[psutil.Process] | None:
    found = psutil.Process(process).children(recursive=True)
    return found if len(found) == 4 else None


@contextmanager
def visitor(port: int) -> Iterator[httpx2.Client]:
    origin = f"http://localhost:{port}"
    with httpx2.Client(base_url=origin, headers={"Origin": origin}, timeout=60) as opened:
        opened.get("/")
        yield opened


@contextmanager
def live_channel(port: int, of: httpx2.Client) -> Iterator[ClientConnection]:
    cookies = "; ".join(f"{name}={value}" for name, value in of.cookies.items())
    headers = {"Origin": f"http://localhost:{port}", "Cookie": cookies}
    with connect(f"ws://localhost:{port}/api/live", additional_headers=headers) as channel:
        yield channel


def answered(channel: ClientConnection, frame: bytes) -> bytes | dict[str, Any]:
    """What a live frame is answered with: another frame, or an error."""
    channel.send(frame)
    while True:
        answer = channel.recv(60)
        if isinstance(answer, bytes):
            return answer
        told: dict[str, Any] = json.loads(answer)
        if "error" in told:
            return told


def test_studio_answers_all_others_after_a_crash(
    shared: SharedStylizer,
    tmp_path: Path,
    astronaut: Path,
    crasher: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "decode_jpeg", crashing.frame)
    app = create_app(shared, settings(tmp_path, fps=0))
    with serving(app) as port, visitor(port) as me, visitor(port) as other:
        photo = other.post("/api/uploads?kind=image", content=astronaut.read_bytes()).json()
        shown = f"/api/uploads/{photo['id']}/stylized?style=waves&size=64"
        with live_channel(port, other) as channel, live_channel(port, me) as mine:
            assert isinstance(answered(channel, JPEG), bytes)
            monkeypatch.setitem(_CHECKS, "image", crashing.apng_reader)
            for _ in range(2):
                refused = me.post(
                    "/api/uploads?kind=image",
                    content=crasher.read_bytes(),
                    headers={"X-Name": "crasher.png"},
                )
                assert refused.status_code == 400
                reason = refused.json()["error"]
                assert "crasher.png" in reason
                assert "\n" not in reason
                assert str(tmp_path) not in reason
                assert isinstance(answered(channel, JPEG), bytes)
                lost = answered(mine, b"short")
                assert isinstance(lost, dict)
                assert lost["lost"]
                assert isinstance(answered(mine, JPEG), bytes)
                assert other.get(shown).status_code == 200
        assert me.get("/api/uploads").json() == []
        assert len(other.get("/api/uploads").json()) == 1


def test_video_that_crashes_its_process_is_a_failed_job(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = client.upload(write_clip(tmp_path / "a clip.mp4"), "video")
    with monkeypatch.context() as patched:
        patched.setattr(conversion, "_work", crashing.convert)
        failed = client.wait(client.job(kind="video", video=clip["id"], choice=NIGHT))
    assert (failed["state"], failed["files"]) == ("failed", {})
    assert "a clip.mp4" in failed["error"]
    assert "SIGSEGV" in failed["error"]
    done = client.wait(client.job(kind="video", video=clip["id"], choice=NIGHT))
    assert done["state"] == "done"


def test_video_that_keeps_its_process_busy_is_a_failed_job(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = client.upload(write_clip(tmp_path / "a clip.mp4"), "video")
    monkeypatch.setattr(conversion, "_SILENT_SECONDS", 0.5)
    monkeypatch.setattr(conversion, "_work", crashing.convert_for_ever)
    failed = client.wait(client.job(kind="video", video=clip["id"], choice=NIGHT))
    assert failed["state"] == "failed"
    assert "a clip.mp4" in failed["error"]


def test_cancelling_a_video_ends_its_process(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    monkeypatch.setattr(video, "lower_priority", started.append)
    monkeypatch.setattr(conversion, "_work", crashing.convert_for_ever)
    clip = client.upload(write_clip(tmp_path / "a clip.mp4"), "video")
    job = client.job(kind="video", video=clip["id"], choice=NIGHT)
    until(lambda: started)
    client.post(f"/api/jobs/{job['id']}/cancel")
    assert client.wait(job)["state"] == "cancelled"
    assert not psutil.pid_exists(started[0])


def test_photo_to_train_on_is_rewritten_at_the_size_that_training_needs(
    client: Client, tmp_path: Path
) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (800, 1200, 4), np.uint8)
    Image.fromarray(levels).save(tmp_path / "photo.png")
    album = client.post("/api/uploads?kind=album").json()["id"]
    content = (tmp_path / "photo.png").read_bytes()
    assert client.post(f"/api/uploads/{album}/photos", content=content).status_code == 200
    [file] = (path for path in (tmp_path / "visitors").rglob("*") if path.is_file())
    with Image.open(file) as photo:
        assert (photo.format, photo.size, photo.mode) == ("JPEG", (864, 576), "RGB")
