# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a host records what it is like, and is compared with that later."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.module_utils.deployed import record
from ansible_collections.noslop.studio.plugins.modules import deployed_state

from tests.support.module_runner import run_module
from tests.unit.collection.roles.test_studio_monitor import write_settings

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root uses a share as its owner")
RUN = {"run": "run 1"}


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, Any]]:
    """Return the parameters of studio_check for a studio of this host alone, whose shares are directories."""
    # Each account reaches its own share there.
    with tempfile.TemporaryDirectory(prefix="noslop-test-", dir="/srv") as directory:
        Path(directory).chmod(0o755)
        yield make_options(Path(directory))


def make_options(directory: Path) -> dict[str, Any]:
    options: dict[str, Any] = json.loads(write_settings(directory).read_text("utf-8"))["options"]
    numbers = {account["name"]: account for account in options["accounts"]}
    for share in options["shares"]:
        Path(share["path"]).mkdir(parents=True)
        os.chown(share["path"], numbers[share["owner"]]["uid"], numbers[share["owner"]]["gid"])
    return options


class Host:
    """This host, with its record in another place."""

    def __init__(self, path: Path, options: dict[str, Any]) -> None:
        self.path = path
        self._options = options

    def run(self, state: str, *, check: bool = False) -> dict[str, Any]:
        return self._run({"state": state}, check=check)

    def record(self, *, leased: bool = False, check: bool = False) -> dict[str, Any]:
        given = {"deployment": "abc", "fingerprint": {"inventory": "1"}, "options": self._options}
        return self._run({"state": "recorded", "leased": leased, **given}, check=check)

    def _run(self, arguments: dict[str, Any], *, check: bool) -> dict[str, Any]:
        return run_module(
            "deployed_state", {"path": str(self.path), "run": RUN, "timeout": 60, **arguments}, check=check
        )

    def list_failed(self, *, check: bool = False) -> set[str]:
        """Return the areas that are not as they were."""
        checks = self.run("compared", check=check)["checks"]
        return {one["check"] for one in checks if one["check"].startswith("deployed.") and not one["ok"]}


@pytest.fixture
def host(tmp_path: Path, options: dict[str, Any]) -> Host:
    (tmp_path / "state").mkdir()
    return Host(tmp_path / "state/deployed.json", options)


@root_only
@pytest.mark.slow
def test_host_is_as_it_was_until_something_changes(host: Host, options: dict[str, Any]) -> None:
    assert host.record()["recorded"] is True
    compared = host.run("compared")
    assert (compared["deployment"], compared["fingerprint"]) == ("abc", {"inventory": "1"})
    assert compared["finished"].endswith("Z")
    assert compared["changed"] is False
    names = {check["check"] for check in compared["checks"]}
    assert {"deployed.units", "deployed.files", "deployed.packages", "storage.mounted", "storage.account"} <= names
    assert "storage.slow" not in names, "a slow disk is no drift"
    assert host.list_failed() == set()
    os.chmod(options["shares"][0]["path"], 0o700)
    assert host.list_failed() == {"deployed.shares"}
    assert host.list_failed(check=True) == {"deployed.shares"}
    assert host.record()["recorded"] is True
    assert host.list_failed() == set()


@root_only
def test_only_the_run_that_has_replaced_the_record_writes_one_where_the_lease_is(host: Host) -> None:
    assert host.record(leased=True)["recorded"] is False, "no run has the lease"
    record.invalidate("another run", str(host.path))
    assert host.record(leased=True)["recorded"] is False
    assert record.read_run(str(host.path)) == "another run"
    record.invalidate(RUN["run"], str(host.path))
    assert host.record(leased=True)["recorded"] is True
    assert host.record(leased=True)["recorded"] is False, "the next deployment acquires the lease anew"


@root_only
def test_host_without_a_record_returns_no_fingerprint(host: Host) -> None:
    assert host.run("compared") | {"invocation": 0} == {
        "changed": False, "deployment": "", "fingerprint": {}, "finished": "", "checks": [], "invocation": 0,
    }  # fmt: skip
    host.record()
    assert host.run("absent", check=True)["changed"] is False
    assert host.run("compared")["deployment"] == "abc"
    assert host.run("absent")["changed"] is False
    assert host.run("compared")["deployment"] == ""


@root_only
def test_documented_example_runs(host: Host) -> None:
    compared, absent = (task["noslop.studio.deployed_state"] for task in yaml.safe_load(deployed_state.EXAMPLES))
    host.record()
    assert host.run(**compared)["deployment"] == "abc"
    host.run(**absent)
    assert not host.path.exists()


@root_only
def test_check_mode_writes_no_record(host: Host) -> None:
    assert host.record(check=True)["recorded"] is False
    assert not host.path.exists()


def test_record_needs_a_deployment_and_its_fingerprint(tmp_path: Path) -> None:
    arguments = {"state": "recorded", "path": str(tmp_path / "deployed.json"), "run": RUN}
    assert run_module("deployed_state", arguments)["failed"] is True
