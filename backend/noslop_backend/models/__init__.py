# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SQLModel tables, and the models that validate what comes in and shape what goes out.

Classes with `table=True` check nothing (fastapi/sqlmodel#52): every rule is in a Create or Update model, and again as a
CHECK constraint of the table.
"""

from .edges import (
    AdoptionTicket,
    CleanupReport,
    DocumentPublic,
    FilePublic,
    IngestReport,
    JsonObject,
    KindStats,
    LeftOut,
    LoadedDocument,
    Page,
    ProjectCreate,
    ProjectPublic,
    ProjectUpdate,
    RecoveryReport,
    RemovalReport,
    StorageStats,
    StoreStats,
)
from .states import FileState, IntentOp, IntentState, ProjectState, ProjectStatus, TokenScope
from .tables import (
    AuditModel,
    DocumentModel,
    FileModel,
    IntentModel,
    JobModel,
    ObservationModel,
    ProjectModel,
    ReferenceModel,
    StoreModel,
    TallyModel,
    TokenModel,
    metadata,
)

__all__ = [
    "AdoptionTicket",
    "AuditModel",
    "CleanupReport",
    "DocumentModel",
    "DocumentPublic",
    "FileModel",
    "FilePublic",
    "FileState",
    "IngestReport",
    "IntentModel",
    "IntentOp",
    "IntentState",
    "JobModel",
    "JsonObject",
    "KindStats",
    "LeftOut",
    "LoadedDocument",
    "ObservationModel",
    "Page",
    "ProjectCreate",
    "ProjectModel",
    "ProjectPublic",
    "ProjectState",
    "ProjectStatus",
    "ProjectUpdate",
    "RecoveryReport",
    "ReferenceModel",
    "RemovalReport",
    "StorageStats",
    "StoreModel",
    "StoreStats",
    "TallyModel",
    "TokenModel",
    "TokenScope",
    "metadata",
]
