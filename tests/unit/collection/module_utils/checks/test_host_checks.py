# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test preflight's checks of one host, and of the studio as a whole."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import host_checks, host_rules
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, Checks, is_note
from ansible_collections.noslop.studio.plugins.module_utils.host import state
from ansible_collections.noslop.studio.plugins.module_utils.share import markers
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import studio_rules, variable_rules
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.declared_variables import list_declared_variables
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.misspelled_variables import find_misspelled
from hypothesis import assume, given
from hypothesis import strategies as st

PLAN = studio_rules.Plan(
    hosts=["server", "worker1"],
    studio_id="atelier",
    provider="nfs",
    servers=["server"],
    clients=["worker1"],
    services={"ollama": ["server", "worker1"], "comfyui": ["worker1"]},
    addresses={"server": "10.77.42.11", "worker1": "10.77.42.12"},
    paths={"server": ["/mnt/noslop/projects"], "worker1": ["/mnt/noslop/projects"]},
)


@pytest.fixture
def checks() -> Checks:
    return Checks("studio")


def failed(checks: Checks) -> dict[str, Check]:
    return {check["check"]: check for check in checks.list if not check["ok"]}


def test_working_plan_passes(checks: Checks) -> None:
    studio_rules.judge_plan(checks, PLAN)

    assert failed(checks) == {}


@pytest.mark.parametrize(
    ("changes", "check", "seen"),
    [
        ({"studio_id": ""}, "studio.id", "noslop_studio_id is not set"),
        ({"studio_id": "a b"}, "studio.id", "noslop_studio_id is 'a b'"),
        ({"provider": "smb"}, "studio.provider", "noslop_storage_provider is 'smb'"),
        ({"servers": []}, "studio.server", "storage_server holds no host"),
        ({"servers": ["server", "worker1"], "clients": []}, "studio.server", "storage_server holds server, worker1"),
        ({"provider": "existing", "servers": []}, "studio.server", "storage_server holds no host"),
        ({"clients": ["server", "worker1"]}, "studio.parts", "server and client at once: server"),
        ({"clients": []}, "studio.members", "worker1 neither serve nor mount the storage"),
        ({"provider": "local"}, "studio.local", "2 hosts: server, worker1"),
        (
            {"addresses": {"server": "10.0.0.1", "worker1": "10.0.0.1"}},
            "studio.addresses",
            "server, worker1 have the address 10.0.0.1",
        ),
        ({"addresses": {"server": "10.0.0.1"}}, "studio.address_known", "no IP address is known"),
        ({"paths": {"server": ["/a"], "worker1": ["/b"]}}, "studio.paths", "2 different sets of paths"),
    ],
)
def test_broken_plan_fails_one_check(checks: Checks, changes: dict[str, Any], check: str, seen: str) -> None:
    studio_rules.judge_plan(checks, replace(PLAN, **changes))

    assert failed(checks)[check]["seen"] == seen
    assert failed(checks)[check]["todo"]


def test_service_without_host_is_a_note(checks: Checks) -> None:
    studio_rules.judge_plan(checks, replace(PLAN, services={"comfyui": []}))

    assert [check["seen"] for check in checks.list if is_note(check)] == ["note: no host runs comfyui"]


def test_one_machine_is_a_valid_studio(checks: Checks) -> None:
    alone = replace(
        PLAN, hosts=["one"], servers=["one"], clients=[], provider="local", addresses={}, paths={"one": ["/a"]}
    )

    studio_rules.judge_plan(checks, alone)

    assert failed(checks) == {}


def test_cloned_machines_fail(checks: Checks) -> None:
    twins = {"a": {"machine_id": "1", "hostname": "debian"}, "b": {"machine_id": "1", "hostname": "debian"}}

    studio_rules.judge_identities(checks, twins)

    assert set(failed(checks)) == {"studio.machine_ids", "studio.hostnames"}


def test_hosts_without_machine_id_are_not_clones(checks: Checks) -> None:
    studio_rules.judge_identities(checks, {host: {"machine_id": "", "hostname": host} for host in "ab"})

    assert failed(checks) == {}


@given(st.floats(0, 3600), st.floats(-7200, 7200))
def test_clocks_are_compared_with_the_controllers_times(elapsed_s: float, difference_s: float) -> None:
    checks, started, finished = Checks("studio"), 1_000_000.0, 1_000_000.0 + elapsed_s
    true_time = started + elapsed_s / 2

    studio_rules.judge_clocks(checks, {"a": true_time + difference_s}, started, finished)

    if abs(difference_s) <= studio_rules.CLOCK_TOLERANCE_S:
        assert failed(checks) == {}
    if abs(difference_s) > studio_rules.CLOCK_TOLERANCE_S + elapsed_s:
        assert "studio.clocks" in failed(checks)


def test_users_without_accounts_fail_or_are_noted(checks: Checks) -> None:
    unknown = {"server": ["ghost"], "worker1": ["ghost", "ada"]}

    studio_rules.judge_users(checks, ["ghost", "ada", "bob"], unknown)

    assert failed(checks)["studio.users"]["seen"] == "no host has an account ghost"
    assert [check["seen"] for check in checks.list if is_note(check)] == [
        "note: worker1 have no account ada, who cannot write to the shares there"
    ]


def test_too_large_allowed_networks_are_refused(checks: Checks) -> None:
    variable_rules.judge_networks(checks, ["10.0.0.0/8", "192.168.1.7", "2001:db8::/32", "fd00::1"])
    assert failed(checks) == {}

    variable_rules.judge_networks(checks, ["0.0.0.0/0", "128.0.0.0/1", "fc00::/7", "everyone"])
    assert failed(checks)["studio.allowed_networks"]["seen"].count("hosts all over the Internet") == 3
    assert "'everyone' is no address and no network" in failed(checks)["studio.allowed_networks"]["seen"]


def test_misspelled_variables_are_named(checks: Checks) -> None:
    declared, prefixes = list_declared_variables()
    names = ["noslop_user", "studio_verify_scop", "noslop_studio_id", "noslop_party", "ansible_host", "ollama_verion"]

    variable_rules.judge_variables(checks, names, {*declared, "ollama_version"}, {*prefixes, "ollama_"})

    check = failed(checks)["studio.variables"]
    assert check["todo"].split("; ") == [
        "write noslop_users for noslop_user",
        "write ollama_version for ollama_verion",
        "write studio_verify_scope for studio_verify_scop",
    ]
    (note,) = [check for check in checks.list if is_note(check)]
    assert note["seen"] == "note: NoSlop does not read noslop_party"


def test_every_variable_of_the_collection_is_declared() -> None:
    declared, prefixes = list_declared_variables()

    assert {"noslop_uid", "studio_preflight_root", "studio_verify_scope"} <= declared
    assert {"noslop_", "studio_verify_", "studio_preflight_"} <= prefixes
    assert find_misspelled(declared, declared, prefixes) == {}


@given(st.sampled_from(sorted(studio.DEFAULTS)), st.data())
def test_one_missing_letter_is_always_detected(name: str, data: st.DataObject) -> None:
    position = data.draw(st.integers(len("noslop_"), len(name) - 1))
    slip = name[:position] + name[position + 1 :]
    # `ui` resembles `uid` as much as `gid`
    assume(len(name) - len("noslop_") >= 4 and slip not in studio.DEFAULTS)

    assert slip in find_misspelled([slip], studio.DEFAULTS, ["noslop_"])


@pytest.mark.parametrize(
    ("system", "supported"),
    [
        ('ID=debian\nVERSION_ID="12"\n', True),
        ('ID=debian\nVERSION_ID="13"\n', True),
        ('ID=debian\nVERSION_ID="11"\n', False),
        ('ID=ubuntu\nVERSION_ID="24.04"\n', True),
        ('ID=ubuntu\nVERSION_ID="22.04"\n', True),
        ('ID=ubuntu\nVERSION_ID="20.04"\n', False),
        ("ID=fedora\nVERSION_ID=41\n", False),
        ('PRETTY_NAME="Debian GNU/Linux trixie/sid"\nID=debian\n', False),
        ("", False),
    ],
)
def test_supported_systems(system: str, supported: bool) -> None:
    release = state.parse_os_release(system)

    assert host_rules.judge_system(Checks("one"), release.get("ID", ""), release.get("VERSION_ID", "")) == supported


def test_addresses_of_this_host_are_recognised() -> None:
    assert state.has_address("127.0.0.1")
    assert not state.has_address("192.0.2.77")
    assert "127.0.0.1" not in state.read_addresses()


def test_refused_connection_counts_as_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert state.find_route_error("127.0.0.1", port) == ("", False)
        assert state.kernel_listens(port)

    assert state.find_route_error("127.0.0.1", port) == ("", False)
    assert not state.kernel_listens(port)


def test_conflicting_accounts_and_groups_are_named() -> None:
    assert state.find_account_conflicts("root", 0, 0) == []
    assert state.find_account_conflicts("noslop", 0, 0) == [
        "the account root has the uid 0",
        "the group root has the gid 0",
    ]
    assert state.find_account_conflicts("root", 61234, 61235) == [
        "the account root exists with 0:0",
        "the group root exists with the gid 0",
    ]


def test_unknown_users_are_listed() -> None:
    assert state.find_unknown_users(["root", "nobody-at-all"]) == ["nobody-at-all"]


def test_free_space_of_a_missing_directory_is_that_of_its_parent(tmp_path: Path) -> None:
    space = os.statvfs(tmp_path)

    assert state.read_free_bytes(str(tmp_path / "not" / "yet")) == pytest.approx(
        space.f_bavail * space.f_frsize, rel=0.05
    )


def test_file_systems_of_the_kernel_are_recognised() -> None:
    assert state.supports("proc", "proc")
    assert not state.supports("nofs", "nofs")


@pytest.fixture
def options() -> dict[str, Any]:
    return {
        "host": "one",
        "provider": "local",
        "server": True,
        "client": False,
        "server_address": "",
        "address": "",
        "shares": [],
        "root": "",
        "studio_id": "atelier",
        "accounts": [
            {"name": "noslop", "uid": 61234, "gid": 61234},
            {"name": "noslop-nodes", "uid": 61235, "gid": 61235},
        ],
        "require_own_file_system": False,
        "users": [],
        "min_free_gb": 0,
        "ollama": False,
        "ollama_port": 11434,
        "ollama_units": [],
        "comfyui": False,
        "comfyui_port": 8188,
        "comfyui_units": [],
        "comfyui_existing_dir": "",
        "backend": False,
        "backend_port": 8765,
        "backend_units": [],
        "pythons": {},
        "release_problems": {},
    }


@pytest.fixture
def root() -> Iterator[Path]:
    """Return a directory that may contain shares, unlike /tmp."""
    with tempfile.TemporaryDirectory(dir="/srv" if os.access("/srv", os.W_OK) else Path.home()) as name:
        yield Path(name)


def run_checks(options: dict[str, Any], root: Path, **changes: object) -> tuple[dict[str, Any], list[Check]]:
    shares = [
        {"name": name, "path": f"{root}/{name}", "kind": "work", "env": ""} for name in ("projects", "media_cache")
    ]
    answer = host_checks.HostChecks({**options, "root": str(root), "shares": shares, **changes}).run()
    whatever_runs_the_tests = ("host.systemd", "host.system", "host.kernel")
    bad = [check for check in answer["checks"] if not check["ok"] and check["check"] not in whatever_runs_the_tests]
    return answer, bad


@pytest.mark.parametrize(
    ("versions", "seen"),
    [
        (("3.10", "3.9"), ""),
        (("3.10", "3.10"), ""),
        (("3.9", ""), ""),
        (("3.9", "3.10"), "is Python 3.9"),
        (("", "3.10"), "not"),
    ],
)
def test_python_of_a_service_is_checked_before_anything_is_changed(
    options: dict[str, Any], root: Path, tmp_path: Path, versions: tuple[str, str], seen: str
) -> None:
    """Check a host whose Python is new enough for modules, and not for a service (Ubuntu 22.04 has 3.10)."""
    installed, oldest = versions
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho {installed}\n")
    program.chmod(0o755)
    pythons = {"backend": {"program": str(program), "oldest": oldest}, "comfyui": {"program": "none", "oldest": "4.0"}}

    __, bad = run_checks(options, root, backend=True, pythons=pythons)

    assert [check["check"] for check in bad] == (["host.service_python"] if seen else [])
    assert all(seen in check["seen"] for check in bad)


def test_release_that_may_not_be_installed_is_reported_where_the_service_runs(
    options: dict[str, Any], root: Path
) -> None:
    problem = {"text": "Ollama 0.20.2 lets every host write files", "todo": "set noslop_ollama_version"}
    problems = {"ollama": [problem], "comfyui": [{"text": "not here", "todo": "nothing"}]}

    __, bad = run_checks(options, root, ollama=True, release_problems=problems)

    assert [(check["check"], check["seen"], check["todo"]) for check in bad] == [
        ("host.service_release", problem["text"], problem["todo"])
    ]


def test_host_reports_all_problems_at_once(options: dict[str, Any], root: Path) -> None:
    accounts = [options["accounts"][0], {"name": "noslop-nodes", "uid": 0, "gid": 0}]
    faults = {"address": "192.0.2.77", "accounts": accounts, "users": ["nobody-at-all"], "min_free_gb": 1e9}
    (root / "projects").mkdir()
    (root / "projects" / ".noslop-share").write_text('{"studio_id": "other", "share": "projects"}')

    answer, bad = run_checks(options, root, **faults)

    assert [(check["check"], check["share"]) for check in bad] == [
        ("host.account", ""),
        ("host.address", ""),
        ("storage.marker", "projects"),
        ("storage.room", ""),
    ]
    assert all(check["todo"] for check in bad)
    assert bad[3]["seen"].startswith(f"the file system of {root}/projects, {root}/media_cache has ")
    assert bad[0]["seen"] == "the account root has the uid 0; the group root has the gid 0"
    assert answer["unknown_users"] == ["nobody-at-all"]
    assert answer["paths"] == [f"{root}/projects", f"{root}/media_cache"]
    assert not (root / "media_cache").exists()


def test_host_without_problems_passes(options: dict[str, Any], root: Path) -> None:
    assert run_checks(options, root)[1] == []


def test_shares_among_other_files_fail_when_required(options: dict[str, Any], root: Path) -> None:
    _, bad = run_checks(options, root, provider="nfs", require_own_file_system=True)

    (failure,) = [check for check in bad if check["check"] == "storage.own_file_system"]
    assert str(root) in failure["seen"]
    assert "lvcreate" in failure["todo"]


def test_mount_point_with_files_fails(options: dict[str, Any], root: Path) -> None:
    (root / "projects").mkdir()
    (root / "projects" / "render.png").touch()
    (root / "media_cache").symlink_to("projects")

    _, bad = run_checks(options, root, provider="nfs", server=False, client=True)

    assert [(check["check"], check["share"]) for check in bad] == [
        ("storage.mount_point", "projects"),
        ("storage.mount_point", "media_cache"),
    ]
    assert "render.png" in bad[0]["seen"]
    assert f"(mv {root}/projects {root}/projects.before-noslop)" in bad[0]["todo"]
    assert "symbolic link" in bad[1]["seen"]


def test_directories_that_a_read_only_share_keeps_from_adoption_are_noted(
    options: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    for name in ("models", "custom_nodes"):
        (tmp_path / name).mkdir()
    shares = [
        {"name": f"comfyui_{name}", "path": f"{root}/{name}", "kind": "models", "env": "", "writers": writers}
        for name, writers in (("models", "members"), ("custom_nodes", "server"))
    ]
    on_worker = {"provider": "nfs", "server": False, "client": True, "comfyui_existing_dir": str(tmp_path)}

    answer, bad = run_checks(options, root, **on_worker, shares=shares)

    assert bad == []
    (note,) = [check for check in answer["checks"] if is_note(check)]
    assert (note["check"], note["share"]) == ("storage.takeover", "comfyui_custom_nodes")
    assert f"{tmp_path}/custom_nodes stays as it is" in note["seen"]
    assert note["seen"].endswith("deploy once with noslop_custom_nodes_writers: members")
    (tmp_path / "custom_nodes").rmdir()
    (tmp_path / "custom_nodes").symlink_to(f"{root}/custom_nodes")
    answer, _ = run_checks(options, root, **on_worker, shares=shares)
    assert not [check for check in answer["checks"] if is_note(check)]


def test_used_port_fails(options: dict[str, Any], root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        listener = subprocess.Popen(["sleep", "600"], pass_fds=[server.fileno()])
    try:
        _, (bad,) = run_checks(options, root, ollama=True, ollama_port=port)
    finally:
        listener.kill()
        listener.wait()

    assert bad["seen"].startswith(f"port {port} is held by process {listener.pid} (sleep 600)")
    assert run_checks(options, root, ollama=True, ollama_port=port)[1] == []


def test_invalid_paths_skip_the_directory_checks(options: dict[str, Any]) -> None:
    _, bad = run_checks(options, Path("/etc/studio"))

    assert {check["check"] for check in bad} == {"storage.paths"}
    assert len(bad) == 3
    assert all(check["todo"].startswith("Choose") for check in bad)


def test_existing_storage_on_the_disk_of_the_system_is_refused_with_the_step(
    options: dict[str, Any], root: Path
) -> None:
    _, bad = run_checks(options, root, provider="existing")

    assert [check["check"] for check in bad] == ["storage.existing", "storage.existing"]
    assert "this host's own disk with the operating system" in bad[0]["seen"]
    assert f"Mount your file system so that it holds {root}/projects" in bad[0]["todo"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_existing_storage_that_is_mounted_passes_with_files_of_others_beside_the_shares(
    options: dict[str, Any], root: Path
) -> None:
    (root / "of-others").mkdir()
    subprocess.run(["mount", "--bind", root, root], check=True)
    try:
        _, bad = run_checks(options, root, provider="existing", server=False)
        (root / "projects").mkdir()
        (root / "projects/.noslop-share").write_text(markers.compose("other", "projects"))
        _, foreign = run_checks(options, root, provider="existing")
    finally:
        subprocess.run(["umount", root], check=True)

    assert bad == []
    assert [check["check"] for check in foreign] == ["storage.marker"]
