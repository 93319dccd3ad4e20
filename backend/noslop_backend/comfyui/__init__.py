# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File what ComfyUI made of a prompt under a project: outputs, workflow, prompt and parameters.

The caller names a host of the studio and the id of a prompt. Only the address that the settings have for that host is
ever contacted. Everything is filed once, however often it is asked for, and if the process dies in the middle.
"""

from __future__ import annotations

import re

from noslop_backend.comfyui import history
from noslop_backend.comfyui.client import ComfyUI
from noslop_backend.comfyui.ingest import Filing, InThisThread, ShareRunner
from noslop_backend.core.comfyui_hosts import ComfyHost
from noslop_backend.core.errors import (
    ComfyAnswerError,
    ComfyUnavailableError,
    InProgressError,
    InvalidRequestError,
    NotFoundError,
)
from noslop_backend.schemas import IngestReport
from noslop_backend.services import ProjectStorage

__all__ = ["PROMPT_ID", "InThisThread", "ShareRunner", "ingest"]

#: ComfyUI makes UUIDs; programs may bring ids of their own.
PROMPT_ID = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)
#: A history holds the workflow, the graph that was made of it, and what every node put out: so many documents at most.
_HISTORY_DOCUMENTS = 4


def ingest(
    storage: ProjectStorage,
    project_id: str,
    host: str,
    prompt_id: str,
    *,
    key: str | None = None,
    disk: ShareRunner | None = None,
) -> IngestReport:
    """File what ComfyUI on a host has made of a prompt; blocks, for as long as the network and the disks take.

    Asked again for the same prompt it files what is missing and gives what is there. A prompt that failed is filed too,
    with what came of it.

    Args:
        storage: the service.
        project_id: where it is filed.
        host: name of a host in `settings.comfyui_hosts`.
        prompt_id: what ComfyUI calls it.
        key: idempotency key; without one the prompt itself is.
        disk: runs what touches the share; by default this thread does.

    Raises:
        NotFoundError: no such project or host, or the prompt is not in ComfyUI's history.
        InProgressError: ComfyUI has not ended it yet, or another process files it just now.
        ComfyUnavailableError: ComfyUI cannot be reached. What was filed before that stays.
        ComfyAnswerError: it answers something that cannot be understood.
        QuotaExceededError: no room. What was filed before that stays.
    """
    if not PROMPT_ID.fullmatch(prompt_id):
        raise InvalidRequestError(
            f"{prompt_id[:80]!r} is no prompt's id: letters, digits, - and _, at most 64. ComfyUI gave it as "
            "`prompt_id`."
        )
    settings = storage.settings
    address = _host(settings.comfyui_hosts, host)
    storage.claim_key(project_id, key, "ingest", address.name, prompt_id)
    with ComfyUI(address, idle_s=settings.ingest_idle_s, limit_s=settings.ingest_limit_s) as comfy:
        run = _read_run(comfy, prompt_id, _HISTORY_DOCUMENTS * settings.max_document_bytes)
        filing = Filing(storage, comfy, disk or InThisThread(), project_id=project_id, prompt_id=prompt_id, run=run)
        try:
            return filing.file()
        except ComfyUnavailableError as error:
            done, of = len(filing.report.files), len(run.outputs)
            message = f"{error.message} {done} of {of} files are filed by now; sent again, only the rest is."
            raise ComfyUnavailableError(message, **error.details) from error


def _host(hosts: dict[str, ComfyHost], name: str) -> ComfyHost:
    if name in hosts:
        return hosts[name]
    there = f"There are {', '.join(sorted(hosts))}." if hosts else "The studio has none."
    raise NotFoundError(
        f"The studio has no ComfyUI host {name[:80]!r}. {there} They are NOSLOP_COMFYUI_HOSTS in the backend's "
        "settings, which a deployment writes from its inventory.",
        hosts=sorted(hosts),
    )


def _read_run(comfy: ComfyUI, prompt_id: str, limit_bytes: int) -> history.Run:
    """Return the record in ComfyUI's history of a prompt that has ended.

    Raises:
        InProgressError: it has not.
        NotFoundError: the history has no such prompt.
        ComfyAnswerError: an answer cannot be used.
    """
    asked = [f"/history/{prompt_id}", "/queue", f"/history/{prompt_id}"]
    try:
        # It may end between the first two questions; then the third finds it.
        for path in asked:
            answer = comfy.json(path, limit_bytes)
            if path == "/queue":
                if history.is_queued(prompt_id, answer):
                    raise InProgressError(
                        f"ComfyUI on {comfy.host} has not ended the prompt {prompt_id} yet. Send it again when it has.",
                        retry_after_s=5,
                        host=comfy.host.name,
                    )
            elif run := history.parse(prompt_id, answer):
                return run
    except ValueError as error:
        raise ComfyAnswerError(
            f"What ComfyUI on {comfy.host} answered to {path} cannot be used: {error}. See whether it is a ComfyUI of "
            "a version that NoSlop knows.",
            host=comfy.host.name,
        ) from error
    raise NotFoundError(
        f"ComfyUI on {comfy.host} knows no prompt {prompt_id}. It forgets all of them when it is started again, and "
        "the oldest of very many. Look whether it ran on another host.",
        host=comfy.host.name,
    )
