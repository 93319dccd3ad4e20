# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests that `crash` interrupts: what has to be there before each, and what has to be true after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noslop_backend.schemas import FileUpdate, ProjectCreate
from noslop_backend.services import ProjectStorage
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind

from tests.backend.studio import png

State = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One request: what has to be there before, the request itself, and what has to be true after it was repeated."""

    prepare: Callable[[ProjectStorage, str], State]
    run: Callable[[ProjectStorage, str, State], str]
    check: Callable[[ProjectStorage, str, State, str], None]


def _nothing(_storage: ProjectStorage, _project: str) -> State:
    return {}


def _upload(storage: ProjectStorage, project: str, _state: State) -> str:
    body = png(3, {"prompt": "{}"})
    return storage.save_generated_media(project, "Cat", iter([body[:50], body[50:]]), key="key").model_dump_json()


def _one_medium(storage: ProjectStorage, project: str, _state: State, answer: str) -> None:
    files = storage.get_project_files(project).items
    assert [file.id for file in files] == [json.loads(answer)["id"]]
    with storage.open_file(project, files[0].id) as opened:
        assert opened.stream.read() == png(3, {"prompt": "{}"})
    assert storage.load_metadata(project, files[0].id)["embedded"] == {"prompt": {}}
    assert storage.get_storage_stats(project).image_count == 1


def _ticket(storage: ProjectStorage, project: str) -> State:
    ticket = storage.reserve_adoption(project, FileKind.IMAGE, "Cat", 1000, key="key")
    Path(ticket.staging_path).write_bytes(png(3, {"prompt": "{}"}))
    return {"intent": ticket.ticket_id}


def _adopt(storage: ProjectStorage, project: str, state: State) -> str:
    return storage.adopt(project, state["intent"]).model_dump_json()


def _source(storage: ProjectStorage, project: str) -> State:
    return {"source": storage.save_generated_media(project, "Cat", png(1)).id}


def _promote(storage: ProjectStorage, project: str, state: State) -> str:
    return storage.promote_to_final(project, state["source"], name="Poster", key="key").model_dump_json()


def _one_final(storage: ProjectStorage, project: str, state: State, answer: str) -> None:
    finals = storage.get_project_files(project, kinds=frozenset({FileKind.FINAL})).items
    assert [file.id for file in finals] == [json.loads(answer)["id"]]
    assert finals[0].charged_bytes == 0
    storage.get_file(project, state["source"])


def _label(storage: ProjectStorage, project: str, state: State) -> str:
    change = FileUpdate(name="Dog", tags=["b", "a"], rating=3)
    return storage.update_file(project, state["source"], change, key="key").model_dump_json()


def _labelled(storage: ProjectStorage, project: str, state: State, answer: str) -> None:
    file = storage.get_file(project, state["source"])
    assert (file.name, file.tags, file.rating) == ("Dog", ["a", "b"], 3)
    assert file.model_dump_json() == answer
    metadata = storage.load_metadata(project, file.id)
    assert (metadata["file"]["name"], metadata["tags"], metadata["rating"]) == ("Dog", ["a", "b"], 3)
    assert [one.id for one in storage.search_files("dog", tags=["a"]).items] == [file.id]
    assert storage.search_files("cat").items == []


def _leaving(storage: ProjectStorage, project: str) -> State:
    final = storage.promote_to_final(project, storage.save_generated_media(project, "Cat", png(1)).id)
    return {"final": final.id, "target": storage.create_project_structure(ProjectCreate(name="Other")).id}


def _move(storage: ProjectStorage, project: str, state: State) -> str:
    return storage.move_files(project, [state["final"]], state["target"], key="key").model_dump_json()


def _moved(storage: ProjectStorage, project: str, state: State, answer: str) -> None:
    file = storage.get_file(state["target"], state["final"])
    assert json.loads(answer)["files"] == [file.model_dump(mode="json")]
    assert file.charged_bytes == file.size_bytes
    with storage.open_file(state["target"], file.id) as opened:
        assert opened.stream.read() == png(1)
    assert storage.load_metadata(state["target"], file.id)["file"]["id"] == file.id
    assert [one.kind for one in storage.get_project_files(project).items] == [FileKind.IMAGE]
    assert len([path for path in (storage.tree.root / state["target"]).rglob("*") if path.is_file()]) == 3


def _intermediates(storage: ProjectStorage, project: str) -> State:
    for number in range(3):
        storage.save_intermediate(project, FileKind.FRAME, f"f{number}", b"x" * 10)
    kept = storage.save_intermediate(project, FileKind.MASK, "m", b"y")
    storage.save_workflow(project, "w", {}, inputs=[kept.id])
    return {"kept": kept.id}


def _cleanup(storage: ProjectStorage, project: str, _state: State) -> str:
    storage.cleanup_intermediate(project)
    return ""


def _only_what_is_needed(storage: ProjectStorage, project: str, state: State, _answer: str) -> None:
    left = storage.get_project_files(project, kinds=frozenset({FileKind.FRAME, FileKind.MASK})).items
    assert [file.id for file in left] == [state["kept"]]


def _save_workflow(storage: ProjectStorage, project: str, _state: State) -> str:
    return storage.save_workflow(project, "w", {"n": 2}, key="key").model_dump_json()


def _two_versions(storage: ProjectStorage, project: str, _state: State, answer: str) -> None:
    versions = [file.version for file in storage.get_project_files(project).items]
    # A number that failed is a gap.
    assert versions in ([1, 2], [1, 3])
    assert json.loads(answer)["version"] == versions[-1]
    assert storage.load_workflow(project, "w").data == {"n": 2}
    assert storage.load_workflow(project, "w", version=1).data == {"n": 1}


def _first_version(storage: ProjectStorage, project: str) -> State:
    storage.save_workflow(project, "w", {"n": 1})
    return {}


def _prompt(storage: ProjectStorage, project: str) -> State:
    storage.save_prompt(project, "Cat", "y")
    return {"document": storage.load_prompt(project, "Cat").document.id}


def _rename(storage: ProjectStorage, project: str, state: State) -> str:
    return storage.rename_document(project, FileKind.PROMPT, state["document"], "Dog", key="key").model_dump_json()


def _renamed(storage: ProjectStorage, project: str, state: State, answer: str) -> None:
    loaded = storage.load_prompt(project, "Dog")
    assert (loaded.document.model_dump_json(), loaded.document.id) == (answer, state["document"])
    known = json.loads((storage.tree.root / project / layout.METADATA).read_bytes())
    assert [(each["id"], each["name"]) for each in known["documents"]] == [(state["document"], "Dog")]
    for words in ("dog", "cat", "y"):
        assert [file.id for file in storage.search_files(words).items] == [loaded.file.id]


def _trash(storage: ProjectStorage, project: str, state: State) -> str:
    storage.trash(project, [state["source"]], key="key")
    return ""


def _purge(storage: ProjectStorage, project: str, state: State) -> str:
    storage.purge(project, [state["source"], state["newest"]], key="purge")
    return ""


def _trashed(storage: ProjectStorage, project: str) -> State:
    state = _source(storage, project) | {"newest": storage.save_workflow(project, "w", {}).id}
    storage.trash(project, [state["source"], state["newest"]])
    return state


def _in_trash(storage: ProjectStorage, project: str, state: State, _answer: str) -> None:
    assert storage.get_file(project, state["source"]).state == "trashed"


def _all_gone(storage: ProjectStorage, project: str, _state: State, _answer: str) -> None:
    assert storage.get_storage_stats(project).used_bytes == 0
    # The number outlives the file, in the database and for a rebuild.
    known = json.loads((storage.tree.root / project / layout.METADATA).read_bytes())
    assert [document["last_version"] for document in known["documents"]] == [1]


OPERATIONS: dict[str, Operation] = {
    "upload": Operation(_nothing, _upload, _one_medium),
    "adopt": Operation(_ticket, _adopt, _one_medium),
    "promote": Operation(_source, _promote, _one_final),
    "label": Operation(_source, _label, _labelled),
    "move": Operation(_leaving, _move, _moved),
    "cleanup": Operation(_intermediates, _cleanup, _only_what_is_needed),
    "save_workflow": Operation(_first_version, _save_workflow, _two_versions),
    "rename": Operation(_prompt, _rename, _renamed),
    "trash": Operation(_source, _trash, _in_trash),
    "purge": Operation(_trashed, _purge, _all_gone),
}
