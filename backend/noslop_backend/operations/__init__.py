# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change projects: owns the operations, one a file: prepare, execute, recover.

May touch: core, share, models, schemas, repositories, media, journal. Never: HTTP, another operation's steps.
"""

from typing import Any

from noslop_backend.core.enums import IntentOp, IntentState
from noslop_backend.journal.intent import IntentHandle
from noslop_backend.journal.journal import Journal, Recover
from noslop_backend.journal.publish import WriteOperation
from noslop_backend.models.plans import RenamePlan
from noslop_backend.operations.adopt_file import AdoptFile
from noslop_backend.operations.create_project import CreateProject
from noslop_backend.operations.import_project import ImportProject
from noslop_backend.operations.move_to_trash import MoveToTrash, RestoreFiles
from noslop_backend.operations.promote import Promote
from noslop_backend.operations.purge import RemoveFiles
from noslop_backend.operations.purge_project import PurgeProject
from noslop_backend.operations.rename_document import RenameDocument
from noslop_backend.operations.transfer import TransferFiles
from noslop_backend.operations.update_project import UpdateProject
from noslop_backend.share import Share


def _recover_update(journal: Journal, share: Share, handle: IntentHandle[Any]) -> IntentState:
    """Finish a change of a project or of the name of a document: both change a row, and metadata.json after that."""
    recover = RenameDocument.recover if isinstance(handle.plan, RenamePlan) else UpdateProject.recover
    return recover(journal, share, handle)


#: What takes an intent to its end when its owner died, by what the intent was about to do.
RECOVER: dict[IntentOp, Recover] = {
    IntentOp.WRITE: WriteOperation.recover,
    IntentOp.PROMOTE: Promote.recover,
    IntentOp.ADOPT: AdoptFile.recover,
    IntentOp.TRASH: MoveToTrash.recover,
    IntentOp.RESTORE: RestoreFiles.recover,
    IntentOp.PURGE: RemoveFiles.recover,
    IntentOp.CLEANUP: RemoveFiles.recover,
    IntentOp.TRANSFER: TransferFiles.recover,
    IntentOp.CREATE_PROJECT: CreateProject.recover,
    IntentOp.UPDATE_PROJECT: _recover_update,
    IntentOp.PURGE_PROJECT: PurgeProject.recover,
    IntentOp.IMPORT_PROJECT: ImportProject.recover,
}
