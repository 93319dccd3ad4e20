# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the progress of a run: a live table on a terminal, plain lines elsewhere, both from the same events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import NOTE, Check, is_note, parse_area
from ansible_collections.noslop.studio.plugins.plugin_utils import reports
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table

from noslop_driver.ansible.events import Event, Failure, Outcome, Status
from noslop_driver.output.printable import printable
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import Secrets

Advice = Callable[[Failure], str]
"""Returns the next step after a failure, as a sentence; empty for none."""

DETAILS_S = 15.0
"""Seconds between two prints of what a long task does, where there is no live table."""

_DEBUG_ACTIONS = ("ansible.builtin.debug", "debug")
_STYLES = {"changed": "yellow", "failed": "red", "unreachable": "red", "running": "cyan"}
_MARKS = {
    Status.OK: "[green]✓[/]",
    Status.FAILED: "[red]✗[/]",
    Status.UNREACHABLE: "[red]✗[/]",
    Status.INTERRUPTED: "[yellow]■[/]",
    Status.ERROR: "[red]✗[/]",
}


@dataclass
class _Row:
    """The progress of one host in this phase."""

    task: str = ""
    state: str = ""
    since: float = 0.0
    ok: int = 0
    changed: int = 0
    failed: int = 0


@dataclass
class Progress:
    """The progress of a run, phase by phase."""

    terminal: Terminal
    advice: Advice = lambda _failure: ""
    secrets: Secrets = field(default_factory=Secrets)
    """The passwords that must not be shown."""
    details: Callable[[], Sequence[str]] | None = None
    """Returns lines about what the current task does, for tasks that take long."""
    clock: Callable[[], float] = time.monotonic
    """Returns the time in seconds."""
    draws: bool = True
    """False where the caller draws the live table, by `render_table`; finished phases are printed all the same."""
    _title: str = ""
    _task: str = ""
    _started: float = 0.0
    _rows: dict[str, _Row] = field(default_factory=dict)
    _shown_messages: set[str] = field(default_factory=set)
    _live: Live | None = None
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def _console(self) -> Console:
        return self.terminal.out

    @property
    def _is_live(self) -> bool:
        return self._console.is_terminal

    def start_phase(self, title: str) -> None:
        """Start a phase."""
        self._title, self._task, self._started, self._rows = title, "", self.clock(), {}
        if self._is_live and not self.draws:
            self.terminal.log.add(title)
        elif self._is_live:
            self._live = Live(
                get_renderable=self.render_table, console=self._console, refresh_per_second=8, transient=True
            )
            self._live.start()
            self.terminal.log.add(title)
        else:
            self.terminal.print(title)
            self._ended.clear()
            if self.details:
                threading.Thread(target=self._print_details, args=(self.details,), daemon=True).start()

    def show_event(self, event: Event) -> None:
        """Show an event of the phase."""
        self._update_rows(event)
        for line in self._describe_event(event):
            # The live table shows it, and so does Ansible's own output.
            if self._is_live or self.terminal.verbosity:
                self.terminal.log.add(line)
            else:
                self.terminal.print(line)
        if event.kind in ("warning", "error") and event.text:
            self.terminal.log.add(event.text)
        message = event.result.get("msg")
        if event.kind == "ok" and event.action in _DEBUG_ACTIONS and isinstance(message, str) and message.strip():
            self._print_message_once(event.host, message.strip())

    def end_phase(self, outcome: Outcome) -> None:
        """End the phase: print its summary, and every failure with the next step."""
        self.close()
        changed = sum(row.changed for row in self._rows.values())
        ok = sum(row.ok for row in self._rows.values())
        duration = _format_duration(self.clock() - self._started)
        counts = f"{_format_host_count(len(self._rows))}, {ok} ok, {changed} changed"
        failed = len({failure.host for failure in outcome.failures})
        if failed:
            counts += f", failed on {failed}"
        word = "" if outcome.status is Status.OK else f" {outcome.status.value}:"
        self.terminal.print_markup(f"{_MARKS[outcome.status]} {escape(self._title)}:{word} {counts} ({duration})")
        for failure in outcome.failures:
            self._print_failure(failure)
        if outcome.status is Status.ERROR:
            self.terminal.print_markup(f"[red]{escape(_indent(outcome.output))}[/]")

    def print_note(self, text: str) -> None:
        """Print a line above the live table."""
        self.terminal.print_markup(f"[yellow]{escape(text)}[/]")

    def show_output(self, text: str) -> None:
        """Show what Ansible prints itself, with `-v` and `--diff`; the passwords of the run are replaced."""
        # A password may contain control characters, and one may appear when they are removed.
        self.terminal.print_ansible_output(self.secrets.scrub(printable(self.secrets.scrub(text))))

    def close(self) -> None:
        """Remove the live table, and print no more details."""
        self._ended.set()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _update_rows(self, event: Event) -> None:
        if event.kind == "task":
            self._task = shorten_task_name(event.task)
        if not event.host:
            return
        row = self._rows.setdefault(event.host, _Row())
        if event.kind == "start":
            row.task, row.state, row.since = shorten_task_name(event.task), "running", self.clock()
        elif event.kind in ("ok", "skipped") or (event.kind == "failed" and event.ignored):
            row.ok += event.kind != "skipped"
            row.changed += event.changed
            row.state = "changed" if event.changed else "ok"
        elif event.kind in ("failed", "unreachable"):
            row.failed += 1
            row.state = event.kind

    def _describe_event(self, event: Event) -> list[str]:
        """Return the lines that stand for an event where there is no live table."""
        prefix = f"    {event.host}: " if event.host else "    "
        if event.kind == "task" and not event.task.startswith("Validating arguments"):
            return [f"  {self._task}"]
        if event.changed:
            return [f"{prefix}changed"]
        if event.kind in ("failed", "unreachable") and not event.ignored:
            return [f"{prefix}{event.kind}"]
        return [f"{prefix}trying again"] if event.kind == "retry" else []

    def render_table(self) -> RenderableType:
        """Return the live table: what each host does now, and how many tasks ended in which way."""
        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("host", "task", "ok", "changed", "failed"):
            counts = heading in ("ok", "changed", "failed")
            table.add_column(heading, justify="right" if counts else "left", no_wrap=True, style="none")
        table.columns[1].no_wrap, table.columns[1].overflow, table.columns[1].ratio = True, "ellipsis", 1
        now = self.clock()
        for host, row in sorted(self._rows.items()):
            style = _STYLES.get(row.state, "")
            task = row.task
            if row.state == "running" and now - row.since > 10:
                task += f" ({_format_duration(now - row.since)})"
            failed = f"[red]{row.failed}[/]" if row.failed else "0"
            cell = f"[{style}]{escape(task)}[/]" if style else escape(task)
            table.add_row(escape(host), cell, str(row.ok), str(row.changed), failed)
        title = f"{escape(self._title)} [dim]{_format_duration(now - self._started)}[/]"
        lines = [f"  {escape(printable(line))}" for line in self.details()] if self.details else []
        return Group(Spinner("dots", text=title), table, *lines) if self._rows else Spinner("dots", text=title)

    def _print_details(self, details: Callable[[], Sequence[str]]) -> None:
        """Print the details again and again where there is no live table."""
        while not self._ended.wait(DETAILS_S):
            for line in details():
                self.terminal.print(f"    {printable(line)}")

    def _print_message_once(self, host: str, message: str) -> None:
        """Print a message of a role for the user; if several hosts have the same message, only the first."""
        if message not in self._shown_messages:
            self._shown_messages.add(message)
            self.print_note(f"  {host}: {message}")

    def _print_failure(self, failure: Failure) -> None:
        kind = "cannot be reached" if failure.unreachable else f"failed: {shorten_task_name(failure.task)}"
        self.terminal.print_markup(f"  [red]{escape(failure.host)} {escape(kind)}[/]")
        self.terminal.print_markup(escape(_indent(self.secrets.scrub(failure.message))))
        advice = self.advice(failure)
        if advice:
            self.terminal.print_markup(f"    [bold]→[/] {escape(advice)}")


def print_checks(checks: Sequence[Check], terminal: Terminal) -> None:
    """Print a table of hosts and areas, then every failed check with the next step, then notes."""
    areas = list(dict.fromkeys(parse_area(check["check"]) for check in checks))
    table = Table(title="Checks", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("host")
    for area in areas:
        table.add_column(escape(area), justify="right")
    for host in dict.fromkeys(check["host"] for check in checks):
        cells = []
        for area in areas:
            cell_checks = [check for check in checks if check["host"] == host and parse_area(check["check"]) == area]
            failed = sum(not check["ok"] for check in cell_checks)
            passed = f"[green]✓ {len(cell_checks)}[/]" if cell_checks else ""
            cells.append(f"[red]✗ {failed} of {len(cell_checks)}[/]" if failed else passed)
        table.add_row(escape(host), *cells)
    terminal.print_table(table)
    for hosts, check in reports.merge_hosts(check for check in checks if not check["ok"]):
        terminal.print_markup(f"[red]✗ {escape(', '.join(hosts))}: {escape(_format_check_name(check))}[/]")
        terminal.print_markup(f"    seen:     {escape(check['seen'])}")
        terminal.print_markup(f"    expected: {escape(check['expected'])}")
        terminal.print_markup(f"    [bold]→[/] {escape(check['todo'])}")
    for hosts, check in reports.merge_hosts(check for check in checks if is_note(check)):
        note = check["seen"].removeprefix(NOTE)
        terminal.print_markup(
            f"[yellow]Note:[/] {escape(', '.join(hosts))}: {escape(_format_check_name(check))}: {escape(note)}"
        )


def _format_check_name(check: Check) -> str:
    return f"{check['check']} ({check['share']})" if check["share"] else str(check["check"])


def shorten_task_name(task: str) -> str:
    """Return a task's name without the name of the collection, which all tasks have."""
    return task.removeprefix("noslop.studio.")


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _format_host_count(count: int) -> str:
    return "1 host" if count == 1 else f"{count} hosts"


def _format_duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
