from pathlib import Path

import pytest

from nst_rt.errors import InputError
from nst_rt.infer import demo


def test_only_a_folder_of_its_own_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "demo"
    own.mkdir()
    (own / "before_after.png").write_text("precious")
    with pytest.raises(InputError, match="another folder"):
        demo.run_demo(own)
    assert [path.read_text() for path in own.iterdir()] == ["precious"]

    class Reached(Exception):
        pass

    def stop(*_: object, **__: object) -> None:
        raise Reached

    monkeypatch.setattr(demo, "load_style", lambda style: style)
    monkeypatch.setattr(demo, "stylize_video", stop)
    for _ in range(2):  # a new folder, and the one that the first demo made
        with pytest.raises(Reached):
            demo.run_demo(tmp_path / "new")
    assert (tmp_path / "new" / "photos" / "chelsea.png").exists()
