# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adopting over HTTP: a worker on the share writes, the backend takes it in."""

from __future__ import annotations

from pathlib import Path

from blake3 import blake3
from noslop_backend.api.paths import PREFIX

from tests.backend.api.serving import Served
from tests.backend.studio import Studio, png


def test_a_file_that_lies_on_the_share_is_taken_in(served: Served, project_id: str, studio: Studio) -> None:
    at = f"{PREFIX}/projects/{project_id}/adoptions"
    content = png(1)
    ticket = served.client.post(at, json={"name": "from a worker", "size_bytes": len(content), "parameters": {"a": 1}})
    assert ticket.status_code == 201
    ticket = ticket.json()
    assert served.client.get(f"{PREFIX}/projects/{project_id}").json()["reserved_bytes"] >= len(content)
    staged = Path(ticket["staging_path"])
    assert staged.is_relative_to(studio.root / project_id / ".staging")
    staged.write_bytes(content)
    inode = staged.stat().st_ino
    renewed = served.client.post(f"{at}/{ticket['ticket_id']}/renew").json()
    assert renewed["expires_at"] >= ticket["expires_at"]
    digest = {"blake3": blake3(content).hexdigest()}
    adopted = [served.client.post(f"{at}/{ticket['ticket_id']}/adopt", json=digest) for _ in range(2)]
    assert [answer.status_code for answer in adopted] == [201, 201]
    assert adopted[0].json() == adopted[1].json()
    file = adopted[0].json()
    assert (file["kind"], file["parameters"], file["size_bytes"]) == ("image", {"a": 1}, len(content))
    # Not a byte was copied.
    assert (studio.root / project_id / file["path"]).stat().st_ino == inode
    assert not staged.exists()


def test_a_ticket_is_given_back(served: Served, project_id: str, studio: Studio) -> None:
    at = f"{PREFIX}/projects/{project_id}/adoptions"
    ticket = served.client.post(at, json={"name": "x", "size_bytes": 10, "kind": "latent"}).json()
    Path(ticket["staging_path"]).write_bytes(b"half")
    released = served.client.delete(f"{at}/{ticket['ticket_id']}")
    assert (released.status_code, released.content) == (204, b"")
    assert not Path(ticket["staging_path"]).exists()
    assert served.client.get(f"{PREFIX}/projects/{project_id}").json()["reserved_bytes"] == 0
    for path in ("/renew", "/adopt"):
        assert served.client.post(f"{at}/{ticket['ticket_id']}{path}").status_code in {404, 409}
    studio.check(project_id)


def test_what_should_not_be_adopted_is_not(served: Served, project_id: str, tmp_path: Path) -> None:
    at = f"{PREFIX}/projects/{project_id}/adoptions"
    secret = tmp_path / "secret"
    secret.write_bytes(png(1))
    ticket = served.client.post(at, json={"name": "x", "size_bytes": 1000}).json()
    url = f"{at}/{ticket['ticket_id']}"
    assert served.client.post(f"{url}/adopt").status_code in {404, 409}
    Path(ticket["staging_path"]).symlink_to(secret)
    assert served.client.post(f"{url}/adopt").json()["code"] == "unsafe_path"
    assert served.client.delete(url).status_code == 204
    assert secret.read_bytes() == png(1)
    assert served.client.get(f"{PREFIX}/projects/{project_id}/files").json()["items"] == []


def test_tickets_of_other_projects_and_of_nobody(served: Served, project_id: str) -> None:
    other = served.project("Other")
    ticket = served.client.post(f"{PREFIX}/projects/{other}/adoptions", json={"name": "x", "size_bytes": 1}).json()
    for intent in (ticket["ticket_id"], "0" * 32, "x", "..%2f..", "0" * 31, "A" * 32):
        at = f"{PREFIX}/projects/{project_id}/adoptions/{intent}"
        assert served.client.post(f"{at}/renew").status_code == 404, intent
        assert served.client.post(f"{at}/adopt").status_code == 404, intent
        assert served.client.delete(at).status_code == 404, intent
    assert served.client.delete(f"{PREFIX}/projects/{other}/adoptions/{ticket['ticket_id']}").status_code == 204
    for body in ({"name": "x"}, {"name": "x", "size_bytes": -1}, {"name": "x", "size_bytes": 2**63, "kind": "image"}):
        assert served.client.post(f"{PREFIX}/projects/{project_id}/adoptions", json=body).status_code == 422
