# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out whether a container holds pictures or only sound, by the few bytes that say so.

Nothing is decoded and nothing is kept: at most `STEPS_LIMIT` headers of at most `HEADER_BYTES` bytes are read, whatever
a file says of itself, and what cannot be found out so stays open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum

#: Reads so many bytes at an offset; fewer at the end of the content.
ReadAt = Callable[[int, int], bytes]
#: Headers of boxes, elements or pages that are looked at in one file.
STEPS_LIMIT = 256
HEADER_BYTES = 64

_EBML, _SEGMENT, _TRACKS, _TRACK_ENTRY, _TRACK_TYPE, _CLUSTER, _DOC_TYPE = (
    *(0x1A45DFA3, 0x18538067, 0x1654AE6B, 0xAE, 0x83, 0x1F43B675, 0x4282),
)
#: What the first packet of an Ogg stream begins with (RFC 5334, 5 and the codecs' own documents).
_OGG_VIDEO = (b"\x80theora", b"BBCD\0", b"OVP80", b"\x01video")
_OGG_AUDIO = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"fLaC", b"Speex   ", b"PCM     ", b"CELT    ")


class Track(StrEnum):
    """Hold what a track of a container is; captions, time codes and attachments count as neither."""

    VIDEO = "video"
    AUDIO = "audio"


class _Steps:
    """Read headers, and stop when there were enough."""

    def __init__(self, read_at: ReadAt) -> None:
        self._read_at = read_at
        self._left = STEPS_LIMIT

    def read(self, offset: int) -> bytes:
        """Return the header at an offset; empty behind the end, and when the budget is used up."""
        self._left -= 1
        return self._read_at(offset, HEADER_BYTES) if self._left >= 0 else b""


def read_tracks(content_type: str, read_at: ReadAt) -> frozenset[Track]:
    """Return what tracks a container has; empty where it does not say so within the budget.

    Args:
        content_type: as `types.sniff` gives it.
        read_at: reads the content.
    """
    steps = _Steps(read_at)
    if content_type.endswith(("/webm", "/x-matroska")):
        return frozenset(_matroska(steps))
    if content_type.endswith("/ogg"):
        return frozenset(_ogg(steps))
    return frozenset(_iso(steps))


def _boxes(steps: _Steps, start: int, stop: int | None) -> Iterator[tuple[bytes, int, int | None]]:
    """Yield type, and first and last offset of the payload, of the boxes in a range (ISO/IEC 14496-12, 4.2)."""
    at = start
    while stop is None or at + 8 <= stop:
        header = steps.read(at)
        if len(header) < 8:
            return
        size, skip = int.from_bytes(header[:4]), 8
        if size == 1 and len(header) >= 16:
            size, skip = int.from_bytes(header[8:16]), 16
        # 0: to the end of the file.
        end = stop if size == 0 else at + size
        if size and size < skip:
            return
        yield header[4:8], at + skip, end
        if end is None:
            return
        at = end


def _iso(steps: _Steps) -> Iterator[Track]:
    movie = next(((start, stop) for name, start, stop in _boxes(steps, 0, None) if name == b"moov"), None)
    if movie is None:
        return
    for name, start, stop in _boxes(steps, *movie):
        if name != b"trak":
            continue
        media = next(((a, b) for inner, a, b in _boxes(steps, start, stop) if inner == b"mdia"), None)
        for inner, begin, _ in _boxes(steps, *media) if media else ():
            if inner != b"hdlr":
                continue
            # Version, flags and a field of QuickTime come before the type (8.4.3).
            handler = steps.read(begin)[8:12]
            if handler == b"vide":
                yield Track.VIDEO
            elif handler == b"soun":
                yield Track.AUDIO


def _number(header: bytes, at: int, *, marked: bool) -> tuple[int, int]:
    """Read a number of variable length (RFC 8794, 4); returns it and its length, 0 where there is none."""
    first = header[at] if at < len(header) else 0
    length = 9 - first.bit_length()
    if first == 0 or at + length > len(header):
        return 0, 0
    value = int.from_bytes(header[at : at + length])
    if marked:
        return value, length
    value &= (1 << 7 * length) - 1
    # All bits set: of unknown length.
    return (-1 if value == (1 << 7 * length) - 1 else value), length


def _elements(steps: _Steps, start: int, stop: int | None) -> Iterator[tuple[int, int, int | None]]:
    """Yield id, and first and last offset of the payload, of the elements in a range."""
    at = start
    while stop is None or at < stop:
        header = steps.read(at)
        name, skip = _number(header, 0, marked=True)
        size, more = _number(header, skip, marked=False)
        if not skip or not more:
            return
        begin = at + skip + more
        end = stop if size < 0 else begin + size
        yield name, begin, end
        if end is None:
            return
        at = end


def _matroska(steps: _Steps) -> Iterator[Track]:
    segment = next(((a, b) for name, a, b in _elements(steps, 0, None) if name == _SEGMENT), None)
    for name, start, stop in _elements(steps, *segment) if segment else ():
        if name == _CLUSTER:
            return
        if name != _TRACKS:
            continue
        for entry, begin, end in _elements(steps, start, stop):
            if entry != _TRACK_ENTRY:
                continue
            for inner, at, _ in _elements(steps, begin, end):
                if inner == _TRACK_TYPE:
                    yield from {b"\1": [Track.VIDEO], b"\2": [Track.AUDIO]}.get(steps.read(at)[:1], [])
                    break
        return


def doc_type(head: bytes) -> bytes:
    """Return the document type that an EBML header names (RFC 8794, 11.2.6); empty where it names none."""
    steps = _Steps(lambda offset, size: head[offset : offset + size])
    for name, start, stop in _elements(steps, 0, None):
        if name != _EBML:
            break
        for inner, begin, end in _elements(steps, start, stop):
            if inner == _DOC_TYPE and end is not None:
                return head[begin:end].rstrip(b"\0")
        break
    return b""


def _ogg(steps: _Steps) -> Iterator[Track]:
    """Read the first page of each stream: all of them come before any other page (RFC 3533, 4)."""
    at = 0
    while (header := steps.read(at))[:4] == b"OggS" and len(header) >= 28 and header[5] & 2:
        segments = header[26]
        packet = steps.read(at + 27 + segments)
        if packet.startswith(_OGG_VIDEO):
            yield Track.VIDEO
        elif packet.startswith(_OGG_AUDIO):
            yield Track.AUDIO
        # A first packet is small, so its page has few segments; one of a page that lies is not followed.
        sizes = header[27 : 27 + segments]
        if len(sizes) < segments:
            return
        at += 27 + segments + sum(sizes)
