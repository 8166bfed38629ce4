import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from nst_rt.progress import interrupts_deferred


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_first_ctrl_c_is_deferred_and_second_raises(caplog: pytest.LogCaptureFixture) -> None:
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
def test_handler_of_the_host_program_stays(handler: Callable[..., Any]) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        with interrupts_deferred() as interrupted:
            press()
            assert not interrupted()
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_no_effect_in_other_threads() -> None:
    def is_interrupted() -> bool:
        with interrupts_deferred() as interrupted:
            return interrupted()

    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(is_interrupted).result()
