# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the workflows, prompts and media that name a model, so that a person knows before it is removed.

Workflows and prompts are read from the share, every version, those in the trash too: they can be opened again. Changes
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from noslop_backend.core import json_depth
from noslop_backend.core.enums import FileState
from noslop_backend.models import FileModel
from noslop_backend.repositories import FileRepository, ProjectRepository, SearchRepository, search, search_words
from noslop_backend.services import ProjectStorage
from noslop_backend.share.layout import FileKind, trash

_ROWS_AT_ONCE = 500
#: So many media of a model are counted.
MEDIA_LIMIT = 1000
#: The largest workflow or prompt that is read.
_LIMIT_BYTES = 256 * 1024 * 1024
#: How prompts name a LoRA: `<lora:style:0.8>`, without folder or extension.
_IN_PROMPT = re.compile(r"<lora:([^:>]+)")


@dataclass(frozen=True)
class DocumentUse:
    """A workflow or prompt that names a model, and in which of its versions."""

    project_id: str
    project: str
    kind: FileKind
    name: str
    versions: tuple[int, ...]


@dataclass
class ModelUses:
    """The uses of one model. `media_count` counts up to `MEDIA_LIMIT`; media are found by the file's name alone."""

    name: str
    documents: list[DocumentUse] = field(default_factory=list)
    media_count: int = 0
    media_projects: list[str] = field(default_factory=list)


def find_model_uses(core: ProjectStorage, names: Sequence[str]) -> list[ModelUses]:
    """Return what names each of these models.

    Args:
        core: the service.
        names: paths below the share of ComfyUI's models, such as `loras/sdxl/style.safetensors`, or names in Ollama.

    Raises:
        ShareUnavailableError: the share does not answer, or a workflow there cannot be read.
    """
    uses = {name: ModelUses(name) for name in names}
    forms = _list_forms(uses)
    versions: dict[tuple[str, str, FileKind, str], set[int]] = {}
    last = ""
    while True:
        with core.database.read() as session:
            rows = FileRepository(session).versions_above(last, _ROWS_AT_ONCE)
        if not rows:
            break
        for row in rows:
            for form in forms.keys() & _read_forms(core, row):
                for name in forms[form]:
                    versions.setdefault((name, row.project_id, FileKind(row.kind), row.name), set()).add(
                        row.version or 0
                    )
        last = rows[-1].id
    _add_documents(core, uses, versions)
    for one in uses.values():
        _count_media(core, one)
    return list(uses.values())


def _list_forms(names: Iterable[str]) -> dict[str, list[str]]:
    """Return each text that names a model in a workflow, and the models that it may be."""
    forms: dict[str, list[str]] = {}
    for name in names:
        below = name.partition("/")[2] or name
        base = name.rpartition("/")[2]
        stems = [f"<lora:{one.rpartition('.')[0]}" for one in (below, base)]
        for form in dict.fromkeys(map(search_words.fold_model, (name, below, base, *stems))):
            forms.setdefault(form, []).append(name)
    return forms


def _read_forms(core: ProjectStorage, row: FileModel) -> set[str]:
    """Return the texts of a version that may name a model; none where its file is gone from the share."""
    lies_at = trash(row.path) if row.state == FileState.TRASHED else row.path
    try:
        with core.share() as share:
            content = share.read(row.project_id, lies_at, _LIMIT_BYTES)
    except FileNotFoundError:
        return set()
    try:
        texts = list(_leaves(json_depth.loads(content, depth=json_depth.PARSED_DEPTH_LIMIT)))
    except ValueError:
        # A prompt as text; or a workflow that something has damaged, whose quoted texts are still there.
        plain = content.decode("utf-8", "replace")
        texts = [plain, *re.findall(r'"([^"\\\n]+)"', plain)]
    in_prompts = (f"<lora:{match}" for text in texts for match in _IN_PROMPT.findall(text))
    return {search_words.fold_model(text) for text in (*texts, *in_prompts)}


def _leaves(value: JsonValue) -> Iterator[str]:
    """Yield every text of a JSON value, without recursion."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, str):
            yield one


def _add_documents(
    core: ProjectStorage, uses: dict[str, ModelUses], versions: dict[tuple[str, str, FileKind, str], set[int]]
) -> None:
    with core.database.read() as session:
        projects = {project_id: ProjectRepository(session).get(project_id).name for __, project_id, *_ in versions}
    for (name, project_id, kind, title), numbers in sorted(versions.items()):
        use = DocumentUse(project_id, projects[project_id], kind, title, tuple(sorted(numbers)))
        uses[name].documents.append(use)


def _count_media(core: ProjectStorage, uses: ModelUses) -> None:
    mark = search_words.model_mark(uses.name.rpartition("/")[2])
    with core.database.read() as session:
        rows = [row for _, row in SearchRepository(session).page(search.Filter(marks=[[mark]]), MEDIA_LIMIT)]
        uses.media_count = len(rows)
        ids = sorted({row.project_id for row in rows})
        uses.media_projects = [ProjectRepository(session).get(project_id).name for project_id in ids]
