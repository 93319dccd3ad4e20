# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of sidecars and of metadata.json: one model writes what it reads, as format 1 has always been written."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from blake3 import blake3
from noslop_backend.journal.project_format import Metadata
from noslop_backend.journal.sidecar import Sidecar, SidecarDocument
from noslop_backend.media.tags import LEFT_OUT
from noslop_backend.models import DocumentModel, FileModel, ProjectModel
from noslop_backend.schemas import EmbeddedTexts, FileLabels

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 600, UTC)
ISO = "2026-01-02T03:04:05.000600+00:00"
FILE_ID, SIDECAR_ID, DOCUMENT_ID = "0" * 13, "1" * 13, "2" * 13
DOCUMENT = DocumentModel(
    id=DOCUMENT_ID, project_id="p", kind="workflow", name="w", name_key="w", created_at=MOMENT, last_version=3
)
DOCUMENT_JSON = {"id": DOCUMENT_ID, "kind": "workflow", "name": "w", "created_at": ISO}


def test_sidecar_is_written_as_it_is_read() -> None:
    path = f"workflows/w_v0003-{FILE_ID}.json"
    row = FileModel(
        id=FILE_ID, project_id="p", kind="workflow", path=path, name="\u00fc", size_bytes=3, charged_bytes=3,
        blake3="a" * 64, content_type="application/json", version=3, content_id=FILE_ID, created_at=MOMENT,
        parameters={"n": [1, 2.5, None]}, mtime_ns=0,
    )  # fmt: skip
    texts = EmbeddedTexts.of({"prompt": "\ud800", LEFT_OUT: [{"key": "long", "bytes": 9, "why": "too long"}]})
    sidecar = Sidecar.of(
        row, SIDECAR_ID, document=SidecarDocument.of(DOCUMENT), embedded_texts=texts, references=["c"],
        inputs=["b", "a", "b"],
    )  # fmt: skip
    file = {
        "id": FILE_ID, "project_id": "p", "kind": "workflow", "path": path, "name": "\u00fc", "size_bytes": 3,
        "blake3": "a" * 64, "content_type": "application/json", "version": 3, "source_id": None,
        "content_id": FILE_ID, "created_at": ISO,
    }  # fmt: skip
    expected = {
        "noslop": 1, "sidecar_id": SIDECAR_ID, "file": file, "document": DOCUMENT_JSON,
        "parameters": {"n": [1, 2.5, None]}, "inputs": ["a", "b"],
        "embedded_texts": {
            "source": "file", "keys": ["prompt"], "size_bytes": 19,
            "blake3": blake3(b'{"prompt":"\\ud800"}').hexdigest(),
            "left_out": [{"key": "long", "bytes": 9, "why": "too long"}],
        },
        "references": ["c"],
    }  # fmt: skip
    text = json.dumps(expected, separators=(",", ":")).encode() + b"\n"
    assert sidecar.to_bytes() == text
    assert Sidecar.from_bytes(text).to_bytes() == text


def test_sidecar_of_the_versions_before_is_read_and_the_next_one_holds_no_texts() -> None:
    name = f"noise-{FILE_ID}.latent"
    old = {
        "noslop": 1, "sidecar_id": SIDECAR_ID, "file": {
            "id": SIDECAR_ID, "name": "a", "size_bytes": 3, "blake3": "a" * 64, "content_type": "image/png",
            "created_at": ISO,
        },
        "document": None, "parameters": {"n": 1}, "embedded": {"prompt": {"latent": name}, "text": "\ud800"},
        "inputs": [], "later": {"kept": True},
    }  # fmt: skip
    sidecar = Sidecar.from_bytes(json.dumps(old, indent=1).encode() + b"\n")
    assert sidecar.embedded == old["embedded"]
    assert sidecar.needs() == {FILE_ID}
    fresh = sidecar.revise(DOCUMENT_ID, FileLabels(name="b", tags=["t"]), {"n": 2})
    again = Sidecar.from_bytes(fresh.to_bytes())
    assert (again.needs(), again.parameters, again.labels) == ({FILE_ID}, {"n": 2}, FileLabels(name="b", tags=["t"]))
    assert again.embedded_texts == EmbeddedTexts.of(sidecar.embedded)
    written = json.loads(fresh.to_bytes())
    assert (written["later"], "embedded" in written) == ({"kept": True}, False)


def test_metadata_is_written_as_it_is_read() -> None:
    project = ProjectModel(
        id="p-00000000", name="\u00fc", folder_path="p", created_at=MOMENT, updated_at=MOMENT, settings={"a": 1},
        quota_bytes=4, revision=7,
    )  # fmt: skip
    fields = {
        "id": "p-00000000", "name": "\u00fc", "description": "", "status": "active", "settings": {"a": 1},
        "quota_bytes": 4, "intermediate_days": None, "trash_days": None, "revision": 7, "created_at": ISO,
        "updated_at": ISO, "trashed_at": None,
    }  # fmt: skip
    expected = {"noslop": 1, "project": fields, "documents": [DOCUMENT_JSON | {"last_version": 3}]}
    text = json.dumps(expected, indent=1, ensure_ascii=False).encode() + b"\n"
    assert Metadata.of(project, [DOCUMENT]).to_bytes() == text
    assert Metadata.from_bytes(text).to_bytes() == text
