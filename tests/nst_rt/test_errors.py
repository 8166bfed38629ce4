import pytest

from nst_rt.errors import StyleTransferError, UnknownNameError, with_flags


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("a.png: exists already; `overwrite` replaces it", "--overwrite"),
        ("`stroke_size` must be 1 or more", "--stroke-size"),
        ("`window=False` needs an output", "--no-window needs"),
        ("a`b.png: `Not an option`", "a`b.png: `Not an option`"),
    ],
)
def test_options_are_shown_as_flags(message: str, shown: str) -> None:
    assert shown in with_flags(message)


@pytest.mark.parametrize(("known", "word"), [(["night", "waves"], "'waves'"), ([], "none")])
def test_unknown_name_suggests_and_lists_the_known_ones(known: list[str], word: str) -> None:
    error = UnknownNameError("style", "wave", iter(known))
    assert isinstance(error, StyleTransferError)
    for text in ("'wave'", word, *known):
        assert text in str(error)
