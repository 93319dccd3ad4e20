# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.action.studio_lease import describe, has_ended
from ansible_collections.noslop.studio.plugins.module_utils.host import lease

from noslop_driver.ansible.watchdog import start_time

PLAYBOOKS = Path(__file__).parents[5] / "collections/ansible_collections/noslop/studio/playbooks"
NOW = 1_800_000_000.0
MINE = describe(os.getpid(), start_time(os.getpid()))
OTHER = replace(MINE, run="other", holder="artist@desk", pid=77, machine="another")


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path / "lease")


def test_lease_is_acquired_renewed_and_released(directory: str) -> None:
    assert lease.acquire(directory, MINE, NOW) is None
    assert lease.acquire(directory, MINE, NOW + 60) is None
    assert lease.read(directory) == lease.Lease(MINE, NOW, NOW + 60)
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    lease.release(directory, MINE)
    assert not os.path.exists(directory)
    lease.release(directory, MINE)


def test_refusal_names_the_other_run_its_time_and_the_next_step(directory: str) -> None:
    lease.acquire(directory, OTHER, NOW)
    refused = lease.acquire(directory, MINE, NOW + 600)
    assert refused
    message = refused.refusal(NOW + 600)
    for part in ("artist@desk (process 77 there)", "2027-01-15 08:00 UTC", "10 minutes ago", "110 minutes", "ignore"):
        assert part in message
    lease.release(directory, MINE)
    assert lease.read(directory) == lease.Lease(OTHER, NOW, NOW), "released by a run that did not have it"


@pytest.mark.parametrize(
    ("now", "arguments"),
    [
        (NOW + lease.EXPIRY_S, {}),
        (NOW - lease.EXPIRY_S, {}),
        (NOW, {"replaces": "other"}),
        (NOW, {"override": True}),
    ],
    ids=["not renewed", "renewed in the future", "its process ended", "overridden"],
)
def test_lease_of_another_run_is_replaced(directory: str, now: float, arguments: dict[str, object]) -> None:
    lease.acquire(directory, OTHER, NOW)
    assert lease.acquire(directory, MINE, now, **arguments) is None  # type: ignore[arg-type]
    assert lease.read(directory) == lease.Lease(MINE, now, now)


def test_release_with_override_ends_any_lease(directory: str) -> None:
    lease.acquire(directory, OTHER, NOW)
    lease.release(directory, MINE, override=True)
    assert lease.read(directory) is None


def test_one_of_many_concurrent_runs_gets_the_lease(directory: str) -> None:
    runs = [replace(OTHER, run=str(number)) for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        refused = list(pool.map(lambda run: lease.acquire(directory, run, NOW), runs))
    assert refused.count(None) == 1


def test_invalid_lease_counts_as_none(directory: str) -> None:
    os.mkdir(directory, 0o700)
    Path(directory, "lease.json").write_text("[1", encoding="ascii")
    assert lease.acquire(directory, MINE, NOW) is None


def test_directory_that_others_may_write_is_refused(directory: str, tmp_path: Path) -> None:
    os.mkdir(directory)
    os.chmod(directory, 0o777)  # noqa: S103 - what must be refused
    with pytest.raises(lease.LeaseError, match="Remove it"):
        lease.acquire(directory, MINE, NOW)
    (tmp_path / "link").symlink_to(directory)
    with pytest.raises(OSError, match="link"):
        lease.acquire(str(tmp_path / "link"), MINE, NOW)


def test_ended_process_is_distinguished_from_running_and_remote_ones() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run = describe(process.pid, start_time(process.pid))
    assert not has_ended(run, NOW)
    assert has_ended(replace(run, start_time="1"), NOW), "another process has its number now"
    assert has_ended(replace(run, boot="before"), 1.0), "the controller was restarted since"
    assert not has_ended(replace(run, boot="another"), NOW), "a clone of the controller runs"
    assert not has_ended(replace(run, machine="another", pid=2**22 + 1), NOW)
    assert not has_ended(replace(run, namespace="pid:[1]", pid=2**22 + 1), NOW)
    process.communicate(b"\n")
    assert has_ended(run, NOW)


@pytest.mark.parametrize("name", ["storage", "configure", "services", "teardown"])
def test_playbooks_that_change_something_begin_and_end_with_the_lease(name: str) -> None:
    plays = yaml.safe_load((PLAYBOOKS / f"{name}.yml").read_text(encoding="utf-8"))
    imports = [play.get("ansible.builtin.import_playbook") for play in (plays[0], plays[-1])]
    assert imports == ["noslop.studio.acquire_lease", "noslop.studio.release_lease"]
