"""Storage: never more on disk than the limit, and no walks through folders in the event loop."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.requests import ClientDisconnect
from visitors import LIMITS, Client, settings, until

from nst_rt.infer.web import jobs as jobs_module
from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.jobs import Job, Jobs
from nst_rt.infer.web.limits.storage import BLOCK, Storage
from nst_rt.infer.web.results import Results, folder_size
from nst_rt.infer.web.settings import TooLargeError
from nst_rt.infer.web.stylizers import SharedStylizer
from nst_rt.infer.web.uploads import Uploads

LIMIT = 80 * BLOCK


def jpeg(width: int = 40, height: int = 30) -> bytes:
    file = BytesIO()
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(levels).save(file, "JPEG")
    return file.getvalue()


async def chunks(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        await asyncio.sleep(0)
        yield bytes(size)


@pytest.fixture
def storage() -> Storage:
    return Storage(LIMIT)


@pytest.fixture
def uploads(
    tmp_path: Path, storage: Storage, decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> Uploads:
    async def checked(self: Uploads, kind: str, path: Path, name: str) -> tuple[Path, Any]:
        return path, {}

    monkeypatch.setattr(Uploads, "_checked", checked)
    root = tmp_path / "visitors"
    root.mkdir()
    return Uploads(root, replace(LIMITS, upload=LIMIT), storage, decoders)


@contextmanager
def measured(folder: Path) -> Iterator[list[int]]:
    """Bytes on disk in a folder, over and over."""
    sizes: list[int] = []
    ended = threading.Event()

    def measure() -> None:
        while not ended.is_set():
            sizes.append(folder_size(folder) - BLOCK)  # without the folder itself

    thread = threading.Thread(target=measure)
    thread.start()
    try:
        yield sizes
    finally:
        ended.set()
        thread.join()


def test_total_is_never_over_the_limit_whoever_holds_and_evicts(storage: Storage) -> None:
    kept: list[int] = []
    over = []

    def evict() -> bool:
        if not kept:
            return False
        storage.release(kept.pop(0))
        return True

    def hold(numbers: range) -> None:
        for number in numbers:
            storage.hold(number, BLOCK * (1 + number % 7))
            over.append(storage.total > LIMIT)
            kept.append(number)

    storage.evict = evict
    threads = [threading.Thread(target=hold, args=[range(n, 3000, 6)]) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(over) == 3000
    assert not any(over)
    assert storage.total == sum(map(storage.of, kept))


@pytest.mark.parametrize("announced", [0, 12 * BLOCK])
def test_uploads_at_once_take_no_more_than_the_limit_on_disk(
    uploads: Uploads, storage: Storage, tmp_path: Path, announced: int
) -> None:
    async def send(number: int) -> bool:
        parts = chunks(*[number + 1] * 3, *[BLOCK] * 11)
        try:
            await uploads.receive(parts, owner=str(number), kind="image", name="x", size=announced)
        except TooLargeError:
            return False
        return True

    async def send_all() -> list[bool]:
        return await asyncio.gather(*map(send, range(40)))

    with measured(tmp_path / "visitors") as sizes:
        asyncio.run(send_all())
    assert asyncio.run(send(100))  # none of those that were refused is in its way
    assert max(sizes) <= LIMIT
    kept = folder_size(tmp_path / "visitors") - BLOCK
    assert storage.total == kept <= LIMIT


def test_what_is_only_announced_removes_nothing(uploads: Uploads, storage: Storage) -> None:
    async def left(size: int) -> AsyncIterator[bytes]:
        yield bytes(size)
        raise ClientDisconnect

    def receive(parts: AsyncIterator[bytes], size: int) -> Any:
        return uploads.receive(parts, owner="me", kind="image", name="x", size=size)

    first = asyncio.run(receive(chunks(BLOCK), 0))
    before = storage.total
    with pytest.raises(ClientDisconnect):
        asyncio.run(receive(left(BLOCK), LIMIT - BLOCK))
    assert uploads.of("me") == [first]
    assert storage.total == before  # what was sent is gone
    with first.in_use(), pytest.raises(TooLargeError):  # at once, not after most of it was sent
        asyncio.run(receive(left(0), LIMIT - BLOCK))


def test_photo_that_is_refused_or_not_sent_gives_its_room_back(
    shared: SharedStylizer, tmp_path: Path
) -> None:
    client = Client(create_app(shared, settings(tmp_path, limits={"storage": LIMIT})))
    album = client.post("/api/uploads?kind=album").json()["id"]
    for _ in range(100):
        client.error(400, "POST", f"/api/uploads/{album}/photos", content=b"x" * BLOCK)
    assert client.post(f"/api/uploads/{album}/photos", content=jpeg()).json()["count"] == 1


def test_what_can_never_fit_removes_nothing(uploads: Uploads, storage: Storage) -> None:
    kept = asyncio.run(uploads.receive(chunks(9), owner="me", kind="image", name="x", size=0))
    with pytest.raises(TooLargeError), storage.reserved(LIMIT + 1):
        pass
    assert uploads.of("me") == [kept]


def test_removed_upload_cannot_be_used_and_used_one_not_removed(uploads: Uploads) -> None:
    upload = asyncio.run(uploads.receive(chunks(9), owner="me", kind="image", name="x", size=0))
    with upload.in_use():
        assert not upload.retire()
    assert upload.retire()
    with pytest.raises(Exception, match="no longer here"), upload.in_use():
        pass


@pytest.mark.parametrize("shares_disk", [True, False])
def test_files_of_jobs_and_results_are_counted(
    uploads: Uploads,
    storage: Storage,
    tmp_path: Path,
    shares_disk: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs_module, "_MEASURE_SECONDS", 0.01)
    monkeypatch.setattr(Results, "shares_files_with", lambda *_: shares_disk)
    jobs = Jobs(tmp_path / "visitors", Results(tmp_path / "results"), undo=0, storage=storage)
    upload = asyncio.run(
        uploads.receive(chunks(40 * BLOCK), owner="me", kind="image", name="x", size=0)
    )

    def work(job: Job) -> None:
        (job.folder / "image.png").write_bytes(bytes(30 * BLOCK))
        until(lambda: storage.of(job.folder) > 30 * BLOCK)
        (job.folder / "image.png").write_bytes(bytes(34 * BLOCK))
        job.offer(job.folder / "image.png")

    job = jobs.submit("optimize", "x", "me", work)
    until(lambda: not job.active)
    assert job.state == "done"
    assert (uploads.of("me") == [upload]) == shares_disk  # a copy needs room in the meantime
    kept = folder_size(job.folder)
    assert kept == storage.of(job.id) > 34 * BLOCK
    held = kept + storage.of(upload.id)
    assert storage.total == held
    later = Storage(LIMIT)
    Jobs(tmp_path, Results(tmp_path / "results"), undo=0, storage=later).close()
    assert later.total == kept
    jobs.remove(job)
    until(lambda: storage.total == held - kept)
    jobs.close()


def test_job_ends_when_there_is_no_more_room_and_leaves_nothing(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "_MEASURE_SECONDS", 0.01)
    jobs = Jobs(tmp_path / "visitors", Results(tmp_path / "results"), undo=0, storage=storage)
    (tmp_path / "visitors").mkdir()

    def work(job: Job) -> None:
        with (job.folder / "video.mp4").open("wb") as file:
            for number in range(10**6):
                if number < 90:
                    file.write(bytes(BLOCK))
                    file.flush()
                threading.Event().wait(0.002)
                job.check()

    job = jobs.submit("video", "x", "me", work)
    until(lambda: not job.active)
    assert (job.state, "full" in job.error, job.files) == ("failed", True, {})
    until(lambda: storage.total == 0)
    storage.hold("another", LIMIT)
    with pytest.raises(TooLargeError):
        jobs.submit("video", "x", "me", work)
    assert jobs.of("me") == [job]
    jobs.close()


def test_result_without_room_for_its_copy_stays_where_it_is(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Results, "shares_files_with", lambda *_: False)
    (tmp_path / "visitors").mkdir()
    jobs = Jobs(tmp_path / "visitors", Results(tmp_path / "results"), undo=0, storage=storage)

    def work(job: Job) -> None:
        (job.folder / "video.mp4").write_bytes(bytes(LIMIT // 2))
        job.offer(job.folder / "video.mp4")

    job = jobs.submit("video", "x", "me", work)
    until(lambda: not job.active)
    assert (job.state, "download" in job.error) == ("done", True)
    assert job.files["video.mp4"][0].stat().st_size == LIMIT // 2
    assert storage.total <= LIMIT
    jobs.remove(job)
    until(lambda: storage.total == 0)
    jobs.close()


def test_images_for_which_there_was_room_are_kept(
    client: Client, astronaut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [client.upload(astronaut)["id"] for _ in range(2)]
    report = Job.report

    def full(self: Job, progress: float, note: str) -> None:
        if progress > 0:
            self.refuse("the studio is full")
        report(self, progress, note)

    monkeypatch.setattr(Job, "report", full)
    job = client.job(kind="images", images=ids, choice={"styles": {"night": 1}})
    done = client.wait(job)
    assert (done["state"], "full" in done["error"]) == ("partial", True)
    assert "images.zip" in done["files"]


def test_event_loop_walks_through_no_folder(
    shared: SharedStylizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for an album, nor when uploads make room, nor while a job writes many files."""
    walked, in_loop = [], []
    scan, work = os.scandir, threading.Event()

    def scandir(*arguments: Any) -> Any:
        walked.append(arguments)
        try:
            asyncio.get_running_loop()
            in_loop.append(arguments)
        except RuntimeError:
            pass  # in another thread
        return scan(*arguments)

    def write_many(job: Job) -> None:
        for number in range(50):
            (job.folder / str(number)).write_bytes(b"x")
        work.wait()

    def plan(*_: Any) -> Any:
        return "x", write_many, (), 1.0

    monkeypatch.setattr(jobs_module, "_MEASURE_SECONDS", 0.01)
    monkeypatch.setattr("nst_rt.infer.web.routes.jobs.PLANS", {"optimize": plan})
    given = settings(tmp_path, limits={"storage": 2 * LIMIT})
    with Client(create_app(shared, given)) as client:
        client.job(kind="optimize")
        monkeypatch.setattr(os, "scandir", scandir)
        for _ in range(4):
            album = client.post("/api/uploads?kind=album").json()["id"]
            for _ in range(25):
                client.post(f"/api/uploads/{album}/photos", content=jpeg())
        assert client.delete(f"/api/uploads/{album}").is_success
        assert len(client.get("/api/uploads").json()) < 3
        work.set()
    assert walked
    assert in_loop == []
