import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from nst_rt.interrupts import interrupts_deferred


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_the_first_is_deferred_and_the_second_is_not(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), interrupts_deferred("stopping") as interrupted:
        assert not interrupted()
        press()
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            press()
    assert caplog.messages == ["stopping"]
    with pytest.raises(KeyboardInterrupt):
        press()


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None])
def test_what_the_program_does_about_it_stays(
    handler: Callable[..., Any],
) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        with interrupts_deferred() as interrupted:
            press()
            assert not interrupted()
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_go_without() -> None:
    def is_interrupted() -> bool:
        with interrupts_deferred() as interrupted:
            return interrupted()

    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(is_interrupted).result()
