# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the audit log holds of requests: the token and the address, for changes and for refusals."""

from __future__ import annotations

from noslop_backend.api.paths import PREFIX
from noslop_backend.core.enums import TokenScope
from noslop_backend.models import AuditModel
from noslop_backend.services.tokens import Tokens

from tests.backend.api.serving import Served, with_token
from tests.backend.studio import png
from tests.backend.test_audit import rows


def _of(served: Served, operation: str) -> list[AuditModel]:
    return [row for row in rows(served.storage.database) if row.operation == operation]


def test_requests_are_logged_with_their_token_and_address(served: Served, project_id: str) -> None:
    at = f"{PREFIX}/projects/{project_id}"
    served.upload(project_id, 1)
    served.writer.post(f"{at}/workflows", params={"name": "w"}, json={}).raise_for_status()
    ticket = served.writer.post(f"{at}/adoptions", json={"name": "a.png", "size_bytes": len(png(2))}).json()
    with open(ticket["staging_path"], "wb") as stream:
        stream.write(png(2))
    served.writer.post(f"{at}/adoptions/{ticket['ticket_id']}/adopt").raise_for_status()
    served.client.put(f"{PREFIX}/quota", json={"quota_bytes": None}).raise_for_status()
    for operation, name in (
        ("create_project", "admin"),
        ("save_image", "admin"),
        ("save_workflow", "write"),
        ("adopt", "write"),
        ("set_store_quota", "admin"),
    ):
        (row,) = _of(served, operation)
        assert (row.actor_kind, row.actor_name, row.origin) == ("token", name, "127.0.0.1"), operation
        assert row.actor_id is not None


def test_refused_requests_are_logged_by_reason(served: Served, project_id: str) -> None:
    tokens = Tokens(served.storage.database)
    revoked, bound = (
        tokens.create("revoked", TokenScope.WRITE, None),
        tokens.create("bound", TokenScope.ADMIN, None, [served.project("Mine")]),
    )
    tokens.revoke("revoked")
    unknown = f"noslop_{revoked.row.id}_{'0' * 52}"
    path = f"{PREFIX}/projects/{project_id}"
    for text, status in ((None, 401), (unknown, 401), (revoked.text, 401), (bound.text, 404)):
        with with_token(served.url, text) as client:
            for _ in range(3):
                assert client.get(path).status_code == status
    assert served.reader.delete(path).status_code == 403
    # Refused by the route itself.
    assert served.writer.patch(path, json={"quota_bytes": 1}).status_code == 403
    served.state.refusals.close()
    logged = [
        (row.actor_kind, row.actor_name, row.details["reason"], row.details["count"])
        for row in _of(served, "authenticate")
    ]
    assert sorted(logged) == sorted(
        [
            *[("anybody", "", reason, count) for reason in ("no_token", "unknown_token") for count in (1, 2)],
            # Its secret was right.
            *[("token", "revoked", "revoked", count) for count in (1, 2)],
            *[("token", "bound", "not_found", count) for count in (1, 2)],
            *[("token", name, "forbidden", 1) for name in ("read", "write")],
        ]
    )
    assert {row.origin for row in _of(served, "authenticate")} == {"127.0.0.1"}
    written = " ".join(row.model_dump_json() for row in rows(served.storage.database))
    for text in (unknown, revoked.text, bound.text):
        assert text.rsplit("_", 1)[1] not in written
