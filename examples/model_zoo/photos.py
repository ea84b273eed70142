"""Photos: twenty with ImageNet labels to judge by, and others to calibrate on.

The labelled ones come with foolbox and carry ImageNet's terms (research, no redistribution): they are downloaded, never
copied into a repository. The others are the sample pictures of scikit-image (public domain, CC0 or the like, listed in
skimage/data/README.txt and its documentation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from .case import Example
from .packages import Package, product, publishing, unpack

FOOLBOX = Package(
    "pypi",
    "foolbox",
    "3.3.4",
    "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
    ("foolbox/data/imagenet_*.jpg",),
    "ImageNet's terms of access",
)
SCIKIT_IMAGE = Package(
    "pypi",
    "scikit-image",
    "0.26.0",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    ("skimage/data/*.png", "skimage/data/*.jpg", "skimage/data/lfw_subset.npy", "skimage/data/README.txt"),
    "sample pictures of scikit-image: public domain or permissive",
)
_CROPS = 9  # of each labelled photo
_PHOTOS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "camera.png",
    "grass.png",
    "gravel.png",
    "brick.png",
    "hubble_deep_field.jpg",
)


def labelled_photos(input_name: str, preprocess: Callable[[np.ndarray], np.ndarray], seed: int) -> Iterator[Example]:
    """Twenty photos, then nine random crops of each: what twenty photos alone can't tell, two hundred pictures may.

    The label is the class index of ImageNet 2012, which is the last part of the file's name. Examples of whole photos
    are called "photo ...". The seed draws the crops.
    """
    photos = {path: _rgb(path) for path in sorted((unpack(FOOLBOX) / "foolbox/data").glob("imagenet_*.jpg"))}
    pictures = [(f"photo {path.name}", path, photo) for path, photo in photos.items()]
    rng = np.random.default_rng(2 * seed + 1)
    pictures += [
        (f"crop {number} of {path.name}", path, _random_crop(photo, rng))
        for number in range(_CROPS)
        for path, photo in photos.items()
    ]
    for name, path, picture in pictures:
        yield Example(name, ({input_name: preprocess(picture)},), int(path.stem.rsplit("_", 1)[1]))


def calibration_crops(count: int, side: int, seed: int) -> Path:
    """A folder of `count` square PNG files of side x side: random crops of ten photos, a half of them mirrored."""
    folder = product(f"photo-crops-{count}x{side}-{seed}", __file__)
    with publishing(folder) as partial:
        if partial is not None:
            rng = np.random.default_rng(2 * seed)
            photos = [_rgb(unpack(SCIKIT_IMAGE) / "skimage/data" / name) for name in _PHOTOS]
            for index in range(count):
                crop = _random_crop(photos[index % len(photos)], rng)
                square = Image.fromarray(crop).resize((side, side), Image.Resampling.BICUBIC)
                name = Path(_PHOTOS[index % len(photos)]).stem
                square.save(partial / f"{index:03}_{name}.png")
    return folder


def _random_crop(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = photo.shape[:2]
    side = int(min(height, width) * rng.uniform(0.5, 1))
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    crop = photo[top : top + side, left : left + side]
    return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)


def _rgb(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))
