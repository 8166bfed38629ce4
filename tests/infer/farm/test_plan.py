from fractions import Fraction
from pathlib import Path

import pytest
from clips import write_clip

from nst_rt.infer.farm.plan import Cut, Piece, Start, cut
from nst_rt.infer.video import ConversionSettings, check_conversion


def simple(frames: int, segment: int) -> Cut:
    """A frame every 2 ticks."""
    return Cut(range(0, 2 * frames, 2), 2 * frames, None, segment)


def test_pieces_cover_the_video_in_order() -> None:
    video = simple(95, 10)
    assert (video.frames, video.segments) == (95, 10)
    pieces = video.pieces(range(10), 2, warm_up=12)
    assert [piece.number for piece in pieces] == [0, 5]
    assert pieces[0] == Piece(0, (0, 20, 40, 60, 80), 100, (Start(0, None),))
    assert pieces[1] == Piece(5, (100, 120, 140, 160, 180), None, (Start(76, 76),))


def test_only_missing_segments_are_made() -> None:
    pieces = simple(100, 10).pieces({1, 2, 3, 7, 9}, 1, warm_up=0)
    made = [piece.number + place for piece in pieces for place in range(len(piece.begins))]
    assert made == [1, 2, 3, 7, 9]


@pytest.mark.parametrize(("workers", "longest"), [(1, 80), (4, 20), (100, 1)])
def test_pieces_are_long_but_leave_no_worker_idle(workers: int, longest: int) -> None:
    pieces = simple(800, 10).pieces(range(80), workers, warm_up=100)
    assert max(len(piece.begins) for piece in pieces) == longest


def test_scenes_are_searched_in_no_more_than_half_of_a_piece() -> None:
    video = simple(2000, 10)
    ticks = [[start.tick for start in video.piece(100, n, warm_up=15).starts] for n in (1, 7, 50)]
    assert ticks == [[1970], [1970, 1940], [1970, 1940, 1910, 1880, 1850]]
    assert video.piece(100, 50, warm_up=0).starts == (Start(2000, 2000),)
    assert video.piece(2, 2, warm_up=15).starts == (Start(10, 10),)
    assert video.piece(2, 20, warm_up=15).starts == (Start(10, 10), Start(0, None))


def test_constant_rate() -> None:
    """Frames at 0, 100 and 400 ms, shown at 10 frames per second; the last one for 200 ms."""
    video = Cut([0, 100, 400], 600, Fraction(10, 1000), 2)
    assert (video.frames, video.segments) == (6, 3)
    last = video.piece(2, 1, warm_up=1)
    assert (last.begins, last.end) == ((4,), None)
    assert last.starts == (Start(3, 0),)
    assert video.span(2) == (4, 5)


def test_repeated_frames_count_once_in_a_warm_up() -> None:
    """10 frames per second, shown at 50."""
    video = Cut(range(0, 1000, 10), 1000, Fraction(5, 10), 100)
    piece = video.piece(3, 1, warm_up=20)
    assert piece.begins == (300,)
    assert piece.starts[0] == Start(200, 320)  # read from 8 frames before


def test_video_begins_at_a_tick_between_frames() -> None:
    """25 frames per second, shown at 5; the first tick after 0.41 s shows the fifth frame."""
    video = Cut(range(410, 8000, 40), 8000, Fraction(5, 1000), 5)
    first, second = (video.piece(number, 1, warm_up=4) for number in (0, 1))
    assert first.starts == (Start(3, None),)
    assert [start.tick for start in second.starts] == [4]
    assert video.piece(1, 4, warm_up=4).starts[-1] == Start(3, None)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_frames_of_a_file(tmp_path: Path, suffix: str) -> None:
    codec = {"codec": "mpeg4"} if suffix == ".avi" else {}
    source = write_clip(tmp_path / f"in{suffix}", options={"g": "10"}, **codec)
    settings = ConversionSettings(start=0.2, end=0.8, segment=10)
    request = check_conversion(source, tmp_path / "out.mp4", settings)
    video = cut(request)
    times = [timed.pts for timed in request.reader.frames()]
    assert video.frames == len(times) == 15
    assert video.piece(0, 2, warm_up=0).begins == (times[0], times[10])
