# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validate prompts when they arrive, execute them one after the other, and keep them in the history."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass
from typing import Any

from app.behaviour import behaviour
from nodes import NODE_CLASS_MAPPINGS

Prompt = dict[str, Any]


class InterruptedPromptError(Exception):
    """A prompt that was cancelled while it ran."""


class PromptError(Exception):
    """A prompt that cannot run: the interface's `error` object and the errors of each node."""

    def __init__(self, kind: str, message: str, details: str = "", node_errors: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.error = {"type": kind, "message": message, "details": details, "extra_info": {}}
        self.node_errors = node_errors or {}


def is_link(value: Any) -> bool:  # noqa: ANN401 (what JSON holds)
    """Return whether an input's value is another node's output: [node id, output number]."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def input_errors(prompt: Prompt, node_id: str) -> list[dict[str, Any]]:
    """Return the errors in one node's inputs."""
    node = prompt[node_id]
    errors = []

    def wrong(kind: str, message: str, details: str) -> None:
        errors.append({"type": kind, "message": message, "details": details, "extra_info": {}})

    for name, described in NODE_CLASS_MAPPINGS[node["class_type"]].INPUT_TYPES().get("required", {}).items():
        if name not in node.get("inputs", {}):
            wrong("required_input_missing", "Required input is missing", name)
            continue
        value = node["inputs"][name]
        kind, options = described[0], (described[1] if len(described) > 1 else {})
        if is_link(value):
            if value[0] not in prompt:
                wrong("bad_linked_input", "Bad linked input, no such node", f"{name}: {value[0]}")
        elif isinstance(kind, list):
            if value not in kind:
                wrong("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {kind}")
        elif kind == "INT":
            if not isinstance(value, int):
                wrong("invalid_input_type", "Failed to convert an input value to a INT value", f"{name}, {value}")
            elif value < options.get("min", value):
                wrong("value_smaller_than_min", f"Value {value} smaller than min of {options['min']}", name)
            elif value > options.get("max", value):
                wrong("value_bigger_than_max", f"Value {value} bigger than max of {options['max']}", name)
    return errors


def validate(prompt: Prompt) -> list[str]:
    """Return the ids of the output nodes. Raises PromptError."""
    for node_id, node in prompt.items():
        where = f"Node ID '#{node_id}'"
        if "class_type" not in node:
            raise PromptError("invalid_prompt", "Cannot execute because a node is missing the class_type.", where)
        if node["class_type"] not in NODE_CLASS_MAPPINGS:
            message = f"Cannot execute because node {node['class_type']} does not exist."
            raise PromptError("invalid_prompt", message, where)
    outputs = [i for i, n in prompt.items() if getattr(NODE_CLASS_MAPPINGS[n["class_type"]], "OUTPUT_NODE", False)]
    if not outputs:
        raise PromptError("prompt_no_outputs", "Prompt has no outputs")
    errors_by_node = {node_id: input_errors(prompt, node_id) for node_id in prompt}
    node_errors = {
        node_id: {"errors": errors, "dependent_outputs": outputs, "class_type": prompt[node_id]["class_type"]}
        for node_id, errors in errors_by_node.items()
        if errors
    }
    if node_errors:
        raise PromptError(
            "prompt_outputs_failed_validation", "Prompt outputs failed validation", node_errors=node_errors
        )
    return outputs


@dataclass
class Job:
    """A prompt that waits or runs."""

    number: float
    prompt_id: str
    prompt: Prompt
    extra_data: dict[str, Any]
    outputs: list[str]
    interrupted: bool = False

    def row(self) -> list[Any]:
        """Return the job as the interface shows it."""
        return [self.number, self.prompt_id, self.prompt, self.extra_data, self.outputs]


class Execution:
    """One run of one prompt. Raises RecursionError when nodes feed each other in a circle."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.current = ""
        self.shown: dict[str, Any] = {}
        self._results: dict[str, Any] = {}

    def result(self, node_id: str) -> Any:  # noqa: ANN401 (nodes return what they like)
        """Run a node once, after the nodes that it depends on."""
        if node_id in self._results:
            return self._results[node_id]
        if self.job.interrupted:
            raise InterruptedPromptError
        description = self.job.prompt[node_id]
        values = dict(description.get("inputs", {}))
        for name, value in values.items():
            if is_link(value):
                values[name] = self.result(value[0])[value[1]]
        self.current = node_id
        node = NODE_CLASS_MAPPINGS[description["class_type"]]
        hidden = {"PROMPT": self.job.prompt, "EXTRA_PNGINFO": self.job.extra_data.get("extra_pnginfo")}
        for name, kind in node.INPUT_TYPES().get("hidden", {}).items():
            values[name] = hidden.get(kind, node_id)
        returned = getattr(node(), node.FUNCTION)(**values)
        if isinstance(returned, dict):
            if "ui" in returned:
                self.shown[node_id] = returned["ui"]
            returned = returned.get("result", ())
        self._results[node_id] = returned
        return returned


class Queue:
    """The waiting, running and completed prompts."""

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._history: dict[str, Any] = {}
        self._changed = threading.Condition()

    def put(self, job: Job) -> None:
        """Add a prompt; a negative number goes to the front."""
        with self._changed:
            self._waiting.append(job)
            self._waiting = deque(sorted(self._waiting, key=lambda waiting: waiting.number))
            self._changed.notify()

    def rows(self) -> dict[str, Any]:
        """Return the answer of /queue."""
        with self._changed:
            running = [self._running.row()] if self._running else []
            return {"queue_running": running, "queue_pending": [job.row() for job in self._waiting]}

    def remaining(self) -> int:
        """Return the number of incomplete prompts."""
        with self._changed:
            return len(self._waiting) + (self._running is not None)

    def history(self, prompt_id: str | None = None) -> dict[str, Any]:
        """Return all completed prompts, or one of them."""
        with self._changed:
            if prompt_id is None:
                return dict(self._history)
            return {prompt_id: self._history[prompt_id]} if prompt_id in self._history else {}

    def cancel(self, prompt_id: str) -> bool:
        """Remove a waiting prompt, or interrupt it if it runs. Returns whether it did either."""
        with self._changed:
            if self._running and self._running.prompt_id == prompt_id:
                self._running.interrupted = True
                return True
            before = len(self._waiting)
            self._waiting = deque(job for job in self._waiting if job.prompt_id != prompt_id)
            return len(self._waiting) < before

    def clear(self, prompt_ids: list[str] | None = None) -> None:
        """Remove waiting prompts: all, or those with these ids."""
        with self._changed:
            kept = [job for job in self._waiting if prompt_ids is not None and job.prompt_id not in prompt_ids]
            self._waiting = deque(kept)

    def work(self) -> None:
        """Execute prompts for ever; runs in a thread of its own."""
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                job = self._running = self._waiting.popleft()
            entry = execute(job)
            with self._changed:
                self._history[job.prompt_id] = entry
                self._running = None


def execute(job: Job) -> dict[str, Any]:
    """Run a prompt, and return its entry in the history, also of a failure."""
    messages: list[list[Any]] = []

    def record(event: str, **more: object) -> None:
        messages.append([event, {"prompt_id": job.prompt_id, "timestamp": int(time.time() * 1000), **more}])

    record("execution_start")
    run = Execution(job)
    started = time.perf_counter()
    try:
        if not behaviour.renders:
            raise RuntimeError("this release cannot render")
        for node_id in job.outputs:
            run.result(node_id)
    except InterruptedPromptError:
        logging.info("Processing interrupted")
        record("execution_interrupted", node_id=run.current)
        good = False
    except Exception as error:
        logging.error("!!! Exception during processing !!! %s", error)
        logging.error(traceback.format_exc())
        kind = type(error).__name__
        record("execution_error", node_id=run.current, exception_type=kind, exception_message=str(error))
        good = False
    else:
        record("execution_success")
        good = True
        logging.info("Prompt executed in %.2f seconds", time.perf_counter() - started)
    meta = {i: {"node_id": i, "display_node": i, "parent_node": None, "real_node_id": i} for i in run.shown}
    status = {"status_str": "success" if good else "error", "completed": good, "messages": messages}
    return {"prompt": job.row(), "outputs": run.shown, "status": status, "meta": meta}
