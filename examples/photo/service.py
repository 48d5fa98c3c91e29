# SPDX-License-Identifier: Apache-2.0
"""The service "photo": carom serve service:service"""

from __future__ import annotations

import carom
import histogram as tones
import thumbnail as pictures

service = carom.Service("photo")


@service.method
def thumbnail(request: memoryview) -> bytes:
    """JPEG of at most 256 x 256 pixels."""
    return pictures.thumbnail(request)


@service.method
def histogram(request: memoryview, ctx: carom.Context) -> memoryview:
    """3 x 256 little-endian uint64: counted straight into the reply."""
    reply = ctx.reply(tones.COUNTS_BYTES)
    tones.count_into(request, tones.counts_of(reply))
    return reply


@service.method
def draw_histogram(request: memoryview) -> bytes:
    """PNG of what `histogram` counts; the request is its reply."""
    return tones.draw(tones.counts_of(request))


@service.method
def echo(request: memoryview) -> memoryview:
    """The request itself: what a call costs when the work is nothing."""
    return request
