# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe prompts as jobs, as /api/jobs does since 0.6: waiting, running and completed ones in one list."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from execution import Queue

STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")
ENDS = ("execution_success", "execution_error", "execution_interrupted")
Job = dict[str, Any]


def parse_job_id(value: object) -> str:
    """Return the id of a job. Raises ValueError unless it is a UUID in lower case, with hyphens."""
    if not isinstance(value, str) or str(uuid.UUID(value)) != value:
        raise ValueError("prompt_id must be a UUID string in canonical lowercase hyphenated form")
    return value


def list_jobs(queue: Queue, query: dict[str, str]) -> dict[str, Any]:
    """Return the jobs and where they are in the whole list. Raises ValueError, whose text is for the client."""
    chosen = [word.strip() for word in query.get("status", "").lower().split(",") if word.strip()]
    invalid = [word for word in chosen if word not in STATUSES]
    if invalid:
        raise ValueError(f"Invalid status value(s): {', '.join(invalid)}. Valid values: {', '.join(STATUSES)}")
    sort_by, order = query.get("sort_by", "created_at").lower(), query.get("sort_order", "desc").lower()
    if sort_by not in ("created_at", "execution_duration"):
        raise ValueError("sort_by must be 'created_at' or 'execution_duration'")
    if order not in ("asc", "desc"):
        raise ValueError("sort_order must be 'asc' or 'desc'")
    limit = int(query["limit"]) if "limit" in query else None
    if limit is not None and limit <= 0:
        raise ValueError("limit must be a positive integer")
    offset = max(0, int(query.get("offset", 0)))
    jobs = [job for job in _describe_all(queue) if not chosen or job["status"] in chosen]
    key: Callable[[Job], int] = _duration if sort_by == "execution_duration" else _created
    jobs.sort(key=key, reverse=order == "desc")
    page = jobs[offset:] if limit is None else jobs[offset : offset + limit]
    more = offset + len(page) < len(jobs)
    return {"jobs": page, "pagination": {"offset": offset, "limit": limit, "total": len(jobs), "has_more": more}}


def find_job(queue: Queue, job_id: str) -> Job | None:
    """Return one job with its outputs and workflow, or None."""
    for prompt_id, entry in queue.history(job_id).items():
        row = entry["prompt"]
        more = {"outputs": entry["outputs"], "execution_status": entry["status"], "workflow": _workflow(row)}
        return {**_describe_completed(prompt_id, entry), **more}
    rows = queue.rows()
    for status, key in (("in_progress", "queue_running"), ("pending", "queue_pending")):
        for row in rows[key]:
            if row[1] == job_id:
                return {**_describe_waiting(row, status), "workflow": _workflow(row)}
    return None


def _describe_all(queue: Queue) -> list[Job]:
    rows = queue.rows()
    return [
        *(_describe_waiting(row, "in_progress") for row in rows["queue_running"]),
        *(_describe_waiting(row, "pending") for row in rows["queue_pending"]),
        *(_describe_completed(prompt_id, entry) for prompt_id, entry in queue.history().items()),
    ]


def _describe_waiting(row: list[Any], status: str) -> Job:
    number, prompt_id, _, extra, _ = row
    job = {"id": prompt_id, "status": status, "priority": number, "create_time": extra.get("create_time")}
    return {**job, "outputs_count": 0}


def _describe_completed(prompt_id: str, entry: dict[str, Any]) -> Job:
    job = _describe_waiting(entry["prompt"], "completed")
    events = dict(entry["status"]["messages"])
    if entry["status"]["status_str"] != "success":
        job["status"] = "cancelled" if "execution_interrupted" in events else "failed"
    job["execution_start_time"] = events["execution_start"]["timestamp"]
    job["execution_end_time"] = next(events[name]["timestamp"] for name in ENDS if name in events)
    if "execution_error" in events:
        job["execution_error"] = events["execution_error"]
    items = [
        {**item, "nodeId": node_id, "mediaType": kind}
        for node_id, shown in entry["outputs"].items()
        for kind, listed in shown.items()
        for item in listed
        if isinstance(item, dict)
    ]
    job["outputs_count"] = len(items)
    if items:
        job["preview_output"] = next((item for item in items if item.get("type") == "output"), items[0])
    return job


def _workflow(row: list[Any]) -> dict[str, Any]:
    return {"prompt": row[2], "extra_data": row[3]}


def _created(job: Job) -> int:
    return int(job["create_time"] or 0)


def _duration(job: Job) -> int:
    return int(job.get("execution_end_time", 0)) - int(job.get("execution_start_time", 0))
