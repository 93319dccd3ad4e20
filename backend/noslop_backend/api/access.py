# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks: a Bearer token in the Authorization header, and nowhere else."""

from __future__ import annotations

from typing import Annotated

from fastapi import BackgroundTasks, Depends, Request, Security, params
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from noslop_backend.auth import Caller
from noslop_backend.models import TokenScope

from .admission import CALLER
from .state import StateDep

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


CallerDep = Annotated[Caller, Depends(_caller)]


def _may(scope: TokenScope) -> params.Depends:
    # Awaits nothing: as a plain `def` it would take a thread to compare two words.
    async def check(caller: CallerDep) -> Caller:
        caller.require(scope)
        return caller

    found: params.Depends = Depends(check)
    return found


#: For the `dependencies` of a route.
READ = _may(TokenScope.READ)
WRITE = _may(TokenScope.WRITE)
ADMIN = _may(TokenScope.ADMIN)
