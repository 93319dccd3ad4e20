# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only package that touches the disk."""

from .cache import CacheTree
from .content import CHUNK_BYTES, Foreign, Seen, Writer, hash_descriptor
from .marker import Marker
from .share import Share, Tree

__all__ = ["CHUNK_BYTES", "CacheTree", "Foreign", "Marker", "Seen", "Share", "Tree", "Writer", "hash_descriptor"]
