# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan: its rules as properties over any studio, and its words over studios that people have."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.studio import OPEN_NETWORK
from hypothesis import given
from hypothesis import strategies as st

from noslop_driver.models import Disk, Gpu, Host, Plan, Problem, Proposal, Wishes
from noslop_driver.output.terminal import Terminal
from noslop_driver.planning.planner import make_plan
from noslop_driver.planning.view import show

GB = 10**9
WISHES = Wishes(studio_id="test")
RTX = Gpu(vendor="nvidia", name="RTX 4090", memory_mib=24564, driver="550", usable=True)
DEAD_CARD = Gpu(vendor="amd", name="W7900", usable=False, why="no driver is loaded")


def disk(free_gb: float, mount: str = "/", fstype: str = "ext4") -> Disk:
    return Disk(mount=mount, size_bytes=10_000 * GB, free_bytes=int(free_gb * GB), fstype=fstype)


def host(number: int, **changes: object) -> Host:
    """A Debian machine with 16 GiB, 8 CPUs, 200 GB free and no card."""
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


def proposal_of(plan: Plan, name: str) -> Proposal:
    return next(proposal for proposal in plan.proposals if proposal.host == name)


def problem(plan: Plan, kind: str) -> Problem:
    found = [problem for problem in plan.problems if problem.kind == kind]
    assert len(found) == 1, plan.problems
    assert found[0].what
    assert found[0].todo
    return found[0]


# Rules that hold for any studio.

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
anything = {
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
    return [host(number, **draw(st.fixed_dictionaries(anything))) for number in numbers]


@st.composite
def wishes(draw: st.DrawFn, hosts: Sequence[Host]) -> Wishes:
    names = [*(host.name for host in hosts), "nobody"]
    services = st.lists(st.sampled_from(["ollama", "comfyui", "backend"]), unique=True)
    return WISHES.changed(
        server=draw(st.none() | st.sampled_from(names)),
        roles=draw(st.dictionaries(st.sampled_from(names), services, max_size=3)),
        storage_provider=draw(st.sampled_from(["nfs", "local", "existing"])),
        min_free_gb=draw(st.sampled_from([0, 50, 5000])),
    )


@given(st.data())
def test_any_studio_gets_a_plan_that_keeps_the_rules(data: st.DataObject) -> None:
    hosts = data.draw(studios())
    wanted = data.draw(wishes(hosts))
    plan = make_plan(hosts, wanted)
    names = [member.name for member in plan.hosts]
    assert [proposal.host for proposal in plan.proposals] == names
    assert set(names) <= {member.name for member in hosts}
    assert all(0 <= proposal.score <= 100 for proposal in plan.proposals)
    assert all(proposal.reasons and all(proposal.reasons) for proposal in plan.proposals)
    assert [member.name for member in plan.members("storage_server")] == ([plan.server] if names else [])
    assert [member.name for member in plan.members("storage_clients")] == names[1:]
    assert all(seen.what and seen.todo and seen.kind for seen in plan.problems)
    # Who is left out is told of, and a plan with nobody in it is never carried out.
    told = {seen.host for seen in plan.problems}
    assert all(member.name in told for member in hosts if member.name not in names)
    assert names or plan.blocked
    assert len(names) < 2 or plan.wishes.storage_provider == wanted.storage_provider


@given(st.data())
def test_what_the_user_wants_wins(data: st.DataObject) -> None:
    hosts = data.draw(studios(at_least=1))
    wanted = data.draw(wishes(hosts))
    plan = make_plan(hosts, wanted)
    names = [member.name for member in plan.hosts]
    if wanted.server in names:
        assert plan.server == wanted.server
    for proposal in plan.proposals:
        if proposal.host in wanted.roles:
            services = [role for role in proposal.roles if not role.startswith("storage")]
            assert sorted(services) == sorted(wanted.roles[proposal.host])
    for name in {wanted.server, *wanted.roles} - {None, *names}:
        assert plan.blocked
        assert any(seen.kind in ("unknown_host", "no_hosts") for seen in plan.problems), name


@given(st.data())
def test_the_order_of_the_hosts_does_not_matter(data: st.DataObject) -> None:
    hosts = data.draw(studios())
    wanted = data.draw(wishes(hosts))
    shuffled = data.draw(st.permutations(hosts))
    assert make_plan(shuffled, wanted) == make_plan(hosts, wanted)


@given(studios(at_least=1), st.data(), st.integers(0, 8_000_000))
def test_more_memory_never_lowers_a_score(hosts: list[Host], data: st.DataObject, more: int) -> None:
    grown = data.draw(st.sampled_from(hosts))
    better = grown.model_copy(update={"memory_mib": (grown.memory_mib or 0) + more})
    before = make_plan(hosts, WISHES)
    after = make_plan([better if member is grown else member for member in hosts], WISHES)
    if grown.name in [member.name for member in before.hosts]:
        assert proposal_of(after, grown.name).score >= proposal_of(before, grown.name).score


@given(st.data())
def test_a_server_without_the_room_is_never_proposed_where_another_has_it(data: st.DataObject) -> None:
    free = data.draw(st.lists(st.integers(0, 100), min_size=2, max_size=6))
    memory = data.draw(st.permutations(range(1000, 1000 + len(free))))
    hosts = [
        host(number, disks=[disk(gb)], memory_mib=mib)
        for number, (gb, mib) in enumerate(zip(free, memory, strict=True), 1)
    ]
    plan = make_plan(hosts, WISHES)
    chosen = free[[member.name for member in hosts].index(str(plan.server))]
    assert chosen >= 50 or max(free) < 50
    assert plan.blocked == (max(free) < 50)


# Studios that people have.


def test_the_score_is_forty_thirty_twenty_ten_of_the_best() -> None:
    best = host(1, memory_mib=65536, gpus=[RTX], cpus=32, disks=[disk(1000)])
    half = host(2, memory_mib=32768, gpus=[RTX.model_copy(update={"memory_mib": 12282})], cpus=16, disks=[disk(500)])
    dead = DEAD_CARD.model_copy(update={"memory_mib": 90_000})
    unknown = host(3, memory_mib=None, cpus=None, disks=[], gpus=[dead])
    memory_only = host(4, memory_mib=65536, cpus=None, disks=[])
    gpu_only = host(5, memory_mib=None, cpus=None, disks=[], gpus=[RTX])
    cpus_only = host(6, memory_mib=None, cpus=32, disks=[])
    plan = make_plan([best, half, unknown, memory_only, gpu_only, cpus_only], WISHES)
    assert {proposal.host: proposal.score for proposal in plan.proposals} == {
        "render1": 100,
        "render2": 50,
        "render3": 0,
        "render4": 40,
        "render5": 30,
        "render6": 20,
    }


def test_of_equal_scores_more_room_wins_and_then_the_name() -> None:
    plan = make_plan([host(1, disks=[disk(1000)]), host(2, disks=[disk(1004)])], WISHES)
    assert {proposal.score for proposal in plan.proposals} == {70}
    assert plan.server == "render2"
    assert make_plan([host(2), host(1)], WISHES).server == "render1"


def test_services_go_to_the_hosts_with_gpus() -> None:
    plan = make_plan([host(1, memory_mib=65536), host(2, gpus=[RTX]), host(3, gpus=[DEAD_CARD])], WISHES)
    assert plan.server == "render1"
    assert proposal_of(plan, "render1").roles == ["storage_server", "backend"]
    assert proposal_of(plan, "render2").roles == ["storage_clients", "ollama", "comfyui"]
    assert [member.name for member in plan.members("comfyui")] == ["render2"]
    assert [member.name for member in plan.members("ollama")] == ["render2"]
    assert any("other hosts have GPUs" in reason for reason in proposal_of(plan, "render3").reasons)
    assert any("RTX 4090 (24 GiB)" in reason for reason in proposal_of(plan, "render2").reasons)
    card = problem(plan, "gpu")
    assert (card.host, card.fatal) == ("render3", False)
    assert "no driver is loaded" in card.what
    assert not plan.blocked


def test_without_any_gpu_every_host_runs_the_services() -> None:
    plan = make_plan([host(1), host(2), host(3)], WISHES)
    assert len(plan.members("ollama")) == len(plan.members("comfyui")) == 3
    assert all(any("on its CPU" in reason for reason in proposal.reasons) for proposal in plan.proposals)
    assert [one.kind for one in plan.problems] == ["shared_file_system"]


def test_the_backend_is_where_the_disks_are_unless_told_otherwise() -> None:
    hosts = [host(1, memory_mib=65536), host(2)]
    assert [member.name for member in make_plan(hosts, WISHES).members("backend")] == ["render1"]
    elsewhere = make_plan(hosts, WISHES.changed(roles={"render2": ["backend"]}))
    assert [member.name for member in elsewhere.members("backend")] == ["render2"]
    both = make_plan(hosts, WISHES.changed(roles={"render1": ["backend"], "render2": ["backend"]}))
    assert problem(both, "many_backends").fatal


def test_the_room_counts_where_the_shares_lie() -> None:
    small_root = host(1, memory_mib=65536, disks=[disk(20), disk(4000, "/data")])
    mounted = host(2, memory_mib=32768, disks=[disk(20), disk(4000, "/mnt/noslop", "nfs4")])
    roomy = host(3, disks=[disk(20), disk(100, "/mnt")])
    plan = make_plan([small_root, mounted, roomy], WISHES)
    assert plan.server == "render3"
    assert any("20 GB on /" in reason for reason in proposal_of(plan, "render1").reasons)
    on_data = make_plan([small_root, mounted, roomy], WISHES.changed(storage_root="/data/noslop"))
    assert on_data.server == "render1"
    existing = make_plan([small_root, mounted, roomy], WISHES.changed(storage_provider="existing"))
    assert existing.server == "render2"


def test_every_file_system_that_holds_a_share_needs_the_room() -> None:
    plan = make_plan([host(1, disks=[disk(1000), disk(3, "/fast")])], WISHES.changed(media_cache_dir="/fast/cache"))
    assert "3.0 GB on /fast" in problem(plan, "no_room").what


def test_nobody_has_the_room() -> None:
    hosts = [host(1, disks=[disk(12)]), host(2, disks=[disk(3), disk(900, "/data")])]
    plan = make_plan(hosts, WISHES)
    assert plan.server is not None
    told = problem(plan, "no_room")
    assert told.fatal
    assert "No host has 50 GB free" in told.what
    assert "render2 has 900 GB on /data" in told.todo


def test_the_chosen_server_has_no_room() -> None:
    plan = make_plan([host(1, disks=[disk(12)]), host(2)], WISHES.changed(server="render1"))
    assert plan.server == "render1"
    told = problem(plan, "no_room")
    assert told.fatal
    assert "render1 was chosen" in told.what
    assert "choose another host" in told.todo


def test_room_that_is_not_known_is_measured_later() -> None:
    plan = make_plan([host(1, disks=[]), host(2, disks=[])], WISHES)
    assert not problem(plan, "room_unknown").fatal


def test_one_host_keeps_its_storage_to_itself() -> None:
    plan = make_plan([host(1, address="127.0.0.1")], WISHES)
    assert plan.wishes.storage_provider == "local"
    assert not problem(plan, "one_host").fatal
    assert proposal_of(plan, "render1").roles == ["storage_server", "ollama", "comfyui", "backend"]
    assert not plan.blocked
    existing = make_plan([host(1)], WISHES.changed(storage_provider="existing"))
    assert existing.wishes.storage_provider == "existing"


def test_local_storage_of_several_hosts_is_refused() -> None:
    assert problem(make_plan([host(1), host(2)], WISHES.changed(storage_provider="local")), "local_with_many").fatal


def test_no_hosts() -> None:
    seen = Problem(kind="timeout", what="seen before", todo="wait")
    plan = make_plan([], WISHES, [seen])
    assert plan.server is None
    assert [told.kind for told in plan.problems] == ["timeout", "no_hosts"]
    assert plan.blocked


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("unsupported_os", {"os": "Fedora", "os_version": "41"}),
        ("unsupported_os", {"os_version": "11.9"}),
        ("unsupported_os", {"os": "Ubuntu", "os_version": "20.04"}),
        ("no_systemd", {"service_manager": "openrc"}),
    ],
)
def test_a_host_that_cannot_be_a_member_is_left_out(kind: str, changes: dict[str, str], named: bool) -> None:
    plan = make_plan([host(1, **changes, named=named, memory_mib=999_999), host(2), host(3)], WISHES)
    assert [member.name for member in plan.hosts] == ["render2", "render3"]
    told = problem(plan, kind)
    assert (told.host, told.fatal) == ("render1", named)


@pytest.mark.parametrize(("system", "version"), [("Debian", "13"), ("Debian", "testing/unstable"), ("Ubuntu", "24.04")])
def test_supported_systems(system: str, version: str) -> None:
    assert [one.kind for one in make_plan([host(1, os=system, os_version=version), host(2)], WISHES).problems] == [
        "shared_file_system"
    ]


def test_another_architecture_stores_and_does_not_compute() -> None:
    board = host(1, arch="riscv64", memory_mib=65536)
    plan = make_plan([board, host(2)], WISHES)
    assert plan.server == "render1"
    assert [member.name for member in plan.members("comfyui")] == ["render2"]
    assert not problem(plan, "arch").fatal
    wanted = make_plan([board, host(2)], WISHES.changed(roles={"render1": ["ollama"]}))
    assert problem(wanted, "arch").fatal


def test_two_names_of_one_machine() -> None:
    one = host(1, addresses=["10.0.0.1", "10.0.0.9"])
    again = host(9, machine_id=one.machine_id, addresses=["10.0.0.1", "10.0.0.9"])
    plan = make_plan([again, one, host(2)], WISHES)
    assert [member.name for member in plan.hosts] == ["render1", "render2"]
    assert not problem(plan, "same_machine").fatal
    spoken_of = make_plan([again, one, host(2)], WISHES.changed(server="render9"))
    assert spoken_of.server == "render9"
    assert "render1" not in [member.name for member in spoken_of.hosts]


def test_copies_of_one_image_are_two_machines() -> None:
    plan = make_plan([host(1), host(2, machine_id=host(1).machine_id)], WISHES)
    assert len(plan.hosts) == 2
    assert "systemd-machine-id-setup" in problem(plan, "cloned_machine_id").todo
    assert not plan.blocked


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
def test_addresses_the_members_cannot_use(kind: str, fatal: bool, changes: dict[str, object]) -> None:
    plan = make_plan([host(1), host(2, **changes), host(3)], WISHES)
    told = problem(plan, kind)
    assert (told.host, told.fatal) == ("render2", fatal)


@pytest.mark.parametrize(
    ("kind", "paths"),
    [
        ("system_directory", {"storage_root": "/srv"}),
        ("system_directory", {"media_cache_dir": "/tmp/"}),
        ("nested_directories", {"media_cache_dir": "/mnt/noslop/projects/cache"}),
    ],
)
def test_directories_in_the_wrong_place(kind: str, paths: dict[str, str]) -> None:
    assert problem(make_plan([host(1), host(2)], WISHES.changed(**paths)), kind).fatal


@pytest.mark.parametrize(
    ("disks", "words"),
    [
        ([disk(200)], "The shares in /mnt/noslop lie on"),
        ([disk(200), disk(200, "/mnt")], "The shares in /mnt/noslop lie on"),
        ([disk(200), disk(200, "/mnt/noslop")], ""),
        ([disk(200), disk(200, "/mnt/noslop/projects")], "The shares in /mnt/noslop lie on"),
    ],
)
def test_a_plan_says_what_forged_file_handles_read_on_the_server(disks: list[Disk], words: str) -> None:
    wishes = WISHES.changed(server="render1")
    for strict in (False, True):
        plan = make_plan([host(1, disks=disks), host(2)], wishes.changed(require_own_file_system=strict))

        notes = [one for one in plan.problems if one.kind == "shared_file_system"]
        assert len(notes) == bool(words)
        assert plan.blocked == (strict and bool(words))
        if words:
            assert words in notes[0].what
            assert "render1" in notes[0].what
            assert "lvcreate" in notes[0].todo


def test_one_machine_exports_nothing_that_could_be_left() -> None:
    assert "shared_file_system" not in {one.kind for one in make_plan([host(1)], WISHES).problems}


def test_plan_shows_what_an_allowed_network_opens(capsys: pytest.CaptureFixture[str]) -> None:
    for networks in ([], ["192.168.7.0/24"]):
        show(make_plan([host(1), host(2)], WISHES.changed(allowed_networks=networks)), Terminal())
        assert (OPEN_NETWORK in capsys.readouterr().out) == bool(networks)
