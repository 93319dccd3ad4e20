# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove that another version of a service does what the version before it did.

A proof compares with what was recorded before the switch: models that were listed must still be, and custom nodes that
were imported must still be. ComfyUI has to run a workflow to its image as well.
"""

from __future__ import annotations

import re
import struct
import time
import urllib.parse
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks import service_probe
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import enumerate_words

_POLL_S = 0.5
_SIZE = (64, 48)
#: Needs no model. PreviewImage writes below the temporary directory, which ComfyUI empties by itself.
_WORKFLOW: dict[str, Any] = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": _SIZE[0], "height": _SIZE[1], "batch_size": 1, "color": 0x336699},
    },
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}
#: Lines that ComfyUI prints at its start: custom nodes that were not imported, and a database that was not opened.
_IMPORT_FAILED = re.compile(r"\(IMPORT FAILED\): (\S.*?)/*\s*$")
_DATABASE_FAILED = "Failed to initialize database"


@dataclass(frozen=True)
class Baseline:
    """Models and nodes of a service before the switch. Everything is empty where it did not answer then."""

    #: Names of the models, by folder. Ollama has one folder, of the name "".
    models: dict[str, list[str]] = field(default_factory=dict)
    #: Names of the custom nodes that were not imported; None where that is not known.
    failed_nodes: list[str] | None = None
    database_failed: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the baseline as JSON, for :func:`read_baseline`."""
        return asdict(self)


def read_baseline(content: dict[str, Any]) -> Baseline:
    """Return a baseline that was written as JSON."""
    nodes = content.get("failed_nodes")
    return Baseline(
        models={str(name): [str(one) for one in models] for name, models in dict(content.get("models") or {}).items()},
        failed_nodes=None if nodes is None else [str(name) for name in nodes],
        database_failed=bool(content.get("database_failed")),
    )


class OllamaProof:
    """Ask Ollama at an address of this host."""

    def __init__(self, address: str, port: int) -> None:
        self._address, self._port = address, port

    def count_running(self) -> int:
        """Return 0: Ollama does not say what it generates."""
        return 0

    def record(self, journal: Sequence[str]) -> Baseline:
        """Return the models that it lists."""
        del journal
        answer = service_probe.get_json(self._address, self._port, "/api/tags")
        try:
            return Baseline({"": service_probe.parse_ollama_models(answer.data)})
        except ValueError:
            return Baseline()

    def find_problem(self, before: Baseline, read_journal: Callable[[], list[str]], timeout_s: float) -> str:
        """Return why it does less than before, in a sentence, or an empty string."""
        del read_journal
        answer, __ = service_probe.wait_for(
            lambda: service_probe.get_json(self._address, self._port, "/api/tags"),
            lambda data: not _find_unlisted(before, {"": _list_ollama_models(data)}),
            min(timeout_s, 30.0),
        )
        if answer.error:
            return answer.error
        return _find_unlisted(before, {"": _list_ollama_models(answer.data)})


class ComfyuiProof:
    """Ask ComfyUI at an address of this host."""

    def __init__(self, address: str, port: int) -> None:
        self._address, self._port = address, port

    def count_running(self) -> int:
        """Return the number of prompts that run or wait; 0 where it does not answer."""
        data = self._get("/queue").data
        return sum(len(data.get(key) or []) for key in ("queue_running", "queue_pending")) if _is_dict(data) else 0

    def record(self, journal: Sequence[str]) -> Baseline:
        """Return the models that it lists, and what its journal says of its start."""
        return Baseline(
            models=self._list_models(),
            failed_nodes=_list_failed_nodes(journal) if journal else None,
            database_failed=any(_DATABASE_FAILED in line for line in journal),
        )

    def find_problem(self, before: Baseline, read_journal: Callable[[], list[str]], timeout_s: float) -> str:
        """Return why it does less than before, in a sentence, or an empty string."""
        journal = read_journal()
        if not before.database_failed and (line := next((one for one in journal if _DATABASE_FAILED in one), "")):
            return f"its database cannot be opened: {line.strip()}"
        if before.failed_nodes is not None:
            failed = sorted(set(_list_failed_nodes(journal)) - set(before.failed_nodes))
            if failed:
                return f"it does not import {enumerate_words(failed)}, which the version before it did"
        return self._render(timeout_s) or self._find_unlisted_models(before)

    def _get(self, path: str) -> service_probe.Answer:
        return service_probe.get_json(self._address, self._port, path)

    def _list_models(self) -> dict[str, list[str]]:
        folders = self._get("/models").data
        models: dict[str, list[str]] = {}
        for folder in folders if isinstance(folders, list) else []:
            listed = self._get(service_probe.folder_path(str(folder))).data
            models[str(folder)] = [str(name) for name in listed] if isinstance(listed, list) else []
        # Not of models: the directories of custom nodes and of settings are listed beside them by some versions.
        return {folder: names for folder, names in models.items() if folder not in ("custom_nodes", "configs")}

    def _find_unlisted_models(self, before: Baseline) -> str:
        return _find_unlisted(before, self._list_models())

    def _render(self, timeout_s: float) -> str:
        """Run a workflow to its image. Returns why there is none, or an empty string."""
        wanted_id = str(uuid.uuid4())
        body = {"prompt": _WORKFLOW, "prompt_id": wanted_id, "client_id": "noslop"}
        sent = service_probe.post_json(self._address, self._port, "/prompt", body)
        if sent.error:
            return f"it does not take a workflow: {sent.error}"
        # Before 0.9 ComfyUI gives an id of its own.
        prompt_id = str(sent.data.get("prompt_id") or wanted_id) if _is_dict(sent.data) else wanted_id
        deadline = time.monotonic() + timeout_s
        while True:
            answer = self._get(f"/history/{prompt_id}")
            entry = answer.data.get(prompt_id) if _is_dict(answer.data) else None
            if isinstance(entry, dict):
                return self._check_image(entry)
            if time.monotonic() > deadline:
                return f"a workflow without models did not end within {timeout_s:g} s{_after(answer.error)}"
            time.sleep(_POLL_S)

    def _check_image(self, entry: dict[str, Any]) -> str:
        status = entry.get("status")
        outcome = str(status.get("status_str")) if isinstance(status, dict) else "unknown"
        if outcome != "success":
            return f"a workflow without models ended as {outcome}{_after(_error_message(status))}"
        try:
            image = entry["outputs"]["2"]["images"][0]
            query = urllib.parse.urlencode({key: image[key] for key in ("filename", "subfolder", "type")})
        except (KeyError, IndexError, TypeError):
            return "a workflow ended without its image"
        content, error = service_probe.get_bytes(self._address, self._port, f"/view?{query}")
        if error:
            return f"the image of a workflow cannot be read: {error}"
        if content[:8] != b"\x89PNG\r\n\x1a\n" or content[16:24] != struct.pack(">II", *_SIZE):
            return "the image of a workflow is not the one that was asked for"
        return ""


PROOFS: dict[str, type[OllamaProof] | type[ComfyuiProof]] = {"ollama": OllamaProof, "comfyui": ComfyuiProof}


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _after(text: str) -> str:
    return f": {text}" if text else ""


def _error_message(status: Any) -> str:
    """Return the message of the exception in the status of a prompt."""
    for message in status.get("messages") or [] if _is_dict(status) else []:
        if isinstance(message, list) and len(message) == 2 and message[0] == "execution_error" and _is_dict(message[1]):
            return str(message[1].get("exception_message") or "").strip()
    return ""


def _list_failed_nodes(journal: Sequence[str]) -> list[str]:
    return sorted({match[1].rpartition("/")[2] for line in journal if (match := _IMPORT_FAILED.search(line))})


def _list_ollama_models(data: Any) -> list[str]:
    try:
        return service_probe.parse_ollama_models(data)
    except ValueError:
        return []


def _find_unlisted(before: Baseline, now: dict[str, list[str]]) -> str:
    """Return which models are not listed any more."""
    missing = [
        f"{folder}/{name}" if folder else name
        for folder, names in sorted(before.models.items())
        for name in sorted(set(names) - set(now.get(folder, [])))
    ]
    if not missing:
        return ""
    shown = (
        enumerate_words(missing[:3]) if len(missing) <= 3 else f"{', '.join(missing[:3])} and {len(missing) - 3} more"
    )
    return f"it does not list {shown}, which the version before it did"
