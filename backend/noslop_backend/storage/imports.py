# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an import ends, whoever takes it to its end: shown as a whole, or taken away. What comes before is `archive`'s.

It is here because recovery needs it, and `archive` stands on this package.
"""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from noslop_backend.crud import IntentCRUD, ProjectCRUD
from noslop_backend.errors import NotFoundError
from noslop_backend.files import Share, beside
from noslop_backend.models import IntentState, ProjectPublic, ProjectState

from .begun import Begun
from .intents import Intents


def show_import(session: Session, project_id: str) -> dict[str, Any]:
    """Count everything of an imported project, and let it be seen."""
    projects = ProjectCRUD(session)
    projects.update_storage_stats(project_id)
    project = projects.lock(project_id)
    project.state = ProjectState.PRESENT
    session.add(project)
    session.flush()
    return {"project": ProjectPublic.model_validate(project).model_dump(mode="json")}


def recover_import(storage: Intents, share: Share, begun: Begun) -> IntentState:
    """Take an import to its end whose owner is gone; `begun` is the recoverer's.

    One that is released leaves nothing, not even its intent.
    """
    beside.disown(share, begun.intent_id, begun.project_id)
    # From here on the owner cannot publish any more: it did before, or it never will.
    if beside.has_project(share, begun.project_id):
        storage.finish(begun, lambda session, _now: show_import(session, begun.project_id))
        beside.clear(share, begun.intent_id)
        return IntentState.DONE
    undo_import(storage, share, begun)
    return IntentState.RELEASED


def undo_import(storage: Intents, share: Share, begun: Begun) -> None:
    """Take everything of an import away that is not published; does nothing when it is somebody else's by now."""
    beside.disown(share, begun.intent_id, begun.project_id)
    if beside.has_project(share, begun.project_id):
        # Published, and then the last transaction failed: recovery shows it when the lease runs out.
        return
    beside.clear(share, begun.intent_id)
    with storage.database.write() as session:
        projects = ProjectCRUD(session)
        try:
            projects.lock(begun.project_id, ProjectState.CREATING)
        except NotFoundError:
            return
        # Its project goes, and the intent with it: all that is left to compare is the owner.
        if IntentCRUD(session).update(begun.intent_id, begun.owner, state=IntentState.RELEASED, key=None):
            projects.delete(begun.project_id)
