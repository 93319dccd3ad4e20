# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ComfyUI's program in a child process with a time limit, and record what its custom nodes write at their import.

This file is a program of its own, which runs in the sandbox of a trial with ComfyUI's Python. It uses nothing of
NoSlop. The file of its only argument has what to run; the result is written beside it.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys

RESULT = "result.json"
WRITES = "writes.txt"
LOG = "log.txt"
LOG_LIMIT_BYTES = 256 * 1024
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
#: Audit events (Python's "Audit events table") of calls that change a directory, with their arguments that are paths.
_CHANGES = {
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.symlink": (1,),
    "os.link": (1,),
    "os.truncate": (0,),
    "os.chmod": (0,),
    "os.chown": (0,),
}
#: What a service may always write to; the sandbox has directories of its own in these places.
_TEMPORARY = ("/tmp", "/var/tmp", "/dev")  # noqa: S108  # compared with, never written to


def main() -> None:
    """Run the parent, or with a second argument the child."""
    with open(sys.argv[1], encoding="utf-8") as stream:
        trial = json.load(stream)
    if len(sys.argv) > 2:
        run_program(trial)
    else:
        wait_for_program(trial)


def wait_for_program(trial: dict[str, object]) -> None:
    """Start the child, wait for it, and write the result."""
    directory = str(trial["directory"])
    with open(os.path.join(directory, LOG), "wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-u", os.path.abspath(__file__), sys.argv[1], "child"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        hung = False
        try:
            code = child.wait(float(str(trial["timeout_s"])))
        except subprocess.TimeoutExpired:
            hung = True
            os.killpg(child.pid, signal.SIGKILL)
            code = child.wait()
    with open(os.path.join(directory, LOG), "rb") as stream:
        stream.seek(max(0, os.path.getsize(stream.name) - LOG_LIMIT_BYTES))
        output = stream.read().decode(errors="replace")
    writes = []
    if os.path.exists(os.path.join(directory, WRITES)):
        with open(os.path.join(directory, WRITES), encoding="utf-8", errors="replace") as lines:
            writes = lines.read(LOG_LIMIT_BYTES).splitlines()
    with open(os.path.join(directory, RESULT), "w", encoding="utf-8") as answer:
        json.dump({"code": code, "hung": hung, "output": output, "writes": writes}, answer)


def run_program(trial: dict[str, object]) -> None:
    """Run ComfyUI's program in this process, and record writes."""
    program = str(trial["program"])
    words = trial["words"]
    if not isinstance(words, list):
        raise TypeError("words: a list of the program's arguments is needed")
    sys.argv = [program, *map(str, words)]
    sys.path[0] = os.path.dirname(program)
    record = os.open(os.path.join(str(trial["directory"]), WRITES), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    watch_writes(record, os.path.realpath(str(trial["nodes"])), [str(trial["directory"]), *_TEMPORARY])
    runpy.run_path(program, run_name="__main__")


def watch_writes(record: int, nodes: str, allowed: list[str]) -> None:
    """Record each attempt of a custom node to change something outside its own directory, even one that fails.

    Args:
        record: descriptor of the file that gets a line for each, the node's name and the path.
        nodes: the directory of the custom nodes. Calls without code from there on the stack are ComfyUI's own.
        allowed: directories that everything may write to.
    """
    lines: set[str] = set()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            flags = arguments[2] if len(arguments) > 2 else 0
            paths = [arguments[0]] if isinstance(flags, int) and flags & _WRITING else []
        else:
            paths = [arguments[number] for number in _CHANGES.get(event, ())]
        for path in paths:
            if not isinstance(path, (str, bytes, os.PathLike)):
                continue  # a descriptor that is open already
            place = os.path.realpath(os.fsdecode(path))
            node = find_node(nodes)
            if node and not is_inside(place, [*allowed, os.path.join(nodes, node)]):
                line = f"{node}\t{place}\n"
                if line not in lines:
                    lines.add(line)
                    os.write(record, line.encode(errors="replace"))

    sys.addaudithook(hook)


def find_node(nodes: str) -> str:
    """Return the name of the custom node whose code runs, or an empty string."""
    frame = sys._getframe(1)
    while frame is not None:
        file = os.path.realpath(frame.f_code.co_filename)
        if file.startswith(nodes + "/"):
            return file[len(nodes) + 1 :].partition("/")[0]
        if frame.f_back is None:
            break
        frame = frame.f_back
    return ""


def is_inside(path: str, directories: list[str]) -> bool:
    """Return whether a path is one of the directories, or below one."""
    return any(path == directory or path.startswith(directory.rstrip("/") + "/") for directory in directories)


if __name__ == "__main__":
    main()
