# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File the parts of one prompt, each of them once.

A prompt is a document of its own, named after it, and everything that was made is made from it: so what is filed
already is found by the references in the database, also when every key is long forgotten or the database was rebuilt.
Until the row is there, the key of each part keeps two from filing it.
"""

from __future__ import annotations

import itertools
import json
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, ParamSpec, Protocol, TypeVar

from blake3 import blake3

from noslop_backend.comfyui.client import ComfyUI, FileAnswerError
from noslop_backend.comfyui.history import Output, Run
from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import ContentMismatchError, NotFoundError, ShareUnavailableError, UnsupportedMediaError
from noslop_backend.media import probe
from noslop_backend.media.tags.sampling import class_of, clean, parameters, upstream
from noslop_backend.media.types import HEAD_BYTES, sniff
from noslop_backend.schemas import FilePublic, IngestReport, LeftOut
from noslop_backend.services import ProjectStorage
from noslop_backend.services.upload_session import Upload
from noslop_backend.services.upload_steps import Steps
from noslop_backend.share.layout import GENERATED, INTERMEDIATE, PLAYABLE, TITLE_LIMIT, FileKind

T = TypeVar("T")
P = ParamSpec("P")
#: Words that say where a file came from are cut here.
_WORD_LIMIT = 1000


class ShareRunner(Protocol):
    """Who does what touches the share, and how long anybody waits for it."""

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do this and wait for it."""

    def forget(self, work: Callable[[], object]) -> None:
        """Do this some time."""


class InThisThread:
    """Does it at once, in the thread that asks."""

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do this."""
        return work(*args, **kwargs)

    def forget(self, work: Callable[[], object]) -> None:
        """Do this."""
        work()


class Filing:
    """One prompt on its way into a project. `report` says at any time what is filed."""

    def __init__(
        self, storage: ProjectStorage, comfy: ComfyUI, disk: ShareRunner, *, project_id: str, prompt_id: str, run: Run
    ) -> None:
        self._storage = storage
        self._comfy = comfy
        self._disk = disk
        self._project_id = project_id
        self._prompt_id = prompt_id
        self._run = run
        self._made: dict[str, dict[str, Any]] = {}
        self.report = IngestReport(
            project_id=project_id,
            host=comfy.host.name,
            prompt_id=prompt_id,
            status=_word(run.status),
            problem=_word(run.problem),
        )

    def file(self) -> IngestReport:
        """File workflow and prompt, then every output that is not filed yet."""
        prompts, users = self._storage.trace_document(self._project_id, FileKind.PROMPT, self._title)
        self.report.prompt = next((row for row in reversed(prompts) if self._is_this(row)), None)
        if self.report.prompt is not None:
            needed = self._storage.get_inputs(self._project_id, self.report.prompt.id)
            self.report.workflow = next((row for row in needed if row.kind == FileKind.WORKFLOW), None)
        else:
            self.report.workflow = self._workflow()
            self.report.prompt = self._prompt()
        filed = {identity: row for row in users if (identity := _identity(row)) is not None}
        self.report.left_out += [_left_out(one.output, one.why, again=False) for one in self._run.skipped]
        for output in self._run.outputs:
            self._add_output(output, filed.get(tuple(map(_word, output.identity))))
        return self.report

    def _is_this(self, prompt: FilePublic) -> bool:
        """Return whether a version is what ran. A program that makes its own ids may use one twice."""
        if prompt.state != FileState.PRESENT:
            return False
        document_id, version = prompt.document_id, prompt.version
        try:
            loaded = self._disk.run(
                self._storage.load_prompt, self._project_id, document_id=document_id, version=version
            )
        except NotFoundError:
            # It is missing on the share.
            return False
        return bool(loaded.data == self._run.graph)

    @property
    def _title(self) -> str:
        return f"ComfyUI prompt {self._prompt_id} on {self._comfy.host.name}"

    def _workflow(self) -> FilePublic | None:
        graph = self._run.workflow
        if graph is None:
            return None
        # The user interface gives a workflow an id that stays the same while it is changed: those are its versions.
        known = graph.get("id")
        name = _title(f"ComfyUI workflow {known if isinstance(known, str) and known else 'of ' + self._prompt_id}")
        return self._once(
            lambda key: self._disk.run(self._storage.save_workflow, self._project_id, name, graph, key=key),
            "workflow",
            _digest(graph),
        )

    def _prompt(self) -> FilePublic:
        origin = {"host": self._comfy.host.name, "prompt_id": self._prompt_id, "status": self.report.status}
        if self.report.problem:
            origin["problem"] = self.report.problem
        more: dict[str, Any] = {
            "inputs": [self.report.workflow.id] if self.report.workflow else [],
            "parameters": {"comfyui": origin, **parameters(self._run.graph, self._run.graph), **self._shown()},
        }
        return self._once(
            lambda key: self._disk.run(
                self._storage.save_prompt, self._project_id, self._title, self._run.graph, **more, key=key
            ),
            "prompt",
            _digest(self._run.graph),
            **more,
        )

    def _shown(self) -> dict[str, Any]:
        """Return the texts that nodes showed, as the parameter `shown` of the prompt."""
        texts = [
            {"node": _word(one.node_id), "output": _word(one.key), "text": clean(one.text)} for one in self._run.texts
        ]
        return {"shown": texts} if texts else {}

    def _add_output(self, output: Output, filed: FilePublic | None) -> None:
        try:
            self.report.files.append(filed or self._save(output))
        except FileAnswerError as error:
            self.report.left_out.append(_left_out(output, str(error), again=error.again))
        except ContentMismatchError as error:
            self.report.left_out.append(_left_out(output, error.message, again=True))
        except UnsupportedMediaError as error:
            self.report.left_out.append(_left_out(output, error.message, again=False))

    def _save(self, output: Output) -> FilePublic:
        made_from = (self.report.workflow, self.report.prompt)
        more: dict[str, Any] = {
            "inputs": [row.id for row in made_from if row is not None and row.state == FileState.PRESENT],
            "parameters": self._parameters(output),
        }
        return self._once(lambda key: self._fetch(output, {**more, "key": key}), *output.identity, **more)

    def _once(self, save: Callable[[str], FilePublic], *part: str, **more: Any) -> FilePublic:  # noqa: ANN401 - any JSON
        """Save a part unless its key says that it was saved.

        A key outlives its file: what was removed for good since then is saved again, with the next key.
        """
        for turn in itertools.count(1):
            saved = save(f"ingest-{_digest([self._comfy.host.name, self._prompt_id, *part, more, turn])}")
            with suppress(NotFoundError):
                row = self._storage.get_file(self._project_id, saved.id)
                if row.state == FileState.PRESENT or (row.state == FileState.TRASHED and row.document_id is None):
                    return row
        raise AssertionError("the loop has no end")

    def _fetch(self, output: Output, more: dict[str, Any]) -> FilePublic:
        """Stream one file from ComfyUI to the share, look into it, and publish it."""
        query = {"filename": output.filename, "subfolder": output.subfolder, "type": output.type}
        with self._comfy.file(query, self._storage.settings.ingest_file_bytes) as content:
            pieces = content.pieces()
            head = _head(pieces)
            upload = self._begin_upload(output, head, {**more, "length": content.length})
            if upload.answer is not None:
                return self._disk.run(upload.finish)
            steps = Steps(upload)
            try:
                for piece in itertools.chain([head], pieces):
                    self._disk.run(steps.write, piece)
                return self._disk.run(steps.finish, self._facts(upload, steps))
            except BaseException:
                if steps.give_up():
                    self._disk.forget(upload.abort)
                raise

    def _begin_upload(self, output: Output, head: bytes, more: dict[str, Any]) -> Upload:
        """Begin an upload; one that begins after the share was given up is aborted at once."""
        late = threading.Event()

        def begin() -> Upload:
            upload = self._begin(output, head, more)
            if late.is_set():
                upload.abort()
            return upload

        try:
            return self._disk.run(begin)
        except ShareUnavailableError:
            late.set()
            raise

    def _begin(self, output: Output, head: bytes, more: dict[str, Any]) -> Upload:
        name = _title(output.filename)
        if sniff(head) is None and (output.key == "latents" or output.filename.lower().endswith(".latent")):
            return self._storage.begin_intermediate(self._project_id, FileKind.LATENT, name, **more)
        return self._storage.begin_generated_media(self._project_id, name, **more)

    def _facts(self, upload: Upload, steps: Steps) -> dict[str, Any] | None:
        """Return what decoding shows; None for what is not decoded. What cannot be decoded is filed all the same."""
        staged = self._disk.run(steps.run, upload.seal)
        settings = self._storage.settings
        cpu_s = settings.decode_cpu_s
        limits = probe.Limits(settings.decode_memory_bytes, cpu_s, cpu_s / 2, settings.decode_wall_s)
        with staged.stream:
            if staged.type.kind not in PLAYABLE:
                return None
            return probe.facts(staged.stream, staged.type.content_type, limits, upload.renew)

    def _parameters(self, output: Output) -> dict[str, Any]:
        graph, node_id = self._run.graph, output.node_id
        if node_id not in self._made:
            # A node that came into being while the prompt ran is not in its graph: then all of it counts.
            self._made[node_id] = parameters(graph, upstream(graph, node_id) or graph)
        came_from = {
            "host": self._comfy.host.name,
            "prompt_id": self._prompt_id,
            "node": _word(node_id),
            "class": class_of(graph, node_id),
            "output": _word(output.key),
            **dict(zip(("type", "subfolder", "filename"), map(_word, output.identity), strict=True)),
        }
        return {"comfyui": came_from, **self._made[node_id]}


def _identity(row: FilePublic) -> tuple[str, ...] | None:
    """Return which of ComfyUI's files this is; None for what was not ingested, or is missing since."""
    origin = row.parameters.get("comfyui")
    if row.kind not in GENERATED | INTERMEDIATE or not isinstance(origin, dict):
        return None
    if row.state not in {FileState.PRESENT, FileState.TRASHED}:
        return None
    return tuple(str(origin.get(name)) for name in ("type", "subfolder", "filename"))


def _digest(value: object) -> str:
    return blake3(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _head(pieces: Iterator[bytes]) -> bytes:
    """Return the beginning of a content, long enough to recognise its type."""
    head = b""
    while len(head) < HEAD_BYTES and (piece := next(pieces, b"")):
        head += piece
    return head


def _left_out(output: Output, why: str, *, again: bool) -> LeftOut:
    kind, subfolder, filename = map(_word, output.identity)
    return LeftOut(
        node=_word(output.node_id), filename=filename, subfolder=subfolder, type=kind, why=_word(why), again=again
    )


def _word(text: str) -> str:
    """Return a text of another program so that a database and UTF-8 can hold it."""
    return text[:_WORD_LIMIT].replace("\0", "").encode("utf-8", "replace").decode()


def _title(text: str) -> str:
    """Return a text of another program as a name."""
    clean = "".join(" " if unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} else letter for letter in text)
    return clean[-TITLE_LIMIT:].strip() or "untitled"
