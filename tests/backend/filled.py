# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A project with one of everything, and what has to be the same of it wherever it was carried."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from noslop_backend.models import DocumentModel, FileModel, ReferenceModel
from noslop_backend.schemas import FilePublic, FileUpdate, ProjectCreate
from noslop_backend.services import ProjectStorage
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind
from sqlmodel import select

from tests.backend.studio import Studio, png


@dataclass(frozen=True)
class Filled:
    """Ids of what `fill` made."""

    project_id: str
    image: FilePublic
    trashed_image: FilePublic
    workflow: FilePublic
    latent: FilePublic
    final: FilePublic
    #: Neither image, video nor sound.
    other: FilePublic


def fill(storage: ProjectStorage, name: str = "Größe & more") -> Filled:
    """Make a project with versions, further sidecars, finals that share contents, references and a trash."""
    project = storage.create_project_structure(
        ProjectCreate(name=name, description="with\nlines", settings={"fps": 24}, quota_bytes=10_000_000, trash_days=9)
    ).id
    texts = {"prompt": '{"1": {}}', "parameters": "a cat\nSteps: 20, Sampler: Euler, Seed: 8, Size: 4x4, Model: sd15"}
    image = storage.save_generated_media(project, "Eine Katze", png(1, texts), parameters={"seed": 7})
    trashed = storage.save_generated_media(project, "Fort damit", png(2))
    first = storage.save_workflow(project, "Fluß", {"in": image.path})
    storage.save_workflow(project, "Fluß", {"in": image.path, "steps": 20}, inputs=[trashed.id])
    workflow = storage.save_workflow(project, "Fluß", {"in": image.path, "steps": 30})
    storage.save_prompt(project, "Wörter", "a cat, very large")
    latent = storage.save_intermediate(project, FileKind.LATENT, "noise.safetensors", b"\0" * 500)
    storage.save_intermediate(project, FileKind.FRAME, "frame 1", png(3, texts))
    storage.save_generated_media(project, "Skizze", png(4, {"prompt": json.dumps({"latent": latent.path})}))
    storage.save_metadata(project, image.id, {"rating": 5, "from": latent.path})
    storage.save_metadata(project, image.id, {"rating": 4}, inputs=[latent.id])
    storage.update_file(project, image.id, FileUpdate(tags=["b", "a"], rating=3))
    other = storage.save_generated_media(project, "scene.blend", b"BLENDER-v404" + bytes(99), inputs=[latent.id])
    storage.update_file(project, other.id, FileUpdate(name="Szene"))
    storage.save_metadata(project, other.id, {"from": image.path})
    final = storage.promote_to_final(project, image.id, name="Das Bild")
    storage.promote_to_final(project, latent.id)
    storage.trash(project, [trashed.id, first.id], force=True)
    return Filled(project, image, trashed, workflow, latent, final, other)


def facts(studio: Studio, project_id: str, *, rebuilt: bool = False) -> dict[str, Any]:
    """Everything of a project that has to survive.

    Of a rebuilt one the share does not know when what was put away, and of intermediates neither their names as they
    were typed nor the very moment when they were made.
    """
    storage = studio.storage
    forgotten = {"mtime_ns", "project_id"} | ({"trashed_at"} if rebuilt else set())

    def row_of(row: FileModel) -> dict[str, Any]:
        known = {name: value for name, value in row.model_dump().items() if name not in forgotten}
        if rebuilt and FileKind(row.kind) in layout.INTERMEDIATE:
            del known["name"], known["created_at"]
        if rebuilt and row.kind == FileKind.SIDECAR:
            del known["created_at"]
        return known

    with storage.database.read() as session:
        files = {row.id: row_of(row) for row in session.exec(_of(FileModel, project_id))}
        documents = {
            row.id: row.model_dump(exclude={"project_id"}) for row in session.exec(_of(DocumentModel, project_id))
        }
        references = {
            (row.from_file_id, row.to_file_id)
            for row in session.exec(select(ReferenceModel))
            if row.from_file_id in files
        }
    stats = storage.get_storage_stats(project_id).model_dump(exclude={"project_id"})
    project = storage.get_project(project_id).model_dump(exclude={"id", "folder_path", "updated_at"})
    tree = {path: body for path, body in studio.tree(project_id).items() if path != layout.METADATA}
    return {
        "files": files,
        "documents": documents,
        "references": references,
        "stats": stats,
        "project": project,
        "tree": tree,
    }


def _of(model: Any, project_id: str) -> Any:  # noqa: ANN401 - any table with project_id
    return select(model).where(model.project_id == project_id)
