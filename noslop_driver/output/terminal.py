# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Talks with the person at the terminal: questions with defaults, and what is printed where.

Names, banners and messages come from hosts, so no control character of theirs is printed: see `printable`.

Results go to standard output. With `--json` that is one JSON object and nothing else; everything for a person then
goes to standard error, as errors always do. Without a terminal nothing is asked: the error names the flag.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.prompt import Confirm, Prompt
from rich.segment import Segment

from noslop_driver.errors import UsageError

PLAIN_WIDTH = 120
"""Columns of what goes into a file or a pipe, where there is no terminal to be as wide as."""


# ECMA-48: control sequences, then control strings up to their end, each in its 7-bit and its 8-bit form.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
# C0 but tab and newline, DEL, C1; what reorders or breaks lines (Unicode's bidirectional controls, its separators);
# surrogates, which cannot be written.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return text from a host without control characters and escape sequences. Newlines and tabs stay."""
    return _CONTROL.sub("", _SEQUENCE.sub("", text).replace("\r\n", "\n").replace("\r", "\n"))


class _SafeConsole(Console):
    """Print the driver's own styles and cursor movements, and everything else as `printable` returns it."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def _console(*, stderr: bool) -> Console:
    console = _SafeConsole(stderr=stderr, highlight=False)
    return console if console.is_terminal else _SafeConsole(stderr=stderr, highlight=False, width=PLAIN_WIDTH)


@dataclass
class Terminal:
    """Where to print and whether to ask."""

    json_output: bool = False
    yes: bool = False
    """Every question that can be answered with yes is."""
    no_input: bool = False
    out: Console = field(init=False)
    """For a person: results and progress."""
    err: Console = field(init=False)

    def __post_init__(self) -> None:
        self.err = _console(stderr=True)
        self.out = self.err if self.json_output else _console(stderr=False)

    @property
    def interactive(self) -> bool:
        """Whether questions are asked."""
        return not self.yes and not self.no_input and self.has_person

    @property
    def has_person(self) -> bool:
        """Whether there is somebody who can be asked at all, were it for a password only."""
        return sys.stdin.isatty() and self.err.is_terminal

    @property
    def may_ask_password(self) -> bool:
        """Whether a password that turned out to be missing can be asked for."""
        return self.has_person and not self.no_input

    @property
    def why_not(self) -> str:
        """Why nobody is asked."""
        return "--no-input was given" if self.no_input else "there is no terminal to ask on"

    @property
    def _talk(self) -> Console:
        """Where questions are seen: not in a file that the output goes to."""
        return self.out if self.out.is_terminal else self.err

    def say(self, text: str = "") -> None:
        """Print a line for a person."""
        self.out.print(printable(text), markup=False, soft_wrap=True)

    def show(self, markup: str) -> None:
        """Print text with Rich's markup for a person; long lines are left to the terminal to wrap."""
        self.out.print(printable(markup), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print something that does not stop the run."""
        self.err.print(f"[yellow]Note:[/] {escape(printable(text))}", soft_wrap=True)

    def error(self, text: str) -> None:
        """Print why the run ends."""
        self.err.print(f"[bold red]Error:[/] {escape(printable(text))}", soft_wrap=True)

    def emit(self, data: dict[str, Any]) -> None:
        """Print the result for a program."""
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
        sys.stdout.flush()

    def confirm(self, question: str, *, flag: str = "--yes", default: bool = True) -> bool:
        """Ask for a yes.

        Raises:
            UsageError: nobody can be asked, and nothing said yes beforehand.
        """
        if self.yes:
            return True
        self._must_be_interactive(question, flag)
        return Confirm.ask(escape(question), console=self._talk, default=default)

    def choose(self, question: str, choices: Sequence[str], *, flag: str, default: str) -> str:
        """Ask for one of a few words."""
        self._must_be_interactive(question, flag)
        return Prompt.ask(escape(question), console=self._talk, choices=list(choices), default=default)

    def ask(self, question: str, *, flag: str, default: str = "", check: Callable[[str], str] | None = None) -> str:
        """Ask for a text until `check` finds nothing wrong with it (it says what is, or nothing)."""
        self._must_be_interactive(question, flag)
        while True:
            answer = str(Prompt.ask(escape(question), console=self._talk, default=default)).strip()
            wrong = check(answer) if check else ""
            if not wrong:
                return answer
            self._talk.print(f"  [red]{escape(wrong)}[/]")

    def _must_be_interactive(self, question: str, flag: str) -> None:
        if not self.interactive:
            raise UsageError(f"'{question}' needs an answer, and {self.why_not}. Pass {flag}.")
