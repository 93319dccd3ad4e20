# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change projects: owns the operations, one a file: prepare, execute, recover.

May touch: core, share, models, schemas, repositories, media, journal. Never: HTTP, another operation's steps.
"""

from noslop_backend.core.enums import IntentOp
from noslop_backend.journal.journal import Recover
from noslop_backend.journal.publish import WriteOperation
from noslop_backend.operations.adopt_file import AdoptFile
from noslop_backend.operations.create_project import CreateProject
from noslop_backend.operations.import_project import ImportProject
from noslop_backend.operations.move_to_trash import MoveToTrash, RestoreFiles
from noslop_backend.operations.promote import Promote
from noslop_backend.operations.purge import RemoveFiles
from noslop_backend.operations.purge_project import PurgeProject
from noslop_backend.operations.update_project import UpdateProject

#: What takes an intent to its end when its owner died, by what the intent was about to do.
RECOVER: dict[IntentOp, Recover] = {
    IntentOp.WRITE: WriteOperation.recover,
    IntentOp.PROMOTE: Promote.recover,
    IntentOp.ADOPT: AdoptFile.recover,
    IntentOp.TRASH: MoveToTrash.recover,
    IntentOp.RESTORE: RestoreFiles.recover,
    IntentOp.PURGE: RemoveFiles.recover,
    IntentOp.CLEANUP: RemoveFiles.recover,
    IntentOp.CREATE_PROJECT: CreateProject.recover,
    IntentOp.UPDATE_PROJECT: UpdateProject.recover,
    IntentOp.PURGE_PROJECT: PurgeProject.recover,
    IntentOp.IMPORT_PROJECT: ImportProject.recover,
}
