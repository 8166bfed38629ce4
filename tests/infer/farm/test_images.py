"""Photos on a cluster of two nodes: the same files as on one machine, and a list of failures."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversions import Grainy
from farm_cluster import pickle_by_value, start_cluster
from PIL import Image

from nst_rt.errors import InputError, InterruptedWorkError, OutputExistsError
from nst_rt.infer.farm import images
from nst_rt.infer.farm.cluster import Cluster, Outcome, connected
from nst_rt.infer.farm.groups import GroupedPhotos
from nst_rt.infer.farm.images import FarmedImages, stylize_images_on_farm
from nst_rt.infer.photos import stylize_images

pytestmark = pytest.mark.slow

COUNT = 12


class Slow(Grainy):
    def stylize(self, frame: np.ndarray) -> np.ndarray:
        time.sleep(0.2)
        return super().stylize(frame)


class Deadly(Grainy):
    """Ends its process at a white photo."""

    def stylize(self, frame: np.ndarray) -> np.ndarray:
        if frame.min() == 255:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().stylize(frame)


@pytest.fixture(scope="module", autouse=True)
def connection(cluster: str) -> Iterator[None]:
    """One connection for most tests, so that they share the worker processes."""
    ray = pytest.importorskip("ray")
    pickle_by_value()
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with connected(cluster):
        yield


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Photos, one in a sub-folder, and in it one that is damaged."""
    folder = tmp_path / "album"
    (folder / "sub").mkdir(parents=True)
    for number in range(COUNT):
        place = folder / "sub" if number == 0 else folder
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{number:02}.png")
    content = (folder / "01.png").read_bytes()
    (folder / "sub" / "damaged.png").write_bytes(content[: len(content) // 2])
    return folder


def farm(album: Path, out: Path, address: str, **settings: Any) -> FarmedImages:
    return stylize_images_on_farm(album, out, ray=address, **{"style": Grainy(), **settings})


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(f.relative_to(folder)): f.read_bytes() for f in files if f.name != "failed.jsonl"}


def failures(made: FarmedImages) -> list[str]:
    assert made.failures is not None
    lines = [json.loads(line) for line in made.failures.read_text().splitlines()]
    assert all(line["error"] and "\n" not in line["error"] for line in lines)
    return sorted(Path(line["photo"]).name for line in lines)


def test_same_files_as_on_one_machine_and_resume(album: Path, tmp_path: Path, cluster: str) -> None:
    one = tmp_path / "one"
    stylize_images(album, one, style=Grainy())
    seen: list[tuple[float, float | None]] = []
    out = album / "farm"  # inside of the album, and no part of it
    made = farm(album, out, cluster, progress=lambda done, total, _: seen.append((done, total)))
    assert contents(out) == contents(one)
    assert (made.done, made.kept, made.failed) == (COUNT, 0, 1)
    assert failures(made) == ["damaged.png"]
    assert seen[-1] == (COUNT + 1, COUNT + 1)
    with pytest.raises(OutputExistsError):
        farm(album, out, cluster)
    with pytest.raises(InputError, match="compare"):
        farm(album, out, cluster, resume=True, compare=True)
    (out / "03.png").unlink()
    os.utime(out / "04.png", (0, 0))
    (album / "sub" / "damaged.png").unlink()
    again = farm(album, out, cluster, resume=True)
    assert (again.done, again.kept, again.failed, again.failures) == (2, COUNT - 2, 0, None)
    assert contents(out) == contents(one)
    assert not (out / "failed.jsonl").exists()
    farm(album, out, cluster, overwrite=True)
    assert contents(out) == contents(one)


def test_photo_that_ends_its_process_fails_alone(album: Path, tmp_path: Path, cluster: str) -> None:
    Image.new("RGB", (60, 40), "white").save(album / "white.png")
    made = farm(album, tmp_path / "out", cluster, style=Deadly())
    assert (made.done, made.failed) == (COUNT, 2)
    assert failures(made) == ["damaged.png", "white.png"]


def test_interrupt_says_what_is_done(album: Path, tmp_path: Path, cluster: str) -> None:
    def interrupt(done: float, total: object, note: str) -> None:
        if done >= 2:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(InterruptedWorkError):
        farm(album, out, cluster, style=Slow(), progress=interrupt)
    assert farm(album, out, cluster, style=Slow(), resume=True).kept >= 1
    assert len(contents(out)) == COUNT + 1  # and the record


def test_folder_that_a_node_does_not_share_is_refused(
    album: Path, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_each = Cluster.on_each

    def elsewhere(self: Cluster, function: Any, *arguments: Any) -> dict[Any, Outcome]:
        if function is images.check_folders:
            arguments[0].unlink()  # as a node sees it whose folder is another one
        return on_each(self, function, *arguments)

    monkeypatch.setattr(Cluster, "on_each", elsewhere)
    with pytest.raises(InputError, match="share"):
        farm(album, tmp_path / "out", cluster)
    assert contents(tmp_path / "out") == {}


def test_all_photos_fail(album: Path, tmp_path: Path, cluster: str) -> None:
    with pytest.raises(InputError, match="damaged"):
        farm(album / "sub" / "damaged.png", tmp_path / "out", cluster)


def test_two_photos_with_one_output_are_refused(album: Path, tmp_path: Path, cluster: str) -> None:
    inner = album / "sub"
    with pytest.raises(InputError, match="both"):
        stylize_images_on_farm(
            [album / "01.png", inner, album / "01.png"],
            tmp_path / "out",
            style=Grainy(),
            ray=cluster,
        )


def test_groups_grow_and_each_photo_is_in_one(tmp_path: Path) -> None:
    import ray

    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.jpg").touch()
    photos = GroupedPhotos(2, skip_existing=False, refuse_existing=True)
    photos.collect([folder], tmp_path / "out", "")
    tables = [ray.get(group) for group in photos.groups]
    assert [i for table in tables for i in table["index"].to_pylist()] == list(range(300))
    assert tables[0].num_rows == 1
    assert 8 < max(table.num_rows for table in tables) <= 64
    [alone] = photos.alone([200])
    assert ray.get(alone)["index"].to_pylist() == [200]


def test_killed_node(album: Path, tmp_path: Path, cache: Path) -> None:
    import ray

    ray.shutdown()  # the connection of the other tests
    nodes = start_cluster()
    try:
        stylize_images(album, tmp_path / "one", style=Slow())
        left = list(nodes.worker_nodes)

        def deadly(done: float, total: object, note: str) -> None:
            if done and left:
                nodes.remove_node(left.pop(), allow_graceful=False)

        made = farm(album, tmp_path / "out", nodes.address, style=Slow(), progress=deadly)
        assert not left
        assert (made.done, made.failed) == (COUNT, 1)
        assert contents(tmp_path / "out") == contents(tmp_path / "one")
    finally:
        nodes.shutdown()
