# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check what comes in and shape what goes out: owns the models of requests and answers.

May touch: core, share.layout. Never: the database.
"""

from noslop_backend.schemas.api_models import (
    AdoptionTicket,
    ByteCount,
    CleanupReport,
    Days,
    DocumentPublic,
    FileCreate,
    FileDetails,
    FilePublic,
    IngestReport,
    JsonObject,
    KindStats,
    LeftOut,
    Length,
    LoadedDocument,
    Page,
    ProjectCreate,
    ProjectPublic,
    ProjectUpdate,
    RecoveryReport,
    RemovalReport,
    SavedVersion,
    SearchPage,
    StorageStats,
    StoredTitle,
    StoreStats,
    Text,
    Title,
    VersionDetails,
)
from noslop_backend.schemas.embedded import EmbeddedTexts
from noslop_backend.schemas.labels import FileLabels, FileUpdate

__all__ = [
    "AdoptionTicket",
    "ByteCount",
    "CleanupReport",
    "Days",
    "DocumentPublic",
    "EmbeddedTexts",
    "FileCreate",
    "FileDetails",
    "FileLabels",
    "FilePublic",
    "FileUpdate",
    "IngestReport",
    "JsonObject",
    "KindStats",
    "LeftOut",
    "Length",
    "LoadedDocument",
    "Page",
    "ProjectCreate",
    "ProjectPublic",
    "ProjectUpdate",
    "RecoveryReport",
    "RemovalReport",
    "SavedVersion",
    "SearchPage",
    "StorageStats",
    "StoreStats",
    "StoredTitle",
    "Text",
    "Title",
    "VersionDetails",
]
