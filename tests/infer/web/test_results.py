"""Results: kept when a studio ends, shown again by the next one, removed only when it is meant."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clips import write_clip
from visitors import Client, settings, until

from nst_rt.errors import InputError
from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.engine import Engine
from nst_rt.infer.web.jobs import Job, Jobs
from nst_rt.infer.web.storage import RECORD, Kind, Result, Results, temporary_folder
from nst_rt.models.style_model import StyleModel

LATER = 3600.0  # seconds for which no test waits


def same_visitor(before: Client, engine: Engine, folder: Path, **given: Any) -> Client:
    """The browser of a visitor, who opens the next studio."""
    later = Client(create_app(engine, settings(folder, **given)), link="/nowhere")
    later.cookies.update(before.cookies)
    return later


def keep(
    folder: Path, id: str, files: dict[str, Path], kind: Kind = "train", **facts: str
) -> Result:
    """A result that an earlier studio left, of nobody who is there now."""
    result = Result(kind, id, "someone", "done", "", "", 1.0, facts, [(1.0, 2.0)])
    Results(folder / "results").keep(id, files, result)
    return result


@pytest.fixture
def swirls(two_styles: StyleModel, tmp_path: Path) -> Path:
    """A model as a training gives it."""
    styles = (replace(two_styles.styles[0], name="swirls"), two_styles.styles[1])
    return replace(two_styles, styles=styles).save(tmp_path / "swirls.safetensors")


@pytest.fixture
def own_engine(two_styles: StyleModel) -> Engine:
    """One that no other test shares."""
    engine = Engine("torch")
    engine.add(two_styles)
    return engine


def styles(client: Client) -> list[str]:
    return [style["name"] for style in client.get("/api/studio").json()["styles"]]


def write(name: str, content: bytes = b"x") -> Callable[[Job], None]:
    """Work that gives a file."""

    def work(job: Job) -> None:
        (job.folder / name).write_bytes(content)
        job.offer(name, job.folder / name)
        job.note = "written"

    return work


def finished(jobs: Jobs, work: Callable[[Job], None]) -> Job:
    job = jobs.submit("video", "clip", "me", work)
    until(lambda: not job.active)
    return job


def test_a_result_is_there_in_the_next_studio_for_its_owner_alone(
    engine: Engine, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    with Client(create_app(engine, settings(tmp_path))) as client:
        video = client.upload(clip, "video")
        done = client.wait(
            client.job(kind="video", video=video["id"], look={"styles": {"night": 1}})
        )
        address = f"/api/jobs/{done['id']}/files/video.mp4"
        content = client.get(address).content
    assert not (tmp_path / "visitors").exists()
    later = same_visitor(client, engine, tmp_path)
    [found] = later.get("/api/jobs").json()
    assert {**found, "files": 0} == {**done, "files": 0}
    assert later.get(address).content == content
    other = Client(later.app)
    assert other.get("/api/jobs").json() == []
    other.error(400, "GET", address)
    other.error(400, "DELETE", f"/api/jobs/{done['id']}")
    assert later.delete(f"/api/jobs/{done['id']}").is_success
    until(lambda: not (tmp_path / "results" / done["id"]).exists())
    assert same_visitor(client, engine, tmp_path).get("/api/jobs").json() == []


def test_a_trained_style_can_be_used_in_the_next_studio(
    own_engine: Engine, tmp_path: Path, swirls: Path
) -> None:
    keep(tmp_path, "a", {"swirls.safetensors": swirls}, style="swirls")
    client = Client(create_app(own_engine, settings(tmp_path)))
    assert styles(client) == ["waves", "night", "swirls"]
    with client.live() as socket:
        socket.send_json({"styles": {"swirls": 1}})
        socket.send_bytes(b"no picture")
        assert "JPEG" in socket.receive_json()["error"]  # and nothing of the style


@pytest.mark.parametrize("name", ["waves", "swirls"])
def test_a_style_that_cannot_be_taken_in_can_still_be_fetched(
    own_engine: Engine, tmp_path: Path, swirls: Path, name: str
) -> None:
    """One of a name that there is already, and one whose file is damaged."""
    swirls.write_bytes(b"x")
    keep(tmp_path, "a", {f"{name}.safetensors": swirls}, style=name)
    jobs = Jobs(tmp_path, Results(tmp_path / "results"), limit=1, undo=0)
    client = Client(create_app(own_engine, settings(tmp_path)))
    assert styles(client) == ["waves", "night"]
    assert [list(job.files) for job in jobs] == [[f"{name}.safetensors"]]


@pytest.mark.parametrize("record", ["{", "[]", "{}", '{"kind": "other"}'])
def test_what_is_no_record_is_left_alone(tmp_path: Path, record: str) -> None:
    good = keep(tmp_path, "good", {})
    for name in ("bad", "foreign"):
        (tmp_path / "results" / name).mkdir()
    (tmp_path / "results" / "bad" / RECORD).write_text(record)
    assert Results(tmp_path / "results").earlier() == [
        (tmp_path / "results" / "good", replace(good, curve=[[1.0, 2.0]]))
    ]
    assert (tmp_path / "results" / "bad" / RECORD).read_text() == record
    assert (tmp_path / "results" / "foreign").is_dir()


def test_removing_can_be_taken_back_for_a_while(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    jobs = Jobs(tmp_path, results, limit=1, undo=LATER)
    job = finished(jobs, write("video.mp4"))
    for _ in range(2):  # who asks twice is not worse off
        jobs.remove(job)
        assert jobs.of("me") == []
        assert job.files["video.mp4"][0].exists()
    jobs.take_back(job)
    assert jobs.of("me") == [job]
    # Not taken back before the studio ends: it is not destroyed early, either.
    jobs.remove(job)
    jobs.close()
    [again] = Jobs(tmp_path, results, limit=1, undo=LATER).of("me")
    assert (again.id, again.state, again.note) == (job.id, "done", "written")
    assert again.files["video.mp4"][0].read_bytes() == b"x"


def test_a_style_goes_and_comes_back_with_its_job(
    own_engine: Engine, two_styles: StyleModel, tmp_path: Path, swirls: Path
) -> None:
    visitor = Client(create_app(own_engine, settings(tmp_path)))
    [cookie] = visitor.cookies.jar
    owner = str(cookie.value).partition(".")[0]
    result = Result("train", "x", owner, "done", "", "", 1.0, {"style": "swirls"}, [])
    Results(tmp_path / "results").keep("a", {"swirls.safetensors": swirls}, result)
    client = same_visitor(visitor, own_engine, tmp_path, undo=LATER)
    assert client.delete("/api/jobs/a").is_success
    assert (client.get("/api/jobs").json(), styles(client)) == ([], ["waves", "night"])
    assert client.post("/api/jobs/a/undo").is_success
    assert styles(client) == ["waves", "night", "swirls"]
    assert [job["id"] for job in client.get("/api/jobs").json()] == ["a"]
    fresh = Engine("torch")
    fresh.add(two_styles)
    soon = same_visitor(visitor, fresh, tmp_path)
    assert soon.delete("/api/jobs/a").is_success
    until(lambda: styles(soon) == ["waves", "night"])
    until(lambda: not (tmp_path / "results" / "a").exists())
    client.error(404, "GET", "/api/jobs/a/files/swirls.safetensors")  # what another one removed


def test_a_file_that_is_taken_to_the_results_meanwhile_is_looked_for_again(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = Client(create_app(engine, settings(tmp_path)))
    [cookie] = visitor.cookies.jar
    owner = str(cookie.value).partition(".")[0]
    clip = write_clip(tmp_path / "clip.mp4")
    result = Result("video", "x", owner, "done", "", "", 1.0, {}, [])
    Results(tmp_path / "results").keep("a", {"video.mp4": clip}, result)
    client = same_visitor(visitor, engine, tmp_path)
    gone = [FileNotFoundError()]

    async def moved_once(function: Callable[..., Any], *arguments: Any) -> Any:
        if gone:
            raise gone.pop()
        return function(*arguments)

    monkeypatch.setattr("nst_rt.infer.web.job_routes.run_in_threadpool", moved_once)
    answer = client.get("/api/jobs/a/files/video.mp4")
    assert (answer.status_code, answer.content) == (200, clip.read_bytes())


@pytest.mark.parametrize("then", ["replaced", "removed"])
def test_a_picture_that_is_gone_while_it_is_sent_arrives_whole(
    then: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = Client(create_app(engine, settings(tmp_path)))
    [cookie] = visitor.cookies.jar
    owner = str(cookie.value).partition(".")[0]
    result = Result("optimize", "x", owner, "done", "", "", 1.0, {}, [])
    (picture := tmp_path / "preview.jpg").write_bytes(b"as long as it was")
    kept = Results(tmp_path / "results").keep("a", {"preview.jpg": picture}, result)
    client = same_visitor(visitor, engine, tmp_path)

    async def just_before(function: Callable[..., Any], *arguments: Any) -> Any:
        found = function(*arguments)
        (kept / "preview.jpg").unlink()
        if then == "replaced":
            (kept / "preview.jpg").write_bytes(b"short")
        return found

    monkeypatch.setattr("nst_rt.infer.web.job_routes.run_in_threadpool", just_before)
    answer = client.get("/api/jobs/a/files/preview.jpg")
    assert answer.headers["content-type"] == "image/jpeg"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.content == b"as long as it was"


def test_a_result_that_cannot_be_kept_can_be_fetched_while_the_studio_is_open(
    tmp_path: Path,
) -> None:
    results = Results(tmp_path / "results")
    jobs = Jobs(tmp_path / "visitors", results, limit=1, undo=0)

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


def test_what_a_killed_studio_left_half_kept_goes(tmp_path: Path) -> None:
    keep(tmp_path, "whole", {})
    half = tmp_path / "results" / ".nst-rt-part-half"
    half.mkdir()
    (half / "video.mp4").write_bytes(b"x")
    found = Results(tmp_path / "results")
    assert [folder.name for folder, _ in found.earlier()] == ["whole"]
    assert not half.exists()


def test_studios_that_share_a_folder_see_what_is_there_and_keep_their_own(tmp_path: Path) -> None:
    (tmp_path / "visitors").mkdir()
    folder = tmp_path / "results"
    one = Jobs(tmp_path / "visitors", Results(folder), limit=1, undo=0)
    first = finished(one, write("video.mp4", b"first"))
    other = Jobs(tmp_path / "visitors", Results(folder), limit=1, undo=0)
    second = finished(other, write("video.mp4", b"second"))
    assert [job.id for job in one] == [first.id]
    assert [job.id for job in other] == [first.id, second.id]
    assert Results(folder).key == Results(folder).key
    one.remove(first)
    until(lambda: not first.folder.exists())
    other.close()
    one.close()
    assert [found.name for found, _ in Results(folder).earlier()] == [second.id]


def test_a_folder_that_cannot_be_written_to_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="--results"):
        Results(tmp_path / "file")


def test_a_killed_studio_s_temporary_folder_goes_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "from nst_rt.infer.web.storage import temporary_folder\n"
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
