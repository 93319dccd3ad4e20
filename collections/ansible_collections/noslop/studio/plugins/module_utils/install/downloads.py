# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Download archives of programs, and unpack them as the build account.

Root only writes the bytes to a file and compares their checksum; a program that reads them runs as the build account.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from ansible.module_utils.urls import open_url
from ansible_collections.noslop.studio.plugins.module_utils.checks import check
from ansible_collections.noslop.studio.plugins.module_utils.install import builds

BLOCK_BYTES = 1024 * 1024
#: Timeout of one read; the whole download has no limit.
READ_TIMEOUT_S = 60
ATTEMPTS = 3
REDIRECTS = 5
#: Unpacked programs have about three times the size of the archive, which also exists until it is unpacked.
ROOM_FACTOR = 4


class DownloadError(Exception):
    """An archive cannot be downloaded or unpacked. The message is for the user who has to repair it."""


def download(url: str, file: str) -> str:
    """Download a URL, or copy a file of this host, to ``file``, and return its SHA-256.

    Retries when the connection breaks. Raises DownloadError when it cannot be downloaded, or there is no room.
    """
    address = "file://" + urllib.request.pathname2url(url) if url.startswith("/") else url
    last_error: Exception = OSError("not tried")
    for __ in range(ATTEMPTS):
        try:
            return _download_once(address, file)
        except urllib.error.HTTPError as error:
            raise DownloadError(explain_unreachable(url, error)) from error
        except (OSError, ValueError) as error:
            last_error = error
    raise DownloadError(explain_unreachable(url, last_error)) from last_error


def open_address(
    url: str, headers: Callable[[str], dict[str, str]] = lambda _: {}, *, method: str = "GET", follow: bool = True
) -> Any:
    """Open a URL and return the answer, which the caller closes. Follows redirects, but none to a weaker protocol.

    Forges redirect each download of a release to another server of theirs, so redirects are followed. One that leads
    from HTTPS to another protocol would let others answer in its place.

    Args:
        url: the URL.
        headers: a function from the address of each request to its headers, so that a secret stays with its server.
        method: GET or HEAD.
        follow: whether redirects are followed; else the redirect itself is returned.

    Raises:
        DownloadError: a redirect leads to another protocol, or there are more than REDIRECTS.
        OSError: the URL cannot be read.
    """
    address = url
    for __ in range(REDIRECTS + 1):
        try:
            return open_url(
                address,
                method=method,
                timeout=READ_TIMEOUT_S,
                follow_redirects="none",
                decompress=False,
                headers=headers(address),
            )
        except urllib.error.HTTPError as error:
            target = error.headers.get("Location") if error.code in (301, 302, 303, 307, 308) else None
            if not target:
                raise
            if not follow:
                return error
            before, address = address, urllib.parse.urljoin(address, target)
        if address.partition(":")[0] not in ("https", before.partition(":")[0]):
            raise DownloadError(
                f"{url} was not downloaded: {before} redirects to {address}, which others on the way could answer. "
                "Set noslop_artifact_mirror to a mirror of yours."
            )
    raise DownloadError(f"{url} was not downloaded: it redirects more than {REDIRECTS} times.")


def unpack(build: builds.Build, file: str, directory: str, name: str) -> None:
    """Unpack a tar archive into a directory of the build account; ``name`` is that of the archive.

    Raises DownloadError.
    """
    program = {".zst": ["--zstd"], ".gz": ["--gzip"], ".tgz": ["--gzip"], ".xz": ["--xz"]}
    words = ["tar", "--extract", "--file", "-", "--directory", directory, "--no-same-owner", "--no-same-permissions"]
    try:
        with open(file, "rb") as stream:
            build.run([*words, *program.get(os.path.splitext(name)[1], [])], stdin=stream)
    except builds.BuildError as error:
        raise DownloadError(f"{name} cannot be unpacked: {error}") from error


def explain_unreachable(url: str, error: Exception) -> str:
    """Return the message for a URL that cannot be read."""
    return (
        f"{url} cannot be downloaded: {error}. Check the address, or set noslop_artifact_mirror to a mirror of yours."
    )


def _download_once(url: str, file: str) -> str:
    digest = hashlib.sha256()
    with open_address(url) as answer, open(file, "wb") as stream:
        length = answer.headers.get("Content-Length", "")
        _require_free_space(file, int(length) if length.isdigit() else 0)
        while True:
            block = answer.read(BLOCK_BYTES)
            if not block:
                break
            digest.update(block)
            stream.write(block)
        if length.isdigit() and stream.tell() != int(length):
            raise OSError(f"the connection ended after {stream.tell()} of {length} bytes")
    return digest.hexdigest()


def _require_free_space(file: str, size_bytes: int) -> None:
    free_bytes = shutil.disk_usage(os.path.dirname(file)).free
    if size_bytes * ROOM_FACTOR > free_bytes:
        raise DownloadError(
            f"{os.path.dirname(os.path.dirname(file))} has {check.format_gigabytes(free_bytes)} free, and about "
            f"{check.format_gigabytes(size_bytes * ROOM_FACTOR)} are needed to unpack {os.path.basename(file)}. "
            "Make room."
        )
