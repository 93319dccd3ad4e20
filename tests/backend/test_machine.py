# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a project's files, against a model that is nothing but dictionaries."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    QuotaExceededError,
    ReferencedError,
)
from noslop_backend.schemas import MoveReport, ProjectCreate, ProjectUpdate
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind

from tests.backend.memory import MEMORY
from tests.backend.postgresql import Cluster
from tests.backend.studio import Studio, make_sqlite, make_studio, png

NAMES = st.sampled_from(["a", "A", " a ", "../x", "con", "日本"])


@dataclass
class Sidecar:
    """What the model knows of a file."""

    kind: FileKind
    body: bytes
    state: FileState = FileState.PRESENT
    needs: set[str] = field(default_factory=set)
    document: str | None = None
    version: int | None = None


class ServiceMachine(RuleBasedStateMachine):
    """Every method that changes files, in any order; two services take turns."""

    cluster: Cluster | None = None
    files = Bundle("files")
    tickets = Bundle("tickets")

    @initialize()
    def begin(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="noslop-machine-", dir=MEMORY))
        url = (
            f"sqlite:///{make_sqlite(self.place / 'b.sqlite3')}"
            if self.cluster is None
            else self.cluster.new_database()
        )
        self.studio: Studio = make_studio(self.place, url)
        self.services = [self.studio.another(), self.studio.another()]
        self.turn = 0
        self.project, self.other = (
            self.storage.create_project_structure(ProjectCreate(name=name)).id for name in ("p", "other")
        )
        self.known: dict[str, Sidecar] = {}
        self.last: dict[tuple[FileKind, str], int] = {}
        self.answers: dict[str, tuple[tuple[Any, ...], str]] = {}
        self.number = 0

    @property
    def storage(self) -> Any:  # noqa: ANN401 - the service; hypothesis calls this before `begin`
        self.turn += 1
        return self.services[self.turn % 2]

    def present(self) -> dict[str, Sidecar]:
        return {name: file for name, file in self.known.items() if file.state == FileState.PRESENT}

    def needed(self, file_id: str, but: set[str] = frozenset()) -> bool:  # type: ignore[assignment]  # a constant
        return any(file_id in file.needs for name, file in self.known.items() if name not in but)

    def _picked(self, file_ids: list[str]) -> list[str]:
        return sorted({name for name in file_ids if name in self.present()})

    @rule(
        target=files,
        kind=st.sampled_from([FileKind.WORKFLOW, FileKind.PROMPT]),
        name=NAMES,
        n=st.integers(0, 2),
        inputs=st.lists(files, max_size=2),
    )
    def save_document(self, kind: FileKind, name: str, n: int, inputs: list[str]) -> str:
        wanted, key = self._picked(inputs), layout.title_key(name)
        save = self.storage.save_workflow if kind == FileKind.WORKFLOW else self.storage.save_prompt
        saved = save(self.project, name, {"n": n}, inputs=wanted)
        if saved.id in self.known:
            same = self.known[saved.id]
            assert (same.document, same.body) == (key, (self.studio.root / self.project / saved.path).read_bytes())
            return str(saved.id)
        self.last[kind, key] = self.last.get((kind, key), 0) + 1
        assert saved.version == self.last[kind, key]
        body = (self.studio.root / self.project / saved.path).read_bytes()
        self.known[saved.id] = Sidecar(kind, body, needs=set(wanted), document=key, version=saved.version)
        return str(saved.id)

    @rule(file=files, name=NAMES)
    def rename(self, file: str, name: str) -> None:
        known = self.known.get(file)
        if known is None or known.document is None:
            return
        old, new = (known.kind, known.document), (known.kind, layout.title_key(name))
        document_id = self.storage.get_file(self.project, file).document_id
        if new != old and new in self.last:
            _refused(ConflictError, lambda: self.storage.rename_document(self.project, known.kind, document_id, name))
            return
        self.storage.rename_document(self.project, known.kind, document_id, name)
        self.last[new] = self.last.pop(old)
        for each in self.known.values():
            if (each.kind, each.document) == old:
                each.document = new[1]

    @rule(picked=st.lists(files, min_size=1, max_size=3))
    def move_there_and_back(self, picked: list[str]) -> None:
        wanted = set(picked)

        def move() -> MoveReport:
            report: MoveReport = self.storage.move_files(self.project, sorted(wanted), self.other)
            return report

        if not wanted <= self.present().keys():
            _refused(NotFoundError, move)
        elif any(self.known[name].document for name in wanted):
            _refused(InvalidRequestError, move)
        elif any(self.needed(name, wanted) for name in wanted):
            _refused(ReferencedError, move)
        else:
            assert {file.id for file in move().files} == wanted
            assert self.studio.drift(self.other) == []
            assert self.storage.move_files(self.other, sorted(wanted), self.project).files_count == len(wanted)
            assert self.storage.get_project(self.other).used_bytes == 0
            for name in wanted:
                self.known[name].needs &= wanted

    @rule(target=files, name=NAMES, inputs=st.lists(files, max_size=2), key=st.booleans())
    def save_media(self, name: str, inputs: list[str], key: bool) -> str:
        self.number += 1
        wanted, body = self._picked(inputs), png(self.number)
        used = f"key{self.number}" if key else None
        saved = self.storage.save_generated_media(self.project, name, body, inputs=wanted, key=used)
        if used:
            assert self.storage.save_generated_media(self.project, name, body, inputs=wanted, key=used) == saved
        self.known[saved.id] = Sidecar(FileKind.IMAGE, body, needs=set(wanted))
        return str(saved.id)

    @rule(
        target=files, kind=st.sampled_from([FileKind.LATENT, FileKind.MASK, FileKind.FRAME]), size=st.integers(0, 500)
    )
    def save_intermediate(self, kind: FileKind, size: int) -> str:
        saved = self.storage.save_intermediate(self.project, kind, "i", b"x" * size)
        self.known[saved.id] = Sidecar(kind, b"x" * size)
        return str(saved.id)

    @rule(target=tickets)
    def reserve(self) -> str:
        self.number += 1
        ticket = self.storage.reserve_adoption(self.project, None, "t", 10)
        Path(ticket.staging_path).write_bytes(png(self.number))
        return str(ticket.ticket_id)

    @rule(target=files, ticket=consumes(tickets))
    def adopt(self, ticket: str) -> str:
        saved = self.storage.adopt(self.project, ticket)
        self.known[saved.id] = Sidecar(FileKind.IMAGE, (self.studio.root / self.project / saved.path).read_bytes())
        return str(saved.id)

    @rule(ticket=consumes(tickets))
    def give_back(self, ticket: str) -> None:
        self.storage.release_adoption(self.project, ticket)

    @rule(target=files, file=files, name=NAMES)
    def promote(self, file: str, name: str) -> str:
        known = self.known.get(file)
        if known is None or known.state != FileState.PRESENT or known.kind in {FileKind.WORKFLOW, FileKind.PROMPT}:
            return file
        saved = self.storage.promote_to_final(self.project, file, name=name)
        self.known[saved.id] = Sidecar(FileKind.FINAL, known.body)
        return str(saved.id)

    @rule(file=files, inputs=st.lists(files, max_size=1))
    def describe(self, file: str, inputs: list[str]) -> None:
        known = self.known.get(file)
        if (
            known is None
            or known.state != FileState.PRESENT
            or known.kind in {FileKind.LATENT, FileKind.MASK, FileKind.FRAME}
        ):
            return
        wanted = self._picked(inputs)
        self.storage.save_metadata(self.project, file, {"n": self.number}, inputs=wanted)
        known.needs |= set(wanted) - {file}
        assert self.storage.load_metadata(self.project, file)["parameters"] == {"n": self.number}

    @rule(picked=st.lists(files, min_size=1, max_size=3), force=st.booleans())
    def trash(self, picked: list[str], force: bool) -> None:
        wanted = sorted(set(picked))
        if any(name not in self.present() for name in wanted):
            _refused(NotFoundError, lambda: self.storage.trash(self.project, wanted, force=force))
        elif not force and any(self.needed(name, set(wanted)) for name in wanted):
            _refused(ReferencedError, lambda: self.storage.trash(self.project, wanted))
        else:
            assert self.storage.trash(self.project, wanted, force=force).files_count == len(wanted)
            for name in wanted:
                self.known[name].state = FileState.TRASHED

    @rule(file=files)
    def restore(self, file: str) -> None:
        known = self.known.get(file)
        if known is None or known.state != FileState.TRASHED:
            _refused(NotFoundError, lambda: self.storage.restore(self.project, [file]))
        else:
            self.storage.restore(self.project, [file])
            known.state = FileState.PRESENT

    @rule()
    def empty_trash(self) -> None:
        gone = {name for name, file in self.known.items() if file.state == FileState.TRASHED}
        before = self.storage.get_project(self.project).used_bytes
        report = self.storage.purge(self.project)
        assert report.files_count == len(gone)
        assert self.storage.get_project(self.project).used_bytes == before - report.freed_bytes
        self._forget(gone)

    @rule(keep=st.none() | st.integers(0, 600))
    def cleanup(self, keep: int | None) -> None:
        kinds = {FileKind.LATENT, FileKind.MASK, FileKind.FRAME}
        mine = {name for name, file in self.present().items() if file.kind in kinds}
        free = {name for name in mine if not self.needed(name)}
        dry = self.storage.cleanup_intermediate(self.project, keep_bytes=keep, dry_run=True)
        report = self.storage.cleanup_intermediate(self.project, keep_bytes=keep)
        gone = {file.id for file in report.files}
        assert (report.files_count, {file.id for file in dry.files}) == (len(gone), gone)
        assert gone <= free
        left = sum(len(self.known[name].body) for name in mine - gone)
        assert gone == free if keep is None else (left <= keep or gone == free)
        self._forget(gone)

    @rule()
    def quota_is_exact(self) -> None:
        used = self.storage.get_project(self.project).used_bytes
        held = self.storage.get_project(self.project).reserved_bytes
        self.storage.update_project_metadata(self.project, ProjectUpdate(quota_bytes=used + held + 5))
        _refused(QuotaExceededError, lambda: self.storage.save_intermediate(self.project, FileKind.MASK, "m", b"x" * 6))
        saved = self.storage.save_intermediate(self.project, FileKind.MASK, "m", b"x" * 5)
        self.known[saved.id] = Sidecar(FileKind.MASK, b"x" * 5)
        self.storage.update_project_metadata(self.project, ProjectUpdate(quota_bytes=None))

    def _forget(self, gone: set[str]) -> None:
        for name in gone:
            del self.known[name]
        for file in self.known.values():
            file.needs -= gone

    @invariant()
    def rows_are_as_the_model(self) -> None:
        if not hasattr(self, "studio"):
            return
        seen = {
            row.id: (row.kind, row.state, row.size_bytes)
            for row in self.studio.rows(self.project)
            if row.of_file_id is None
        }
        assert seen == {name: (file.kind, file.state, len(file.body)) for name, file in self.known.items()}
        stats = self.storage.get_storage_stats(self.project)
        present = self.present().values()
        media = {FileKind.IMAGE, FileKind.VIDEO, FileKind.AUDIO, FileKind.FINAL}
        assert stats.media_count == sum(file.kind in media for file in present)
        documents = {file.document for file in present if file.kind == FileKind.WORKFLOW}
        assert stats.workflows_count == len(documents)
        for kind, name in {(file.kind, file.document) for file in present if file.document}:
            latest = max(file.version or 0 for file in present if (file.kind, file.document) == (kind, name))
            load = self.storage.load_workflow if kind == FileKind.WORKFLOW else self.storage.load_prompt
            assert load(self.project, name).file.version == latest

    def teardown(self) -> None:
        if not hasattr(self, "studio"):
            return
        try:
            for intent in self.studio.open_intents():
                self.storage.release_adoption(self.project, intent.id)
            self.studio.check(self.project)
            for name, file in self.present().items():
                with self.storage.open_file(self.project, name) as opened:
                    assert opened.stream.read() == file.body
        finally:
            self.studio.close()
            shutil.rmtree(self.place)


def _refused(error: type[Exception], call: Any) -> None:  # noqa: ANN401 - something to call
    try:
        call()
    except error:
        return
    raise AssertionError(f"{error.__name__} was expected")


def test_the_service_is_its_model_on_sqlite() -> None:
    _run(None, 12)


def test_the_service_is_its_model_on_postgresql(cluster: Cluster) -> None:
    _run(cluster, 6)


def _run(cluster: Cluster | None, examples: int) -> None:
    machine = type("Machine", (ServiceMachine,), {"cluster": cluster})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
