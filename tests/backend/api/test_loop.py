# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No async route blocks the loop: neither as it is written, nor when it is run."""

from __future__ import annotations

import ast
import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import noslop_backend.api
from noslop_backend.api.paths import PREFIX
from sqlalchemy import event

from tests.backend.api.serving import Served
from tests.backend.studio import Studio, png

_API = Path(noslop_backend.api.__file__).parent
#: What waits for a disk, a database or a clock when it is called; inside a lambda a thread of the pool calls it.
_BLOCKING = {
    *(
        "storage",
        "database",
        "tokens",
        "session",
        "share",
        "tree",
        "upload",
        "stream",
        "opened",
        "os",
        "time",
        "shutil",
    ),
    *("subprocess", "socket", "sqlite3", "Path"),
}
#: Look up or compare, and give: as plain functions they would take a thread for that.
_AT_ONCE = {"_state", "_caller", "check"}
#: Of those above, what only looks at what is in memory.
_HARMLESS = {"fileno", "locked", "headers", "monotonic"}


def _own_nodes(function: ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """What a function does itself: not what is in functions that it makes for others."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)


def _chain(node: ast.AST) -> list[str]:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) else names


def _problems(source: str, where: str) -> list[str]:
    found = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.AsyncFunctionDef):
            continue
        nodes = list(_own_nodes(function))
        place = f"{where}: {function.name}"
        if function.name not in _AT_ONCE and not any(
            isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith | ast.Yield | ast.comprehension) for node in nodes
        ):
            found.append(f"{place} never awaits: a plain def would not hold the loop")
        for node in nodes:
            if not isinstance(node, ast.Call):
                continue
            chain = _chain(node.func)
            blocks = chain == ["open"] or (_BLOCKING.intersection(chain[:-1]) and chain[-1] not in _HARMLESS)
            if blocks or chain[-2:] in (["disk", "run"], ["probe", "run"]):
                found.append(f"{place} calls {'.'.join(chain)} in line {node.lineno}")
    return found


def test_no_async_function_of_the_interface_calls_what_blocks() -> None:
    problems = [one for path in sorted(_API.glob("*.py")) for one in _problems(path.read_text(), path.name)]
    assert problems == []


def test_this_would_be_found() -> None:
    for line in (
        "state.storage.get_file(a, b)",
        "upload.write(piece)",
        "state.disk.run(work)",
        "os.pread(descriptor, 1, 0)",
        "open(path)",
        "time.sleep(1)",
        "state.tokens.check(text)",
    ):
        source = f"async def route(state):\n    await other()\n    {line}\n"
        assert len(_problems(source, "here")) == 1, line
        lambda_source = f"async def route(state):\n    await state.disk.call(lambda: {line})\n"
        assert _problems(lambda_source, "here") == [], line
    assert len(_problems("async def route(state):\n    return 1\n", "here")) == 1


class _Watch:
    """Notes what opens files or talks to the database in a thread whose event loop is running just then."""

    def __init__(self) -> None:
        self.active = False
        self.seen: list[str] = []
        sys.addaudithook(self._audit)

    def _audit(self, name: str, arguments: tuple[object, ...]) -> None:
        # os.open gives no mode; Python's own imports do.
        blocking = name in {
            "os.listdir",
            "os.mkdir",
            "os.rename",
            "os.remove",
            "os.link",
            "os.scandir",
            "socket.connect",
        }
        if self.active and (blocking or (name == "open" and arguments[1] is None)):
            self.note(f"{name} {arguments}")

    def note(self, what: str) -> None:
        if self.active and asyncio._get_running_loop() is not None:
            self.seen.append(f"{threading.current_thread().name}: {what}")


# An audit hook cannot be taken away again: there is one, and it is quiet outside of the block below.
_WATCH = _Watch()


@contextmanager
def _watching(studio: Studio) -> Iterator[list[str]]:
    def statement(_connection: object, _cursor: object, sql: str, *_: object) -> None:
        _WATCH.note(sql)

    engine = studio.storage.database.engine
    event.listen(engine, "before_cursor_execute", statement)
    _WATCH.seen, _WATCH.active = [], True
    try:
        yield _WATCH.seen
    finally:
        _WATCH.active = False
        event.remove(engine, "before_cursor_execute", statement)


def test_no_request_touches_disk_or_database_in_the_loop(served: Served, studio: Studio) -> None:
    with _watching(studio) as seen:
        project_id = served.project()
        at = f"{PREFIX}/projects/{project_id}"
        file = served.upload(project_id, 1)
        content = f"{at}/files/{file['id']}/content"
        for method, path, body in (
            ("POST", f"{at}/intermediate?kind=mask&name=m", b"mask"),
            ("POST", f"{at}/media?name=refused", b"no media"),
            ("POST", f"{at}/workflows?name=w", b"{}"),
            ("POST", f"{at}/media?name=x", png(2)),
            ("GET", content, b""),
            ("HEAD", content, b""),
            ("GET", f"{at}/files/0000000000000/content", b""),
            ("GET", f"{at}/workflows/content?name=w", b""),
            ("GET", f"{PREFIX}/health", b""),
            ("GET", f"{PREFIX}/metrics", b""),
            ("GET", f"{PREFIX}/stats?with_disk=true", b""),
            ("DELETE", at, b""),
        ):
            assert served.client.request(method, path, content=body).status_code < 500
        assert served.client.get(content, headers={"Range": "bytes=1-2"}).status_code == 206
        assert seen == []

        async def block() -> None:
            studio.storage.get_project(project_id)

        # This would be seen.
        asyncio.run(block())
        assert seen
