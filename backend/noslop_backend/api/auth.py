# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the caller of a route: its token, scope and project. The token is in the Authorization header only."""

from __future__ import annotations

from typing import Annotated

from fastapi import BackgroundTasks, Depends, Request, Security, params
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from noslop_backend.api.admission import CALLER, origin
from noslop_backend.api.deps import State, StateDep
from noslop_backend.core.enums import TokenScope
from noslop_backend.core.errors import NotFoundError
from noslop_backend.journal import audit
from noslop_backend.journal.audit import Actor, ActorKind
from noslop_backend.services.tokens import Caller, ForbiddenError

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="A token made by `noslop-backend token create`. Its scope is read, write or admin; each allows more.",
)


# Awaits nothing: it was found out before the request came here (admission.py).
async def _caller(
    request: Request,
    state: StateDep,
    tasks: BackgroundTasks,
    _described: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    caller: Caller = request.scope[CALLER]
    if caller.note_use and caller.token_id is not None:
        # After the answer: a database that is busy with a write delays no reader.
        tasks.add_task(state.note_use, caller.token_id)
    return caller


def _actor(request: Request, caller: Caller) -> Actor:
    kind = ActorKind.ANYBODY if caller.token_id is None else ActorKind.TOKEN
    return Actor(kind, caller.token_id, caller.name, origin(request.scope))


def _note_refusal(request: Request, state: State, actor: Actor, reason: str) -> None:
    operation_id = getattr(request.scope.get("route"), "operation_id", None)
    state.refusals.note(actor, reason, operation_id or "")


def require_admin(request: Request, state: State, caller: Caller) -> None:
    """Reject what only an admin may ask of a route that others may call too; blocks, as `Refusals.note` does.

    Raises:
        ForbiddenError: the caller is none.
    """
    try:
        caller.require(TokenScope.ADMIN)
    except ForbiddenError as error:
        _note_refusal(request, state, _actor(request, caller), error.code)
        raise


CallerDep = Annotated[Caller, Depends(_caller)]


def _may(scope: TokenScope, *, filters: bool = False) -> params.Depends:
    """Return the check of a scope and of the project in the path.

    A route without a project in its path concerns the whole store, and is closed to tokens for single projects unless
    it `filters` what it answers by `Caller.projects`.
    """

    # As a plain `def` it would take a thread to compare two words.
    async def check(request: Request, state: StateDep, caller: CallerDep) -> Caller:
        actor = _actor(request, caller)
        audit.act_as(actor)
        try:
            caller.require(scope)
            project_id = request.path_params.get("project_id")
            if project_id is not None:
                caller.require_project(project_id)
            elif not filters:
                caller.require_store()
        except (ForbiddenError, NotFoundError) as error:
            await run_in_threadpool(_note_refusal, request, state, actor, error.code)
            raise
        return caller

    found: params.Depends = Depends(check)
    return found


#: For the `dependencies` of a route.
READ = _may(TokenScope.READ)
#: The same, for a route that answers with the caller's projects only.
READ_FILTERED = _may(TokenScope.READ, filters=True)
WRITE = _may(TokenScope.WRITE)
ADMIN = _may(TokenScope.ADMIN)
