import pytest

from nst_rt.times import parse_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("12.5", 12.5), ("1:30", 90), ("0:01:30.5", 90.5), ("2:00:00", 7200)],
)
def test_time_in_seconds(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1:", ":30", "1:3o"])
def test_text_that_is_no_time_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="convert"):
        parse_time(text)
