# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backend's host has: a share with its marker, a database, settings. And what must be true of it at any time."""

from __future__ import annotations

import io
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blake3 import blake3
from noslop_backend import migrations
from noslop_backend.core.database import Database
from noslop_backend.core.enums import FileState, IntentState
from noslop_backend.core.settings import Settings
from noslop_backend.journal.context import StorageContext
from noslop_backend.journal.intent import IntentHandle, Result
from noslop_backend.journal.journal import Apply, Journal
from noslop_backend.models import FileModel, IntentModel
from noslop_backend.operations import RECOVER
from noslop_backend.repositories import ProjectRepository, StoreRepository
from noslop_backend.services import ProjectStorage
from noslop_backend.share import layout
from PIL import Image, PngImagePlugin
from sqlmodel import select

STUDIO = "test-studio"
#: Leases, in seconds, that the settings refuse.
_OVER = (0, 0.2)


def write_marker(root: Path, studio_id: str = STUDIO, share: str = "projects", share_id: str | None = None) -> str:
    """Put a share's marker where the storage roles put it; gives its share_id."""
    made = share_id or str(uuid.uuid4())
    (root / ".noslop-share").write_text(json.dumps({"studio_id": studio_id, "share": share, "share_id": made}) + "\n")
    return made


def make_sqlite(path: Path) -> Path:
    """A migrated SQLite database in one file."""
    database = Database(f"sqlite:///{path}")
    migrations.upgrade(database)
    database.close()
    return path


def png(number: int = 0, text: dict[str, str] | None = None) -> bytes:
    """A small picture that is another one for each number."""
    info = PngImagePlugin.PngInfo()
    for name, value in (text or {}).items():
        info.add_text(name, value)
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), (number & 255, number >> 8 & 255, number >> 16 & 255)).save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


class Dying(Journal):
    """A journal whose process ends before the last transaction."""

    def finish(self, handle: IntentHandle[Any], apply: Apply) -> Result:
        raise KeyboardInterrupt


@dataclass
class Studio:
    """A share and a database. Each service that is asked for is like another process on them."""

    root: Path
    url: str
    share_id: str
    opened: list[ProjectStorage] = field(default_factory=list)
    studio_id: str = STUDIO

    def settings(self, **values: float | str | Path | None) -> Settings:
        """Settings of this studio."""
        paths = {
            name: self.root.parent / name
            for name in ("ollama_models_dir", "comfyui_models_dir", "comfyui_custom_nodes_dir", "media_cache_dir")
        }
        given: dict[str, Any] = {
            "studio_id": self.studio_id,
            "project_storage_dir": self.root,
            "database_url": self.url,
            "backup_dir": self.root.parent / "backups",
            "backup_key_file": self.root.parent / "backup.key",
            **paths,
        }
        # Nobody can set a lease that has run out when it begins; it stands for an owner who died or stalls.
        over = {name: values.pop(name) for name in ("lease_s", "adopt_lease_s") if values.get(name) in _OVER}
        return Settings.model_validate(given | values).model_copy(update=over)

    def another(self, **values: float | str | Path | None) -> ProjectStorage:
        """A service of its own, with other settings if they are named."""
        made = ProjectStorage.open(self.settings(**values))
        self.opened.append(made)
        return made

    def dying(self, **values: float | str | Path | None) -> ProjectStorage:
        """Return a service whose process ends before each last transaction: by a KeyboardInterrupt."""
        context = StorageContext.open(self.settings(**values))
        made = ProjectStorage(context, Dying(context, RECOVER))
        self.opened.append(made)
        return made

    @property
    def storage(self) -> ProjectStorage:
        """The first service."""
        return self.opened[0] if self.opened else self.another()

    def close(self) -> None:
        for service in self.opened:
            service.close()

    def tree(self, project_id: str) -> dict[str, bytes]:
        """Every file of a project with its content, by its path."""
        top = self.root / project_id
        return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}

    def rows(self, project_id: str) -> list[FileModel]:
        """Every file row of a project."""
        with self.storage.database.read() as session:
            return list(session.exec(select(FileModel).where(FileModel.project_id == project_id)))

    def open_intents(self) -> list[IntentModel]:
        """Intents that nobody has ended."""
        with self.storage.database.read() as session:
            return list(session.exec(select(IntentModel).where(IntentModel.state == IntentState.OPEN)))

    def drift(self, project_id: str) -> list[str]:
        """What counters differ from what the rows say."""
        with self.storage.database.write() as session:
            found = ProjectRepository(session).update_storage_stats(project_id)
            return found + StoreRepository(session).update_storage_stats()

    def check(self, project_id: str) -> None:
        """Assert what holds whenever nothing is being written.

        Rows and files are the same, and so are counters and rows.
        """
        assert self.open_intents() == []
        files = self.tree(project_id)
        files.pop(layout.METADATA)
        expected = {}
        for row in self.rows(project_id):
            assert row.state in {FileState.PRESENT, FileState.TRASHED}, row
            assert row.intent_id is None
            where = layout.trash(row.path) if row.state == FileState.TRASHED else row.path
            expected[where] = (row.blake3, row.size_bytes)
        assert {path: (blake3(body).hexdigest(), len(body)) for path, body in files.items()} == expected
        assert self.drift(project_id) == []
        project = self.storage.get_project(project_id)
        assert project.reserved_bytes == 0
        assert project.used_bytes == sum(row.charged_bytes for row in self.rows(project_id))


def make_studio(directory: Path, url: str) -> Studio:
    """Make the share, with its marker."""
    root = directory / "projects"
    root.mkdir(exist_ok=True)
    return Studio(root, url, write_marker(root))
