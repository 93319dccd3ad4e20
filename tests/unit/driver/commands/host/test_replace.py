# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which machines can replace a host, and what changes in the studio. Its server refuses each command."""

from __future__ import annotations

from pathlib import Path

import pytest

from noslop_driver.errors import ExitCode
from noslop_driver.inventory import machines
from noslop_driver.models import Candidate
from tests.support import sshd
from tests.support.driver_cli import run, run_json
from tests.support.ssh_studio import CLOSED, SshStudio, refuse_commands
from tests.unit.conftest import StartSshd


@pytest.fixture
def studio(tmp_path: Path, sshd_server: StartSshd, monkeypatch: pytest.MonkeyPatch) -> SshStudio:
    monkeypatch.chdir(tmp_path)
    servers = {"server": sshd_server("127.0.0.86", options=refuse_commands(tmp_path))}
    return SshStudio(tmp_path / "inventories/studio", servers)


@pytest.mark.slow
def test_new_machine_gets_the_entry_of_the_old_one(studio: SshStudio, sshd_server: StartSshd, tmp_path: Path) -> None:
    new = sshd_server("127.0.0.87", options=sshd.claim_systemd(tmp_path))
    before = studio.hosts
    login = ["--user", new.user, "--ssh-key", str(new.client_key), "--accept-new-keys", "--yes"]
    output, _done = run_json("host", "replace", "worker2", new.host, "--dead", *login)
    assert (output["host"], output["old_address"], output["address"]) == ("worker2", CLOSED[0], new.address)
    # The checks before a change end the run: this computer is no host of a studio, and the server refuses commands.
    assert [phase["phase"] for phase in output["phases"]] in (["preflight"], ["preflight", "members"])
    old_entry, new_entry = (
        f"    worker2:\n      ansible_host: {address}   # by DHCP\n      ansible_port: {port}\n"
        f"      ansible_user: {user}\n      noslop_address: {address}\n"
        for address, port, user in ((*CLOSED, "artist"), (new.address, new.port, new.user))
    )
    assert studio.hosts == before.replace(old_entry, new_entry)
    assert studio.known_hosts.find_keys(new.address, new.port) == [new.public_key]
    assert studio.known_hosts.find_keys(*CLOSED) == []
    (removed,) = machines.read(studio.directory).removed
    assert removed.name == "worker2"
    assert not studio.directory.known_hosts.with_name("known_hosts.new").exists()


@pytest.mark.slow
@pytest.mark.long
def test_machine_that_was_installed_anew_replaces_itself(
    studio: SshStudio, sshd_server: StartSshd, tmp_path: Path
) -> None:
    anew = sshd_server("127.0.0.90", options=sshd.claim_systemd(tmp_path))
    other = SshStudio(tmp_path / "inventories/other", {**studio.servers, "worker2": anew})
    old_key = f"ssh-ed25519 {'OLD':A<68}"
    other.known_hosts.forget(Candidate(address=anew.address, port=anew.port, status="open"))
    other.known_hosts.accept([Candidate(address=anew.address, port=anew.port, host_keys=[old_key], status="open")])
    before = other.hosts
    login = ["--user", anew.user, "--ssh-key", str(anew.client_key), "--accept-new-keys", "--yes"]
    words = ["host", "replace", "worker2", anew.host, *login]
    output, _done = run_json(*words, "--inventory", str(other.directory.path))
    assert "teardown" not in [phase["phase"] for phase in output["phases"]]
    assert other.hosts == before
    assert other.known_hosts.find_keys(anew.address, anew.port) == [anew.public_key]


def test_member_cannot_replace_another_one(studio: SshStudio, sshd_server: StartSshd, tmp_path: Path) -> None:
    server = studio.servers["server"]
    done = run("host", "replace", "worker2", server.host, "--yes", "--accept-new-keys")
    assert done.returncode == ExitCode.USAGE
    assert f"{server.address} is server, a host of" in done.stderr
    worker = sshd_server("127.0.0.88")
    other = SshStudio(tmp_path / "inventories/other", {**studio.servers, "worker": worker})
    done = run("host", "replace", "worker", worker.host, "--yes", "--inventory", str(other.directory.path))
    assert done.returncode == ExitCode.USAGE
    assert "shows the key of worker: it is the same machine" in done.stderr


def test_removed_machine_replaces_none_before_a_login(studio: SshStudio, sshd_server: StartSshd) -> None:
    back = sshd_server("127.0.0.85")
    removed = machines.RemovedMachine(
        name="worker3", address=back.address, port=back.port, host_keys=[back.public_key], removed="2026-01-02T03:04:05"
    )
    machines.write(studio.directory, machines.Machines(removed=[removed]))
    done = run("host", "replace", "worker2", back.host, "--dead", "--yes", "--accept-new-keys")
    assert done.returncode == ExitCode.PREFLIGHT
    assert "removed from the studio as worker3 on 2026-01-02. Pass --again" in done.stderr
    assert not any("publickey" in line for line in back.complete_log())


def test_machine_whose_key_is_not_accepted_replaces_none(studio: SshStudio, sshd_server: StartSshd) -> None:
    before = studio.hosts
    new = sshd_server("127.0.0.89")
    done = run("host", "replace", "worker2", new.host, "--dead", "--yes")
    assert done.returncode == ExitCode.PREFLIGHT
    assert "--yes accepts no key" in done.stderr
    assert studio.hosts == before
    assert not any("publickey" in line for line in new.complete_log())
