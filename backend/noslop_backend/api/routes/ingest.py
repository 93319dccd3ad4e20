# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File under a project what ComfyUI on a host of the studio made of a prompt."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from noslop_backend.api.auth import WRITE
from noslop_backend.api.deps import StateDep
from noslop_backend.api.parameters import Body, Key, ProjectId
from noslop_backend.api.problems import described
from noslop_backend.api.route import StrictRoute
from noslop_backend.comfyui import PROMPT_ID, ingest
from noslop_backend.core.errors import TooManyRequestsError
from noslop_backend.schemas import IngestReport

router = APIRouter(route_class=StrictRoute, prefix="/projects/{project_id}", tags=["files"])


class Ingestion(Body):
    """Which prompt. The host is named as the studio names it: an address is not taken."""

    host: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
    prompt_id: Annotated[str, Field(pattern=f"^{PROMPT_ID.pattern}$")]


@router.post("/ingest", operation_id="ingestPrompt", dependencies=[WRITE], responses=described(404, 409, 502))
async def ingest_prompt(project_id: ProjectId, ingestion: Ingestion, state: StateDep, key: Key = None) -> IngestReport:
    """File outputs, workflow, prompt and parameters of a prompt that ComfyUI ran. Asked again, nothing is doubled.

    Answers when all of it is filed, which takes as long as the files are large. What could not be had is in `left_out`.
    """
    if state.ingests.locked():
        raise TooManyRequestsError(f"{state.limits.ingests} prompts are being filed already.", retry_after_s=5)
    async with state.ingests:
        # In a thread of its own: it waits for the network more than for the share, on which it works through the pool.
        return await state.fetching.call(
            lambda: ingest(state.storage, project_id, ingestion.host, ingestion.prompt_id, key=key, disk=state.disk)
        )
