"""One picture file as grey bytes, and a photograph brought into the form of the training images."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elman.errors import DataError, MissingExtraError, describe

try:
    from PIL import Image, ImageFilter, ImageOps, UnidentifiedImageError
except ImportError as error:
    raise MissingExtraError("Pictures need Pillow: pip install 'elman[train]'") from error

__all__ = ["ImageFormat", "open_grey", "picture_size", "read_picture", "resize"]

# Each format is a parser that hostile bytes reach, so only those that people have their pictures in.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
_MAX_PIXELS = 64_000_000
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)

_Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class ImageFormat:
    """The form of a data set's images: what a picture has to become before a model trained on them can read it.

    Args:
        height: Rows (the time steps).
        width: Pixels in a row (the features).
        dark_background: Whether the ink is lighter than its ground.
        frame: The share of height and width that the content takes at most; None for images without a plain ground.
        ink: The mean of the content's bounding box in an ordinary image, full ink being 1.
        maximum: The largest pixel value.

    Example:
        >>> images = np.zeros((2, 6, 6), dtype=np.uint8)
        >>> images[:, 1:5, 2:4] = 200
        >>> ImageFormat.measure(images).to_dict()  # doctest: +NORMALIZE_WHITESPACE
        {'height': 6, 'width': 6, 'dark_background': True, 'frame': [0.6667, 0.3333], 'ink': 1.0, 'maximum': 200}
    """

    height: int
    width: int
    dark_background: bool
    frame: tuple[float, float] | None
    ink: float
    maximum: int

    @classmethod
    def measure(cls, images: np.ndarray) -> ImageFormat:
        """Measure the form of training images (N, height, width) of uint8.

        Raises:
            DataError: There are no images, or they have no pixels.
        """
        if images.size == 0:
            raise DataError(describe("images", expected="one or more, with pixels", got=str(images.shape)))
        height, width = images.shape[1:]
        sample = images[:: max(1, len(images) // 2000)].astype(np.float64)
        maximum = max(int(images.max(initial=0)), 1)
        borders = _border(sample)
        grounds = np.median(borders, axis=1) / maximum
        plain = np.mean(np.abs(borders / maximum - grounds[:, None]) <= 0.1, axis=1)
        ground = float(np.median(grounds))
        dark = ground <= 0.5
        frame, ink = None, 0.0
        if np.median(plain) >= 0.5 and abs(ground - 0.5) >= 0.25:
            shares = [_content(picture if dark else maximum - picture, maximum) for picture in sample]
            if drawn := [share for share in shares if share is not None]:
                tall, wide, _ = np.quantile(drawn, 0.95, axis=0)
                frame = (round(float(tall), 4), round(float(wide), 4))
                ink = round(float(np.median([share[2] for share in drawn])), 4)
        return cls(height, width, dark, frame, ink, maximum)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON or YAML."""
        return asdict(self) | {"frame": None if self.frame is None else list(self.frame)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> ImageFormat:
        """Build it again from `to_dict`, checking every field.

        Raises:
            DataError: A field is missing, unknown or not what it can be.
        """
        frame = fields.get("frame")
        shares = frame if isinstance(frame, list | tuple) else []
        whole = [fields.get(name) for name in ("height", "width", "maximum")]
        good = (
            set(fields) == set(cls.__dataclass_fields__)
            and all(type(value) is int and value >= 1 for value in whole)
            and fields["height"] * fields["width"] <= _MAX_PIXELS
            and fields["maximum"] <= 255
            and type(fields["dark_background"]) is bool
            and (frame is None or (len(shares) == 2 and all(type(s) in (int, float) and 0 < s <= 1 for s in shares)))
            and type(fields["ink"]) in (int, float)
            and 0 <= fields["ink"] <= 1
        )
        if not good:
            raise DataError(
                describe("image format", expected=f"the fields {', '.join(cls.__dataclass_fields__)}", got=repr(fields))
            )
        return cls(**(fields | {"frame": (float(shares[0]), float(shares[1])) if shares else None}))


def read_picture(path: str | os.PathLike[str], image: ImageFormat) -> tuple[_Bytes, list[str]]:
    """Read a picture as the model wants it.

    A picture of the training images' size and polarity is taken as it is. Any other is taken for a photograph of ink
    on a plain ground: the ground is estimated from the border and taken away, light and dark are swapped where needed,
    the contrast is stretched, and the ink is cut out, fitted into the frame and centred by its mass, as MNIST was.

    Args:
        path: A PNG, JPEG, GIF, BMP or WebP file.
        image: The form of the training images.

    Returns:
        The picture, (height, width) uint8 in the values of the training images, and what was done to it, in words.

    Raises:
        DataError: Missing, not a picture, damaged, too large, or blank.
    """
    path = Path(path)
    grey, notes = open_grey(path)
    size = (image.height, image.width)
    if grey.shape == size:
        # A picture in the values of the data set itself (0 to 16, say) is not a very dark photograph.
        full = image.maximum if grey.max() <= image.maximum else 255
        if image.frame is not None and _dark_ground(grey.astype(np.float64)) != image.dark_background:
            grey = full - grey
            notes.append(_inversion(image))
        return _in_range(grey, full, image), notes
    notes.append(f"scaled from {grey.shape[1]}x{grey.shape[0]} to {image.width}x{image.height}")
    if image.frame is None:
        return _in_range(resize(grey, size), 255, image), notes
    ink, dark = _ink(path, grey)
    if dark != image.dark_background:
        notes.append(_inversion(image))
    picture, thickened = _fit(ink, image, image.frame)
    notes += ["strokes thickened"] if thickened else []
    notes.append("cropped to the ink and centred")
    return _in_range(picture if image.dark_background else 255 - picture, 255, image), notes


def open_grey(path: Path) -> tuple[_Bytes, list[str]]:
    """Open a picture as (height, width) uint8 grey, turned upright, with what was done in words.

    Raises:
        DataError: Missing, not a picture, damaged, or too large.
    """
    notes: list[str] = []
    with _opened(path) as picture, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata, which is not used
        try:
            if getattr(picture, "is_animated", False):
                notes.append("first picture of an animation")
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            if picture.getexif().get(0x0112, 1) in range(2, 9):
                notes.append("turned as its EXIF orientation says")
            if upright.mode.startswith("I"):  # 16 bits, which Pillow's own conversion would clip to white
                return (np.asarray(upright, dtype=np.int64).clip(0, 65535) // 257).astype(np.uint8), notes
            if upright.has_transparency_data:
                notes.append("transparent parts taken as paper")
                return _on_paper(upright.convert("RGBA")), notes
            return np.array(upright.convert("RGB").convert("L")), notes
        except _UNREADABLE as error:
            raise _not_a_picture(path, f"a damaged one ({error})") from error


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture by its header, as it stands upright.

    Raises:
        DataError: Missing, not a picture, or too large.
    """
    with _opened(path) as picture, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            turned = picture.getexif().get(0x0112, 1) in range(5, 9)
        except _UNREADABLE as error:
            raise _not_a_picture(path, f"a damaged one ({error})") from error
        return (picture.width, picture.height) if turned else (picture.height, picture.width)


def resize(grey: _Bytes, size: tuple[int, int]) -> _Bytes:
    """Scale a grey picture to (height, width)."""
    return np.array(Image.fromarray(grey).resize((size[1], size[0]), Image.Resampling.LANCZOS))


def _opened(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata, and about sizes: our own limit is lower, and an error
            picture = Image.open(path, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(path, "far more") from error
    except UnidentifiedImageError as error:
        empty = path.stat().st_size == 0
        raise _not_a_picture(path, "an empty file" if empty else "something else") from error
    except _UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _not_a_picture(path, reason) from error
    if picture.width * picture.height > _MAX_PIXELS:
        picture.close()
        raise _too_large(path, f"{picture.width}x{picture.height}")
    return picture


def _not_a_picture(path: Path, got: str) -> DataError:
    return DataError(describe(str(path), expected=f"a picture ({', '.join(_FORMATS)})", got=got))


def _too_large(path: Path, got: str) -> DataError:
    return DataError(describe(f"{path}: picture", expected=f"at most {_MAX_PIXELS:,} pixels", got=got))


def _on_paper(picture: Image.Image) -> _Bytes:
    """Lay a transparent picture on white; on black where its ink is light and white would swallow it."""
    grey = np.asarray(picture.convert("RGB").convert("L"), dtype=np.float64)
    alpha = np.asarray(picture.getchannel("A"), dtype=np.float64) / 255
    light_ink = (grey * alpha).sum() > 127.5 * alpha.sum() and alpha.min() == 0
    return np.rint(grey * alpha + (0 if light_ink else 255) * (1 - alpha)).astype(np.uint8)


def _inversion(image: ImageFormat) -> str:
    return "inverted: dark ink on light paper" if image.dark_background else "inverted: light ink on dark ground"


def _in_range(grey: _Bytes, full: int, image: ImageFormat) -> _Bytes:
    return np.rint(grey.astype(np.float64) * (image.maximum / full)).astype(np.uint8)


def _border(pictures: _Floats) -> _Floats:
    """The outermost pixels of pictures (N, height, width), as (N, pixels)."""
    edges = (pictures[:, 0], pictures[:, -1], pictures[:, 1:-1, 0], pictures[:, 1:-1, -1])
    return np.concatenate(edges, axis=1)


def _dark_ground(grey: _Floats) -> bool:
    ground = float(np.median(_border(grey[None])))
    return bool(grey.max() - ground >= ground - grey.min())


def _box(content: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns of the smallest box around what is true."""
    rows, columns = np.flatnonzero(content.any(axis=1)), np.flatnonzero(content.any(axis=0))
    if rows.size == 0:
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _content(ink: _Floats, maximum: int) -> tuple[float, float, float] | None:
    """Shares of height and width that the ink takes, and the mean ink in its box."""
    box = _box(ink > 0.2 * maximum)
    if box is None:
        return None
    inside = ink[box]
    return inside.shape[0] / ink.shape[0], inside.shape[1] / ink.shape[1], float(inside.mean()) / maximum


def _ink(path: Path, grey: _Bytes) -> tuple[_Bytes, bool]:
    """The ink of a photograph, cut to its box, 0 to 255; and whether its ground is darker than the ink."""
    photograph = Image.fromarray(grey)
    photograph.thumbnail((256, 256), Image.Resampling.BOX)
    if max(photograph.size) >= 64:
        photograph = photograph.filter(ImageFilter.MedianFilter(3))  # dust is not ink
    values = np.asarray(photograph, dtype=np.float64)
    difference = values - _ground(values)
    dark = bool(difference.max() >= -difference.min())
    ink = np.maximum(difference if dark else -difference, 0)
    peak = float(ink.max())
    box = _box(ink > 0.35 * peak)
    if peak < 24 or box is None:
        raise DataError(
            describe(
                f"{path}: picture",
                expected="ink on a plain ground",
                got=f"a blank one (no pixel differs from its ground by more than {peak:.0f} of 255)",
            )
        )
    full = float(np.median(ink[ink > 0.35 * peak]))  # robust against a single glare
    return np.rint(((ink[box] - 0.15 * peak) / (full - 0.15 * peak)).clip(0, 1) * 255).astype(np.uint8), dark


def _ground(values: _Floats) -> _Floats:
    """The paper under the ink: a plane through the border's pixels, since light falls from one side."""
    height, width = values.shape
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    design = np.stack([np.ones_like(rows), rows, columns])
    points, border = _border(design).T, _border(values[None])[0]
    fitted = np.full_like(border, np.median(border))
    for _ in range(3):  # ink that touches the border is left out
        near = np.abs(border - fitted) <= 40
        plane = np.linalg.lstsq(points[near], border[near], rcond=None)[0]
        fitted = points @ plane
    return np.tensordot(plane, design, axes=1)


def _fit(ink: _Bytes, image: ImageFormat, frame: tuple[float, float]) -> tuple[_Bytes, bool]:
    """Fit ink into the frame of a dark picture and centre it by its mass; also whether its strokes were thickened."""
    room = (max(1, round(frame[0] * image.height)), max(1, round(frame[1] * image.width)))
    # A pen's thin line would fade away on the way down to a few pixels, so it is thickened while still large.
    work = resize(ink, _fitted(ink.shape, (4 * room[0], 4 * room[1])))
    strokes, rounds = Image.fromarray(np.pad(work, 8)), 0
    while rounds < 6 and _mean_ink(strokes) < 0.65 * image.ink:
        strokes, rounds = strokes.filter(ImageFilter.MaxFilter(3)), rounds + 1
    drawn = np.asarray(strokes)
    cut = drawn[_box(drawn > 0) or ...]
    small = resize(np.ascontiguousarray(cut), _fitted(cut.shape, room)).astype(np.float64)
    small *= 255 / max(1.0, float(small.max()))
    canvas = np.zeros((image.height, image.width))
    top, left = (_start(small.sum(axis=1 - axis), canvas.shape[axis]) for axis in (0, 1))
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return np.rint(canvas).astype(np.uint8), rounds > 0


def _mean_ink(strokes: Image.Image) -> float:
    values = np.asarray(strokes, dtype=np.float64)
    content = _content(values, 255)
    return 1.0 if content is None else content[2]


def _fitted(shape: tuple[int, ...], room: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the same proportions in a room."""
    scale = min(room[0] / shape[0], room[1] / shape[1])
    return (min(room[0], max(1, round(shape[0] * scale))), min(room[1], max(1, round(shape[1] * scale))))


def _start(mass: _Floats, room: int) -> int:
    """Where a line of masses begins in a room so that their centre is its middle, as far as they fit."""
    centre = float(np.dot(mass, np.arange(len(mass))) / mass.sum())
    return int(np.clip(round(room / 2 - centre), 0, room - len(mass)))
