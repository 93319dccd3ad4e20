# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the planner: properties over generated studios, and examples."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host.addresses import OPEN_NETWORK
from hypothesis import given
from hypothesis import strategies as st

from noslop_driver.models import Disk, Gpu, Host, Plan, Problem, Proposal, StudioSettings
from noslop_driver.output.terminal import Terminal
from noslop_driver.planning.planner import make_plan
from noslop_driver.planning.view import print_plan

GB = 10**9
SETTINGS = StudioSettings(studio_id="test")
RTX = Gpu(vendor="nvidia", name="RTX 4090", memory_mib=24564, driver="580.95.05", usable=True)
DEAD_CARD = Gpu(vendor="amd", name="W7900", usable=False, why="no driver is loaded")


def disk(free_gb: float, mount: str = "/", fstype: str = "ext4") -> Disk:
    return Disk(mount=mount, size_bytes=10_000 * GB, free_bytes=int(free_gb * GB), fstype=fstype)


def host(number: int, **changes: object) -> Host:
    """Return a Debian machine with 16 GiB, 8 CPUs, 200 GB free and no card."""
    return Host.model_validate(
        {
            "name": f"render{number}",
            "address": f"10.0.0.{number}",
            "user": "artist",
            "os": "Debian",
            "os_version": "12.5",
            "arch": "x86_64",
            "service_manager": "systemd",
            "cpus": 8,
            "memory_mib": 16384,
            "disks": [disk(200)],
            "machine_id": f"{number:032x}",
            "addresses": [f"10.0.0.{number}", "172.17.0.1"],
            **changes,
        }
    )


def get_proposal(plan: Plan, name: str) -> Proposal:
    return next(proposal for proposal in plan.proposals if proposal.host == name)


def get_problem(plan: Plan, kind: str) -> Problem:
    problems = [problem for problem in plan.problems if problem.kind == kind]
    assert len(problems) == 1, plan.problems
    assert problems[0].what
    assert problems[0].todo
    return problems[0]


# Properties of any studio.

gpus = st.builds(
    Gpu,
    vendor=st.sampled_from(["nvidia", "amd", "intel"]),
    name=st.just("a card"),
    memory_mib=st.none() | st.integers(0, 200_000),
    usable=st.booleans(),
)
disks = st.builds(
    Disk,
    mount=st.sampled_from(["/", "/mnt", "/mnt/noslop", "/mnt/noslop/projects", "/home"]),
    size_bytes=st.integers(0, 10**14),
    free_bytes=st.integers(0, 10**14),
    fstype=st.sampled_from(["ext4", "xfs", "nfs4", "autofs", "fuse.sshfs", "overlay"]),
)
host_facts = {
    "os": st.sampled_from(["", "Debian", "Ubuntu", "Fedora"]),
    "os_version": st.sampled_from(["", "11.9", "12", "13.1", "24.04", "testing/unstable"]),
    "arch": st.sampled_from(["", "x86_64", "aarch64", "riscv64"]),
    "service_manager": st.sampled_from(["", "systemd", "openrc"]),
    "cpus": st.none() | st.integers(0, 512),
    "memory_mib": st.none() | st.integers(0, 8_000_000),
    "gpus": st.lists(gpus, max_size=3),
    "disks": st.lists(disks, max_size=4, unique_by=lambda disk: disk.mount),
    "machine_id": st.sampled_from(["", "a", "b", "c", "d"]),
    "named": st.booleans(),
}


@st.composite
def studios(draw: st.DrawFn, at_least: int = 0) -> list[Host]:
    numbers = draw(st.lists(st.integers(1, 200), unique=True, min_size=at_least, max_size=6))
    return [host(number, **draw(st.fixed_dictionaries(host_facts))) for number in numbers]


@st.composite
def settings_for(draw: st.DrawFn, hosts: Sequence[Host]) -> StudioSettings:
    names = [*(host.name for host in hosts), "nobody"]
    services = st.lists(st.sampled_from(["ollama", "comfyui", "backend"]), unique=True)
    return SETTINGS.replace(
        server=draw(st.none() | st.sampled_from(names)),
        roles=draw(st.dictionaries(st.sampled_from(names), services, max_size=3)),
        storage_provider=draw(st.sampled_from(["nfs", "local", "existing"])),
        min_free_gb=draw(st.sampled_from([0, 50, 5000])),
    )


@given(st.data())
def test_plan_of_any_studio_is_consistent(data: st.DataObject) -> None:
    hosts = data.draw(studios())
    settings = data.draw(settings_for(hosts))
    plan = make_plan(hosts, settings)
    names = [member.name for member in plan.hosts]
    assert [proposal.host for proposal in plan.proposals] == names
    assert set(names) <= {member.name for member in hosts}
    assert all(0 <= proposal.score <= 100 for proposal in plan.proposals)
    assert all(proposal.reasons and all(proposal.reasons) for proposal in plan.proposals)
    assert [member.name for member in plan.members("storage_server")] == ([plan.server] if names else [])
    assert [member.name for member in plan.members("storage_clients")] == names[1:]
    assert all(problem.what and problem.todo and problem.kind for problem in plan.problems)
    # Each host that is left out has a problem, and a plan without hosts is blocked.
    reported = {problem.host for problem in plan.problems}
    assert all(member.name in reported for member in hosts if member.name not in names)
    assert names or plan.blocked
    assert plan.settings == settings


@given(st.data())
def test_settings_override_proposals(data: st.DataObject) -> None:
    hosts = data.draw(studios(at_least=1))
    settings = data.draw(settings_for(hosts))
    plan = make_plan(hosts, settings)
    names = [member.name for member in plan.hosts]
    if settings.server in names:
        assert plan.server == settings.server
    for proposal in plan.proposals:
        if proposal.host in settings.roles:
            services = [role for role in proposal.roles if not role.startswith("storage")]
            assert sorted(services) == sorted(settings.roles[proposal.host])
    for name in {settings.server, *settings.roles} - {None, *names}:
        assert plan.blocked
        assert any(problem.kind in ("unknown_host", "no_hosts") for problem in plan.problems), name


@given(st.data())
def test_plan_does_not_depend_on_the_order_of_hosts(data: st.DataObject) -> None:
    hosts = data.draw(studios())
    settings = data.draw(settings_for(hosts))
    shuffled = data.draw(st.permutations(hosts))
    assert make_plan(shuffled, settings) == make_plan(hosts, settings)


@given(studios(at_least=1), st.data(), st.integers(0, 8_000_000))
def test_more_memory_never_lowers_a_score(hosts: list[Host], data: st.DataObject, more: int) -> None:
    changed = data.draw(st.sampled_from(hosts))
    better = changed.model_copy(update={"memory_mib": (changed.memory_mib or 0) + more})
    before = make_plan(hosts, SETTINGS)
    after = make_plan([better if member is changed else member for member in hosts], SETTINGS)
    if changed.name in [member.name for member in before.hosts]:
        assert get_proposal(after, changed.name).score >= get_proposal(before, changed.name).score


@given(st.data())
def test_server_without_enough_space_is_not_proposed_if_another_has_it(data: st.DataObject) -> None:
    free = data.draw(st.lists(st.integers(0, 100), min_size=2, max_size=6))
    memory = data.draw(st.permutations(range(1000, 1000 + len(free))))
    hosts = [
        host(number, disks=[disk(gb)], memory_mib=mib)
        for number, (gb, mib) in enumerate(zip(free, memory, strict=True), 1)
    ]
    plan = make_plan(hosts, SETTINGS)
    chosen = free[[member.name for member in hosts].index(str(plan.server))]
    assert chosen >= 50 or max(free) < 50
    assert plan.blocked == (max(free) < 50)


# Examples.


def test_score_weights_memory_gpu_cpu_and_disk() -> None:
    best = host(1, memory_mib=65536, gpus=[RTX], cpus=32, disks=[disk(1000)])
    half = host(2, memory_mib=32768, gpus=[RTX.model_copy(update={"memory_mib": 12282})], cpus=16, disks=[disk(500)])
    dead = DEAD_CARD.model_copy(update={"memory_mib": 90_000})
    unknown = host(3, memory_mib=None, cpus=None, disks=[], gpus=[dead])
    memory_only = host(4, memory_mib=65536, cpus=None, disks=[])
    gpu_only = host(5, memory_mib=None, cpus=None, disks=[], gpus=[RTX])
    cpus_only = host(6, memory_mib=None, cpus=32, disks=[])
    plan = make_plan([best, half, unknown, memory_only, gpu_only, cpus_only], SETTINGS)
    assert {proposal.host: proposal.score for proposal in plan.proposals} == {
        "render1": 100,
        "render2": 50,
        "render3": 0,
        "render4": 40,
        "render5": 30,
        "render6": 20,
    }


def test_equal_scores_are_decided_by_free_space_then_name() -> None:
    plan = make_plan([host(1, disks=[disk(1000)]), host(2, disks=[disk(1004)])], SETTINGS)
    assert {proposal.score for proposal in plan.proposals} == {70}
    assert plan.server == "render2"
    assert make_plan([host(2), host(1)], SETTINGS).server == "render1"


def test_services_run_on_hosts_with_gpus() -> None:
    plan = make_plan([host(1, memory_mib=65536), host(2, gpus=[RTX]), host(3, gpus=[DEAD_CARD])], SETTINGS)
    assert plan.server == "render1"
    assert get_proposal(plan, "render1").roles == ["storage_server", "backend"]
    assert get_proposal(plan, "render2").roles == ["storage_clients", "ollama", "comfyui"]
    assert [member.name for member in plan.members("comfyui")] == ["render2"]
    assert [member.name for member in plan.members("ollama")] == ["render2"]
    assert any("other hosts have GPUs" in reason for reason in get_proposal(plan, "render3").reasons)
    assert any("RTX 4090 (24 GiB)" in reason for reason in get_proposal(plan, "render2").reasons)
    card = get_problem(plan, "gpu")
    assert (card.host, card.fatal) == ("render3", False)
    assert "no driver is loaded" in card.what
    assert not plan.blocked


def test_without_any_gpu_every_host_runs_the_services() -> None:
    plan = make_plan([host(1), host(2), host(3)], SETTINGS)
    assert len(plan.members("ollama")) == len(plan.members("comfyui")) == 3
    assert all(any("on its CPU" in reason for reason in proposal.reasons) for proposal in plan.proposals)
    assert [one.kind for one in plan.problems] == ["shared_file_system"]


def test_backend_runs_on_the_storage_server_unless_assigned() -> None:
    hosts = [host(1, memory_mib=65536), host(2)]
    assert [member.name for member in make_plan(hosts, SETTINGS).members("backend")] == ["render1"]
    elsewhere = make_plan(hosts, SETTINGS.replace(roles={"render2": ["backend"]}))
    assert [member.name for member in elsewhere.members("backend")] == ["render2"]
    both = make_plan(hosts, SETTINGS.replace(roles={"render1": ["backend"], "render2": ["backend"]}))
    assert get_problem(both, "many_backends").fatal


def test_free_space_counts_on_the_file_system_of_the_shares() -> None:
    small_root = host(1, memory_mib=65536, disks=[disk(20), disk(4000, "/data")])
    mounted = host(2, memory_mib=32768, disks=[disk(20), disk(4000, "/mnt/noslop", "nfs4")])
    roomy = host(3, disks=[disk(20), disk(100, "/mnt")])
    plan = make_plan([small_root, mounted, roomy], SETTINGS)
    assert plan.server == "render3"
    assert any("20 GB on /" in reason for reason in get_proposal(plan, "render1").reasons)
    on_data = make_plan([small_root, mounted, roomy], SETTINGS.replace(storage_root="/data/noslop"))
    assert on_data.server == "render1"
    existing = make_plan([small_root, mounted, roomy], SETTINGS.replace(storage_provider="existing"))
    assert existing.server == "render2"
    assert any("Something else shares the storage" in one for one in get_proposal(existing, "render2").reasons)


def test_disk_of_the_system_is_no_existing_storage() -> None:
    settings = SETTINGS.replace(storage_provider="existing")
    plan = make_plan([host(1, disks=[disk(20)]), host(2, disks=[disk(20)])], settings)
    problem = get_problem(plan, "room_unknown")
    assert not problem.fatal
    assert "no_room" not in {one.kind for one in plan.problems}


def test_each_file_system_with_a_share_needs_enough_space() -> None:
    plan = make_plan([host(1, disks=[disk(1000), disk(3, "/fast")])], SETTINGS.replace(media_cache_dir="/fast/cache"))
    assert "the file system of /fast/cache has 3.0 GB free" in get_problem(plan, "no_room").what


def test_plan_without_any_host_with_enough_space_is_blocked() -> None:
    hosts = [host(1, disks=[disk(12)]), host(2, disks=[disk(3), disk(900, "/data")])]
    plan = make_plan(hosts, SETTINGS)
    assert plan.server is not None
    problem = get_problem(plan, "no_room")
    assert problem.fatal
    assert "No host has 50 GB free" in problem.what
    assert "render2 has 900 GB on /data" in problem.todo


def test_chosen_server_without_enough_space_is_a_problem() -> None:
    plan = make_plan([host(1, disks=[disk(12)]), host(2)], SETTINGS.replace(server="render1"))
    assert plan.server == "render1"
    problem = get_problem(plan, "no_room")
    assert problem.fatal
    assert "render1 was chosen" in problem.what
    assert "choose another host" in problem.todo


def test_unknown_free_space_is_a_note() -> None:
    plan = make_plan([host(1, disks=[]), host(2, disks=[])], SETTINGS)
    assert not get_problem(plan, "room_unknown").fatal


def test_local_storage_of_several_hosts_is_refused() -> None:
    assert get_problem(
        make_plan([host(1), host(2)], SETTINGS.replace(storage_provider="local")), "local_with_many"
    ).fatal


def test_plan_without_hosts_is_blocked() -> None:
    given = Problem(kind="timeout", what="seen before", todo="wait")
    plan = make_plan([], SETTINGS, [given])
    assert plan.server is None
    assert [problem.kind for problem in plan.problems] == ["timeout", "no_hosts"]
    assert plan.blocked


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("unsupported_os", {"os": "Fedora", "os_version": "41"}),
        ("unsupported_os", {"os_version": "11.9"}),
        ("unsupported_os", {"os_version": "testing/unstable"}),
        ("unsupported_os", {"os": "Ubuntu", "os_version": "20.04"}),
        ("no_systemd", {"service_manager": "openrc"}),
    ],
)
def test_unfit_host_is_left_out(kind: str, changes: dict[str, str], named: bool) -> None:
    plan = make_plan([host(1, **changes, named=named, memory_mib=999_999), host(2), host(3)], SETTINGS)
    assert [member.name for member in plan.hosts] == ["render2", "render3"]
    problem = get_problem(plan, kind)
    assert (problem.host, problem.fatal) == ("render1", named)


@pytest.mark.parametrize(("system", "version"), [("Debian", "13"), ("Ubuntu", "22.04"), ("Ubuntu", "24.04")])
def test_supported_systems_are_members(system: str, version: str) -> None:
    assert [one.kind for one in make_plan([host(1, os=system, os_version=version), host(2)], SETTINGS).problems] == [
        "shared_file_system"
    ]


def test_unsupported_architecture_stores_and_runs_no_services() -> None:
    board = host(1, arch="riscv64", memory_mib=65536)
    plan = make_plan([board, host(2)], SETTINGS)
    assert plan.server == "render1"
    assert [member.name for member in plan.members("comfyui")] == ["render2"]
    assert not get_problem(plan, "arch").fatal
    with_service = make_plan([board, host(2)], SETTINGS.replace(roles={"render1": ["ollama"]}))
    assert get_problem(with_service, "arch").fatal


def test_two_names_of_one_machine_are_one_host() -> None:
    one = host(1, addresses=["10.0.0.1", "10.0.0.9"])
    again = host(9, machine_id=one.machine_id, addresses=["10.0.0.1", "10.0.0.9"])
    plan = make_plan([again, one, host(2)], SETTINGS)
    assert [member.name for member in plan.hosts] == ["render1", "render2"]
    assert not get_problem(plan, "same_machine").fatal
    named = make_plan([again, one, host(2)], SETTINGS.replace(server="render9"))
    assert named.server == "render9"
    assert "render1" not in [member.name for member in named.hosts]


def test_copies_of_one_image_are_two_machines() -> None:
    plan = make_plan([host(1), host(2, machine_id=host(1).machine_id)], SETTINGS)
    assert len(plan.hosts) == 2
    problem = get_problem(plan, "cloned_machine_id")
    assert (problem.host, problem.fatal) == ("render2", True)
    assert "systemd-machine-id-setup" in problem.todo


@pytest.mark.parametrize(
    ("kind", "fatal", "changes"),
    [
        ("address", True, {"address": "127.0.1.1"}),
        ("address", True, {"address": "fe80::1%eth0"}),
        ("address", True, {"address": "render2.example.org"}),
        ("mixed_addresses", True, {"address": "fd00::2", "addresses": ["fd00::2"]}),
        ("translated_address", False, {"address": "192.0.2.7"}),
        ("address_clash", True, {"address": "10.0.0.1", "port": 2222, "addresses": []}),
    ],
)
def test_unusable_addresses_are_problems(kind: str, fatal: bool, changes: dict[str, object]) -> None:
    plan = make_plan([host(1), host(2, **changes), host(3)], SETTINGS)
    problem = get_problem(plan, kind)
    assert (problem.host, problem.fatal) == ("render2", fatal)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("/srv is used by others too", {"storage_root": "/srv"}),
        ("/tmp belongs to the operating system", {"media_cache_dir": "/tmp/"}),
        ("lies inside the share projects", {"media_cache_dir": "/mnt/noslop/projects/cache"}),
    ],
)
def test_unsuitable_directories_are_problems(text: str, paths: dict[str, str]) -> None:
    problem = get_problem(make_plan([host(1), host(2)], SETTINGS.replace(**paths)), "path")
    assert problem.fatal
    assert text in problem.what


@pytest.mark.parametrize(
    ("disks", "words"),
    [
        ([disk(200)], "The shares in /mnt/noslop lie on"),
        ([disk(200), disk(200, "/mnt")], "The shares in /mnt/noslop lie on"),
        ([disk(200), disk(200, "/mnt/noslop")], ""),
        ([disk(200), disk(200, "/mnt/noslop/projects")], "The shares in /mnt/noslop lie on"),
    ],
)
def test_shares_on_a_file_system_with_other_data_are_reported(disks: list[Disk], words: str) -> None:
    settings = SETTINGS.replace(server="render1")
    for strict in (False, True):
        plan = make_plan([host(1, disks=disks), host(2)], settings.replace(require_own_file_system=strict))

        notes = [one for one in plan.problems if one.kind == "shared_file_system"]
        assert len(notes) == bool(words)
        assert plan.blocked == (strict and bool(words))
        if words:
            assert words in notes[0].what
            assert "render1" in notes[0].what
            assert "lvcreate" in notes[0].todo


def test_plan_prints_the_note_on_allowed_networks(capsys: pytest.CaptureFixture[str]) -> None:
    for networks in ([], ["192.168.7.0/24"]):
        print_plan(make_plan([host(1), host(2)], SETTINGS.replace(allowed_networks=networks)), Terminal())
        assert (OPEN_NETWORK in capsys.readouterr().out) == bool(networks)


@pytest.mark.parametrize(
    ("transport", "words"),
    [("plain", ""), ("tls", "the server proves itself"), ("mtls", "every host proves itself")],
)
def test_plan_prints_who_proves_itself_over_tls(transport: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(make_plan([host(1), host(2)], SETTINGS.replace(nfs_transport=transport)), Terminal())

    printed = capsys.readouterr().out
    assert words in printed
    assert ("Over TLS" in printed) == bool(words)
