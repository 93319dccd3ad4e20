# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognise names that storage and desktop systems leave beside files: passed over, never removed, never counted.

Owns: the list of these names and the rule of what is one. Touches no file.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from noslop_backend.share import layout

#: Shell patterns (fnmatch(3)), with the difference between large and small letters.
LITTER = (
    # NFS, SMB and FUSE: files that were removed while a program had them open.
    *(".nfs*", ".smbdelete*", ".fuse_hidden*"),
    # Linux: file systems, desktops, editors.
    *("lost+found", ".Trash", ".Trash-*", ".directory", ".hidden", ".thumbnails", ".~lock.*#", ".*.sw[op]"),
    # macOS, and netatalk.
    *(".DS_Store", "._*", ".AppleDB", ".AppleDesktop", ".AppleDouble", ".Spotlight-V100", ".Trashes", ".fseventsd"),
    *(".TemporaryItems", ".DocumentRevisions-V100", ".VolumeIcon.icns", ".apdisk", ".com.apple.*"),
    *("Network Trash Folder", "Temporary Items", "Icon\r"),
    # Windows.
    *("[Tt]humbs.db", "ehthumbs.db", "ehthumbs_vista.db", "[Dd]esktop.ini", "$RECYCLE.BIN", "~$*"),
    "System Volume Information",
    # Synology, QNAP, TrueNAS, NetApp: thumbnails, recycle bins, snapshots.
    *("@eaDir", "#recycle", "#snapshot", "@tmp", "@Recycle", "@Recently-Snapshot", ".@__thumb", ".@__qini"),
    *(".@upload_cache", ".snapshot", ".snapshots", ".zfs", ".recycle"),
    # Programs that keep copies of directories the same.
    *(".stfolder", ".stversions", ".stignore", ".syncthing.*", ".dropbox*", ".sync", ".owncloudsync.log"),
)
_OWN = frozenset(
    {name for path in layout.DIRECTORIES for name in path.split("/")} | {layout.METADATA, layout.MARKER, layout.SHARE}
)


class Litter:
    """A list of names to pass over. A name that the backend itself may have given is never one of them."""

    def __init__(self, patterns: Iterable[str] = LITTER) -> None:
        #: Give a match for most names quickly; `matches` decides.
        self.match = re.compile("|".join(map(fnmatch.translate, patterns)) or r"(?!)").match

    def matches(self, name: str) -> bool:
        """Return whether a name is to be passed over."""
        return self.match(name) is not None and not (
            name in _OWN or layout.is_file_name(name) or layout.is_project_id(name)
        )
