# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the ComfyUI of one host, and nothing else.

With the standard library's HTTP client, because of what it does not do: it follows no redirect, knows no proxy, decodes
nothing and resolves nothing here, since it gets an IP address. Whatever the other side does, an answer ends after
`idle_s` without a byte, at a size, and at the end of the time for the whole run.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from noslop_backend.core import json_depth
from noslop_backend.core.comfyui_hosts import ComfyHost
from noslop_backend.core.errors import ComfyAnswerError, ComfyUnavailableError

PIECE_BYTES = 1024 * 1024
#: What came so far is passed on after this time, so that a slow sender does not let a lease run out.
_PASS_ON_S = 5.0
_CONNECT_S = 10.0


class FileAnswerError(Exception):
    """One file cannot be downloaded, while the host answers. The text is why, without the file's name."""

    def __init__(self, why: str, *, again: bool) -> None:
        super().__init__(why)
        #: Whether another attempt may go better.
        self.again = again


class Content:
    """The content of one file while it is received. `length` is the one announced, in bytes; None for chunks."""

    def __init__(self, client: ComfyUI, answer: http.client.HTTPResponse, limit_bytes: int) -> None:
        self._client = client
        self._answer = answer
        self._limit_bytes = limit_bytes
        announced = answer.headers.get("Content-Length")
        self.length = None
        if answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise FileAnswerError("it came compressed, which was not asked for", again=False)
        if announced is not None and not answer.chunked:
            if not announced.isascii() or not announced.isdigit() or len(announced) > 18:
                raise FileAnswerError(f"it was announced with a length of {announced[:40]!r}", again=False)
            self.length = int(announced)
            if self.length > limit_bytes:
                raise FileAnswerError(_too_large(self.length, limit_bytes), again=False)
        elif not answer.chunked:
            raise FileAnswerError("it came without a length, so a part of it could be missing unnoticed", again=False)

    def pieces(self) -> Iterator[bytes]:
        """Yield the content in pieces of at most `PIECE_BYTES`.

        Raises:
            FileAnswerError: it breaks off, stands still, or is too long.
        """
        waiting, size, received, since = [], 0, 0, time.monotonic()
        while True:
            try:
                piece = self._answer.read1(PIECE_BYTES)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise FileAnswerError(self._client.why(error), again=True) from error
            received += len(piece)
            if received > self._limit_bytes:
                raise FileAnswerError(_too_large(received, self._limit_bytes), again=False)
            waiting.append(piece)
            size += len(piece)
            if size and (not piece or size >= PIECE_BYTES or time.monotonic() - since > _PASS_ON_S):
                yield b"".join(waiting)
                waiting, size, since = [], 0, time.monotonic()
            if not piece:
                break
        if self.length not in {None, received}:
            why = self._client.why(EOFError(f"it broke off after {received} of {self.length} bytes"))
            raise FileAnswerError(why, again=True)


class ComfyUI:
    """ComfyUI on one host, for one run of at most `limit_s` seconds. Each request has a connection of its own."""

    def __init__(self, host: ComfyHost, *, idle_s: float, limit_s: float) -> None:
        self.host = host
        self.idle_s = idle_s
        self.limit_s = limit_s
        self.is_over = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._watch = threading.Timer(limit_s, self._end)
        self._watch.daemon = True

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._watch.cancel()

    def _end(self) -> None:
        """End the run: a thread that waits for a byte gets none."""
        with self._lock:
            self.is_over = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def why(self, error: Exception) -> str:
        """Return what went wrong with a connection, as half a sentence."""
        if self.is_over:
            return f"the {self.limit_s:g} s that one run may take were over"
        if isinstance(error, TimeoutError):
            if self._socket is None:
                return f"no connection came about within {_CONNECT_S:g} s"
            return f"no byte came for {self._socket.gettimeout():g} s"
        if isinstance(error, http.client.IncompleteRead):
            return f"it broke off after {len(error.partial)} bytes of a part"
        return str(error) or type(error).__name__

    def json(self, path: str, limit_bytes: int) -> Any:  # noqa: ANN401 - any JSON
        """Ask for JSON of at most `limit_bytes`. What Python reads but JSON has not (NaN) becomes null.

        Raises:
            ComfyUnavailableError: it cannot be reached, or the answer breaks off.
            ComfyAnswerError: the answer is no such JSON.
        """
        with self._asked(path) as answer:
            if answer.status != 200:
                raise ComfyAnswerError(
                    f"ComfyUI on {self.host} answered {path} with {answer.status}{_elsewhere(answer)}. "
                    "See what its log says.",
                    host=self.host.name,
                )
            try:
                content = Content(self, answer, limit_bytes)
                body = b"".join(content.pieces())
            except FileAnswerError as error:
                kind = ComfyUnavailableError if error.again else ComfyAnswerError
                raise kind(
                    f"The answer of ComfyUI on {self.host} to {path} cannot be used: {error}. Look at its log, and "
                    "send it again.",
                    host=self.host.name,
                ) from error
        try:
            answer_json = json_depth.loads(body, parse_constant=lambda _: None)
        except json_depth.TooLargeError as error:
            raise self._nonsense(path, str(error)) from error
        except ValueError as error:
            raise self._nonsense(path, f"it is no JSON ({type(error).__name__})") from error
        if json_depth.is_too_deep(answer_json):
            raise self._nonsense(path, "it is nested too deeply")
        return answer_json

    @contextmanager
    def file(self, query: dict[str, str], limit_bytes: int) -> Iterator[Content]:
        """Ask for a file that ComfyUI named: `query` holds `filename`, `subfolder` and `type`.

        Raises:
            FileAnswerError: this file cannot be downloaded.
            ComfyUnavailableError: ComfyUI cannot be reached.
        """
        try:
            path = f"/view?{urllib.parse.urlencode(query)}"
        except UnicodeEncodeError as error:
            raise FileAnswerError("its name is no text that can be asked for", again=False) from error
        with self._asked(path) as answer:
            if answer.status == 404:
                raise FileAnswerError("it is not there any more (404)", again=False)
            if answer.status != 200:
                why = f"ComfyUI refused it with {answer.status}{_elsewhere(answer)}"
                raise FileAnswerError(why, again=answer.status >= 500)
            yield Content(self, answer, limit_bytes)

    @contextmanager
    def _asked(self, path: str) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self.host.address, self.host.port, timeout=_CONNECT_S)
        try:
            try:
                answer = self._answer(connection, path)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise ComfyUnavailableError(
                    f"ComfyUI on {self.host} does not answer: {self.why(error)}. See whether it runs there "
                    "(systemctl status noslop-comfyui) and listens on that address, and send it again.",
                    host=self.host.name,
                    retry_after_s=10,
                ) from error
            with answer:
                yield answer
        finally:
            with self._lock:
                self._socket = None
            connection.close()

    def _answer(self, connection: http.client.HTTPConnection, path: str) -> http.client.HTTPResponse:
        connection.connect()
        with self._lock:
            # The connection lets go of its socket before the answer is read; the time may be over before that.
            self._socket = connection.sock
            if self.is_over:
                raise TimeoutError
        connection.sock.settimeout(self.idle_s)
        connection.request("GET", path, headers={"Connection": "close", "Accept-Encoding": "identity"})
        return connection.getresponse()

    def _nonsense(self, path: str, what: str) -> ComfyAnswerError:
        return ComfyAnswerError(
            f"What ComfyUI on {self.host} answered to {path} cannot be used: {what}. See whether it is ComfyUI that "
            "answers there.",
            host=self.host.name,
        )


def _too_large(size: int, limit_bytes: int) -> str:
    return f"it is larger than the {limit_bytes} bytes that are taken of one answer ({size} or more)"


def _elsewhere(answer: http.client.HTTPResponse) -> str:
    return ", which leads elsewhere and is not followed" if 300 <= answer.status < 400 else ""
