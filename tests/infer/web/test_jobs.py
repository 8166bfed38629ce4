"""Long work: watched, stopped, cancelled, found again; and what each kind of it gives."""

import sys
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from clips import write_clip
from PIL import Image
from visitors import Client, settings, until

from nst_rt.errors import InputError
from nst_rt.infer.web import works
from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.checks import Limits
from nst_rt.infer.web.engine import Engine
from nst_rt.infer.web.jobs import Job, Jobs
from nst_rt.infer.web.storage import Results


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path, Results(tmp_path / "results"), limit=3, undo=0)


def waits_for(event: threading.Event) -> Callable[[Job], None]:
    """Work that ends when it is told to, or cancelled."""

    def work(job: Job) -> None:
        (job.folder / "half.txt").write_text("half")
        while not event.wait(0.01):
            job.report(0.5, "half")

    return work


def test_jobs_run_one_after_the_other(jobs: Jobs) -> None:
    go, order = threading.Event(), []
    first = jobs.submit("video", "1", "me", waits_for(go))
    later = [jobs.submit("video", n, "me", lambda job: order.append(job.title)) for n in "23"]
    assert [job.state for job in later] == ["waiting", "waiting"]
    go.set()
    jobs.close()
    assert first.state == "done"
    assert order == [] or order == ["2"] or order == ["2", "3"]


def test_a_cancelled_job_leaves_nothing_and_lets_the_next_one_run(
    jobs: Jobs, tmp_path: Path
) -> None:
    never, done = threading.Event(), threading.Event()
    first = jobs.submit("video", "1", "me", waits_for(never))
    waiting = jobs.submit("video", "2", "me", waits_for(never))
    last = jobs.submit("video", "3", "me", lambda job: done.set())
    waiting.stop(keep=False)
    assert waiting.state == "cancelled"
    first.stop(keep=False)
    assert done.wait(60)
    jobs.close()
    assert (first.state, last.state) == ("cancelled", "done")
    assert list(tmp_path.rglob("half.txt")) == []


def test_a_job_that_fails_says_why_and_lets_the_next_one_run(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(job: Job) -> None:
        raise InputError(f"{job.folder}/x.mp4: not good")

    def breaks(job: Job) -> None:
        raise ZeroDivisionError

    done = threading.Event()
    failed = [jobs.submit("video", "1", "me", work) for work in (fails, breaks)]
    jobs.submit("video", "3", "me", lambda job: done.set())
    assert done.wait(60)
    jobs.close()
    assert [job.state for job in failed] == ["failed", "failed"]
    assert failed[0].error == "x.mp4: not good"
    assert failed[1].error == "internal error"
    assert "ZeroDivisionError" in caplog.text


def test_cancelling_can_be_taken_back_for_a_while(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path, Results(tmp_path / "results"), limit=3, undo=3600)
    go = threading.Event()
    running = jobs.submit("video", "1", "me", waits_for(go))
    waiting = jobs.submit("video", "2", "me", waits_for(go))
    for job in (running, waiting):
        jobs.cancel(job)
        assert job.describe()["stopping"]
        assert job.active
    jobs.take_back(waiting)
    assert not waiting.describe()["stopping"]
    go.set()
    until(lambda: not waiting.active)
    # The first one ended before it was cancelled, and is not hidden as if it had been removed.
    assert [job.state for job in jobs.of("me")] == ["done", "done"]
    jobs.close()


def test_what_is_cancelled_and_not_taken_back_ends(jobs: Jobs) -> None:
    never = threading.Event()
    running, waiting = (jobs.submit("video", n, "me", waits_for(never)) for n in "12")
    for job in (waiting, running):
        jobs.cancel(job)
        until(lambda job=job: not job.active)  # type: ignore[misc]
        assert job.state == "cancelled"
    jobs.close()


def test_a_visitor_can_have_so_many_jobs_and_no_more(jobs: Jobs) -> None:
    never = threading.Event()
    for _ in range(3):
        jobs.submit("video", "x", "me", waits_for(never))
    with pytest.raises(InputError, match="3 jobs"):
        jobs.submit("video", "x", "me", waits_for(never))
    jobs.submit("video", "x", "another", waits_for(never))
    jobs.close()


def test_a_video_is_painted_and_can_be_played_from_anywhere(client: Client, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a clip.mp4", audio="aac")
    video = client.upload(clip, "video")
    assert video["width"] == 64
    job = client.job(kind="video", video=video["id"], look={"styles": {"night": 1}})
    assert job["title"] == "a clip.mp4, night"
    done = client.wait(job)
    assert done["state"] == "done", done
    address = f"/api/jobs/{job['id']}/files/video.mp4"
    with av.open(BytesIO(client.get(address).content)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 25
        assert container.streams.audio[0].codec_context.name == "aac"
    part = client.get(address, headers={"Range": "bytes=0-99"})
    assert (part.status_code, len(part.content)) == (206, 100)
    assert client.delete(f"/api/jobs/{job['id']}").status_code == 200
    assert client.get("/api/jobs").json() == []
    until(lambda: client.get(address).status_code == 400)
    until(lambda: not [*(tmp_path / "results").glob("*/*")])


def test_a_video_that_is_cut_off_is_done_in_part(client: Client, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "whole.mkv", pts=range(0, 512 * 50, 512), picture=noise)
    content = clip.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) // 2])
    video = client.upload(tmp_path / "cut.mkv", "video")
    job = client.job(kind="video", video=video["id"], look={"styles": {"night": 1}})
    done = client.wait(job)
    assert done["state"] == "partial", done
    assert "cut.mkv" in done["error"]
    assert str(tmp_path) not in done["error"]
    content = client.get(f"/api/jobs/{done['id']}/files/video.mp4").content
    with av.open(BytesIO(content)) as container:
        assert 0 < sum(1 for _ in container.decode(video=0)) < 50


def noise(number: int) -> np.ndarray:
    """A frame that takes many bytes."""
    return np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)


def test_sound_that_mp4_cannot_hold_is_encoded_again(client: Client, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", pts=range(0, 1280, 128), audio="mp2")
    video = client.upload(clip, "video")
    done = client.wait(client.job(kind="video", video=video["id"], look={"styles": {"waves": 1}}))
    assert (done["state"], list(done["files"])) == ("done", ["video.mp4"])
    content = client.get(f"/api/jobs/{done['id']}/files/video.mp4").content
    with av.open(BytesIO(content)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"


def test_a_video_that_hides_its_length_is_stopped_at_the_limit(
    engine: Engine, tmp_path: Path
) -> None:
    """As those that browsers record do."""
    clip = tmp_path / "live.mkv"
    with av.open(str(clip), "w", format="matroska", options={"live": "1"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(40):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))
    with Client(create_app(engine, settings(tmp_path, limits=Limits(seconds=1)))) as client:
        video = client.upload(clip, "video")
        if video["seconds"] is not None:
            pytest.fail(f"the clip tells its length: {video}")
        job = client.job(kind="video", video=video["id"], look={"styles": {"waves": 1}})
        done = client.wait(job)
    assert (done["state"], done["files"]) == ("failed", {})


def test_an_optimization_is_watched_and_stopped_with_what_there_is(
    client: Client, astronaut: Path, painting: Path
) -> None:
    content, style = client.upload(astronaut), client.upload(painting)
    job = client.job(kind="optimize", content=content["id"], style=style["id"], size=64)
    assert job["title"] == "astronaut.png as swirls.jpg"
    while not (now := client.wait(job, "running", "done", "failed"))["curve"]:
        assert now["state"] == "running", now
    assert "still needs it" in client.error(400, "DELETE", f"/api/uploads/{content['id']}")
    client.post(f"/api/jobs/{job['id']}/stop")
    done = client.wait(job)
    assert done["state"] == "done", done
    assert all(len(point) == 3 for point in done["curve"])
    picture = client.get(f"/api/jobs/{job['id']}/files/picture.png")
    assert Image.open(BytesIO(picture.content)).format == "PNG"
    assert client.delete(f"/api/uploads/{content['id']}").status_code == 200


def test_a_picture_that_was_cancelled_is_nothing_and_no_error(
    client: Client, astronaut: Path, painting: Path
) -> None:
    content, style = client.upload(astronaut), client.upload(painting)
    job = client.job(kind="optimize", content=content["id"], style=style["id"], size=64)
    files = f"/api/jobs/{job['id']}/files"
    until(lambda: client.get(f"{files}/preview.jpg").content)
    client.error(404, "GET", f"{files}/other.jpg")
    client.post(f"/api/jobs/{job['id']}/cancel")
    assert client.wait(job)["state"] == "cancelled"
    answer = client.get(f"{files}/preview.jpg")
    assert (answer.status_code, answer.content) == (204, b"")


def test_jobs_that_make_no_sense_are_refused(client: Client, astronaut: Path) -> None:
    id = client.upload(astronaut)["id"]
    for asked, says in (
        ([], "not a job"),
        ({}, "unknown kind"),
        ({"kind": []}, "unknown kind"),
        ({"kind": "video", "video": "/etc/passwd"}, "no longer here"),
        ({"kind": "video", "video": id, "look": {"styles": {"waves": 1}}}, "needed is a video"),
        ({"kind": "optimize", "content": id, "style": id, "size": 1e9}, "between 32 and 2048"),
        ({"kind": "optimize", "content": id, "style": id, "size": "x"}, "not a number"),
        ({"kind": "train", "painting": id, "name": "x", "steps": 1}, "choose photos"),
    ):
        assert says in client.error(400, "POST", "/api/jobs", json=asked)
    client.error(413, "POST", "/api/jobs", content=b" " * 70_000)
    assert client.get("/api/jobs").json() == []


def test_closing_the_studio_ends_what_runs(engine: Engine, tmp_path: Path, astronaut: Path) -> None:
    with Client(create_app(engine, settings(tmp_path))) as client:
        photo = client.upload(astronaut)["id"]
        job = client.job(kind="optimize", content=photo, style=photo, size=512)
        client.wait(job, "running")
    assert not (tmp_path / "visitors").exists()
    assert not [t for t in threading.enumerate() if t.name.startswith("job")]


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("print('nst-rt: no photos', flush=True); sys.exit(2)", "no photos"),
        ("os.kill(os.getpid(), 9)", "ended without a word"),
        ("raise ZeroDivisionError", "ended without a word"),
    ],
)
def test_a_training_that_fails_gives_its_reason_and_no_earlier_remark(
    tmp_path: Path, end: str, reason: str
) -> None:
    code = f"import os, sys; print('nst-rt: style image a.jpg: used as it is', flush=True); {end}"
    command = [sys.executable, "-c", code]
    with pytest.raises(InputError, match=reason):
        works._train(Job("train", "ink", "me", tmp_path), command, tmp_path / "run", 10)
