# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write the share: owns its layout, and every call of the system about it.

May touch: core. Never: the database, HTTP.
"""

from noslop_backend.share.file_io import CHUNK_BYTES, FileContent, Writer, hash_descriptor
from noslop_backend.share.foreign import Foreign, open_foreign
from noslop_backend.share.marker import Marker
from noslop_backend.share.media_cache import CacheTree
from noslop_backend.share.share import Share, Tree

__all__ = [
    "CHUNK_BYTES",
    "CacheTree",
    "FileContent",
    "Foreign",
    "Marker",
    "Share",
    "Tree",
    "Writer",
    "hash_descriptor",
    "open_foreign",
]
