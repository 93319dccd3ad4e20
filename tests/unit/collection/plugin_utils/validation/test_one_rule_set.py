# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the plan of the driver and preflight report the same problems of a studio: one severity, one text."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import host_rules
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import NOTE, Check, Checks, is_note
from ansible_collections.noslop.studio.plugins.module_utils.checks.host_checks import HostChecks
from ansible_collections.noslop.studio.plugins.module_utils.host import gpu_support, state
from ansible_collections.noslop.studio.plugins.module_utils.host.addresses import as_ip
from ansible_collections.noslop.studio.plugins.module_utils.smb import smb_shares
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import studio_rules, variable_rules
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.smb import SmbSettings
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.transport import TransportSettings

from noslop_driver.models import Disk, Gpu, Host, Problem, StudioSettings
from noslop_driver.planning.planner import make_plan

GB = 10**9
SETTINGS = StudioSettings(studio_id="atelier")


def host(number: int, **changes: Any) -> Host:  # noqa: ANN401  # the fields of a host have many types
    facts: dict[str, Any] = {
        "name": f"render{number}",
        "address": f"10.0.0.{number}",
        "user": "artist",
        "os": "Debian",
        "os_version": "12.5",
        "arch": "x86_64",
        "service_manager": "systemd",
        "disks": [
            Disk(mount="/", size_bytes=500 * GB, free_bytes=200 * GB, fstype="ext4"),
            Disk(mount="/mnt/noslop", size_bytes=500 * GB, free_bytes=200 * GB, fstype="ext4"),
        ],
        "machine_id": f"{number:032x}",
        "addresses": [f"10.0.0.{number}"],
        "named": True,
    }
    return Host.model_validate({**facts, **changes})


def plan_problems(hosts: list[Host], settings: StudioSettings = SETTINGS) -> list[Problem]:
    return make_plan(hosts, settings).problems


def select_reported(checks: list[Check]) -> list[Check]:
    return [check for check in checks if not check["ok"] or is_note(check)]


def agree(problems: list[Problem], checks: list[Check]) -> None:
    """Compare the severity and the text of each problem of the plan with those of preflight."""
    assert [problem.fatal for problem in problems] == [not check["ok"] for check in checks], (problems, checks)
    for problem, check in zip(problems, checks, strict=True):
        assert check["seen"].removeprefix(NOTE).lower() in problem.what.lower()
        assert check["expected"] in problem.what
        if problem.fatal:
            assert problem.todo.rstrip(".").lower() == check["todo"].rstrip(".").lower()


@pytest.mark.parametrize(
    "variables",
    [
        *(
            {"storage_root": path}
            for path in ("/etc/noslop", "/tmp/noslop", "/root/noslop", "/home/artist", "/mnt/a b", "/var/run/noslop")
        ),
        {"storage_root": "/srv"},
        {"storage_root": "/mnt/noslop/"},
        {"media_cache_dir": "/usr/share/cache"},
        {"media_cache_dir": "/mnt/noslop/projects/cache"},
        {"media_cache_dir": "/mnt"},
        {"storage_root": "/srv/studio", "media_cache_dir": "/data/cache"},
        {},
    ],
    ids=str,
)
def test_paths(variables: dict[str, str]) -> None:
    settings = SETTINGS.replace(**variables)
    shares = studio.shares_as_dicts(settings.variables())
    options = {
        **dict.fromkeys(("server_address", "address", "comfyui_existing_dir"), ""),
        **dict.fromkeys(("server", "ollama", "comfyui", "backend"), False),
        "host": "render1",
        "provider": "nfs",
        "client": False,
        "users": [],
        "min_free_gb": 0,
        "studio_id": "atelier",
        "accounts": [asdict(account) for account in studio.accounts({})],
        "require_own_file_system": False,
        "pythons": {},
        "release_problems": {},
    }
    answer = HostChecks({**options, "root": settings.storage_root, "shares": shares}).run()

    problems = [one for one in plan_problems([host(1), host(2)], settings) if one.kind == "path"]

    agree(problems, [check for check in answer["checks"] if check["check"] == "storage.paths" and not check["ok"]])


@pytest.mark.parametrize(
    ("name", "version", "os_release"),
    [
        ("Debian", "12", 'ID=debian\nVERSION_ID="12"\n'),
        ("Debian", "11", 'ID=debian\nVERSION_ID="11"\n'),
        ("Debian", "testing/unstable", 'PRETTY_NAME="Debian GNU/Linux trixie/sid"\nID=debian\n'),
        ("Ubuntu", "22.04", 'ID=ubuntu\nVERSION_ID="22.04"\n'),
        ("Ubuntu", "20.04", 'ID=ubuntu\nVERSION_ID="20.04"\n'),
        ("Fedora", "41", "ID=fedora\nVERSION_ID=41\n"),
    ],
)
def test_systems(name: str, version: str, os_release: str) -> None:
    checks = Checks("render1")
    release = state.parse_os_release(os_release)
    host_rules.judge_system(checks, release.get("ID", ""), release.get("VERSION_ID", ""))

    problems = plan_problems([host(1, os=name, os_version=version), host(2), host(3)])

    agree([one for one in problems if one.kind == "unsupported_os"], select_reported(checks.list))


@pytest.mark.parametrize(("machine", "services"), [("x86_64", []), ("riscv64", []), ("riscv64", ["ollama"])])
def test_architectures(machine: str, services: list[str]) -> None:
    checks = Checks("render1")
    host_rules.judge_architecture(checks, machine, services)

    settings = SETTINGS.replace(roles={"render1": services})
    problems = plan_problems([host(1, arch=machine), host(2)], settings)

    agree([one for one in problems if one.kind == "arch"], select_reported(checks.list))


@pytest.mark.parametrize("manager", ["systemd", "openrc"])
def test_service_managers(manager: str) -> None:
    checks = Checks("render1")
    host_rules.judge_service_manager(checks, manager)

    problems = plan_problems([host(1, service_manager=manager), host(2), host(3)])

    agree([one for one in problems if one.kind == "no_systemd"], select_reported(checks.list))


@pytest.mark.parametrize("free_gb", [49.9, 50.0])
def test_free_space(free_gb: float) -> None:
    checks = Checks("render1")
    paths = [share.path for share in SETTINGS.shares()]
    host_rules.judge_free_space(checks, paths, free_gb * GB, SETTINGS.min_free_gb, check="storage.room")
    disk = Disk(mount="/mnt/noslop", size_bytes=500 * GB, free_bytes=int(free_gb * GB), fstype="ext4")

    problems = [one for one in plan_problems([host(1, disks=[disk])]) if one.kind == "no_room"]

    assert [check["seen"] in problem.what for problem, check in zip(problems, checks.list, strict=False)] == (
        [True] if free_gb < 50 else []
    )
    assert [problem.fatal for problem in problems] == [True for check in checks.list if not check["ok"]]


@pytest.mark.parametrize("required", [False, True])
def test_shares_among_other_files(required: bool) -> None:
    checks = Checks("render1")
    paths = [share.path for share in SETTINGS.shares()]
    host_rules.judge_own_file_systems(checks, "/mnt/noslop", paths, required=required, check="storage.own_file_system")
    settings = SETTINGS.replace(require_own_file_system=required, server="render1")

    problems = plan_problems([host(1, disks=host(1).disks[:1]), host(2)], settings)

    agree([one for one in problems if one.kind == "shared_file_system"], select_reported(checks.list))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"machine_id": host(1).machine_id},
        {"address": "10.0.0.1", "port": 2222, "addresses": []},
        {"address": "127.0.1.1", "addresses": []},
        {"address": "fe80::1%eth0", "addresses": []},
        {"address": "render2.example.org"},
        {"address": "fd00::2", "addresses": ["fd00::2"]},
        {"address": "192.0.2.7"},
    ],
    ids=str,
)
def test_identities_and_addresses(changes: dict[str, Any]) -> None:
    hosts = [host(1), host(2, **changes)]
    names = [one.name for one in hosts]
    checks = Checks(studio_rules.STUDIO)
    # As the action plugin of preflight does with an inventory of these hosts, whose machines have these addresses.
    studio_rules.judge_plan(
        checks,
        studio_rules.Plan(
            hosts=names,
            studio_id="atelier",
            provider="nfs",
            servers=["render1"],
            clients=["render2"],
            services={name: ["render1"] for name in ("ollama", "comfyui", "backend")},
            addresses={one.name: as_ip(one.address) for one in hosts},
            paths={name: ["/mnt/noslop/projects"] for name in names},
            own_addresses={one.name: one.addresses for one in hosts},
        ),
    )
    studio_rules.judge_identities(checks, {one.name: {"machine_id": one.machine_id, "hostname": ""} for one in hosts})

    agree(plan_problems(hosts, SETTINGS.replace(server="render1")), select_reported(checks.list))


@pytest.mark.parametrize(
    ("changes", "members"),
    [
        ({"studio_id": "a b"}, 2),
        ({"storage_provider": "local"}, 2),
        ({"roles": {"render1": ["backend"], "render2": ["backend"]}}, 2),
        ({"roles": {"render1": [], "render2": []}}, 2),
    ],
)
def test_settings(changes: dict[str, Any], members: int) -> None:
    settings = SETTINGS.replace(server="render1", **changes)
    hosts = [host(number) for number in range(1, members + 1)]
    plan = make_plan(hosts, settings)
    checks = Checks(studio_rules.STUDIO)
    studio_rules.judge_plan(
        checks,
        studio_rules.Plan(
            hosts=[one.name for one in hosts],
            studio_id=settings.studio_id,
            provider=settings.storage_provider,
            servers=["render1"],
            clients=["render2"],
            services={
                "ollama": [one.name for one in plan.members("ollama")],
                "comfyui": [one.name for one in plan.members("comfyui")],
                "backend": [one.name for one in plan.members("backend")],
            },
            addresses={one.name: one.address for one in hosts},
            paths={one.name: ["/mnt/noslop/projects"] for one in hosts},
        ),
    )

    agree(plan.problems, select_reported(checks.list))
    assert plan.problems


@pytest.mark.parametrize(
    ("driver", "capability"), [("580.95.05", "8.9"), ("580.95.05", "6.1"), ("550.54.14", "8.9"), ("550.54.14", "6.1")]
)
def test_cards_and_their_drivers(driver: str, capability: str) -> None:
    card = {"vendor": "nvidia", "name": "a card", "driver": driver, "capability": capability, "usable": True}
    checks = Checks("render1")

    host_rules.judge_gpus(checks, gpu_support.parse_cards([card]))

    problems = [one for one in plan_problems([host(1, gpus=[Gpu.model_validate(card)]), host(2)]) if one.kind == "gpu"]
    agree(problems, select_reported(checks.list))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"smb_networks": ["192.168.1.0/24"]},
        {"smb_networks": ["192.168.1.0/24"], "storage_provider": "existing"},
        {"smb_networks": ["192.168.1.0/24"], "smb_models_writable": True, "models_writers": "server"},
    ],
    ids=str,
)
def test_smb(changes: dict[str, Any]) -> None:
    settings = SETTINGS.replace(smb_enabled=True, smb_users=[{"name": "anna"}], **changes)
    checks = Checks(studio_rules.STUDIO)
    variable_rules.judge_smb(
        checks,
        SmbSettings(
            enabled=True,
            provider=settings.storage_provider,
            servers=["render1"],
            networks=smb_shares.list_networks(settings.variables()),
            models_writable=settings.smb_models_writable,
            models_writers=settings.models_writers,
        ),
    )
    problems = [one for one in plan_problems([host(1), host(2)], settings) if one.kind.startswith("studio.smb")]

    agree(problems, select_reported(checks.list))


@pytest.mark.parametrize(
    ("system", "version", "kernel", "fit"),
    [
        ("Debian", "13.1", "6.12.48-amd64", True),
        ("Debian", "12.5", "6.1.0-30-amd64", False),
        ("Debian", "13", "6.1.0-30-amd64", False),
        ("Debian", "13", "", True),
        ("Ubuntu", "24.04", "6.8.0-60-generic", False),
        ("Ubuntu", "25.10", "6.17.0-5-generic", True),
    ],
)
@pytest.mark.parametrize("transport", ["plain", "tls", "mtls"])
def test_systems_for_nfs_over_tls(system: str, version: str, kernel: str, fit: bool, transport: str) -> None:
    checks = Checks("render1")
    host_rules.judge_transport(checks, transport, system, version, kernel)
    new = {"os": "Debian", "os_version": "13"}
    hosts = [host(1, os=system, os_version=version, kernel=kernel), host(2, **new), host(3, **new)]
    settings = SETTINGS.replace(nfs_transport=transport)

    problems = [one for one in plan_problems(hosts, settings) if one.kind == "host.nfs_transport"]

    agree(problems, select_reported(checks.list))
    assert [problem.host for problem in problems] == ([] if fit or transport == "plain" else ["render1"])


@pytest.mark.parametrize(
    ("changes", "address", "words"),
    [
        ({}, "10.0.0.2", ""),
        ({"storage_provider": "existing"}, "10.0.0.2", "noslop_storage_provider is existing"),
        ({}, "fd00::2", "(fd00::2) are addressed by IPv6"),
    ],
)
def test_choices_about_nfs_over_tls(changes: dict[str, Any], address: str, words: str) -> None:
    settings = SETTINGS.replace(nfs_transport="mtls", **changes)
    hosts = [host(number, os_version="13") for number in (1, 2)]
    hosts[1] = hosts[1].model_copy(update={"address": address})
    checks = Checks(studio_rules.STUDIO)
    variable_rules.judge_transport(
        checks, TransportSettings("mtls", settings.storage_provider, {one.name: one.address for one in hosts})
    )

    problems = [one for one in plan_problems(hosts, settings) if one.kind == "studio.nfs_transport"]

    agree(problems, select_reported(checks.list))
    assert [words in problem.what for problem in problems] == ([True] if words else [])
