# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognise faults of a host itself: its login, its name, its clock, its certificates."""

from __future__ import annotations

from collections.abc import Iterator

from noslop_driver.diagnosis.case import Case, HostCase
from noslop_driver.diagnosis.cause import Cause, Layer, PlaybookStep, Remedy, Risk, Scope
from noslop_driver.hosts import ssh_errors
from noslop_driver.models import Endpoint

NOTED_DAYS = 30
_STORAGE = ("storage.", "services.", "host.checks")
_NTP_SERVICE = "systemd-timesyncd"


def find_login_causes(case: Case) -> Iterator[Cause]:
    """Yield the hosts that could not be reached, or where sudo does not work."""
    for check in case.failed:
        host = case.hosts.get(check["host"])
        if host is None or check["check"] not in ("host.reachable", "host.answered"):
            continue
        endpoint = Endpoint(name=host.name, address=host.address, port=host.port)
        problem = ssh_errors.explain(endpoint, host.user, check["seen"])
        if problem.kind == "failed" and check["check"] == "host.answered":
            continue
        if problem.kind == "failed":
            problem = problem.model_copy(update={"what": f"{host.name} cannot be reached", "todo": check["todo"]})
        kind = f"host.{problem.kind}" if problem.kind.startswith("sudo") else "host.unreachable"
        own = Scope(frozenset({host.name}), ("",))
        # Without the server, the others lack everything; without another host, what names it.
        lack = _STORAGE if case.is_server(host) and case.provider == "nfs" else ("storage.shared", "services.")
        others = Scope(None, lack, mentions="" if lack is _STORAGE else host.name)
        what = problem.what.rstrip(".")
        yield Cause(kind, host.name, Layer.HOST, what, [check["seen"]], Remedy(problem.todo), (own, others))


def find_name_causes(case: Case) -> Iterator[Cause]:
    """Yield hosts that have the name of another one, or its number."""
    names: dict[str, list[str]] = {}
    numbers: dict[str, list[str]] = {}
    for member, evidence in case.answered():
        if evidence.identity.hostname:
            names.setdefault(evidence.identity.hostname.partition(".")[0], []).append(member.name)
        if evidence.identity.machine_id:
            numbers.setdefault(evidence.identity.machine_id, []).append(member.name)
    wrong = {name: [host for host in hosts if host != name] for name, hosts in names.items() if len(hosts) > 1}
    wrong.update(
        {name: hosts for name, hosts in names.items() if name in case.hosts and hosts != [name] and name not in wrong}
    )
    for name, callers in wrong.items():
        for host in callers:
            yield Cause(
                "host.name",
                host,
                Layer.LATER,
                f"{host} calls itself {name}, which is another host",
                [f"hostname: {name}", f"hosts that call themselves so: {', '.join(names[name])}"],
                Remedy(f"hostnamectl set-hostname {host}"),
            )
    for number, same in numbers.items():
        for host in same[1:]:
            command = "rm /etc/machine-id && systemd-machine-id-setup, then restart the host"
            what = f"{host} has the machine-id of {same[0]}: one was copied from the other"
            yield Cause("host.machine_id", host, Layer.LATER, what, [number], Remedy(command, Risk.REBOOT))


def find_clock_causes(case: Case) -> Iterator[Cause]:
    """Yield the host whose clock is wrong: the server's where every client differs from it, else the client's."""
    differing = [check for check in case.failed if check["check"] == "storage.clock"]
    clients = [host for host in case.hosts.values() if case.mounts(host)]
    server = case.server
    if len(differing) > 1 and len(differing) == len(clients) and server:
        yield _make_clock(server, [f"{check['host']}: {check['seen']}" for check in differing], None)
        return
    for check in differing:
        if check["host"] in case.hosts:
            yield _make_clock(case.hosts[check["host"]], [check["seen"]], frozenset({check["host"]}))


def _make_clock(host: HostCase, evidence: list[str], hosts: frozenset[str] | None) -> Cause:
    clock = host.evidence.clock if host.evidence else None
    if clock and clock.can_ntp is False:
        what = f"the clock of {host.name} is wrong, and no service that corrects it is installed"
        command = f"apt install {_NTP_SERVICE} && timedatectl set-ntp true"
    elif clock and clock.ntp is False:
        what = f"the clock of {host.name} is wrong, and the service that corrects it is off"
        command = "timedatectl set-ntp true"
    else:
        what = f"the clock of {host.name} is wrong, though a service is to correct it: it may not reach a time server"
        command = "timedatectl timesync-status (or `chronyc sources`), then set a time server that the host reaches"
    return Cause(
        "host.clock", host.name, Layer.CLOCK, what, evidence, Remedy(command), (Scope(hosts, ("storage.clock",)),)
    )


def find_certificate_causes(case: Case) -> Iterator[Cause]:
    """Yield the certificates with less than 30 days left."""
    for host, evidence in case.answered():
        for one in evidence.certificates:
            if one.days >= NOTED_DAYS:
                continue
            state = f"expires in {one.days:.0f} days" if one.days > 0 else f"expired {-one.days:.0f} days ago"
            remedy = (
                Remedy(case.deploy, Risk.RESTART, (PlaybookStep("storage"),), works_now=one.days > 0)
                if one.made
                else Remedy(f"put a new certificate where the inventory says, then {case.deploy}", Risk.RESTART)
            )
            layer = Layer.LATER if one.days > 0 else Layer.SERVER
            scopes = (Scope(frozenset({host.name}), ("storage.",)),) if one.days <= 0 else ()
            yield Cause(
                "host.certificate",
                host.name,
                layer,
                f"the certificate {one.path} of {host.name} {state}",
                [f"{one.path}: {one.days:.1f} days"],
                remedy,
                scopes,
            )
