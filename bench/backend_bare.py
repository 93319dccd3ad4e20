"""The endpoints that ours are held against: what a program would do that promises nothing.

Not a benchmark of its own: `python -m bench.backend_bare ENV_FILE` serves them by the server of `noslop-backend
serve`, with the same settings.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from noslop_backend.api import limits
from noslop_backend.cli.uvicorn_config import Server, configured, listening
from noslop_backend.core.database import Database
from noslop_backend.core.settings import Settings
from noslop_backend.models import ProjectModel
from noslop_backend.schemas import ProjectPublic
from sqlmodel import Session

BATCH_BYTES = 4 * 1024 * 1024


def _session(request: Request) -> Iterator[Session]:
    with Session(request.app.state.database.engine) as opened:
        yield opened


SessionDep = Annotated[Session, Depends(_session)]


def bare_app(settings: Settings) -> FastAPI:
    """Two endpoints: one writes what comes and syncs it, one reads a row."""
    app = FastAPI()
    app.state.database = Database(settings.database_url)
    directory = settings.project_storage_dir

    @app.post("/files/{name}")
    async def upload(name: str, request: Request) -> dict[str, int]:
        """Stream a body to the disk in large batches, off the loop; synced and renamed before the answer."""
        part = directory / f".{name}.part"
        held, size, written = [], 0, 0
        with open(part, "xb", buffering=0) as stream:
            async for chunk in request.stream():
                held.append(chunk)
                size += len(chunk)
                if size >= BATCH_BYTES:
                    written += await asyncio.to_thread(stream.write, b"".join(held))
                    held, size = [], 0
            written += await asyncio.to_thread(stream.write, b"".join(held))
            await asyncio.to_thread(os.fsync, stream.fileno())
        await asyncio.to_thread(_rename, part, directory / name)
        return {"size_bytes": written}

    @app.get("/projects/{project_id}")
    def get_project(project_id: str, session: SessionDep) -> ProjectPublic:
        """Read one row by its key."""
        found = session.get(ProjectModel, project_id)
        if found is None:
            raise HTTPException(404)
        return ProjectPublic.model_validate(found)

    return app


def _rename(part: Path, name: Path) -> None:
    part.rename(name)
    descriptor = os.open(name.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main() -> None:
    """Serve on a free port of loopback, and say which."""
    env_file = sys.argv[1]
    app = bare_app(Settings(_env_file=env_file))
    with listening("127.0.0.1", 0) as listener:
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
        Server(configured(app, limits.load(env_file))).run(sockets=[listener])


if __name__ == "__main__":
    main()
