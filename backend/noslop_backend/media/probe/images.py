# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read images with Pillow. Only the child and its fork server import this: it loads decoders."""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Iterator
from typing import Any, BinaryIO

# Modules that Pillow would import when it needs them: by then the child cannot open files any more.
from PIL import AvifImagePlugin, ExifTags, Image, ImageSequence
from PIL.Image import Exif

from noslop_backend.media.tags import exif, gif, png
from noslop_backend.media.tags.limits import Budget, BudgetExceededError, Texts

_PLUGINS = ("Png", "Jpeg", "Mpo", "Gif", "WebP", "Tiff", "Avif")
Facts = dict[str, Any]


def prepare() -> None:
    """Load what reads images, and set its limits: what is too large is what does not fit into the child's memory."""
    Image.preinit()
    for name in _PLUGINS:
        importlib.import_module(f"PIL.{name}ImagePlugin")
    Image.MAX_IMAGE_PIXELS = None
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1


class ImageFile:
    """An image that is read: its texts first, then what it is."""

    def __init__(self, stream: BinaryIO, name: str, budget: Budget) -> None:
        self._stream = stream
        self._name = name
        self._budget = budget
        self._gif: gif.GifSize | None = None

    def read_texts(self, texts: Texts) -> None:
        """Collect the texts that it embeds.

        Raises:
            Exception: whatever Pillow raises for a file that it cannot read.
        """
        if self._name == "GIF":
            self._gif = gif.read(self._stream, texts, self._budget)
        elif self._name == "PNG":
            if data := png.read(self._stream, texts, self._budget):
                tags = Exif()
                tags.load(data)
                _add_exif(tags, texts)
        else:
            with self._open() as image:
                _add_exif(image.getexif(), texts)
                for key in ("xmp", "comment"):
                    if isinstance(value := image.info.get(key), bytes | str):
                        texts.add(key, value if isinstance(value, str) else value.decode("utf-8", "replace"))

    def _open(self) -> Image.Image:
        self._stream.seek(0)
        return Image.open(self._stream, formats=[self._name])

    def read_size(self, facts: Facts) -> None:
        """Read size and number of pictures; of an animation also how long it is shown, by decoding what time allows.

        Raises:
            Exception: whatever Pillow raises for a file that it cannot read.
        """
        facts["format"] = self._name
        if self._gif is not None:
            facts |= {"width": self._gif.width, "height": self._gif.height, "frames": self._gif.frames}
            if self._gif.frames > 1:
                facts["duration_s"] = self._gif.duration_s
            return
        with self._open() as image:
            frames = getattr(image, "n_frames", 1)
            facts |= {"width": image.width, "height": image.height, "frames": frames}
            if frames > 1 and self._name != "TIFF":
                decoded: Facts = {"frames": 0}
                # Pillow has the time of a picture once it is decoded.
                with contextlib.suppress(BudgetExceededError):
                    _decode(ImageSequence.Iterator(image), decoded, self._budget)
                if decoded["frames"] == frames and "duration_s" in decoded:
                    facts["duration_s"] = decoded["duration_s"]

    def decode(self, facts: Facts) -> None:
        """Decode each picture.

        Raises:
            Exception: whatever Pillow raises for a file that is damaged.
        """
        with self._open() as image:
            facts |= {"format": self._name, "width": image.width, "height": image.height, "frames": 0}
            _decode(ImageSequence.Iterator(image), facts, self._budget)


def _add_exif(tags: Exif, texts: Texts) -> None:
    exif.add(dict(tags), texts)
    # A damaged directory costs its own texts only.
    with contextlib.suppress(Exception):
        exif.add(tags.get_ifd(ExifTags.IFD.Exif), texts)


def _decode(pictures: Iterator[Image.Image], facts: Facts, budget: Budget) -> None:
    milliseconds = 0.0
    for picture in pictures:
        picture.load()
        facts["frames"] += 1
        shown = picture.info.get("duration")
        milliseconds += shown if isinstance(shown, int | float) else 0
        if facts["frames"] > 1 and milliseconds and math.isfinite(milliseconds):
            facts["duration_s"] = round(milliseconds / 1000, 6)
        if budget.is_over:
            facts["complete"] = False
            return
