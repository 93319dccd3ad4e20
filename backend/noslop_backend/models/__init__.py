# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SQLModel tables, and the models that validate what comes in and shape what goes out.

Classes with `table=True` check nothing (fastapi/sqlmodel#52): every rule is in a Create or Update model, and again as a
CHECK constraint of the table.
"""

from noslop_backend.models.tables import (
    AuditModel,
    CounterModel,
    DocumentModel,
    FileModel,
    IntentModel,
    JobModel,
    ObservationModel,
    ProjectModel,
    ReferenceModel,
    SearchEntryModel,
    StoreModel,
    TokenModel,
    metadata,
)

__all__ = [
    "AuditModel",
    "CounterModel",
    "DocumentModel",
    "FileModel",
    "IntentModel",
    "JobModel",
    "ObservationModel",
    "ProjectModel",
    "ReferenceModel",
    "SearchEntryModel",
    "StoreModel",
    "TokenModel",
    "metadata",
]
