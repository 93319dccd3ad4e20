# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A token for single projects reaches those and nothing else: every route of the application is tried with one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from noslop_backend.api.app import operation_ids
from noslop_backend.api.paths import PREFIX
from noslop_backend.core.enums import TokenScope
from noslop_backend.models import metadata
from noslop_backend.services.tokens import Tokens
from sqlalchemy import text

from tests.backend.api.serving import Served, with_token
from tests.backend.studio import Studio, png

#: Routes that need no token, and those that answer with the caller's projects only.
OPEN = {"getHealth", "getReadiness"}
FILTERED = {"listProjects", "searchFiles", "followEvents", "headEvents"}
#: Valid requests of the routes that concern the whole store.
STORE: dict[str, dict[str, Any]] = {
    "createProject": {"json": {"name": "Mine too"}},
    "getStats": {},
    "getQuota": {},
    "setQuota": {"json": {"quota_bytes": 1}},
    "getMetrics": {},
}
#: What a request of a token changes by being a request.
_NOTES = {"token", "audit"}


@dataclass
class Filled:
    """A project with something for every route to be about."""

    project_id: str
    ids: dict[str, str]
    files: dict[str, str]
    tickets: tuple[str, str]
    #: A project in the trash, and one that receives files.
    trashed_id: str
    receiving_id: str

    @classmethod
    def make(cls, served: Served, name: str) -> Filled:
        """Fill a project, with the key `a-key` used for a workflow."""
        project_id, trashed_id = served.project(name), served.project(f"{name}, trashed")
        at, client = f"{PREFIX}/projects/{project_id}", served.client
        files = {each: str(served.upload(project_id, number)["id"]) for number, each in enumerate(_FILES)}
        latent = {"kind": "latent", "name": "l.latent"}
        client.post(f"{at}/intermediate", params=latent, content=name.encode()).raise_for_status()
        keyed = {"Idempotency-Key": "a-key"}
        saved = (
            client.post(f"{at}/workflows", params={"name": "w"}, json={"of": "w"}, headers=keyed)
            .raise_for_status()
            .json()
        )
        prompt = client.post(f"{at}/prompts", params={"name": "p"}, content="a cat").raise_for_status().json()
        client.delete(f"{at}/files", params={"file_id": [files["back"], files["gone"]]}).raise_for_status()
        tickets = [client.post(f"{at}/adoptions", json=_reservation(number)).json() for number in (7, 8)]
        Path(tickets[0]["staging_path"]).write_bytes(png(7))
        client.delete(f"{PREFIX}/projects/{trashed_id}").raise_for_status()
        ids = {"workflow": str(saved["document_id"]), "prompt": str(prompt["document_id"])}
        pair = (str(tickets[0]["ticket_id"]), str(tickets[1]["ticket_id"]))
        return cls(project_id, ids, files, pair, trashed_id, served.project(f"{name}, receiving"))


@dataclass
class Call:
    """One request of a route."""

    path: dict[str, str] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)
    #: Ids of something in the project stand in the path or in the body.
    names_contents: bool = False
    #: It would need a ComfyUI.
    needs_host: bool = False


_FILES = ("image", "away", "back", "gone", "moved")


def _reservation(number: int) -> dict[str, Any]:
    return {"name": "a.png", "size_bytes": len(png(number))}


def calls(of: Filled) -> dict[str, Call]:
    """Valid requests of every route that has a project in its path; they all succeed in this order."""
    workflow, prompt = {"document_id": of.ids["workflow"]}, {"document_id": of.ids["prompt"]}
    image, away, back, gone, _ = ({"file_id": of.files[each]} for each in _FILES)
    adopted, released = ({"ticket_id": each} for each in of.tickets)
    named, first = {"params": {"name": "w"}}, {"version": "1"}
    inputs, moving = [of.files["image"]], {"file_ids": [of.files["moved"]], "to_project_id": of.receiving_id}
    return {
        "getProject": Call(),
        "updateProject": Call(request={"json": {"description": "changed"}}),
        "getProjectStats": Call(),
        "getProjectQuota": Call(),
        "setProjectQuota": Call(request={"json": {"quota_bytes": None}}),
        "saveWorkflow": Call(request={"params": {"name": "n", "inputs": inputs}, "json": {}}, names_contents=True),
        "savePrompt": Call(request={"params": {"name": "n", "inputs": inputs}, "content": "x"}, names_contents=True),
        "listWorkflows": Call(),
        "listPrompts": Call(),
        "loadWorkflowByName": Call(request=named),
        "loadPromptByName": Call(request={"params": {"name": "p"}}),
        "listWorkflowVersions": Call(workflow, names_contents=True),
        "listPromptVersions": Call(prompt, names_contents=True),
        "getWorkflowVersion": Call(workflow | first, names_contents=True),
        "getPromptVersion": Call(prompt | first, names_contents=True),
        "loadWorkflowVersion": Call(workflow | first, names_contents=True),
        "loadPromptVersion": Call(prompt | first, names_contents=True),
        "loadWorkflow": Call(workflow, names_contents=True),
        "loadPrompt": Call(prompt, names_contents=True),
        "getWorkflow": Call(workflow, names_contents=True),
        "getPrompt": Call(prompt, names_contents=True),
        "renameWorkflow": Call(workflow, {"json": {"name": "renamed"}}, names_contents=True),
        "renamePrompt": Call(prompt, {"json": {"name": "renamed"}}, names_contents=True),
        "uploadMedia": Call(
            request={"params": {"name": "m", "inputs": inputs}, "content": png(9)}, names_contents=True
        ),
        "uploadIntermediate": Call(request={"params": {"kind": "mask", "name": "m"}, "content": b"mask"}),
        "listFiles": Call(request={"params": {"of_file_id": of.files["image"]}}),
        "listMedia": Call(),
        "listIntermediate": Call(),
        "getFile": Call(image, names_contents=True),
        "updateFile": Call(image, {"json": {"tags": ["a"]}}, names_contents=True),
        "downloadFile": Call(image, names_contents=True),
        "headFile": Call(image, names_contents=True),
        "downloadArchive": Call(request={"params": {"file_id": inputs}}, names_contents=True),
        "headArchive": Call(request={"params": {"file_id": inputs}}, names_contents=True),
        "loadMetadata": Call(image, names_contents=True),
        "saveMetadata": Call(image, {"json": {"parameters": {"a": 1}}}, names_contents=True),
        "promoteFile": Call(image, names_contents=True),
        "reserveAdoption": Call(request={"json": _reservation(3) | {"inputs": inputs}}, names_contents=True),
        "renewAdoption": Call(adopted, names_contents=True),
        "adopt": Call(adopted, names_contents=True),
        "releaseAdoption": Call(released, names_contents=True),
        "ingestPrompt": Call(request={"json": {"host": "render1", "prompt_id": "0" * 32}}, needs_host=True),
        "listTrash": Call(),
        "trashFiles": Call(request={"params": {"file_id": away["file_id"]}}, names_contents=True),
        "restoreFiles": Call(request={"json": {"file_ids": [back["file_id"]]}}, names_contents=True),
        "trashFile": Call(back, names_contents=True),
        "purgeFiles": Call(request={"params": {"file_id": gone["file_id"]}}, names_contents=True),
        "moveFiles": Call(request={"json": moving}, names_contents=True),
        "cleanupIntermediate": Call(request={"json": {"dry_run": False}}),
        "restoreProject": Call({"project_id": of.trashed_id}),
        "trashProject": Call({"project_id": of.trashed_id}),
        "purgeProject": Call({"project_id": of.trashed_id}),
    }


@dataclass
class TwoProjects:
    """Two filled projects, and a client whose token of the scope admin is for the first one only."""

    served: Served
    studio: Studio
    mine: Filled
    other: Filled
    bound: httpx.Client

    def routes(self) -> dict[str, tuple[str, str]]:
        """Method and path of every operation that needs a token."""
        described = {
            operation["operationId"]: (method.upper(), path)
            for path, operations in self.served.app.openapi()["paths"].items()
            for method, operation in operations.items()
        }
        assert sorted(described) == operation_ids()
        return {name: route for name, route in described.items() if name not in OPEN}

    def send(self, operation_id: str, path: dict[str, str], request: dict[str, Any]) -> httpx.Response:
        """Send a request with the token for the first project."""
        method, template = self.routes()[operation_id]
        return self.bound.request(method, template.format(**path), **request)

    def state(self) -> dict[str, object]:
        """Everything that the database and the share hold, but for notes about requests."""
        with self.studio.storage.database.read() as session:
            rows: dict[str, object] = {
                name: sorted(map(repr, session.connection().execute(text(f'SELECT * FROM "{name}"'))))  # noqa: S608 - our names
                for name in metadata.tables
                if name not in _NOTES
            }
        files = {str(path): path.read_bytes() for path in self.studio.root.rglob("*") if path.is_file()}
        return {**rows, "share": files}


@pytest.fixture
def two(studio: Studio, served: Served) -> Iterator[TwoProjects]:
    mine, other = Filled.make(served, "Mine"), Filled.make(served, "Other")
    ids = [mine.project_id, mine.trashed_id, mine.receiving_id]
    made = Tokens(studio.storage.database).create("bound", TokenScope.ADMIN, None, ids)
    with with_token(served.url, made.text) as bound:
        yield TwoProjects(served, studio, mine, other, bound)
    for one in (mine, other):
        for ticket in one.tickets:
            served.client.delete(f"{PREFIX}/projects/{one.project_id}/adoptions/{ticket}")
    for one in (mine, other):
        # Reserved by a test and never written.
        for intent in studio.open_intents():
            studio.storage.release_adoption(intent.project_id, intent.id)
        studio.check(one.project_id)


def test_every_route_of_another_project_is_not_found_and_changes_nothing(two: TwoProjects) -> None:
    attacks = calls(two.other)
    with_project = {name for name, route in two.routes().items() if "{project_id}" in route[1]}
    assert set(attacks) == with_project, "a route was added: say here how it is asked"
    before = two.state()
    for name, call in attacks.items():
        nowhere = {"project_id": "none-00000000"}
        there = {"project_id": two.other.project_id, **call.path}
        answers = [two.send(name, path, call.request) for path in (there, {**call.path, **nowhere})]
        assert [answer.status_code for answer in answers] == [404, 404], name
        # Word for word what is texts of a project that does not exist.
        texts = [answer.text.replace(path["project_id"], "ID") for answer, path in zip(answers, (there, nowhere))]  # noqa: B905
        assert texts[0] == texts[1], name
    assert two.state() == before


def test_every_route_of_its_own_project_works(two: TwoProjects) -> None:
    for name, call in calls(two.mine).items():
        answer = two.send(name, {"project_id": two.mine.project_id, **call.path}, call.request)
        if call.needs_host:
            assert answer.json()["code"] == "not_found"
            assert "render1" in answer.json()["detail"]
        else:
            assert answer.status_code < 300, (name, answer.text)


def test_no_route_of_its_own_project_takes_the_ids_of_another(two: TwoProjects) -> None:
    before = two.state()
    for name, call in calls(two.other).items():
        if call.names_contents:
            answer = two.send(name, {**call.path, "project_id": two.mine.project_id}, call.request)
            assert answer.status_code == 404, (name, answer.text)
    assert two.state() == before
    at = f"{PREFIX}/projects/{two.mine.project_id}"
    answer = two.bound.get(f"{at}/files", params={"of_file_id": two.other.files["image"]})
    assert (answer.status_code, answer.json()["items"]) == (200, [])


def test_every_route_about_the_whole_store_is_forbidden(two: TwoProjects) -> None:
    without_project = {name for name, route in two.routes().items() if "{project_id}" not in route[1]}
    assert without_project == STORE.keys() | FILTERED, "a route was added: say here how it is asked"
    before = two.state()
    for name, request in STORE.items():
        answer = two.send(name, {}, request)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), name
    assert two.state() == before


def test_lists_show_its_projects_only(two: TwoProjects) -> None:
    present = [two.mine.receiving_id, two.mine.project_id]
    for state, project_ids in (("present", present), ("trashed", [two.mine.trashed_id])):
        page = two.bound.get(f"{PREFIX}/projects", params={"state": state}).json()
        assert [one["id"] for one in page["items"]] == project_ids
        assert page["next_cursor"] is None


def test_no_file_moves_to_or_from_another_project(two: TwoProjects) -> None:
    before = two.state()
    for source, target in ((two.mine, two.other), (two.other, two.mine)):
        body = {"file_ids": [source.files["moved"]], "to_project_id": target.project_id}
        answer = two.bound.post(f"{PREFIX}/projects/{source.project_id}/files/move", json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert two.state() == before


def test_a_key_of_another_project_answers_nothing(two: TwoProjects) -> None:
    """The same request with the same key is done anew in the caller's project."""
    tokens = Tokens(two.studio.storage.database)
    third = two.served.project("Third")
    made = tokens.create("third", TokenScope.WRITE, None, [third])
    with with_token(two.served.url, made.text) as client:
        at, headers = f"{PREFIX}/projects/{third}", {"Idempotency-Key": "a-key"}
        saved = client.post(f"{at}/workflows", params={"name": "w"}, json={"of": "w"}, headers=headers)
        assert (saved.status_code, saved.json()["project_id"], saved.json()["version"]) == (201, third, 1)


def test_a_token_outlives_its_project_and_reaches_no_other(two: TwoProjects) -> None:
    at = f"{PREFIX}/projects/{two.mine.trashed_id}"
    assert two.bound.delete(f"{PREFIX}/trash/{two.mine.trashed_id}").status_code == 200
    assert two.bound.get(at).status_code == 404
    assert two.bound.get(f"{PREFIX}/projects/{two.other.project_id}").status_code == 404
    assert two.bound.get(f"{PREFIX}/stats").status_code == 403
