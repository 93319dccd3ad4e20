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
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from noslop_driver.ansible.events import Status
from noslop_driver.ansible.inventory_list import list_inventory
from noslop_driver.ansible.runner import run_playbook
from noslop_driver.choices import Role
from noslop_driver.errors import PreflightError, UsageError
from noslop_driver.hosts.known_hosts import KnownHosts
from noslop_driver.inventory import directory, render, studio_yml
from noslop_driver.inventory.directory import CONNECTION, HOSTS, MORE_HOSTS, STUDIO, StudioDirectory
from noslop_driver.inventory.render import Connection
from noslop_driver.models import Candidate, Host, Plan, Proposal, StudioSettings
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


def make_plan(roles: dict[str, list[Role]], **settings: object) -> Plan:
    hosts = [host(name, number) for number, name in enumerate(roles, 1)]
    proposals = [Proposal(host=name, score=50, roles=own, reasons=["so"]) for name, own in roles.items()]
    server = next((name for name, own in roles.items() if "storage_server" in own), None)
    validated = StudioSettings.model_validate({"studio_id": "abc", **settings})
    return Plan(hosts=hosts, proposals=proposals, server=server, settings=validated, problems=[])


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


def test_ansible_reads_the_written_inventory(studio: StudioDirectory) -> None:
    studio.write(PLAN, Connection(Path("/home/artist/.ssh/key")))
    listing = list_inventory(studio.path)
    members = directory.read_members(listing, "nobody")
    assert {member.name: set(member.groups) for member in members} == {
        proposal.host: set(proposal.roles) for proposal in PLAN.proposals
    }
    [server] = [member for member in members if member.name == "server"]
    assert (server.address, server.port, server.user, server.studio_address) == ("10.0.0.1", 22, "artist", "10.0.0.1")
    variables = listing["_meta"]["hostvars"]["worker1"]
    assert variables["noslop_users"] == ["artist"]
    assert variables["ansible_ssh_private_key_file"] == "/home/artist/.ssh/key"
    assert directory.read_roles(members) == {
        "server": "server",
        "roles": {"server": ["ollama", "backend"], "worker1": ["comfyui"], "worker2": []},
    }
    assert set(listing) >= set(render.GROUPS) - {"comfyui"}, "groups without hosts exist as well"


def test_group_without_hosts_is_written(studio: StudioDirectory) -> None:
    studio.write(make_plan({"only": ["storage_server"]}), Connection(), local=True)
    written = yaml.safe_load((studio.path / HOSTS).read_text(encoding="utf-8"))
    assert written["all"]["children"]["storage_clients"] == {"hosts": {}}
    [member] = directory.read_members(list_inventory(studio.path), "nobody")
    assert member.local


def test_writing_again_changes_nothing(studio: StudioDirectory) -> None:
    assert set(studio.write(PLAN, Connection()).files) == {HOSTS, STUDIO, CONNECTION}
    before = {path: path.stat().st_mtime_ns for path in studio.path.rglob("*.yml")}
    again = studio.write(PLAN, Connection(), existing_hosts=[proposal.name for proposal in PLAN.hosts])
    assert (again.files, again.kept) == ([], [])
    assert {path: path.stat().st_mtime_ns for path in studio.path.rglob("*.yml")} == before


def test_unedited_files_are_updated(studio: StudioDirectory) -> None:
    studio.write(PLAN, Connection())
    changed = PLAN.model_copy(update={"settings": PLAN.settings.replace(min_free_gb=7)})
    assert studio.write(changed, Connection()).files == [STUDIO]
    assert studio.read_settings()["min_free_gb"] == 7


@pytest.mark.parametrize("name", [HOSTS, STUDIO, CONNECTION])
def test_edited_files_are_not_overwritten(studio: StudioDirectory, name: str) -> None:
    studio.write(PLAN, Connection())
    path = studio.path / name
    edited = path.read_text(encoding="utf-8") + "# my own line\n"
    path.write_text(edited, encoding="utf-8")
    assert studio.is_edited(name)
    changed = PLAN.model_copy(update={"settings": PLAN.settings.replace(min_free_gb=7)})
    written = studio.write(
        changed, Connection(Path("/new/key")), existing_hosts=[proposal.name for proposal in PLAN.hosts]
    )
    assert name in written.kept
    assert path.read_text(encoding="utf-8") == edited


def test_missing_variables_of_an_edited_file_are_noted(studio: StudioDirectory) -> None:
    studio.write(PLAN, Connection())
    path = studio.path / STUDIO
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "noslop_min_free_gb" not in line), encoding="utf-8")
    [note] = studio.write(PLAN, Connection()).notes
    assert "noslop_min_free_gb: 50" in note


def test_added_host_comes_after_the_existing_ones(studio: StudioDirectory) -> None:
    studio.write(PLAN, Connection())
    more = make_plan({"zeus": ["storage_clients"], **{proposal.host: proposal.roles for proposal in PLAN.proposals}})
    studio.write(more, Connection(), existing_hosts=["server", "worker1", "worker2"])
    written = yaml.safe_load((studio.path / HOSTS).read_text(encoding="utf-8"))
    assert list(written["all"]["hosts"]) == ["server", "worker1", "worker2", "zeus"]


def test_host_added_to_edited_hosts_goes_into_another_file(studio: StudioDirectory) -> None:
    studio.write(PLAN, Connection())
    path = studio.path / HOSTS
    path.write_text("# mine\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    names = ["server", "worker1", "worker2"]
    roles = {proposal.host: proposal.roles for proposal in PLAN.proposals}
    for new in ("worker3", "worker4"):
        roles[new] = ["storage_clients", "ollama"]
        written = studio.write(make_plan(roles, users=["artist"]), Connection(), existing_hosts=names)
        assert written.files == [MORE_HOSTS]
        assert new in written.notes[0]
        names.append(new)
    groups = {member.name: member.groups for member in directory.read_members(list_inventory(studio.path), "x")}
    assert set(groups) == {"server", "worker1", "worker2", "worker3", "worker4"}
    assert groups["worker3"] == groups["worker4"] == {"storage_clients", "ollama"}
    more = studio.path / MORE_HOSTS
    more.write_text(more.read_text(encoding="utf-8") + "# mine too\n", encoding="utf-8")
    roles["worker5"] = []
    with pytest.raises(UsageError, match="Add worker5 there"):
        studio.write(make_plan(roles, users=["artist"]), Connection(), existing_hosts=names)


def test_inventory_of_a_user_is_read_and_not_overwritten(studio: StudioDirectory) -> None:
    studio.path.mkdir()
    mine = "[storage_server]\nbig ansible_host=10.0.0.1\n[comfyui:children]\nstorage_server\n"
    (studio.path / "machines.ini").write_text(mine, encoding="utf-8")
    assert studio.exists
    assert studio.is_edited(HOSTS)
    [member] = directory.read_members(list_inventory(studio.path), "me")
    assert (member.name, member.user, set(member.groups)) == ("big", "me", {"storage_server", "comfyui"})
    written = studio.write(make_plan({"big": ["storage_server"]}), Connection(), existing_hosts=["big"])
    assert written.files == [STUDIO]
    assert (studio.path / "machines.ini").read_text(encoding="utf-8") == mine


def test_second_storage_server_is_a_usage_error() -> None:
    listing = {"storage_server": {"hosts": ["a", "b"]}, "all": {"hosts": ["a", "b"]}}
    with pytest.raises(UsageError, match=r"a, b.*one storage server"):
        directory.read_roles(directory.read_members(listing, "x"))


def test_files_are_written_atomically_with_their_mode(studio: StudioDirectory) -> None:
    studio.write(PLAN, Connection())
    path = studio.path / STUDIO
    path.chmod(0o640)
    studio.write(PLAN.model_copy(update={"settings": PLAN.settings.replace(uid=2700)}), Connection())
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")] == []


def test_state_directory_is_closed_to_others(studio: StudioDirectory) -> None:
    (studio.state_dir / "cache").mkdir(parents=True)
    studio.state_dir.chmod(0o755)
    studio.write(PLAN, Connection())
    directories = [studio.state_dir, studio.state_dir / "cache", studio.state_dir / "cache/facts"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directories} == {0o700}
    assert stat.S_IMODE((studio.state_dir / "written.json").stat().st_mode) == 0o600


SETTING_VALUES = st.fixed_dictionaries(
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


@hypothesis_settings(max_examples=50)
@given(SETTING_VALUES)
def test_studio_yml_round_trips_settings(tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]) -> None:
    settings = StudioSettings.model_validate(values)
    path = tmp_path_factory.mktemp("studio") / "studio.yml"
    path.write_text(studio_yml.render(settings), encoding="utf-8")
    assert studio_yml.validate(studio_yml.read(path)) == settings
    text = path.read_text(encoding="utf-8")
    assert list(Draft202012Validator(studio_yml.make_schema()).iter_errors(yaml.safe_load(text))) == []


def test_each_variable_has_a_description() -> None:
    assert list(studio_yml.DESCRIPTIONS) == list(collection.DEFAULTS)


def test_schema_json_is_current_and_valid() -> None:
    Draft202012Validator.check_schema(studio_yml.make_schema())
    written = studio_yml.SCHEMA_PATH.read_text(encoding="utf-8")
    assert written == studio_yml.render_schema(), "run `python -m noslop_driver.inventory.studio_yml`"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("noslop_min_free_gb: many", r"noslop_min_free_gb.*number.*'many'"),
        (
            "noslop_storage_roots: /x",
            r"noslop_storage_roots is not a setting of a studio.*Did you mean noslop_storage_root\?",
        ),
        ("noslop_storage_root: x", r"noslop_storage_root.*'x' is not an absolute path"),
        ("noslop_storage_root: '{{ x }}'", r"noslop_storage_root is a template"),
        ("noslop_storage_provider: ceph", r"noslop_storage_provider.*'ceph'"),
        ("- a list", r"holds list"),
        ("a: [", r"no YAML"),
    ],
)
def test_mistakes_in_the_file_are_usage_errors(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "studio.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        studio_yml.validate({"studio_id": "abc", **studio_yml.read(path)})


def test_variables_of_roles_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "studio.yml"
    path.write_text("comfyui_port: 8189\nnoslop_uid: 2610\nnoslop_media_cache_dir:\n", encoding="utf-8")
    assert studio_yml.read(path) == {"uid": 2610, "media_cache_dir": None}


def test_example_inventory_is_what_the_driver_writes(tmp_path: Path) -> None:
    """Check that the example, which documents the format, has each new variable and comment."""
    members = directory.read_members(list_inventory(EXAMPLE), "x")
    roles = {member.name: [group for group in render.GROUPS if group in member.groups] for member in members}
    settings = studio_yml.validate(studio_yml.read(EXAMPLE / STUDIO))
    plan = make_plan(roles).model_copy(
        update={
            "hosts": [
                Host(name=member.name, address=member.address, port=member.port, user=member.user) for member in members
            ],
            "settings": settings,
        }
    )
    written = StudioDirectory(tmp_path / "example")
    written.write(plan, Connection())
    for name in (HOSTS, STUDIO, CONNECTION):
        assert (EXAMPLE / name).read_text(encoding="utf-8") == (written.path / name).read_text(encoding="utf-8"), name
    assert (EXAMPLE / ".noslop/studio.schema.json").read_text(encoding="utf-8") == studio_yml.render_schema()


def pin_key(studio: StudioDirectory, server: sshd.SshServer) -> Candidate:
    candidate = Candidate(
        address=server.address, port=server.port, host_keys=[server.public_key], named=True, status="open"
    )
    assert KnownHosts(studio.known_hosts).classify([candidate]).new == [candidate]
    studio.make_state_dir()
    KnownHosts(studio.known_hosts).accept([candidate])
    return candidate


def test_plain_ansible_accepts_the_pinned_key_only(
    studio: StudioDirectory, sshd_server: StartSshd, tmp_path: Path
) -> None:
    server = sshd_server()
    candidate = pin_key(studio, server)
    one = Host(name="one", address=server.address, port=server.port, user=server.user)
    plan = make_plan({"one": ["storage_server"]}).model_copy(update={"hosts": [one]})
    studio.write(plan, Connection(server.client_key))
    playbook = write_playbook(tmp_path, {"name": "Ask", "ansible.builtin.raw": "true", "changed_when": False})
    # Do not reuse the connection of another test.
    os.environ["ANSIBLE_SSH_ARGS"] = "-o ControlMaster=no -o ControlPath=none"
    try:
        assert run_playbook(playbook, studio.path).ok
        assert KnownHosts(studio.known_hosts).classify([candidate]).pinned == [candidate]

        text = studio.known_hosts.read_text(encoding="ascii")
        other = sshd.make_key(tmp_path / "other").with_suffix(".pub").read_text(encoding="ascii").split()[1]
        studio.known_hosts.write_text(text.replace(server.public_key.split()[1], other), encoding="ascii")
        outcome = run_playbook(playbook, studio.path)
    finally:
        del os.environ["ANSIBLE_SSH_ARGS"]
    assert outcome.status is Status.UNREACHABLE
    assert "HOST IDENTIFICATION HAS CHANGED" in outcome.failures[0].message
    with pytest.raises(PreflightError, match=r"ssh-keygen -R \[127.0.0.1\]:\d+ -f .*known_hosts"):
        KnownHosts(studio.known_hosts).classify([candidate])


def test_hashed_keys_match(studio: StudioDirectory, sshd_server: StartSshd) -> None:
    server = sshd_server()
    candidate = pin_key(studio, server)
    subprocess.run(["ssh-keygen", "-Hq", "-f", str(studio.known_hosts)], check=True, capture_output=True)
    assert server.address not in studio.known_hosts.read_text(encoding="ascii")
    assert KnownHosts(studio.known_hosts).find_keys(server.address, server.port) == [server.public_key]
    assert KnownHosts(studio.known_hosts).classify([candidate]).pinned == [candidate]


def test_host_without_a_key_is_classified(studio: StudioDirectory) -> None:
    silent = Candidate(address="10.0.0.9", status="open")
    assert KnownHosts(studio.known_hosts).classify([silent]).without_key == [silent]
