# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.module_utils import studio as collection
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from noslop_driver.ansible.events import Status
from noslop_driver.ansible.runner import list_inventory, run_playbook
from noslop_driver.errors import PreflightError, UsageError
from noslop_driver.inventory import directory, render
from noslop_driver.inventory.directory import CONNECTION, HOSTS, MORE_HOSTS, STUDIO, StudioDirectory
from noslop_driver.inventory.render import Connection
from noslop_driver.models import Candidate, Host, Plan, Proposal, Role, Wishes
from noslop_driver.settings import studio_yml
from tests.support import sshd
from tests.support.plays import write_playbook
from tests.unit.conftest import StartSshd

EXAMPLE = Path(__file__).parents[4] / "inventories/example"

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True).filter(
    lambda name: name not in (*render.GROUPS, "all", "ungrouped", "localhost")
)
PATHS = st.lists(st.text("abcXYZ019 _.-äß'\"#:%", min_size=1).map(str.strip).filter(bool), min_size=1).map(
    lambda parts: "/data/" + "/".join(parts)
)


def host(name: str, number: int = 1) -> Host:
    return Host(name=name, address=f"10.0.0.{number}", user="artist")


def make_plan(roles: dict[str, list[Role]], **wishes: object) -> Plan:
    hosts = [host(name, number) for number, name in enumerate(roles, 1)]
    proposals = [Proposal(host=name, score=50, roles=own, reasons=["so"]) for name, own in roles.items()]
    server = next((name for name, own in roles.items() if "storage_server" in own), None)
    given = Wishes.model_validate({"studio_id": "abc", **wishes})
    return Plan(hosts=hosts, proposals=proposals, server=server, wishes=given, problems=[])


PLAN = make_plan(
    {
        "server": ["storage_server", "backend", "ollama"],
        "worker1": ["storage_clients", "comfyui"],
        "worker2": ["storage_clients"],
    },
    users=["artist"],
)


@pytest.fixture
def studio(tmp_path: Path) -> StudioDirectory:
    return StudioDirectory(tmp_path / "a studio")


def test_what_is_written_is_what_ansible_reads(studio: StudioDirectory) -> None:
    studio.write(PLAN, Connection(Path("/home/artist/.ssh/key")))
    listing = list_inventory(studio.path)
    found = directory.members(listing, "nobody")
    assert {member.name: set(member.groups) for member in found} == {
        proposal.host: set(proposal.roles) for proposal in PLAN.proposals
    }
    [server] = [member for member in found if member.name == "server"]
    assert (server.address, server.port, server.user, server.studio_address) == ("10.0.0.1", 22, "artist", "10.0.0.1")
    variables = listing["_meta"]["hostvars"]["worker1"]
    assert variables["noslop_users"] == ["artist"]
    assert variables["ansible_ssh_private_key_file"] == "/home/artist/.ssh/key"
    assert directory.choices(found) == {
        "server": "server",
        "roles": {"server": ["ollama", "backend"], "worker1": ["comfyui"], "worker2": []},
    }
    assert set(listing) >= set(render.GROUPS) - {"comfyui"}, "groups without hosts exist as well"


def test_a_group_without_hosts_is_there(studio: StudioDirectory) -> None:
    studio.write(make_plan({"only": ["storage_server"]}), Connection(), local=True)
    written = yaml.safe_load((studio.path / HOSTS).read_text(encoding="utf-8"))
    assert written["all"]["children"]["storage_clients"] == {"hosts": {}}
    [member] = directory.members(list_inventory(studio.path), "nobody")
    assert member.local


def test_writing_again_changes_nothing(studio: StudioDirectory) -> None:
    assert set(studio.write(PLAN, Connection()).files) == {HOSTS, STUDIO, CONNECTION}
    before = {path: path.stat().st_mtime_ns for path in studio.path.rglob("*.yml")}
    again = studio.write(PLAN, Connection(), known=[made.name for made in PLAN.hosts])
    assert (again.files, again.kept) == ([], [])
    assert {path: path.stat().st_mtime_ns for path in studio.path.rglob("*.yml")} == before


def test_the_driver_brings_its_own_files_up_to_date(studio: StudioDirectory) -> None:
    studio.write(PLAN, Connection())
    changed = PLAN.model_copy(update={"wishes": PLAN.wishes.changed(min_free_gb=7)})
    assert studio.write(changed, Connection()).files == [STUDIO]
    assert studio.wishes()["min_free_gb"] == 7


@pytest.mark.parametrize("name", [HOSTS, STUDIO, CONNECTION])
def test_what_a_person_edited_is_never_written_again(studio: StudioDirectory, name: str) -> None:
    studio.write(PLAN, Connection())
    path = studio.path / name
    edited = path.read_text(encoding="utf-8") + "# my own line\n"
    path.write_text(edited, encoding="utf-8")
    assert studio.is_edited(name)
    changed = PLAN.model_copy(update={"wishes": PLAN.wishes.changed(min_free_gb=7)})
    written = studio.write(changed, Connection(Path("/new/key")), known=[made.name for made in PLAN.hosts])
    assert name in written.kept
    assert path.read_text(encoding="utf-8") == edited


def test_new_variables_are_proposed_for_an_edited_file(studio: StudioDirectory) -> None:
    studio.write(PLAN, Connection())
    path = studio.path / STUDIO
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "noslop_min_free_gb" not in line), encoding="utf-8")
    [note] = studio.write(PLAN, Connection()).notes
    assert "noslop_min_free_gb: 50" in note


def test_a_host_that_is_added_keeps_the_order_of_the_others(studio: StudioDirectory) -> None:
    studio.write(PLAN, Connection())
    more = make_plan({"zeus": ["storage_clients"], **{made.host: made.roles for made in PLAN.proposals}})
    studio.write(more, Connection(), known=["server", "worker1", "worker2"])
    written = yaml.safe_load((studio.path / HOSTS).read_text(encoding="utf-8"))
    assert list(written["all"]["hosts"]) == ["server", "worker1", "worker2", "zeus"]


def test_a_host_that_is_added_to_edited_hosts_goes_into_a_file_beside_them(studio: StudioDirectory) -> None:
    studio.write(PLAN, Connection())
    path = studio.path / HOSTS
    path.write_text("# mine\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    known = ["server", "worker1", "worker2"]
    roles = {made.host: made.roles for made in PLAN.proposals}
    for new in ("worker3", "worker4"):
        roles[new] = ["storage_clients", "ollama"]
        written = studio.write(make_plan(roles, users=["artist"]), Connection(), known=known)
        assert written.files == [MORE_HOSTS]
        assert new in written.notes[0]
        known.append(new)
    found = {member.name: member.groups for member in directory.members(list_inventory(studio.path), "x")}
    assert set(found) == {"server", "worker1", "worker2", "worker3", "worker4"}
    assert found["worker3"] == found["worker4"] == {"storage_clients", "ollama"}
    more = studio.path / MORE_HOSTS
    more.write_text(more.read_text(encoding="utf-8") + "# mine too\n", encoding="utf-8")
    roles["worker5"] = []
    with pytest.raises(UsageError, match="Add worker5 there"):
        studio.write(make_plan(roles, users=["artist"]), Connection(), known=known)


def test_somebody_elses_inventory_is_read_and_not_written_over(studio: StudioDirectory) -> None:
    studio.path.mkdir()
    mine = "[storage_server]\nbig ansible_host=10.0.0.1\n[comfyui:children]\nstorage_server\n"
    (studio.path / "machines.ini").write_text(mine, encoding="utf-8")
    assert studio.exists
    assert studio.is_edited(HOSTS)
    [member] = directory.members(list_inventory(studio.path), "me")
    assert (member.name, member.user, set(member.groups)) == ("big", "me", {"storage_server", "comfyui"})
    written = studio.write(make_plan({"big": ["storage_server"]}), Connection(), known=["big"])
    assert written.files == [STUDIO]
    assert (studio.path / "machines.ini").read_text(encoding="utf-8") == mine


def test_a_studio_has_one_server() -> None:
    listing = {"storage_server": {"hosts": ["a", "b"]}, "all": {"hosts": ["a", "b"]}}
    with pytest.raises(UsageError, match=r"a, b.*one storage server"):
        directory.choices(directory.members(listing, "x"))


def test_files_are_written_whole_with_the_rights_they_had(studio: StudioDirectory) -> None:
    studio.write(PLAN, Connection())
    path = studio.path / STUDIO
    path.chmod(0o640)
    studio.write(PLAN.model_copy(update={"wishes": PLAN.wishes.changed(uid=2700)}), Connection())
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")] == []


def test_own_directory_is_closed_to_others_even_where_it_was_open(studio: StudioDirectory) -> None:
    (studio.own / "cache").mkdir(parents=True)
    studio.own.chmod(0o755)
    studio.write(PLAN, Connection())
    directories = [studio.own, studio.own / "cache", studio.own / "cache/facts"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directories} == {0o700}
    assert stat.S_IMODE((studio.own / "written.json").stat().st_mode) == 0o600


WISHES = st.fixed_dictionaries(
    {
        "studio_id": st.just("abc"),
        "storage_root": PATHS,
        "project_storage_dir": st.none() | PATHS,
        "users": st.lists(NAMES),
        "min_free_gb": st.integers(0, 10**6),
        "artifact_mirror": st.sampled_from(["", "http://mirror.lan/x", "it's: # odd"]),
        "firewall_enabled": st.booleans(),
    }
)


@settings(max_examples=50)
@given(WISHES)
def test_studio_file_says_what_was_wished(
    tmp_path_factory: pytest.TempPathFactory, given_wishes: dict[str, object]
) -> None:
    wishes = Wishes.model_validate(given_wishes)
    path = tmp_path_factory.mktemp("studio") / "studio.yml"
    path.write_text(studio_yml.render(wishes), encoding="utf-8")
    assert studio_yml.validate(studio_yml.read(path)) == wishes
    text = path.read_text(encoding="utf-8")
    assert list(Draft202012Validator(studio_yml.schema()).iter_errors(yaml.safe_load(text))) == []


def test_every_variable_is_explained() -> None:
    assert list(studio_yml.ABOUT) == list(collection.DEFAULTS)


def test_schema_is_fresh_and_valid() -> None:
    Draft202012Validator.check_schema(studio_yml.schema())
    written = studio_yml.SCHEMA_PATH.read_text(encoding="utf-8")
    assert written == studio_yml.schema_text(), "run `python -m noslop_driver.settings.studio_yml`"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("noslop_min_free_gb: many", r"noslop_min_free_gb.*number.*'many'"),
        ("noslop_storage_roots: /x", r"noslop_storage_roots means nothing.*Did you mean noslop_storage_root\?"),
        ("noslop_storage_root: x", r"noslop_storage_root.*'x' is not an absolute path"),
        ("noslop_storage_root: '{{ x }}'", r"noslop_storage_root is a template"),
        ("noslop_storage_provider: ceph", r"noslop_storage_provider.*'ceph'"),
        ("- a list", r"holds list"),
        ("a: [", r"no YAML"),
    ],
)
def test_mistakes_in_the_file_are_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "studio.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        studio_yml.validate({"studio_id": "abc", **studio_yml.read(path)})


def test_variables_of_roles_may_stand_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "studio.yml"
    path.write_text("comfyui_port: 8189\nnoslop_uid: 2610\nnoslop_media_cache_dir:\n", encoding="utf-8")
    assert studio_yml.read(path) == {"uid": 2610, "media_cache_dir": None}


def test_the_example_is_what_the_driver_writes(tmp_path: Path) -> None:
    """A new variable or comment shows in the example, which people read to learn the format."""
    found = directory.members(list_inventory(EXAMPLE), "x")
    roles = {member.name: [group for group in render.GROUPS if group in member.groups] for member in found}
    wishes = studio_yml.validate(studio_yml.read(EXAMPLE / STUDIO))
    plan = make_plan(roles).model_copy(
        update={
            "hosts": [Host(name=made.name, address=made.address, port=made.port, user=made.user) for made in found],
            "wishes": wishes,
        }
    )
    written = StudioDirectory(tmp_path / "example")
    written.write(plan, Connection())
    for name in (HOSTS, STUDIO, CONNECTION):
        assert (EXAMPLE / name).read_text(encoding="utf-8") == (written.path / name).read_text(encoding="utf-8"), name
    assert (EXAMPLE / ".noslop/studio.schema.json").read_text(encoding="utf-8") == studio_yml.schema_text()


def pinned(studio: StudioDirectory, server: sshd.SshServer) -> Candidate:
    candidate = Candidate(
        address=server.address, port=server.port, host_keys=[server.public_key], named=True, status="open"
    )
    assert studio.known_hosts.sort([candidate]).new == [candidate]
    studio.prepare()
    studio.known_hosts.accept([candidate])
    return candidate


def test_plain_ansible_trusts_the_accepted_key_and_no_other(
    studio: StudioDirectory, sshd_server: StartSshd, tmp_path: Path
) -> None:
    server = sshd_server()
    candidate = pinned(studio, server)
    one = Host(name="one", address=server.address, port=server.port, user=server.user)
    plan = make_plan({"one": ["storage_server"]}).model_copy(update={"hosts": [one]})
    studio.write(plan, Connection(server.client_key))
    playbook = write_playbook(tmp_path, {"name": "Ask", "ansible.builtin.raw": "true", "changed_when": False})
    # No connection of another test may be used instead of a new one.
    os.environ["ANSIBLE_SSH_ARGS"] = "-o ControlMaster=no -o ControlPath=none"
    try:
        assert run_playbook(playbook, studio.path).ok
        assert studio.known_hosts.sort([candidate]).pinned == [candidate]

        text = studio.known_hosts.path.read_text(encoding="ascii")
        other = sshd.make_key(tmp_path / "other").with_suffix(".pub").read_text(encoding="ascii").split()[1]
        studio.known_hosts.path.write_text(text.replace(server.public_key.split()[1], other), encoding="ascii")
        outcome = run_playbook(playbook, studio.path)
    finally:
        del os.environ["ANSIBLE_SSH_ARGS"]
    assert outcome.status is Status.UNREACHABLE
    assert "HOST IDENTIFICATION HAS CHANGED" in outcome.failures[0].message
    with pytest.raises(PreflightError, match=r"ssh-keygen -R \[127.0.0.1\]:\d+ -f .*known_hosts"):
        studio.known_hosts.sort([candidate])


def test_keys_that_were_hashed_are_found(studio: StudioDirectory, sshd_server: StartSshd) -> None:
    server = sshd_server()
    candidate = pinned(studio, server)
    subprocess.run(["ssh-keygen", "-Hq", "-f", str(studio.known_hosts.path)], check=True, capture_output=True)
    assert server.address not in studio.known_hosts.path.read_text(encoding="ascii")
    assert studio.known_hosts.keys(server.address, server.port) == [server.public_key]
    assert studio.known_hosts.sort([candidate]).pinned == [candidate]


def test_a_host_that_shows_no_key_is_told_apart(studio: StudioDirectory) -> None:
    silent = Candidate(address="10.0.0.9", status="open")
    assert studio.known_hosts.sort([silent]).without_key == [silent]
