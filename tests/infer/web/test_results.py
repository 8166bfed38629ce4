"""Results: kept when a studio ends, shown again by the next one, removed only on request."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clips import write_clip
from visitors import Client, settings, until

from nst_rt.errors import InputError
from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.jobs import Job, Jobs
from nst_rt.infer.web.results import RECORD_FILE, Kind, Record, Results, temporary_folder
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.models.style_model import StyleModel

LATER = 3600.0  # seconds for which no test waits


def restarted(before: Client, shared: SharedStylizer, folder: Path, **given: Any) -> Client:
    return before.restarted(create_app(shared, settings(folder, **given)))


def keep(
    folder: Path,
    files: dict[str, Path],
    *,
    id: str = "a",
    kind: Kind = "train",
    owner: str = "someone",
    **facts: str,
) -> Path:
    """Leave a result as an earlier studio does; returns its folder."""
    record = Record(kind, id, owner, "done", created=1.0, facts=facts, curve=[(1.0, 2.0)])
    return Results(folder / "results").keep(id, files, record)


@pytest.fixture
def swirls(two_styles: StyleModel, tmp_path: Path) -> Path:
    """A model as a training writes it."""
    styles = (replace(two_styles.styles[0], name="swirls"), two_styles.styles[1])
    return replace(two_styles, styles=styles).save(tmp_path / "swirls.safetensors")


@pytest.fixture
def own_shared(two_styles: StyleModel) -> SharedStylizer:
    """One that no other test shares."""
    return SharedStylizer(two_styles, backend="torch")


def styles(client: Client) -> list[str]:
    return [style["name"] for style in client.get("/api/studio").json()["styles"]]


def write(name: str, content: bytes = b"x") -> Callable[[Job], None]:
    """Work that results in a file."""

    def work(job: Job) -> None:
        (job.folder / name).write_bytes(content)
        job.offer(job.folder / name)
        job.note = "written"

    return work


def finished(jobs: Jobs, work: Callable[[Job], None]) -> Job:
    job = jobs.submit("video", "clip", "me", work)
    until(lambda: not job.active)
    return job


def test_result_is_there_in_the_next_studio_for_its_owner_only(
    shared: SharedStylizer, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    with Client(create_app(shared, settings(tmp_path))) as client:
        video = client.upload(clip, "video")
        done = client.wait(
            client.job(kind="video", video=video["id"], choice={"styles": {"night": 1}})
        )
        address = f"/api/jobs/{done['id']}/files/video.mp4"
        content = client.get(address).content
    assert not (tmp_path / "visitors").exists()
    later = restarted(client, shared, tmp_path)
    [found] = later.jobs
    assert {**found, "files": 0} == {**done, "files": 0}
    assert later.get(address).content == content
    other = Client(later.app)
    assert other.jobs == []
    other.error(400, "GET", address)
    other.error(400, "DELETE", f"/api/jobs/{done['id']}")
    assert later.delete(f"/api/jobs/{done['id']}").is_success
    until(lambda: not (tmp_path / "results" / done["id"]).exists())
    assert restarted(client, shared, tmp_path).jobs == []


@pytest.mark.parametrize("name", ["waves", "swirls"])
def test_style_that_cannot_be_added_can_still_be_downloaded(
    own_shared: SharedStylizer, tmp_path: Path, swirls: Path, name: str
) -> None:
    """A name that is taken, and a damaged file."""
    swirls.write_bytes(b"x")
    keep(tmp_path, {f"{name}.safetensors": swirls}, style=name)
    jobs = Jobs(tmp_path, Results(tmp_path / "results"), undo=0)
    client = Client(create_app(own_shared, settings(tmp_path)))
    assert styles(client) == ["waves", "night"]
    assert [list(job.files) for job in jobs] == [[f"{name}.safetensors"]]


@pytest.mark.parametrize("record", ["{", "[]", "{}", '{"kind": "other"}'])
def test_foreign_and_damaged_results_are_left_alone_and_partial_ones_removed(
    tmp_path: Path, record: str
) -> None:
    good = keep(tmp_path, {}, id="good")
    bad, foreign, partial = (good.with_name(n) for n in ("bad", "foreign", ".nst-rt-part-half"))
    for folder in (bad, foreign, partial):
        folder.mkdir()
    (bad / RECORD_FILE).write_text(record)
    [(folder, found)] = Results(tmp_path / "results").load()
    assert (folder, found.title, found.curve) == (good, "good", [[1.0, 2.0]])
    assert (bad / RECORD_FILE).read_text() == record
    assert foreign.is_dir()
    assert not partial.exists()


def test_removing_can_be_undone(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    jobs = Jobs(tmp_path, results, undo=LATER)
    job = finished(jobs, write("video.mp4"))
    for _ in range(2):  # asking twice makes no difference
        jobs.remove(job)
        assert jobs.of("me") == []
        assert job.files["video.mp4"][0].exists()
    jobs.undo(job)
    assert jobs.of("me") == [job]
    # Not undone before the studio ends: it is not removed early, either.
    jobs.remove(job)
    jobs.close()
    [again] = Jobs(tmp_path, results, undo=LATER).of("me")
    assert (again.id, again.state, again.note) == (job.id, "done", "written")
    assert again.files["video.mp4"][0].read_bytes() == b"x"


@pytest.mark.parametrize("is_killed", [True, False])
def test_job_that_was_not_done_when_the_studio_ended_is_told(
    tmp_path: Path, *, is_killed: bool
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        begun.set()
        go_on.wait()
        job.check()

    results = Results(tmp_path / "results")
    jobs = Jobs(tmp_path, results, undo=0)
    first = jobs.submit("video", "clip", "me", work)
    second = jobs.submit("video", "another", "me", write("video.mp4"))
    begun.wait()
    if not is_killed:
        go_on_later = threading.Timer(0.1, go_on.set)
        go_on_later.start()
        jobs.close()
    later = Jobs(tmp_path, results, undo=0)
    assert [(job.id, job.state) for job in later.of("me")] == [
        (first.id, "failed"),
        (second.id, "failed"),
    ]
    assert all(job.error for job in later)
    later.remove(later.find(first.id, "me"))
    until(lambda: not (results.folder / first.id).exists())
    go_on.set()
    jobs.close()


def test_failed_and_cancelled_jobs_leave_nothing(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    jobs = Jobs(tmp_path, results, undo=0)

    def fail(job: Job) -> None:
        raise InputError("no")

    assert finished(jobs, fail).state == "failed"
    until(lambda: results.load() == [])
    jobs.close()


def test_style_is_removed_and_restored_with_its_job(
    own_shared: SharedStylizer, two_styles: StyleModel, tmp_path: Path, swirls: Path
) -> None:
    visitor = Client(create_app(own_shared, settings(tmp_path)))
    keep(tmp_path, {"swirls.safetensors": swirls}, owner=visitor.visitor, style="swirls")
    client = restarted(visitor, own_shared, tmp_path, undo=LATER)
    with client.live() as socket:
        socket.send_json({"styles": {"swirls": 1}})
        socket.send_bytes(b"no image")
        said: dict[str, Any] = {}
        while "error" not in said:  # before that, how frames are stylized
            said = socket.receive_json()
        assert "JPEG" in said["error"]  # the style is known
    assert client.delete("/api/jobs/a").is_success
    assert (client.jobs, styles(client)) == ([], ["waves", "night"])
    assert client.post("/api/jobs/a/undo").is_success
    assert styles(client) == ["waves", "night", "swirls"]
    assert [job["id"] for job in client.jobs] == ["a"]
    soon = restarted(visitor, SharedStylizer(two_styles, backend="torch"), tmp_path)
    assert soon.delete("/api/jobs/a").is_success
    until(lambda: styles(soon) == ["waves", "night"])
    until(lambda: not (tmp_path / "results" / "a").exists())
    client.error(404, "GET", "/api/jobs/a/files/swirls.safetensors")  # removed by another studio


def test_file_that_moves_to_the_results_meanwhile_is_found(
    shared: SharedStylizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = Client(create_app(shared, settings(tmp_path)))
    clip = write_clip(tmp_path / "clip.mp4")
    keep(tmp_path, {"video.mp4": clip}, kind="video", owner=visitor.visitor)
    client = restarted(visitor, shared, tmp_path)
    gone = [FileNotFoundError()]

    async def moved_once(function: Callable[..., Any], *arguments: Any) -> Any:
        if gone:
            raise gone.pop()
        return function(*arguments)

    monkeypatch.setattr("nst_rt.infer.web.app.run_in_threadpool", moved_once)
    answer = client.get("/api/jobs/a/files/video.mp4")
    assert (answer.status_code, answer.content) == (200, clip.read_bytes())


def test_image_that_changes_while_it_is_sent_arrives_whole(
    shared: SharedStylizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = Client(create_app(shared, settings(tmp_path)))
    (image := tmp_path / "preview.jpg").write_bytes(b"as long as it was")
    kept = keep(tmp_path, {"preview.jpg": image}, kind="optimize", owner=visitor.visitor)
    client = restarted(visitor, shared, tmp_path)

    async def just_before(function: Callable[..., Any], *arguments: Any) -> Any:
        found = function(*arguments)
        (kept / "preview.jpg").unlink()
        (kept / "preview.jpg").write_bytes(b"short")
        return found

    monkeypatch.setattr("nst_rt.infer.web.app.run_in_threadpool", just_before)
    answer = client.get("/api/jobs/a/files/preview.jpg")
    assert answer.headers["content-type"] == "image/jpeg"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.content == b"as long as it was"


def test_result_that_cannot_be_kept_can_be_downloaded_while_the_studio_runs(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    jobs = Jobs(tmp_path / "visitors", results, undo=0)

    def work(job: Job) -> None:
        write("video.mp4")(job)
        (tmp_path / "results").rename(tmp_path / "elsewhere")
        (tmp_path / "results").write_text("no folder")

    (tmp_path / "visitors").mkdir()
    job = finished(jobs, work)
    assert job.state == "done"
    assert "download" in job.error
    assert job.files["video.mp4"][0].read_bytes() == b"x"
    jobs.close()


def test_studios_share_a_results_folder(tmp_path: Path) -> None:
    (tmp_path / "visitors").mkdir()
    folder = tmp_path / "results"
    one = Jobs(tmp_path / "visitors", Results(folder), undo=0)
    first = finished(one, write("video.mp4", b"first"))
    other = Jobs(tmp_path / "visitors", Results(folder), undo=0)
    second = finished(other, write("video.mp4", b"second"))
    assert [job.id for job in one] == [first.id]
    assert [job.id for job in other] == [first.id, second.id]
    assert Results(folder).key == Results(folder).key
    one.remove(first)
    until(lambda: not first.folder.exists())
    other.close()
    one.close()
    assert [found.name for found, _ in Results(folder).load()] == [second.id]


def test_results_folder_must_be_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="`results`"):
        Results(tmp_path / "file")


def test_temporary_folder_of_a_killed_studio_is_removed_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "from nst_rt.infer.web.results import temporary_folder\n"
        "with temporary_folder() as visitors:\n"
        "    (visitors / 'photo').write_text('x')\n"
        "    print(visitors, flush=True)\n"
        "    input()"
    )
    studio = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert studio.stdout is not None
    visitors = Path(studio.stdout.readline().strip())
    (tmp_path / "nst-rt-web-foreign").mkdir()
    with temporary_folder() as living:
        assert (visitors / "photo").exists()
        studio.send_signal(signal.SIGKILL)
        studio.communicate()
        with temporary_folder():
            assert not visitors.parent.exists()
            assert living.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["nst-rt-web-foreign"]
