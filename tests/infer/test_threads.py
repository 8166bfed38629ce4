import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import count

import pytest

from nst_rt.infer.threads import in_background, polled

# A time that none of these tests takes.
newest = partial(polled, seconds=60, drop=True)


def test_items_arrive_in_order() -> None:
    assert list(in_background(range(100), depth=3)) == list(range(100))


def test_a_slow_consumer_blocks_the_producer() -> None:
    made = []

    def items() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    with closing(in_background(items(), depth=2)) as stage:
        next(stage)
        time.sleep(0.2)
        assert len(made) <= 5


@pytest.mark.parametrize("stage", [in_background, newest])
def test_errors_are_raised_in_the_consumer(stage) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(stage(items()))


@pytest.mark.parametrize("stage", [in_background, newest])
def test_closing_ends_the_thread_and_its_generator(stage) -> None:
    ended = threading.Event()

    def items() -> Iterator[int]:
        try:
            for number in count():
                time.sleep(0.001)
                yield number
        finally:
            ended.set()

    before = threading.active_count()
    with closing(stage(items())) as running:
        next(running)
    assert ended.is_set()
    assert threading.active_count() == before


def test_errors_in_the_consumer_end_all_stages() -> None:
    def consume() -> None:
        with (
            closing(in_background(count())) as first,
            closing(in_background(number + 1 for number in first)) as second,
        ):
            next(second)
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        consume()
    assert threading.active_count() == before


def test_closing_does_not_wait_for_a_hanging_source() -> None:
    arrives, ended = threading.Event(), threading.Event()

    def hanging() -> Iterator[int]:
        try:
            yield 1
            arrives.wait(60)
        finally:
            ended.set()

    def doubled() -> Iterator[int]:
        with closing(in_background(hanging(), patience=0.1)) as numbers:
            yield from (2 * number for number in numbers)

    with closing(in_background(doubled())) as stage:
        assert next(stage) == 2
    assert not ended.is_set()
    arrives.set()
    assert ended.wait(60)


def test_drop_yields_the_newest_item() -> None:
    taken, burst, go_on = threading.Event(), threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        taken.wait()
        yield from range(1, 10)
        burst.set()
        go_on.wait()
        yield 10

    with closing(newest(items())) as stage:
        assert next(stage) == 0
        taken.set()
        burst.wait()
        assert next(stage) == 9
        go_on.set()
        assert list(stage) == [10]
    assert list(newest(range(1000)))[-1] == 999  # the last one is never dropped


def test_polled_yields_none_without_items() -> None:
    go_on = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        go_on.wait()
        yield 2

    with closing(polled(items(), seconds=0.01)) as stage:
        assert next(item for item in stage if item is not None) == 1
        assert next(stage) is None
        go_on.set()
        assert next(item for item in stage if item is not None) == 2


def test_closing_leaves_a_hanging_live_source_behind() -> None:
    forever = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        forever.wait()

    with closing(newest(items())) as stage:
        assert next(stage) == 1
    forever.set()
