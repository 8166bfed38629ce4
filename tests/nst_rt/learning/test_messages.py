import io
from pathlib import Path

import numpy as np

from nst_rt.learning.messages import Begin, Command, Figures, received, send
from nst_rt.learning.request import LearningRequest


def test_messages_come_back_in_order(painting: Path) -> None:
    pipe = io.BytesIO()
    frame = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    begin = Begin(LearningRequest.of(painting))
    for message in (begin, frame, Command.PAUSE):
        send(message, pipe)
    whole = pipe.getvalue()
    first, second, third = received(io.BytesIO(whole))
    assert first.request.key == begin.request.key
    np.testing.assert_array_equal(second, frame)
    assert third is Command.PAUSE
    assert len(list(received(io.BytesIO(whole[:-3])))) == 2  # cut off


def test_figures_as_text() -> None:
    text = str(Figures(0.5, 0.75, None, 0.25))
    assert text == "strokes 0.50, contrast 0.75, pan error 0.25"
