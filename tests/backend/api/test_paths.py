# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks through every parameter that ends in a path or a name: none leaves its project, none ends in a 500."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from noslop_backend.api.paths import PREFIX

from tests.backend.api.serving import Served, serving
from tests.backend.studio import Studio, png

_UP = ("..", "../../../../../../etc/passwd", "..\\..\\windows", "/etc/passwd", "//etc/passwd", "\\\\host\\share")
_HIDDEN = (".", ".staging", ".trash", ".noslop-share", "metadata.json", ".staging/../..", "~root", "--help")
_WINDOWS = ("CON", "NUL.png", "a:b", "C:\\x", "x.", "x ", "x::$DATA", "*", '"', "a\tb")
_CODES = ("\0", "a\0.png", "\r\n", "\x1b[31m", "\x7f", "\ufeff", "\u202e", "\u2028", "\u2044etc", "\uff0e\uff0e\uff0f")
_LOOKALIKES = ("\uff45\uff54\uff43", "\u2025/", "\u2215etc\u2215passwd", "e\u0301" * 100, "\u0130", "\U0001f408" * 50)
_ENCODED = ("%2e%2e%2f", "%252e%252e%252f", "..%2f", "..%c0%af", "%00", "%ff", "....//", "..;/")
_SHELL = ("$(id)", "${HOME}", "{{7*7}}", "%s%n", "' OR 1=1 --", "<script>")
_LONG = ("x" * 201, "x" * 4096, "../" * 500, "\xe9" * 200)
NAMES = (*_UP, *_HIDDEN, *_WINDOWS, *_CODES, *_LOOKALIKES, *_ENCODED, *_SHELL, *_LONG)


@pytest.fixture
def outside(studio: Studio, place: Path) -> dict[str, bytes]:
    """What lies beside the share and inside it, but in no project."""
    assert studio.root.parent == place
    (place / "secret.txt").write_text("secret")
    return _around(place)


def _around(place: Path) -> dict[str, bytes]:
    """Every file that belongs to no project, and to no database."""
    found = {}
    for path in sorted(place.rglob("*")):
        relative = path.relative_to(place)
        beside = relative.parts[0] != "projects" or len(relative.parts) == 2
        if beside and path.is_file() and "sqlite3" not in path.name:
            found[str(relative)] = path.read_bytes()
    return found


def test_attacks(served: Served, studio: Studio, place: Path, outside: dict[str, bytes]) -> None:
    """Over a thousand requests: each database gets every other name, in each place that takes one."""
    names = NAMES[1::2] if studio.url.startswith("sqlite") else NAMES[0::2]
    project_id = served.project()
    file_id = str(served.upload(project_id, 0)["id"])
    asked = 0
    for number, name in enumerate(names, 1):
        for method, path, more in _attacks(project_id, file_id, name, number):
            answer = served.client.request(method, f"{PREFIX}{path}", **more)
            asked += 1
            assert answer.status_code < 500, (name, method, path, answer.text)
            assert "root:" not in answer.text
            assert "secret" not in answer.text
    assert asked >= 500
    assert _around(place) == outside
    known = {one["id"] for one in served.client.get(f"{PREFIX}/projects?limit=1000").json()["items"]}
    assert set(os.listdir(studio.root)) == {".noslop-share", *known}
    # Whatever was made lies where the layout says, and the database knows it: the fixture checks every project.


def _attacks(project_id: str, file_id: str, name: str, number: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Requests with a hostile text in each place that takes one."""
    at, within = f"/projects/{project_id}", quote(name.encode("utf-8", "replace"), safe="")
    query, body = {"name": name}, json.dumps({"name": name})
    json_type = {"Content-Type": "application/json"}
    return [
        # As ids in paths, encoded and as they are.
        ("GET", f"/projects/{within}", {}),
        ("DELETE", f"/projects/{within}", {}),
        ("POST", f"/projects/{within}/media", {"params": {"name": "x"}, "content": png(number)}),
        ("GET", f"{at}/files/{within}", {}),
        ("GET", f"{at}/files/{within}/content", {}),
        ("GET", f"{at}/workflows/{within}/content", {}),
        ("POST", f"{at}/adoptions/{within}/adopt", {}),
        # As names.
        ("POST", "/projects", {"content": body, "headers": json_type}),
        ("PATCH", at, {"content": body, "headers": json_type}),
        ("POST", f"{at}/media", {"params": query, "content": png(number)}),
        ("POST", f"{at}/intermediate", {"params": {**query, "kind": "mask"}, "content": b"mask"}),
        ("POST", f"{at}/workflows", {"params": query, "content": body}),
        ("GET", f"{at}/workflows/content", {"params": query}),
        ("POST", f"{at}/prompts", {"params": query, "content": body}),
        ("POST", f"{at}/files/{file_id}/promote", {"content": body, "headers": json_type}),
        # As kinds, inputs, cursors, keys.
        ("POST", f"{at}/intermediate", {"params": {"kind": name, "name": "x"}, "content": b"x"}),
        ("POST", f"{at}/workflows", {"params": {"name": "y", "inputs": name}, "content": b"{}"}),
        ("GET", f"{at}/files", {"params": {"cursor": name, "document_id": name}}),
        ("POST", f"{at}/files/restore", {"content": json.dumps({"file_ids": [name]}), "headers": json_type}),
        ("DELETE", f"{at}/files", {"params": {"file_id": name}}),
    ]


def test_links_that_are_swapped_in_lead_nowhere(studio: Studio, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # What fails here cannot be undone while the link is there: recovery does it when the lease has run out.
    with serving(studio.storage) as served:
        project_id = served.project()
        top = studio.root / project_id
        for name in ("generated/images", "workflows", ".staging", "final"):
            (top / name).rename(top / f"{name}-moved")
            (top / name).symlink_to(elsewhere)
            at = f"{PREFIX}/projects/{project_id}"
            for path, content in (("media?name=x", png(1)), ("workflows?name=x", b"{}")):
                answer = served.client.post(f"{at}/{path}", content=content)
                assert answer.is_success or answer.status_code == 409, (name, path, answer.text)
            assert list(elsewhere.iterdir()) == [], name
            (top / name).unlink()
            (top / f"{name}-moved").rename(top / name)


def test_a_file_that_became_a_link_is_not_read(served: Served, studio: Studio, tmp_path: Path) -> None:
    project_id = served.project()
    file = served.upload(project_id, 1)
    path = studio.root / project_id / str(file["path"])
    secret = tmp_path / "secret.png"
    shutil.move(path, secret)  # which may lie on another file system
    path.symlink_to(secret)
    answer = served.client.get(f"{PREFIX}/projects/{project_id}/files/{file['id']}/content")
    assert (answer.status_code, answer.json()["code"]) == (409, "unsafe_path")
    path.unlink()
    shutil.move(secret, path)
