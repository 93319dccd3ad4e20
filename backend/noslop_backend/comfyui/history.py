# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what ComfyUI reports of a prompt that it ran (`/history/{prompt_id}`). Pure.

As of ComfyUI 0.3.64 (execution.py, `PromptQueue`):

    {prompt_id: {"prompt": [number, prompt_id, graph, extra_data, outputs_to_execute],
                 "outputs": {node_id: {"images" | "gifs" | "audio" | ...: [{"filename", "subfolder", "type"}, ...],
                                       "text": [...], "result": ["path/of/a.glb", ...]}},
                 "status": {"status_str", "completed", "messages": [[event, {...}], ...]},
                 "meta": {...}}}

Everything of it is data that others wrote: a file name in it is a word to ask ComfyUI with, and becomes no path here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

#: Files of one prompt that are looked at; what is beyond is said to be left out.
OUTPUTS_LIMIT = 10_000
#: Texts of one prompt that are kept, and letters of each.
TEXTS_LIMIT = 100
TEXT_LIMIT = 2000
#: A relative path of a file.
_PATH = re.compile(r"(?![/\\]|[A-Za-z]:)[^\0\n]{0,400}[^\0\n/\\]\.[A-Za-z0-9]{1,12}", re.ASCII)
_MESSAGE_LIMIT = 2000


@dataclass(frozen=True)
class Output:
    """A file that a node made. `key` is what the node calls this kind of output."""

    node_id: str
    key: str
    filename: str
    subfolder: str
    type: str

    @property
    def identity(self) -> tuple[str, str, str]:
        """Return what makes it this file and no other, on its host."""
        return self.type, self.subfolder, self.filename


@dataclass(frozen=True)
class TextOutput:
    """A text or number that a node showed."""

    node_id: str
    key: str
    text: str


@dataclass(frozen=True)
class Skipped:
    """A file that is not asked for, or a text that is not kept, and why."""

    output: Output
    why: str


@dataclass
class Run:
    """One prompt that ComfyUI ran."""

    graph: dict[str, Any]
    #: What the user interface had on its canvas, when a user interface sent the prompt.
    workflow: dict[str, Any] | None
    #: success, error, interrupted, or whatever word ComfyUI has for it.
    status: str
    #: What went wrong, in ComfyUI's words.
    problem: str = ""
    outputs: list[Output] = field(default_factory=list)
    texts: list[TextOutput] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def parse(prompt_id: str, answer: object) -> Run | None:
    """Read an answer to `/history/{prompt_id}`; None when the history does not have that prompt.

    Raises:
        ValueError: it is no such answer; says where it is not.
    """
    history = _object(answer, "the answer")
    if prompt_id not in history:
        return None
    entry = _object(history[prompt_id], "the entry")
    prompt = entry.get("prompt")
    if not isinstance(prompt, list) or len(prompt) < 4:
        raise ValueError("`prompt` is no list of four parts or more")
    graph = _object(prompt[2], "the graph in `prompt`")
    extra = prompt[3] if isinstance(prompt[3], dict) else {}
    info = extra.get("extra_pnginfo")
    workflow = info.get("workflow") if isinstance(info, dict) else None
    status, problem = _status(entry.get("status"))
    run = Run(graph, workflow if isinstance(workflow, dict) and workflow else None, status, problem)
    _sort_outputs(run, _object(entry.get("outputs") or {}, "`outputs`"))
    return run


def is_queued(prompt_id: str, answer: object) -> bool:
    """Return whether an answer to `/queue` names the prompt as one that runs or waits.

    Raises:
        ValueError: it is no such answer.
    """
    queue = _object(answer, "the answer")
    rows = [row for name in ("queue_running", "queue_pending") for row in _rows(queue.get(name))]
    return any(isinstance(row, list) and len(row) > 1 and row[1] == prompt_id for row in rows)


def _status(given: object) -> tuple[str, str]:
    if not isinstance(given, dict):
        return "unknown", ""
    status, problem = given.get("status_str"), ""
    for message in _rows(given.get("messages")):
        if not isinstance(message, list) or len(message) < 2 or not isinstance(message[1], dict):
            continue
        if message[0] == "execution_interrupted":
            status = "interrupted"
        elif message[0] == "execution_error":
            parts = [str(message[1].get(name) or "") for name in ("node_type", "exception_type", "exception_message")]
            problem = ": ".join(filter(None, parts))[:_MESSAGE_LIMIT].strip()
    return (status if isinstance(status, str) and status else "unknown")[:100], problem


def _sort_outputs(run: Run, outputs: dict[str, Any]) -> None:
    listed: set[tuple[str, str, str]] = set()
    for node_id, shown in outputs.items():
        for key, items in (shown if isinstance(shown, dict) else {}).items():
            for item in items if isinstance(items, list) else [items]:
                if isinstance(item, str | int | float) and not isinstance(item, bool) and _path(key, item) is None:
                    _add_text(run, node_id, key, str(item))
                    continue
                output = _output(node_id, key, item)
                # Some nodes show one file under two names; switches (`animated`) and camera positions are no outputs.
                if output is not None and output.identity not in listed:
                    listed.add(output.identity)
                    _add_output(run, output)


def _add_output(run: Run, output: Output) -> None:
    why = _why_not(output) if len(run.outputs) < OUTPUTS_LIMIT else f"more than {OUTPUTS_LIMIT} files"
    if why:
        run.skipped.append(Skipped(output, why))
    else:
        run.outputs.append(output)


def _add_text(run: Run, node_id: str, key: str, text: str) -> None:
    """Keep a text that a node shows, as far as there is room; what is not kept of it is named as left out."""
    if not text.strip():
        return
    is_full = len(run.texts) >= TEXTS_LIMIT
    if not is_full:
        run.texts.append(TextOutput(node_id, key, text[:TEXT_LIMIT]))
    if is_full or len(text) > TEXT_LIMIT:
        kept = f"at most {TEXTS_LIMIT} texts are kept" if is_full else f"its first {TEXT_LIMIT} letters are kept"
        skipped = Skipped(Output(node_id, key, "", "", "text"), f"it is a text, and {kept}")
        # Once for a row of them.
        if run.skipped[-1:] != [skipped]:
            run.skipped.append(skipped)


def _path(key: str, item: object) -> str | None:
    """Return the path of a file that is shown as a text: 3D nodes do so below `result`."""
    return item if key == "result" and isinstance(item, str) and _PATH.fullmatch(item) else None


def _output(node_id: str, key: str, item: object) -> Output | None:
    if (path := _path(key, item)) is not None:
        subfolder, _, filename = path.replace("\\", "/").rpartition("/")
        return Output(node_id, key, filename, subfolder, "output")
    if not isinstance(item, dict):
        return None
    words = [item.get("filename"), item.get("subfolder", ""), item.get("type", "output")]
    if not all(isinstance(word, str) for word in words) or not words[0]:
        return None
    return Output(node_id, key, *words)


def _why_not(output: Output) -> str:
    if output.type == "temp":
        return "it is a preview, which ComfyUI keeps only until it is started again"
    if output.type != "output":
        return f"it is of the type {output.type[:40]!r}; only what lies in ComfyUI's output directory is filed"
    # ComfyUI takes such an ending for another directory than `type` says (folder_paths.annotated_filepath).
    if output.filename.endswith(("[input]", "[output]", "[temp]")):
        return "its name ends in a word that leads ComfyUI to another directory"
    return ""


def _rows(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no object")
    return value
