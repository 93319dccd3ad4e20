# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an import ends, whoever takes it to its end: shown as a whole, or taken away. What comes before is `archive`'s.

It is here because recovery needs it, and `archive` stands on this package.
"""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from noslop_backend.core.enums import IntentState, ProjectState
from noslop_backend.core.errors import NotFoundError
from noslop_backend.journal.intent import IntentHandle
from noslop_backend.journal.journal import Intents
from noslop_backend.repositories import IntentRepository, ProjectRepository
from noslop_backend.schemas import ProjectPublic
from noslop_backend.share import Share, hidden_dirs


def show_import(session: Session, project_id: str) -> dict[str, Any]:
    """Count everything of an imported project, and let it be seen."""
    projects = ProjectRepository(session)
    projects.update_storage_stats(project_id)
    project = projects.lock(project_id)
    project.state = ProjectState.PRESENT
    session.add(project)
    session.flush()
    return {"project": ProjectPublic.model_validate(project).model_dump(mode="json")}


def recover_import(storage: Intents, share: Share, handle: IntentHandle) -> IntentState:
    """Take an import to its end whose owner is gone; `begun` is the recoverer's.

    One that is released leaves nothing, not even its intent.
    """
    hidden_dirs.disown(share, handle.intent_id, handle.project_id)
    # From here on the owner cannot publish any more: it did before, or it never will.
    if hidden_dirs.has_project(share, handle.project_id):
        storage.finish(handle, lambda session, _now: show_import(session, handle.project_id))
        hidden_dirs.clear(share, handle.intent_id)
        return IntentState.DONE
    undo_import(storage, share, handle)
    return IntentState.RELEASED


def undo_import(storage: Intents, share: Share, handle: IntentHandle) -> None:
    """Take everything of an import away that is not published; does nothing when it is somebody else's by now."""
    hidden_dirs.disown(share, handle.intent_id, handle.project_id)
    if hidden_dirs.has_project(share, handle.project_id):
        # Published, and then the last transaction failed: recovery shows it when the lease runs out.
        return
    hidden_dirs.clear(share, handle.intent_id)
    with storage.database.write() as session:
        projects = ProjectRepository(session)
        try:
            projects.lock(handle.project_id, ProjectState.CREATING)
        except NotFoundError:
            return
        # Its project goes, and the intent with it: all that is left to compare is the owner.
        if IntentRepository(session).update(handle.intent_id, handle.owner, state=IntentState.RELEASED, key=None):
            projects.delete(handle.project_id)
