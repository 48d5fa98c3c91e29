# SPDX-License-Identifier: Apache-2.0
"""A small picture of a large one."""

from __future__ import annotations

import io

from PIL import Image

EDGE = 256


def thumbnail(photo: bytes | memoryview) -> bytes:
    """JPEG of at most EDGE x EDGE pixels, made from an image file's bytes."""
    with Image.open(io.BytesIO(photo)) as image:
        image.draft("RGB", (EDGE, EDGE))  # decodes no more of the JPEG than the result needs
        small = image.convert("RGB")
    small.thumbnail((EDGE, EDGE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=90)
    return file.getvalue()
