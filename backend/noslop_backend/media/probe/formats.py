# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the formats that the child reads, by content type, with the names that its libraries have for them."""

from __future__ import annotations

#: Names that Pillow has for formats.
PILLOW = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/tiff": "TIFF",
    "image/avif": "AVIF",
    "image/bmp": "BMP",
}
#: And FFmpeg: only that demuxer is asked, so that no playlist is taken for a video.
FFMPEG = {
    "image/x-exr": "exr_pipe",
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "audio/mp4": "mov",
    "video/3gpp": "mov",
    "video/3gpp2": "mov",
    "audio/3gpp": "mov",
    "video/webm": "matroska",
    "audio/webm": "matroska",
    "video/x-matroska": "matroska",
    "audio/x-matroska": "matroska",
    "audio/aac": "aac",
    "audio/aiff": "aiff",
    "video/mp2t": "mpegts",
    "video/mpeg": "mpeg",
    "video/x-flv": "flv",
    "video/x-msvideo": "avi",
    "video/ogg": "ogg",
    "audio/ogg": "ogg",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/mpeg": "mp3",
}
#: Safetensors, whatever type a file has that is no medium.
SAFETENSORS = "application/octet-stream"
#: The type of a container that holds sound and no moving picture. QuickTime has none of its own for that.
WITHOUT_VIDEO = {
    "video/mp4": "audio/mp4",
    "video/quicktime": "video/quicktime",
    "video/3gpp": "audio/3gpp",
    "video/webm": "audio/webm",
    "video/x-matroska": "audio/x-matroska",
    "video/ogg": "audio/ogg",
}
