"""Jobs: the queue, and what each kind of job results in."""

import sys
import threading
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import pytest
from clips import write_clip
from visitors import Client, cut_clip, settings, until

from nst_rt.errors import InputError
from nst_rt.infer.web import jobs as jobs_module
from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.jobs import Job, Jobs
from nst_rt.infer.web.results import Kind, Record, Results
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.infer.web.timing import Clock, Pace, pace_of
from nst_rt.infer.web.work.train import run_training

NIGHT = {"styles": {"night": 1}}


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path, Results(tmp_path / "results"), undo=0)


def wait_for(event: threading.Event) -> Callable[[Job], None]:
    """Work that ends when the event is set or the job is cancelled."""

    def work(job: Job) -> None:
        (job.folder / "half.txt").write_text("half")
        while not event.wait(0.01):
            job.report(0.5, "half")

    return work


def test_jobs_run_one_after_the_other(jobs: Jobs) -> None:
    go, order = threading.Event(), []
    first = jobs.submit("video", "1", "me", wait_for(go))
    later = [jobs.submit("video", n, "me", lambda job: order.append(job.title)) for n in "23"]
    assert [job.state for job in later] == ["waiting", "waiting"]
    go.set()
    until(lambda: not later[1].active)
    jobs.close()
    assert first.state == "done"
    assert order == ["2", "3"]


def test_cancelled_job_leaves_nothing_and_the_next_one_runs(jobs: Jobs, tmp_path: Path) -> None:
    never, done = threading.Event(), threading.Event()
    first, waiting = (jobs.submit("video", n, "me", wait_for(never)) for n in "12")
    last = jobs.submit("video", "3", "me", lambda job: done.set())
    for job in (waiting, first):
        jobs.cancel(job)
        until(lambda job=job: not job.active)  # type: ignore[misc]
        assert job.state == "cancelled"
    assert done.wait(60)
    jobs.close()
    assert last.state == "done"
    assert list(tmp_path.rglob("half.txt")) == []


def test_failed_job_reports_why_and_the_next_one_runs(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(job: Job) -> None:
        raise InputError(f"{job.folder}/x.mp4: see `stroke_size` or --vgg-weights")

    def crash(job: Job) -> None:
        raise ZeroDivisionError

    done = threading.Event()
    failed = [jobs.submit("video", "1", "me", work) for work in (fail, crash)]
    jobs.submit("video", "3", "me", lambda job: done.set())
    assert done.wait(60)
    jobs.close()
    assert [job.state for job in failed] == ["failed", "failed"]
    assert failed[0].error == "x.mp4: see stroke size or vgg weights"
    assert failed[1].error == "internal error"
    assert "ZeroDivisionError" in caplog.text


def test_cancelling_can_be_undone(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path, Results(tmp_path / "results"), undo=3600)
    go = threading.Event()
    running, waiting = (jobs.submit("video", n, "me", wait_for(go)) for n in "12")
    for job in (running, waiting):
        jobs.cancel(job)
        assert job.describe()["stopping"]
        assert job.active
    jobs.undo(waiting)
    assert not waiting.describe()["stopping"]
    go.set()
    until(lambda: not waiting.active)
    # The first one ended before it was cancelled, and is not hidden as if it had been removed.
    assert [job.state for job in jobs.of("me")] == ["done", "done"]
    jobs.close()


def test_number_of_jobs_per_visitor_is_limited(jobs: Jobs) -> None:
    never = threading.Event()
    for _ in range(6):
        jobs.submit("video", "x", "me", wait_for(never))
    with pytest.raises(InputError, match="6"):
        jobs.submit("video", "x", "me", wait_for(never))
    jobs.submit("video", "x", "another", wait_for(never))
    jobs.close()


def test_number_of_jobs_of_all_visitors_is_limited(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "_MAX_WAITING_OF_ALL", 3)
    never = threading.Event()
    for visitor in range(3):
        jobs.submit("video", "x", str(visitor), wait_for(never))
    with pytest.raises(InputError, match="3"):
        jobs.submit("video", "x", "another", wait_for(never))
    jobs.close()


def test_jobs_without_a_result_are_not_remembered_forever(jobs: Jobs) -> None:
    def fail(job: Job) -> None:
        raise InputError("no")

    kept = jobs.submit("video", "kept", "me", lambda job: None)
    other = jobs.submit("video", "other", "another", fail)
    for number in range(60):
        failing = jobs.submit("video", str(number), "me", fail)
        until(lambda job=failing: not job.active)  # type: ignore[misc]
    titles = [job.title for job in jobs.of("me")]
    assert titles == ["kept", *map(str, range(60 - 51, 60))]
    assert (kept.state, jobs.of("another")) == ("done", [other])
    jobs.close()


def test_time_left_is_known_once_the_pace_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = Clock()

    def left(when: float, progress: float) -> float | None:
        nonlocal now
        now = when
        clock.update(progress)
        return clock.left

    assert left(5, 0) is left(10, 0.1) is left(11, 0.11) is None
    assert left(20, 0.2) == pytest.approx(80)
    assert left(30, 0.3) == pytest.approx(70)
    now = 40.0  # nothing was reported since
    assert clock.left == pytest.approx(60)
    pace = clock.pace(1000)
    assert pace is not None
    assert (pace.start, pace.unit) == pytest.approx((0, 0.1))
    for second in range(30):  # faster from now on
        left(40 + second, 0.4 + 0.02 * second)
    assert clock.left == pytest.approx(1, abs=0.5)


def test_no_pace_is_known_of_a_progress_that_does_not_rise(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = Clock()
    clock.update(1)
    now = 60.0
    clock.update(1)
    assert clock.pace(1000) is None


def test_pace_is_that_of_earlier_jobs_of_this_kind() -> None:
    def record(kind: Kind, pace: object) -> Record:
        return Record(kind, "", "", facts={"pace": pace})

    records = [record("train", {"start": 20.0, "unit": unit}) for unit in (9.0, 2.0, 3.0)]
    records += [record("optimize", {"start": 1.0, "unit": 1.0}), record("train", {"unit": "x"})]
    assert pace_of("train", records) == Pace(20.0, 3.0)
    measured = pace_of("train", [record("train", None)])
    assert 0 < measured.unit < 10


def test_place_in_the_queue_counts_the_jobs_of_all(jobs: Jobs) -> None:
    never = threading.Event()
    running = jobs.submit("video", "1", "another", wait_for(never), units=1e9)
    until(lambda: running.progress > 0)
    waiting = [jobs.submit("video", n, "me", wait_for(never)) for n in "23"]
    first, second = map(jobs.queue_facts, waiting)
    assert jobs.queue_facts(running) == {"place": 1, "seconds": None}
    assert (first["place"], second["place"]) == (2, 3)
    assert first["seconds"] == pytest.approx(jobs.pace("video").seconds(1e9))
    assert second["seconds"] > first["seconds"]
    jobs.close()
    assert jobs.queue_facts(running) == {}


def decoded(client: Client, job: dict[str, Any]) -> tuple[int, str | None]:
    """Number of frames and audio codec of the video that a job resulted in."""
    content = client.get(f"/api/jobs/{job['id']}/files/video.mp4").content
    with av.open(BytesIO(content)) as container:
        audio = [stream.codec_context.name for stream in container.streams.audio]
        return sum(1 for _ in container.decode(video=0)), audio[0] if audio else None


def test_video_is_stylized_served_in_ranges_and_removed(client: Client, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a clip.mp4", audio="aac")
    video = client.upload(clip, "video")
    assert video["width"] == 64
    job = client.job(kind="video", video=video["id"], choice=NIGHT)
    assert job["title"] == "a clip.mp4, night"
    assert client.wait(job)["state"] == "done"
    assert decoded(client, job) == (25, "aac")
    address = f"/api/jobs/{job['id']}/files/video.mp4"
    part = client.get(address, headers={"Range": "bytes=0-99"})
    assert (part.status_code, len(part.content)) == (206, 100)
    assert client.delete(f"/api/jobs/{job['id']}").status_code == 200
    assert client.jobs == []
    until(lambda: not [each for each in (tmp_path / "results").iterdir() if each.is_dir()])
    assert client.get(address).status_code == 400


def test_truncated_video_is_partly_done(client: Client, tmp_path: Path) -> None:
    video = client.upload(cut_clip(tmp_path), "video")
    done = client.wait(client.job(kind="video", video=video["id"], choice=NIGHT))
    assert done["state"] == "partial", done
    assert "cut.mkv" in done["error"]
    assert str(tmp_path) not in done["error"]
    assert 0 < decoded(client, done)[0] < 50


def test_video_without_a_duration_stops_at_the_limit(
    shared: SharedStylizer, tmp_path: Path
) -> None:
    """As recorded by browsers."""
    clip = tmp_path / "live.mkv"
    with av.open(str(clip), "w", format="matroska", options={"live": "1"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(40):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))
    with Client(create_app(shared, settings(tmp_path, limits={"seconds": 1}))) as client:
        video = client.upload(clip, "video")
        assert video["seconds"] is None
        done = client.wait(client.job(kind="video", video=video["id"], choice=NIGHT))
    assert (done["state"], done["files"]) == ("failed", {})


def test_preview_of_a_cancelled_job_is_empty_and_no_error(
    client: Client, astronaut: Path, painting: Path
) -> None:
    content, style = (client.upload(file)["id"] for file in (astronaut, painting))
    job = client.job(kind="optimize", content=content, style_image=style, size=64)
    files = f"/api/jobs/{job['id']}/files"
    until(lambda: client.get(f"{files}/preview.jpg").content)
    client.error(400, "DELETE", f"/api/uploads/{content}")  # in use
    client.error(404, "GET", f"{files}/other.jpg")
    client.post(f"/api/jobs/{job['id']}/cancel")
    assert client.wait(job)["state"] == "cancelled"
    answer = client.get(f"{files}/preview.jpg")
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.delete(f"/api/uploads/{content}").is_success


def test_closing_the_studio_ends_running_jobs(
    shared: SharedStylizer, tmp_path: Path, astronaut: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(create_app(shared, settings(tmp_path))) as client:
        image = client.upload(astronaut)["id"]
        job = client.job(kind="optimize", content=image, style_image=image)
        client.wait(job, "running")
    assert job["title"] in caplog.text
    assert not (tmp_path / "visitors").exists()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("job")]


def test_invalid_jobs_are_refused(client: Client, astronaut: Path) -> None:
    id = client.upload(astronaut)["id"]
    images = {"kind": "optimize", "content": id, "style_image": id}
    train = {"kind": "train", "style_image": id, "name": "x", "steps": 1}
    for asked, word in (
        ([], "object"),
        ({}, "kind"),
        ({"kind": []}, "kind"),
        ({"kind": "video", "video": "/etc/passwd"}, "no longer here"),
        ({"kind": "video", "video": id, "choice": {"styles": {"waves": 1}}}, "video"),
        ({**images, "size": 1e9}, "2048"),
        ({**images, "size": "x"}, "'x'"),
        (train, "photos"),
        ({**train, "photos": id}, "archive"),
    ):
        assert word in client.error(400, "POST", "/api/jobs", json=asked)
    client.error(413, "POST", "/api/jobs", content=b" " * 70_000)
    assert client.jobs == []


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("print('nst-rt: no photos', flush=True); sys.exit(2)", "no photos"),
        ("os.kill(os.getpid(), 9)", "unexpectedly"),
        ("raise ZeroDivisionError", "unexpectedly"),
    ],
)
def test_failed_training_gives_its_reason_and_no_earlier_remark(
    tmp_path: Path, end: str, reason: str
) -> None:
    code = f"import os, sys; print('nst-rt: style image a.jpg: used as it is', flush=True); {end}"
    job = Job("train", "ink", "me", folder=tmp_path)
    with pytest.raises(InputError, match=reason):
        run_training(job, [sys.executable, "-c", code], tmp_path / "run", 10)
