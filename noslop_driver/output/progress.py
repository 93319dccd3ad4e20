# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows a run while it runs: a live table on a terminal, plain lines elsewhere, both from the same events."""

from __future__ import annotations

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
from noslop_driver.output.terminal import Terminal

Advice = Callable[[Failure], str]
"""What to do about a failure, in a sentence; empty when nothing is known."""

_SAYING = ("ansible.builtin.debug", "debug")
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
    """How far one host has come in this phase."""

    task: str = ""
    state: str = ""
    since: float = 0.0
    ok: int = 0
    changed: int = 0
    failed: int = 0


@dataclass
class Report:
    """One run of playbooks, phase by phase."""

    terminal: Terminal
    advice: Advice = lambda _failure: ""
    _title: str = ""
    _task: str = ""
    _begun: float = 0.0
    _rows: dict[str, _Row] = field(default_factory=dict)
    _said: set[str] = field(default_factory=set)
    _live: Live | None = None

    @property
    def _console(self) -> Console:
        return self.terminal.out

    def begin(self, title: str) -> None:
        """A phase starts."""
        self._title, self._task, self._begun, self._rows = title, "", time.monotonic(), {}
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        else:
            self.terminal.say(title)

    def event(self, event: Event) -> None:
        """Something happened on a host."""
        self._follow(event)
        if self._live is None:
            self._print(event)
        message = event.result.get("msg")
        if event.kind == "ok" and event.action in _SAYING and isinstance(message, str) and message.strip():
            self._say(event.host, message.strip())

    def end(self, outcome: Outcome) -> None:
        """The phase is over: its summary, and every failure with what to do."""
        self.close()
        changed = sum(row.changed for row in self._rows.values())
        ok = sum(row.ok for row in self._rows.values())
        took = _duration(time.monotonic() - self._begun)
        counts = f"{_hosts(len(self._rows))}, {ok} ok, {changed} changed"
        failed = len({failure.host for failure in outcome.failures})
        if failed:
            counts += f", failed on {failed}"
        word = "" if outcome.status is Status.OK else f" {outcome.status.value}:"
        self.terminal.show(f"{_MARKS[outcome.status]} {escape(self._title)}:{word} {counts} ({took})")
        for failure in outcome.failures:
            self._show(failure)
        if outcome.status is Status.ERROR:
            self.terminal.show(f"[red]{escape(_indent(outcome.output))}[/]")

    def note(self, text: str) -> None:
        """A line of its own, above the table."""
        self.terminal.show(f"[yellow]{escape(text)}[/]")

    def close(self) -> None:
        """Take the live table away, whatever happened."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _follow(self, event: Event) -> None:
        if event.kind == "task":
            self._task = short(event.task)
        if not event.host:
            return
        row = self._rows.setdefault(event.host, _Row())
        if event.kind == "start":
            row.task, row.state, row.since = short(event.task), "running", time.monotonic()
        elif event.kind in ("ok", "skipped") or (event.kind == "failed" and event.ignored):
            row.ok += event.kind != "skipped"
            row.changed += event.changed
            row.state = "changed" if event.changed else "ok"
        elif event.kind in ("failed", "unreachable"):
            row.failed += 1
            row.state = event.kind

    def _print(self, event: Event) -> None:
        where = f"  {event.host}: " if event.host else "  "
        if event.kind == "task" and not event.task.startswith("Validating arguments"):
            self.terminal.say(f"  {self._task}")
        elif event.changed:
            self.terminal.say(f"  {where}changed")
        elif event.kind in ("failed", "unreachable") and not event.ignored:
            self.terminal.say(f"  {where}{event.kind}")
        elif event.kind == "retry":
            self.terminal.say(f"  {where}trying again")

    def _table(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("host", "task", "ok", "changed", "failed"):
            counts = heading in ("ok", "changed", "failed")
            table.add_column(heading, justify="right" if counts else "left", no_wrap=True, style="none")
        table.columns[1].no_wrap, table.columns[1].overflow, table.columns[1].ratio = True, "ellipsis", 1
        now = time.monotonic()
        for host, row in sorted(self._rows.items()):
            style = _STYLES.get(row.state, "")
            doing = row.task
            if row.state == "running" and now - row.since > 10:
                doing += f" ({_duration(now - row.since)})"
            failed = f"[red]{row.failed}[/]" if row.failed else "0"
            task = f"[{style}]{escape(doing)}[/]" if style else escape(doing)
            table.add_row(escape(host), task, str(row.ok), str(row.changed), failed)
        title = f"{escape(self._title)} [dim]{_duration(now - self._begun)}[/]"
        return Group(Spinner("dots", text=title), table) if self._rows else Spinner("dots", text=title)

    def _say(self, host: str, message: str) -> None:
        """What a role wants a person to know; of several hosts that say the same, the first."""
        if message not in self._said:
            self._said.add(message)
            self.note(f"  {host}: {message}")

    def _show(self, failure: Failure) -> None:
        kind = "cannot be reached" if failure.unreachable else f"failed: {short(failure.task)}"
        self.terminal.show(f"  [red]{escape(failure.host)} {escape(kind)}[/]")
        self.terminal.show(escape(_indent(failure.message)))
        advice = self.advice(failure)
        if advice:
            self.terminal.show(f"    [bold]→[/] {escape(advice)}")


def show_checks(checks: Sequence[Check], terminal: Terminal) -> None:
    """A table of hosts and areas, then every check that did not pass with what to do, then what is worth reading."""
    areas = list(dict.fromkeys(parse_area(check["check"]) for check in checks))
    table = Table(title="Checks", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("host")
    for area in areas:
        table.add_column(escape(area), justify="right")
    for host in dict.fromkeys(check["host"] for check in checks):
        cells = []
        for area in areas:
            own = [check for check in checks if check["host"] == host and parse_area(check["check"]) == area]
            failed = sum(not check["ok"] for check in own)
            passed = f"[green]✓ {len(own)}[/]" if own else ""
            cells.append(f"[red]✗ {failed} of {len(own)}[/]" if failed else passed)
        table.add_row(escape(host), *cells)
    terminal.out.print(table)
    for hosts, check in reports.merge_hosts(check for check in checks if not check["ok"]):
        terminal.show(f"[red]✗ {escape(', '.join(hosts))}: {escape(_check_name(check))}[/]")
        terminal.show(f"    seen:     {escape(check['seen'])}")
        terminal.show(f"    expected: {escape(check['expected'])}")
        terminal.show(f"    [bold]→[/] {escape(check['todo'])}")
    for hosts, check in reports.merge_hosts(check for check in checks if is_note(check)):
        seen = check["seen"].removeprefix(NOTE)
        terminal.show(f"[yellow]Note:[/] {escape(', '.join(hosts))}: {escape(_check_name(check))}: {escape(seen)}")


def _check_name(check: Check) -> str:
    return f"{check['check']} ({check['share']})" if check["share"] else str(check["check"])


def short(task: str) -> str:
    """A task's name without the collection's, which they all have."""
    return task.removeprefix("noslop.studio.")


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _hosts(count: int) -> str:
    return "1 host" if count == 1 else f"{count} hosts"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
