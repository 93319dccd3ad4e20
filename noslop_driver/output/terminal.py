# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print to the user and ask questions with defaults at the terminal.

Names, banners and messages come from hosts, so their control characters are not printed: see
noslop_driver.output.printable.

Results go to standard output. With `--json` that is one JSON object and nothing else; text for the user then goes to
standard error, as errors always do. Without a terminal no question is asked: the error names the flag.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.prompt import Confirm, Prompt
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from noslop_driver.errors import DriverError, UsageError
from noslop_driver.output.printable import printable
from noslop_driver.output.run_log import RunLog

PLAIN_WIDTH = 120
"""Width of output into a file or a pipe, in columns."""
_LOG_WIDTH = 10_000
"""Width of tables in the log, in columns: no cell is broken into lines."""


class SafeConsole(Console):
    """A console that prints only the driver's own styles and cursor movements, and all text through `printable`."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return what is printed, without control characters that are not the driver's own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def _console(*, stderr: bool) -> Console:
    # Without emoji: Rich would print one for a part of an IPv6 address such as `fd00:a::1`.
    console = SafeConsole(stderr=stderr, highlight=False, emoji=False)
    if console.is_terminal:
        return console
    return SafeConsole(stderr=stderr, highlight=False, emoji=False, width=PLAIN_WIDTH)


@dataclass
class Terminal:
    """The output and the questions of one command."""

    json_output: bool = False
    json_lines: bool = False
    """Print each JSON object as one line, so that a program can read progress before the result."""
    yes: bool = False
    """Answer yes to every question that allows it."""
    no_input: bool = False
    verbosity: int = 0
    """The number of Ansible's own `-v`: from 1 on, what it prints about tasks is shown."""
    diff: bool = False
    """Show the differences of the files that Ansible changes."""
    log: RunLog = field(default_factory=RunLog)
    """Printed text goes into it too, except questions, answers and what Ansible prints itself."""
    out: Console = field(init=False)
    """Results and progress for the user."""
    err: Console = field(init=False)

    def __post_init__(self) -> None:
        self.err = _console(stderr=True)
        self.out = self.err if self.json_output else _console(stderr=False)

    @property
    def interactive(self) -> bool:
        """Return whether questions are asked."""
        return not self.yes and not self.no_input and self.has_terminal

    @property
    def has_terminal(self) -> bool:
        """Return whether there is a terminal to ask on, if only for a password."""
        return sys.stdin.isatty() and self.err.is_terminal

    @property
    def can_ask_password(self) -> bool:
        """Return whether a missing password can be asked for."""
        return self.has_terminal and not self.no_input

    @property
    def no_input_reason(self) -> str:
        """Return why no question is asked."""
        return "--no-input was given" if self.no_input else "there is no terminal to ask on"

    @property
    def _question_console(self) -> Console:
        """Return the console for questions: standard error where the output goes into a file."""
        return self.out if self.out.is_terminal else self.err

    def print(self, text: str = "") -> None:
        """Print a line for the user."""
        self.log.add(text)
        self.out.print(printable(text), markup=False, soft_wrap=True)

    def print_markup(self, markup: str) -> None:
        """Print text with Rich's markup for the user; the terminal wraps long lines."""
        self.log.add(Text.from_markup(printable(markup)).plain)
        self.out.print(printable(markup), soft_wrap=True)

    def print_table(self, table: Table) -> None:
        """Print a table for the user."""
        plain = Console(file=io.StringIO(), width=_LOG_WIDTH, no_color=True, highlight=False)
        with plain.capture() as capture:
            plain.print(table)
        self.log.add("\n".join(line.rstrip() for line in capture.get().splitlines()))
        self.out.print(table)

    def print_ansible_output(self, text: str) -> None:
        """Print what Ansible prints itself, without passwords in it. It is not in the log."""
        self.out.print(printable(text), markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a note, which does not end the command."""
        self.log.add(f"Note: {text}")
        self.err.print(f"[yellow]Note:[/] {escape(printable(text))}", soft_wrap=True)

    def print_error(self, text: str) -> None:
        """Print the error that ends the command."""
        self.log.add(f"Error: {text}")
        self.err.print(f"[bold red]Error:[/] {escape(printable(text))}", soft_wrap=True)

    def print_json(self, data: dict[str, Any]) -> None:
        """Print the result, or progress, as JSON."""
        sys.stdout.write(json.dumps(data, indent=None if self.json_lines else 2) + "\n")
        sys.stdout.flush()

    def confirm(self, question: str, *, flag: str = "--yes", default: bool = True) -> bool:
        """Ask a question with the answers yes and no.

        Raises:
            UsageError: there is no terminal to ask on, and `--yes` was not given.
        """
        if self.yes:
            return True
        self._require_interactive(question, flag)
        return Confirm.ask(escape(question), console=self._question_console, default=default)

    def require_consent(self, question: str) -> None:
        """Ask whether to go ahead with what was shown.

        Raises:
            DriverError: the user answered no.
            UsageError: there is no terminal to ask on, and `--yes` was not given.
        """
        if not self.confirm(question):
            raise DriverError("You answered no: nothing was changed.")

    def choose(self, question: str, choices: Sequence[str], *, flag: str, default: str) -> str:
        """Ask for one of several words."""
        self._require_interactive(question, flag)
        return Prompt.ask(escape(question), console=self._question_console, choices=list(choices), default=default)

    def ask(self, question: str, *, flag: str, default: str = "", check: Callable[[str], str] | None = None) -> str:
        """Ask for a text until `check` returns no error for it."""
        self._require_interactive(question, flag)
        while True:
            answer = str(Prompt.ask(escape(question), console=self._question_console, default=default)).strip()
            error = check(answer) if check else ""
            if not error:
                return answer
            self._question_console.print(f"  [red]{escape(error)}[/]")

    def _require_interactive(self, question: str, flag: str) -> None:
        if not self.interactive:
            raise UsageError(f"'{question}' needs an answer, and {self.no_input_reason}. Pass {flag}.")
