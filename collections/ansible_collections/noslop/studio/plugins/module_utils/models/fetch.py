# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch a model to a share: resumed after any cut, hashed as it comes, visible under its name only when it is right."""

from __future__ import annotations

import codecs
import errno
import http.client
import os
import re
import time
import urllib.error
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import format_gigabytes
from ansible_collections.noslop.studio.plugins.module_utils.install import downloads
from ansible_collections.noslop.studio.plugins.module_utils.models import file_hash, file_types, part_file
from ansible_collections.noslop.studio.plugins.module_utils.models.rate_limit import RateLimit

BLOCK_BYTES = 256 * 1024
#: Attempts in a row that bring no byte, and the seconds before the second one, which double each time.
ATTEMPTS = 6
FIRST_WAIT_S = 1.0
#: The longest wait that a server may ask for (RFC 9110, Retry-After).
LONGEST_WAIT_S = 600.0
_BUSY = (408, 425, 429, 500, 502, 503, 504)


# Python loads these at the first answer, when the account that fetches may not be able to read them any more.
for _name in ("ascii", "idna", "iso-8859-1"):
    codecs.lookup(_name)


class FetchError(Exception):
    """A model cannot be fetched. The message is for the user who has to repair it."""


@dataclass(frozen=True)
class Wanted:
    """A model as the catalogue has it. ``path`` is below the share; ``size`` 0 and an empty ``sha256`` are unknown."""

    path: str
    url: str
    sha256: str = ""
    size: int = 0


@dataclass(frozen=True)
class Fetched:
    """A model that is there. ``received`` counts the bytes that came over the network for it in this run.

    ``is_new`` is whether this run gave it its name; an earlier one may have fetched all of it.
    """

    path: str
    size: int
    sha256: str
    received: int
    is_new: bool = False


@dataclass
class Transfer:
    """Hold what all downloads of a run share.

    ``tokens`` has a token by the origin it is for, like ``https://host``. ``report`` gets a model's path, its bytes so
    far, and its size or 0. ``wait`` sleeps.
    """

    tokens: Mapping[str, str] = field(default_factory=dict)
    limit: RateLimit = field(default_factory=lambda: RateLimit(0))
    report: Callable[[str, int, int], None] = lambda *_: None
    wait: Callable[[float], None] = time.sleep


def fetch(wanted: Wanted, share: str, transfer: Transfer) -> Fetched:
    """Fetch a model, or go on with what an earlier run has of it. A file that is there already is compared only.

    Raises:
        FetchError: it cannot be had, is not what it should be, or another file has its name.
    """
    target = os.path.join(share, wanted.path)
    part = None
    try:
        key = part_file.make_key(wanted.path)
        if os.path.lexists(target):
            compared = _compare(target, wanted, transfer)
            part_file.remove_published(share, key)
            return compared
        if not wanted.url:
            raise FetchError(
                f"{wanted.path} is not on the share, and its entry in the catalogue has no address: it came from a "
                "host. Adopt it again (noslop-driver models adopt HOST:PATH), write url in place of local, or remove "
                "the entry."
            )
        part = part_file.PartFile(share, key)
        received = _complete(part, wanted, transfer)
        try:
            part.publish(target)
        except FileExistsError:
            return _compare(target, wanted, transfer)
        return Fetched(wanted.path, part.received, part.sha256, received, is_new=True)
    except OSError as error:
        raise FetchError(_explain(error, wanted, part)) from error
    finally:
        if part:
            part.close()


def verify(wanted: Wanted, share: str, transfer: Transfer) -> Fetched:
    """Read a whole model, and compare it with its checksum.

    Raises:
        FetchError: it is missing, cannot be read, is damaged, or no checksum of it is known.
    """
    if not wanted.sha256:
        raise FetchError(f"{wanted.path} has no checksum to compare it with: it was not fetched by its catalogue.")
    try:
        actual, size = _read(os.path.join(share, wanted.path), wanted, transfer)
    except FileNotFoundError:
        raise FetchError(f"{wanted.path} is not there. Fetch it: noslop-driver models pull") from None
    except OSError as error:
        raise FetchError(_explain(error, wanted, None)) from error
    if actual != wanted.sha256:
        raise FetchError(
            f"{wanted.path} is damaged, or another file: its SHA-256 is {actual}, and was {wanted.sha256}. Move it "
            "away, and fetch it again: noslop-driver models pull"
        )
    return Fetched(wanted.path, size, actual, 0)


def _read(target: str, wanted: Wanted, transfer: Transfer) -> tuple[str, int]:
    """Read a file. Return its SHA-256 and its size."""
    return file_hash.read_sha256(target, lambda count, size: transfer.report(wanted.path, count, size))


def _compare(target: str, wanted: Wanted, transfer: Transfer) -> Fetched:
    """Return the file that has the model's name already. Raises FetchError where it is another one."""
    actual, size = _read(target, wanted, transfer)
    if (wanted.sha256 and actual != wanted.sha256) or (not wanted.sha256 and wanted.size and size != wanted.size):
        raise FetchError(
            f"{wanted.path} is there already, and is another file: {size} bytes, SHA-256 {actual}. It was not touched. "
            "Give the model another name in the catalogue, or move that file away."
        )
    return Fetched(wanted.path, size, actual, 0)


def _complete(part: part_file.PartFile, wanted: Wanted, transfer: Transfer) -> int:
    """Fetch what a partial file lacks, and compare the whole with the catalogue. Return the bytes received."""
    is_whole = part.received == 0
    received = _receive(part, wanted, transfer)
    problem = _find_problem(part, wanted)
    if problem and not (is_whole and received.answers == 1):
        # Pieces of several answers can be of different files: once more, as a whole.
        part.start(part_file.State(wanted.url))
        again = _receive(part, wanted, transfer)
        received = _Received(received.count + again.count, received.answers + again.answers)
        problem = _find_problem(part, wanted)
    if problem:
        part.remove()
        raise FetchError(f"{wanted.url} is not what it should be and was not kept: {problem}.")
    return received.count


@dataclass(frozen=True)
class _Received:
    """The bytes of the file that came over the network, and in how many answers."""

    count: int
    answers: int


def _receive(part: part_file.PartFile, wanted: Wanted, transfer: Transfer) -> _Received:
    """Receive until the partial file is complete, over as many connections as it takes."""
    total = answers = failures = 0
    most = part.received
    while True:
        wait_s = FIRST_WAIT_S * 2**failures
        start = part.received
        try:
            answers += 1
            count, is_complete = _receive_once(part, wanted, transfer)
            total += count
            if is_complete:
                return _Received(total, answers)
            reason = "the connection ended early"
        except urllib.error.HTTPError as error:
            wait_s = max(wait_s, _read_retry_after(error)) if error.code in _BUSY else -1
            reason = _explain_status(error, wanted)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE):
                raise
            total += max(0, part.received - start)
            reason = str(error)
        except (http.client.HTTPException, ValueError) as error:
            total += max(0, part.received - start)
            reason = str(error) or type(error).__name__
        except downloads.DownloadError as error:
            raise FetchError(str(error)) from error
        # A server that refuses ranges and cuts each answer brings bytes for ever.
        failures = 0 if part.received > most else failures + 1
        most = max(most, part.received)
        if failures >= ATTEMPTS or wait_s < 0 or wait_s > LONGEST_WAIT_S:
            raise FetchError(f"{wanted.url} cannot be fetched: {reason}")
        if failures:
            transfer.wait(wait_s)


def _receive_once(part: part_file.PartFile, wanted: Wanted, transfer: Transfer) -> tuple[int, bool]:
    """Ask for what is missing, and append it. Return the bytes received, and whether the file is complete."""
    resumed = part.received > 0 and part.state.url == wanted.url and bool(part.state.validator or wanted.sha256)
    if part.received and not resumed:
        part.start(part_file.State(wanted.url))
    if resumed and part.received == part.state.size:
        return 0, True
    try:
        answer = downloads.open_address(wanted.url, lambda address: _make_headers(address, part, wanted, transfer))
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # The file has become shorter, or another one.
        part.start(part_file.State(wanted.url))
        return 0, False
    with answer:
        _accept(answer, part, wanted)
        part.reserve()
        before = part.received
        transfer.report(wanted.path, part.received, part.state.size)
        while block := answer.read(BLOCK_BYTES):
            transfer.limit.wait_for_turn(len(block))
            if part.state.size and part.received + len(block) > part.state.size:
                raise FetchError(f"{wanted.url} sends more than the {part.state.size} bytes that it announced.")
            is_first = part.received < file_types.HEAD_BYTES
            part.append(block)
            if is_first and part.received >= file_types.HEAD_BYTES:
                _require_type(part, wanted)
            transfer.report(wanted.path, part.received, part.state.size)
        part.synchronize()
    # Without an announced length, the end of the answer is the end of the file.
    return part.received - before, part.received == part.state.size or not part.state.size


def _make_headers(address: str, part: part_file.PartFile, wanted: Wanted, transfer: Transfer) -> dict[str, str]:
    """Return the headers of a request. A token goes to the server that it is for, and is not sent on by a redirect."""
    headers = {"Accept-Encoding": "identity"}
    origin = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(address))
    first = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(wanted.url))
    if origin == first and origin in transfer.tokens:
        headers["Authorization"] = f"Bearer {transfer.tokens[origin]}"
    if part.received:
        headers["Range"] = f"bytes={part.received}-"
        if part.state.validator:
            headers["If-Range"] = part.state.validator
    return headers


def _accept(answer: Any, part: part_file.PartFile, wanted: Wanted) -> None:
    """Check an answer before its first byte, and begin anew where it does not go on from what is there."""
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise FetchError(f"{wanted.url} comes in the encoding {encoding}, which was not asked for, and was not kept.")
    length = answer.headers.get("Content-Length", "")
    size = int(length) if length.isdigit() else 0
    if answer.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        if not match or int(match[1]) != part.received or int(match[2]) != (part.state.size or int(match[2])):
            part.start(part_file.State(wanted.url))
            raise ConnectionError("the answer is another range than the one that was asked for")
        size = int(match[2])
        part.record_size(size)
    if wanted.size and size and size != wanted.size:
        raise FetchError(f"{wanted.url} has {size} bytes, and the catalogue says {wanted.size}. It was not fetched.")
    if answer.status != 206:
        part.start(part_file.State(wanted.url, _read_validator(answer), size or wanted.size))


def _read_validator(answer: Any) -> str:
    """Return a strong ETag, or the date of the last change: what If-Range takes (RFC 9110, 13.1.5)."""
    etag = str(answer.headers.get("ETag", ""))
    return etag if etag.startswith('"') else str(answer.headers.get("Last-Modified", ""))


def _require_type(part: part_file.PartFile, wanted: Wanted) -> None:
    problem = file_types.find_problem(wanted.path, part.read_head(file_types.HEAD_BYTES))
    if problem:
        part.start(part_file.State(wanted.url))
        part.remove()
        raise FetchError(f"{wanted.url} is {problem}, and was not kept. Does it need a token?")


def _find_problem(part: part_file.PartFile, wanted: Wanted) -> str:
    """Return why a complete partial file is not the model; empty where it is."""
    if wanted.size and part.received != wanted.size:
        return f"it has {part.received} bytes, and the catalogue says {wanted.size}"
    if wanted.sha256 and part.sha256 != wanted.sha256:
        return f"its SHA-256 is {part.sha256}, and the catalogue says {wanted.sha256}"
    with open(part.path, "rb") as stream:
        problem = file_types.find_problem_of_whole(wanted.path, stream, part.received)
    return f"it is {problem}" if problem else ""


def _read_retry_after(error: urllib.error.HTTPError) -> float:
    """Return the seconds that a server asks to wait for; 0 without such a wish."""
    text = error.headers.get("Retry-After", "") if error.headers else ""
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0


def _explain_status(error: urllib.error.HTTPError, wanted: Wanted) -> str:
    host = urllib.parse.urlsplit(wanted.url).hostname
    advice = {
        401: f"it wants a token. Put one for {host} into a file that only you can read, and name it in "
        "noslop_models_tokens",
        403: f"{host} refuses it. Where the model is gated, accept its licence on its page, and use a token of that "
        "account",
        404: "it is not there. Look for its new address",
        410: "it is not there any more. Look for its new address",
        451: "it may not be offered in your country",
    }
    return f"{error.code} {error.reason}{f': {advice[error.code]}' if error.code in advice else ''}."


def _explain(error: OSError, wanted: Wanted, part: part_file.PartFile | None) -> str:
    if part and error.errno in (errno.ENOSPC, errno.EDQUOT):
        status = os.statvfs(os.path.dirname(part.path))
        free = format_gigabytes(status.f_bavail * status.f_frsize)
        limit = "There is no room" if error.errno == errno.ENOSPC else "The quota is used up"
        return (
            f"{limit} for {wanted.path}: it has {format_gigabytes(part.state.size)}, of which "
            f"{format_gigabytes(part.received)} are here, and {free} are free. Make room, and run this again: it goes "
            "on from there."
        )
    return f"{wanted.path}: {error.strerror or error}"
