# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that hosts get certificates of one authority, keep their keys, and that a second run changes nothing."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.module_utils.nfs import certificates
from ansible_collections.noslop.studio.plugins.modules import nfs_certificate

PROJECT = Path(__file__).parents[4]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="the files belong to root")


class Studio:
    """Two hosts that are this computer, each with a directory, and an inventory."""

    def __init__(self, root: Path) -> None:
        self.root, self.inventory = root, root / "inventory"
        self.authority = self.inventory / ".noslop/nfs-authority/authority.pem"
        self.inventory.mkdir()
        self.write_hosts()

    def write_hosts(self, **addresses: str) -> None:
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = {
            name: {**local, "address": addresses.get(name, f"10.0.0.{number}")}
            for number, name in enumerate(("one", "two"), 1)
        }
        (self.inventory / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))

    def directory(self, host: str) -> Path:
        return self.root / host

    def run(self, *words: str, task: dict[str, Any] | None = None, fails: bool = False) -> str:
        options = task or {
            "directory": f"{self.root}/{{{{ inventory_hostname }}}}",
            "host": "{{ inventory_hostname }}",
            "addresses": ["{{ address }}"],
            "authority_file": "{{ inventory_dir }}/.noslop/nfs-authority/authority.pem",
            "studio_id": "atelier",
        }
        play = self.root / "play.yml"
        tasks = [{"name": "Make the certificate", "noslop.studio.nfs_certificate": options}]
        play.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.inventory), str(play), *words]
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / "collections"),
            "ANSIBLE_NOCOLOR": "1",
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


def count_changed(output: str) -> int:
    return sum(map(int, re.findall(r"changed=(\d+)", output)))


def files_of(studio: Studio, host: str) -> certificates.TlsFiles:
    return certificates.list_files(str(studio.directory(host)))


@root_only
@pytest.mark.slow
def test_every_host_has_a_certificate_of_one_authority_and_a_second_run_changes_nothing(studio: Studio) -> None:
    output = studio.run("-vvv", "--diff")

    assert count_changed(output) == 2
    assert "PRIVATE KEY" not in output
    for host in ("one", "two"):
        files = files_of(studio, host)
        assert certificates.find_chain_problem(files) == ""
        assert stat.S_IMODE(os.stat(files.key).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(files.certificate).st_mode) == 0o644
        assert "PRIVATE KEY" not in Path(files.authority).read_text()
    assert Path(files_of(studio, "one").authority).read_text() == Path(files_of(studio, "two").authority).read_text()
    assert count_changed(studio.run()) == 0


@root_only
@pytest.mark.slow
@pytest.mark.long
def test_host_with_another_address_gets_another_certificate_for_the_same_key(studio: Studio) -> None:
    studio.run()
    keys = {host: Path(files_of(studio, host).key).read_text() for host in ("one", "two")}
    studio.write_hosts(two="10.0.0.22")

    output = studio.run("-v")

    assert count_changed(output) == 1
    assert "it is not for two, 10.0.0.22" in output
    assert {host: Path(files_of(studio, host).key).read_text() for host in keys} == keys
    names = certificates.run_openssl(
        "x509", "-in", files_of(studio, "two").certificate, "-noout", "-ext", "subjectAltName"
    )
    assert "IP Address:10.0.0.22" in names


@root_only
@pytest.mark.slow
def test_key_that_others_may_read_is_replaced_with_its_certificate(studio: Studio) -> None:
    studio.run()
    files = files_of(studio, "one")
    before = Path(files.key).read_text()
    os.chmod(files.key, 0o644)

    assert count_changed(studio.run("--check")) == 1
    assert Path(files.key).read_text() == before
    assert count_changed(studio.run()) == 1

    assert Path(files.key).read_text() != before
    assert stat.S_IMODE(os.stat(files.key).st_mode) == 0o600
    assert certificates.find_chain_problem(files) == ""
    assert count_changed(studio.run()) == 0


@root_only
def test_check_mode_makes_nothing(studio: Studio) -> None:
    output = studio.run("--check", "-v")

    assert count_changed(output) == 2
    assert not studio.authority.exists()
    assert not studio.directory("one").exists()


@root_only
@pytest.mark.slow
def test_host_that_trusts_another_authority_is_refused_and_stays_as_it_is(studio: Studio) -> None:
    studio.run()
    before = Path(files_of(studio, "one").certificate).read_text()
    studio.authority.unlink()

    output = studio.run(fails=True)

    assert "trusts the authority of an earlier deployment" in " ".join(output.split())
    assert "set noslop_nfs_transport to plain" in " ".join(output.split())
    assert not studio.authority.exists()
    assert Path(files_of(studio, "one").certificate).read_text() == before


@root_only
def test_relative_path_of_the_authority_is_refused(studio: Studio) -> None:
    task = {"host": "one", "addresses": ["10.0.0.1"], "authority_file": "authority.pem", "studio_id": "atelier"}

    assert "write an absolute path" in " ".join(studio.run(task=task, fails=True).split())


@root_only
@pytest.mark.slow
def test_documented_example_runs(studio: Studio) -> None:
    example: dict[str, Any] = yaml.safe_load(nfs_certificate.EXAMPLES)[0]["noslop.studio.nfs_certificate"]
    task = {**example, "directory": f"{studio.root}/{{{{ inventory_hostname }}}}", "studio_id": "atelier"}

    studio.run(task=task)

    assert certificates.find_chain_problem(files_of(studio, "one")) == ""
