# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the log of a run: what was printed, as plain lines with the time.

What Ansible prints with `-v` and `--diff` is not in it: output of programs may contain secrets that no rule of Ansible
hides, and a file stays. Passwords of the run and those in URLs are replaced, and control characters removed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from noslop_driver.output.printable import printable
from noslop_driver.secrets import Secrets, open_private


class RunLog:
    """The log of one command. Lines that are added before `start` are kept in memory until then."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str]] = []
        self._file: TextIO | None = None
        self._secrets = Secrets()

    def start(self, path: Path, secrets: Secrets) -> None:
        """Open the file, which only this account can read, and write the lines so far."""
        self._file = open(path, "w", encoding="utf-8", opener=open_private)  # noqa: SIM115 - closed by `stop`
        self._secrets = secrets
        for time, text in self._lines:
            self._write(time, text)
        self._lines.clear()

    def add(self, text: str) -> None:
        """Add a text of one or more lines."""
        time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if self._file:
            self._write(time, text)
        else:
            self._lines.append((time, text))

    def stop(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._file = None

    def _write(self, time: str, text: str) -> None:
        assert self._file
        # A password may contain control characters, and one may appear when they are removed.
        scrubbed = self._secrets.scrub(printable(self._secrets.scrub(text)))
        self._file.writelines(f"{time} {line}\n" for line in scrubbed.splitlines())
        self._file.flush()
