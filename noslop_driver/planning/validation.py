# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a plan by the collection's rules, which preflight applies too, and by those of a new studio. Pure.

The result is problems that prevent its deployment, and notes, each with the next step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible_collections.noslop.studio.plugins.module_utils.checks import host_rules
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import NOTE, Check, Checks, is_note
from ansible_collections.noslop.studio.plugins.module_utils.host import gpu_support, mountinfo
from ansible_collections.noslop.studio.plugins.module_utils.share import own_file_system
from ansible_collections.noslop.studio.plugins.module_utils.smb import smb_shares
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import studio_rules, variable_rules
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.smb import SmbSettings
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.transport import TransportSettings

from noslop_driver.choices import ServiceRole
from noslop_driver.models import Host, Problem, StudioSettings
from noslop_driver.planning.scoring import GB, FreeSpace, find_disk, find_largest_disk, format_gb

_KINDS = {
    "host.architecture": "arch",
    "host.gpu": "gpu",
    "host.system": "unsupported_os",
    "host.systemd": "no_systemd",
    "storage.own_file_system": "shared_file_system",
    "storage.paths": "path",
    "storage.room": "no_room",
    "studio.address_families": "mixed_addresses",
    "studio.address_known": "address",
    "studio.address_reachable": "address",
    "studio.address_translated": "translated_address",
    "studio.addresses": "address_clash",
    "studio.backend": "many_backends",
    "studio.id": "studio_id",
    "studio.local": "local_with_many",
    "studio.machine_ids": "cloned_machine_id",
    "studio.services": "no_service",
}
"""The kind of the problem for each check of the collection; for another check, its name."""
_SERVICE_NAMES = ("ollama", "comfyui", "backend")


def can_run_services(host: Host) -> bool:
    """Return whether there are Ollama and PyTorch for the host's architecture; an unknown one counts as supported."""
    return not host.arch or host.arch in host_rules.ARCHITECTURES


def split_unfit_hosts(hosts: Sequence[Host]) -> tuple[list[Host], list[Problem]]:
    """Return the hosts that can be members, and a problem for each of the others."""
    fit, problems = [], []
    for host in hosts:
        problem = _find_exclusion(host)
        if problem is None:
            fit.append(host)
        else:
            problems.append(problem)
    return fit, problems


def report_no_hosts() -> Problem:
    """Return the problem that a plan has no host."""
    return Problem(
        kind="no_hosts",
        what="There is no host to make a studio of.",
        todo="Name machines (--host) or a network (--network), or --local for this computer alone.",
    )


def report_single_host(host: Host) -> Problem:
    """Return the note that a single host keeps its storage local, although the provider is `nfs`."""
    return Problem(
        kind="one_host",
        host=host.name,
        what="There is only one host, so its directories stay local, without NFS.",
        todo="Nothing, if one machine is enough. Add more hosts at any time and deploy again.",
        fatal=False,
    )


def report_same_machine(kept: Host, dropped: Host) -> Problem:
    """Return the note that two names are one machine."""
    return Problem(
        kind="same_machine",
        host=dropped.name,
        what=f"{_format_name(dropped)} and {_format_name(kept)} are one machine; only {kept.name} is planned.",
        todo=f"Nothing, or name the address you prefer (--host {dropped.address}).",
        fatal=False,
    )


def check_settings(settings: StudioSettings, members: Sequence[Host]) -> list[Problem]:
    """Check the settings: hosts that are no members, and directories that cannot be shared."""
    names = [host.name for host in members]
    problems = [
        Problem(
            kind="unknown_host",
            host=name,
            what=f"{name} was chosen for a part of the studio, but is none of its hosts ({', '.join(names)}).",
            todo="Check the spelling; if it is right, see above why this host was left out.",
        )
        for name in sorted({settings.server, *settings.roles} - {None, *names}, key=str)
    ]
    checks = Checks(studio_rules.STUDIO)
    shares = [{"name": share.name, "path": share.path} for share in settings.shares()]
    host_rules.judge_paths(checks, settings.storage_root, shares)
    return problems + list_problems(checks)


def check_studio(
    settings: StudioSettings, server: Host, members: Sequence[Host], services: Mapping[str, Sequence[ServiceRole]]
) -> list[Problem]:
    """Check the studio as a whole: its identity, its hosts and their addresses, and its services."""
    checks = Checks(studio_rules.STUDIO)
    studio_rules.judge_plan(
        checks,
        studio_rules.Plan(
            hosts=[host.name for host in members],
            studio_id=settings.studio_id,
            provider=settings.storage_provider,
            servers=[server.name],
            clients=[host.name for host in members if host is not server],
            services={
                service: [host.name for host in members if service in services[host.name]] for service in _SERVICE_NAMES
            },
            addresses={host.name: host.address for host in members},
            own_addresses={host.name: host.addresses for host in members},
        ),
    )
    variable_rules.judge_smb(
        checks,
        SmbSettings(
            enabled=settings.smb_enabled,
            provider=settings.storage_provider,
            servers=[server.name],
            networks=smb_shares.list_networks(settings.variables()),
            encryption=settings.smb_encryption,
            models_writable=settings.smb_models_writable,
            models_writers=settings.models_writers,
        ),
    )
    addresses = {host.name: host.address for host in members}
    variable_rules.judge_transport(
        checks, TransportSettings(settings.nfs_transport, settings.storage_provider, addresses)
    )
    identities = {host.name: {"machine_id": host.machine_id, "hostname": ""} for host in members}
    studio_rules.judge_identities(checks, identities)
    return list_problems(checks)


def check_free_space(
    server: Host, free_space: FreeSpace, members: Sequence[Host], settings: StudioSettings
) -> list[Problem]:
    """Check the free space of the storage server, which may be unknown."""
    min_free = format_gb(settings.min_free_gb * GB)
    if free_space.enough == "unknown":
        return [
            Problem(
                kind="room_unknown",
                host=server.name,
                what=f"The free space on {server.name} for the shares in {settings.storage_root} is unknown.",
                todo=f"Nothing: it is measured before anything is stored, and less than {min_free} is refused then.",
                fatal=False,
            )
        ]
    checks = Checks(server.name)
    by_mount: dict[str, list[str]] = {}
    for share in settings.shares():
        if disk := find_disk(share.path, free_space.disks):
            by_mount.setdefault(disk.mount, []).append(share.path)
    for disk in free_space.disks:
        paths = by_mount.get(disk.mount, [])
        host_rules.judge_free_space(checks, paths, disk.free_bytes, settings.min_free_gb, check="storage.room")
    others = [
        f"{host.name} has {format_gb(disk.free_bytes)} on {disk.mount}"
        for host in members
        if (disk := find_largest_disk(host)) and host_rules.is_enough_space(disk.free_bytes, settings.min_free_gb)
    ]
    chosen = server.name == settings.server
    reason = f"{server.name} was chosen as storage server." if chosen else f"No host has {min_free} free."
    hint = " You may choose another host too." if chosen and len(members) > 1 else ""
    hint += f" There is room: {'; '.join(others)}." if others else ""
    return [
        problem.model_copy(update={"what": f"{reason} {problem.what}", "todo": problem.todo + hint})
        for problem in list_problems(checks)
    ]


def check_file_systems(server: Host, settings: StudioSettings) -> list[Problem]:
    """Check for shares on a file system with other data, which members can read with forged file handles."""
    if settings.storage_provider != "nfs":
        return []
    # Ansible's facts have no numbers of devices. Each mount counts as a device of its own, as most are.
    table = [mountinfo.Mount(disk.mount, disk.fstype, "", device=disk.mount) for disk in server.disks]
    inside = [
        share.path
        for share in settings.shares()
        if mountinfo.mount_containing(table, share.path)
        and not own_file_system.has_own(table, settings.storage_root, share.path)
    ]
    if not inside:
        return []
    checks = Checks(server.name)
    host_rules.judge_own_file_systems(
        checks,
        settings.storage_root,
        inside,
        required=settings.require_own_file_system,
        check="storage.own_file_system",
    )
    todo = own_file_system.todo(settings.storage_root)
    return [
        problem if problem.fatal else problem.model_copy(update={"todo": todo}) for problem in list_problems(checks)
    ]


def check_transport(members: Sequence[Host], settings: StudioSettings) -> list[Problem]:
    """Check that each host can have NFS over TLS, where the settings want it."""
    problems = []
    for host in members if settings.storage_provider == "nfs" else ():
        checks = Checks(host.name)
        if host.os:
            host_rules.judge_transport(checks, settings.nfs_transport, host.os, host.os_version, host.kernel)
        problems += list_problems(checks)
    return problems


def check_services(members: Sequence[Host], services: Mapping[str, Sequence[ServiceRole]]) -> list[Problem]:
    """Check for services on unsupported architectures, and for unusable cards."""
    problems = []
    for host in members:
        compute = [role for role in services[host.name] if role != "backend"]
        checks = Checks(host.name)
        if host.arch:
            host_rules.judge_architecture(checks, host.arch, compute)
        if "comfyui" in compute:
            host_rules.judge_gpus(checks, gpu_support.parse_cards(gpu.model_dump() for gpu in host.gpus))
        problems += list_problems(checks)
        problems += [
            Problem(
                kind="gpu",
                host=host.name,
                what=f"{gpu.name} in {host.name} cannot be used: {gpu.why}",
                todo="Install its vendor's driver and run again, if the services are to use it.",
                fatal=False,
            )
            for gpu in host.gpus
            if not gpu.usable
        ]
    return problems


def list_problems(checks: Checks) -> list[Problem]:
    """Return a problem for each failed check, and a note for each that the user should read."""
    return [_make_problem(check) for check in checks.list if not check["ok"] or is_note(check)]


def _make_problem(check: Check) -> Problem:
    host = None if check["host"] == studio_rules.STUDIO else check["host"]
    observed = check["seen"].removeprefix(NOTE)
    subject = f"{host}: {observed}" if host else observed[:1].upper() + observed[1:]
    todo = check["todo"][:1].upper() + check["todo"][1:] or "Nothing, if this is intended"
    return Problem(
        kind=_KINDS.get(check["check"], check["check"]),
        host=host,
        what=f"{subject.rstrip('.')}. Expected: {check['expected']}.",
        todo=f"{todo.rstrip('.')}.",
        fatal=not check["ok"],
    )


def _find_exclusion(host: Host) -> Problem | None:
    checks = Checks(host.name)
    if host.service_manager:
        host_rules.judge_service_manager(checks, host.service_manager)
    if host.os:
        host_rules.judge_system(checks, host.os, host.os_version)
    problems = list_problems(checks)
    return problems[0].model_copy(update={"fatal": host.named}) if problems else None


def _format_name(host: Host) -> str:
    return host.name if host.name == host.address else f"{host.name} ({host.address})"
