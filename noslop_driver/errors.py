# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends a command early: a sentence for the person who reads it, and the exit code that goes with it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How `noslop-driver` ends. The same numbers in every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PREFLIGHT = 3
    UNREACHABLE = 4
    INTERRUPTED = 130


class DriverError(Exception):
    """Something a person can act on: the message says what was tried, what was seen and what to do."""

    code = ExitCode.FAILED


class UsageError(DriverError):
    """What was asked for cannot be understood, or something that is needed was not said."""

    code = ExitCode.USAGE


class PreflightError(DriverError):
    """A problem that was found before anything was changed."""

    code = ExitCode.PREFLIGHT


class UnreachableError(DriverError):
    """A host did not answer, or did not let us in."""

    code = ExitCode.UNREACHABLE
