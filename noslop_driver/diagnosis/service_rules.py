# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognise faults inside services: the firewall's table, custom nodes, cards, the backend's database and its jobs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import enumerate_words

from noslop_driver.diagnosis.case import Case, HostCase
from noslop_driver.diagnosis.cause import Cause, Layer, Remedy, Risk, Scope, UnitState, UnitStep

_UNIT_NAME = re.compile(r"noslop-[a-z0-9-]+\.(service|timer|path|mount)")
_NODE_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
#: What a line of the backend's log says of its database, and what that is.
_DATABASE = (
    ("database_read_only", re.compile(r"read-?only", re.I), "is read-only"),
    ("database_locked", re.compile(r"\block(ed)?\b|lock timeout|deadlock", re.I), "is locked by another process"),
    ("database_full", re.compile(r"no space left|disk full|disk is full", re.I), "has no room on its disk"),
    (
        "database_unreachable",
        re.compile(r"connect|refused|no such file|server closed|starting up|shut", re.I),
        "does not answer",
    ),
)
_FILE_DATABASE = re.compile(r"sqlite|database is locked|readonly database|database file", re.I)
_SERVER_COMMANDS = {
    "database": "systemctl restart postgresql; journalctl -u 'postgresql*' -n 50 says why it stopped",
    "database_read_only": "see the disk of /var/lib/postgresql (`df`), and default_transaction_read_only",
    "database_locked": "runuser -u postgres -- psql -c 'SELECT * FROM pg_stat_activity' names who locks it",
    "database_full": "make room on the disk of /var/lib/postgresql",
}
_NAMED = f"NOSLOP_DATABASE_URL in {studio.BACKEND_ENV_FILE} names its file"
_FILE_COMMANDS = {
    "database": f"{_NAMED}: see whether it is there, and its disk (`df`, `journalctl -k`)",
    "database_read_only": f"{_NAMED}: see its owner and mode, and whether its disk became read-only (`findmnt`)",
    "database_locked": f"{_NAMED}: `fuser -v FILE` names the other process that has it open",
    "database_full": f"{_NAMED}: make room on its disk",
}


def find_firewall_causes(case: Case) -> Iterator[Cause]:
    """Yield hosts whose table of nftables is missing or was changed, while its unit counts as started."""
    for host, evidence in case.answered():
        unit = evidence.units.get(studio.FIREWALL_UNIT)
        failed = case.failures(host.name, "firewall.")
        if unit is None or unit.active != "active" or evidence.firewall is None or not failed:
            continue
        kind, what = (
            ("firewall.changed", f"the firewall table of {host.name} was changed since it was loaded")
            if evidence.firewall.loaded
            else ("firewall.missing", f"the firewall table of {host.name} is not loaded")
        )
        step = UnitStep(studio.FIREWALL_UNIT, UnitState.RESTARTED)
        remedy = Remedy(f"systemctl restart {studio.FIREWALL_UNIT}", Risk.NONE, (step,))
        shown = [f"{check['check']}: {check['seen']}" for check in failed]
        yield Cause(
            kind, host.name, Layer.FIREWALL, what, shown, remedy, (Scope(frozenset({host.name}), ("firewall.",)),)
        )


def find_node_causes(case: Case) -> Iterator[Cause]:
    """Yield custom nodes that a host leaves out, or could not import at its last start."""
    for host, evidence in case.answered():
        left_out: dict[str, str] = {}
        for check in case.failures(host.name, "services.comfyui_nodes"):
            left_out.update(
                {str(name): str(why) for name, why in (check.get("details") or {}).get("left_out", {}).items()}
            )
        failed = {
            path.rpartition("/")[2]: f"{path}: import failed at the last start" for path in evidence.failed_imports
        }
        for name, why in {**failed, **left_out}.items():
            if not _NODE_NAME.fullmatch(name):
                continue
            command = (
                f"noslop-driver nodes rollback {name}, or another commit: noslop-driver nodes add {name} --commit SHA"
            )
            if name not in left_out:
                command = f"journalctl -b -u {studio.SERVICES['comfyui'].unit} | grep -B 20 {name} says why; {command}"
            yield Cause(
                "node.import",
                host.name,
                Layer.MODELS,
                f"ComfyUI of {host.name} cannot import the custom node {name}",
                [why],
                Remedy(command, Risk.RESTART, works_now=True),
                (Scope(frozenset({host.name}), ("services.comfyui_nodes",)),),
            )


def find_card_causes(case: Case) -> Iterator[Cause]:
    """Yield cards that their driver lost, and cards that ComfyUI does not compute on."""
    for host, evidence in case.answered():
        for card in evidence.cards:
            if card.usable or card.vendor not in ("nvidia", "amd"):
                continue
            broken = "nvidia-smi" in card.why
            if not broken and "no driver" not in card.why:
                continue
            command = (
                "nvidia-smi; dmesg | grep -i nvrm: after an update of the kernel or the driver, restart the host; else "
                "install the driver again"
                if broken
                else "install the vendor's driver for this kernel (`dkms autoinstall`), and restart the host"
            )
            yield Cause(
                "gpu.missing",
                host.name,
                Layer.SERVICE if broken else Layer.LATER,
                f"{host.name} cannot compute on {card.name}",
                [card.why],
                Remedy(command, Risk.REBOOT, works_now=True),
                (Scope(frozenset({host.name}), ("services.gpu",)),),
            )
        usable = [card.name for card in evidence.cards if card.usable]
        if usable and evidence.devices and set(evidence.devices) == {"cpu"}:
            command = (
                f"{case.deploy} --limit {host.name}, which installs the build of PyTorch for its card; "
                f"`journalctl -b -u {studio.SERVICES['comfyui'].unit}` has torch's reason"
            )
            yield Cause(
                "gpu.unused",
                host.name,
                Layer.SERVICE,
                f"ComfyUI of {host.name} computes on the processor, though there is {enumerate_words(usable)}",
                [f"ComfyUI's devices: {enumerate_words(evidence.devices)}"],
                Remedy(command, Risk.RESTART, works_now=True),
            )


def find_backend_causes(case: Case) -> Iterator[Cause]:
    """Yield why the backend cannot write to its database, and its jobs that failed."""
    unit_name = studio.SERVICES["backend"].unit
    for host, evidence in case.answered():
        unit = evidence.units.get(unit_name)
        ready = [
            check for check in case.failures(host.name, "services.backend_ready") if "database" in check["seen"].lower()
        ]
        if ready and unit and unit.active == "active":
            yield _make_database(host, [ready[0]["seen"], *unit.journal])
        for name in evidence.failed_units:
            if name in evidence.units or not _UNIT_NAME.fullmatch(name):
                continue
            command = f"journalctl -u {name} -n 50 says why; when that is mended: systemctl start {name}"
            yield Cause(
                "job.failed",
                host.name,
                Layer.SERVICE,
                f"the job {name} of {host.name} failed",
                [f"{name}: failed"],
                Remedy(command),
            )


def _make_database(host: HostCase, lines: list[str]) -> Cause:
    """Return the cause for a database that the backend cannot write to, by its answer and the lines of its log."""
    # The log's last word counts; the answer alone names no reason.
    about = [line for line in lines[1:] if re.search(r"database|sqlite|postgres|psycopg", line, re.I)]
    kind, what = "database", "does not work"
    shown = lines[:1]
    for line in reversed(about):
        match = next(((name, text) for name, pattern, text in _DATABASE if pattern.search(line)), None)
        if match:
            (kind, what), shown = match, [*shown, line]
            break
    commands = _FILE_COMMANDS if _FILE_DATABASE.search(" ".join(shown)) else _SERVER_COMMANDS
    command = commands.get(kind, commands["database"])
    return Cause(
        f"backend.{kind}",
        host.name,
        Layer.SERVICE,
        f"the database of the backend on {host.name} {what}",
        shown,
        Remedy(command, Risk.RESTART, works_now=True),
        (Scope(frozenset({host.name}), ("services.backend",)),),
    )
