from pathlib import Path

import pytest

from nst_rt.errors import InputError
from nst_rt.resume import check_record, file_digest

RECORD = {"size": 48, "style": "a" * 64, "steps": [3, 4]}


def test_equal_records() -> None:
    check_record(Path("out"), RECORD, dict(reversed(RECORD.items())))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 60}, ["size", "48", "60"]),
        ({"style": "b" * 64}, ["style"]),
        ({"steps": [3], "seed": 1}, ["steps", "seed"]),
    ],
)
def test_differences_are_named_without_long_values(
    changes: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(InputError, match=r"^out\.png: ") as raised:
        check_record(Path("out.png"), RECORD, RECORD | changes)
    for word in words:
        assert word in str(raised.value)
    assert "aaaa" not in str(raised.value)
    with pytest.raises(InputError, match=words[0]):
        check_record(Path("out.png"), RECORD | changes, RECORD)


def test_file_digest_is_that_of_the_content(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    digests = [file_digest(tmp_path / name) for name in "abc"]
    assert digests[0] == digests[1] != digests[2]
