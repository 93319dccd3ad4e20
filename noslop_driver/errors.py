# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the errors that end a command: a message for the user, and an exit code."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of `noslop-driver`, the same in every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PREFLIGHT = 3
    UNREACHABLE = 4
    DIFFERENT = 5
    """Something differs, and `--exit-code` asked for a code of its own: 1 is that of a failure."""
    INTERRUPTED = 130


class DriverError(Exception):
    """An error that a user can act on: the message says what was tried, what was seen and what to do."""

    code = ExitCode.FAILED


class UsageError(DriverError):
    """A request that is invalid, or lacks something that is needed."""

    code = ExitCode.USAGE


class PreflightError(DriverError):
    """A problem that ended the command before anything was changed."""

    code = ExitCode.PREFLIGHT


class UnreachableError(DriverError):
    """A host that did not answer, or refused the login."""

    code = ExitCode.UNREACHABLE
