# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what a host reports of its shares by itself, on real file systems that break in real ways."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host import check_status, lease, processes
from ansible_collections.noslop.studio.plugins.module_utils.host.check_status import Hanging, Status
from ansible_collections.noslop.studio.plugins.module_utils.monitor import program
from ansible_collections.noslop.studio.plugins.module_utils.monitor.program import Settings
from prometheus_client.parser import text_string_to_metric_families

from tests.support.silent_fuse import silent_mount
from tests.support.webhook_receiver import Receiver, serving

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount, and act as another account")
#: The account that owns the share. It need not exist on the host.
UID = 2600
MARKER = {"studio_id": "studio", "share": "projects", "share_id": "1"}


@contextlib.contextmanager
def mounted(*words: str | Path, at: Path) -> Iterator[None]:
    """Mount something, and unmount it after the block."""
    subprocess.run(["mount", *words, at], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)


class Host:
    """A studio of one host, whose only share is a directory of the test."""

    def __init__(self, root: Path) -> None:
        for path in (root.parent.parent, root.parent, root):
            path.chmod(0o755)
        self.share, self.lease = root / "projects", root / "lease"
        self.status, self.metrics, self.webhook = root / "status", root / "node-exporter", root / "webhook.json"
        for path in (self.share, self.status, self.metrics):
            path.mkdir()
        self.fill()
        self.options: dict[str, Any] = {
            "host": "here",
            "address": "127.0.0.1",
            "scope": ["storage", "services"],
            "shares": [{"name": "projects", "path": str(self.share), "kind": "work", "owner": "noslop"}],
            "root": str(root),
            "provider": "local",
            "server": True,
            "server_address": "",
            "clients": [],
            "members": [],
            "studio_id": "studio",
            "accounts": [{"name": "noslop", "uid": UID, "gid": UID}],
            "require_own_file_system": False,
            "min_free_gb": 0,
            "read_ahead_kb": 0,
            "mount_options": "",
            "models_options": "",
            "firewall_enabled": False,
            "allowed_networks": [],
            "timeout": 20,
            **dict.fromkeys(("ollama", "comfyui", "backend"), False),
            **{f"{name}_unit": f"noslop-{name}.service" for name in ("ollama", "comfyui", "backend")},
            **{f"{name}_port": 1 for name in ("ollama", "comfyui", "backend")},
        }

    def fill(self) -> None:
        """Make the directory that is at the share's path now a share of the studio."""
        (self.share / ".noslop-share").write_text(json.dumps(MARKER))
        if os.geteuid() == 0:
            os.chown(self.share, UID, UID)

    def inform(self, url: str) -> None:
        """Have the following runs inform an address."""
        self.webhook.write_text(json.dumps({"url": url, "format": "json"}))

    def run(self, slow_s: float = 1000, bound_s: float = 15) -> Status:
        return program.run(
            Settings(
                self.options,
                slow_s,
                webhook_file=str(self.webhook) if self.webhook.exists() else "",
                status_directory=str(self.status),
                textfile_directory=str(self.metrics),
                lease_directory=str(self.lease),
                bound_s=bound_s,
            )
        )

    def deploy(self) -> lease.Run:
        """Acquire the lease, as a run that changes this host does."""
        run = lease.Run("run", "admin@laptop", 1, "", "", "", "")
        assert lease.acquire(str(self.lease), run, time.time()) is None
        return run


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def disk(host: Host) -> Iterator[Path]:
    """Mount a file system of 8 MB as the share of the host. Return its image."""
    image = host.status.parent / "disk.img"
    with image.open("wb") as stream:
        stream.truncate(8_000_000)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-N", "64", image], check=True)
    with mounted("-o", "loop", image, at=host.share):
        host.fill()
        yield image


def fill_disk(path: Path) -> None:
    """Write a file until the disk has no block left."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DSYNC)
    for size in (1 << 16, 1 << 10):
        with contextlib.suppress(OSError):
            while True:
                os.write(descriptor, bytes(size))
    os.close(descriptor)


def list_bad(status: Status) -> dict[str, str]:
    """Return what is bad of the share: check to what was observed."""
    return {entry.check: entry.observed for entry in status.bad if entry.share == "projects"}


@root_only
def test_good_share_is_good_and_nothing_is_left_on_it(host: Host) -> None:
    status = host.run()

    assert list_bad(status) == {}
    checks = {entry.check for entry in status.checks if entry.share == "projects"}
    assert checks >= {"storage.mounted", "storage.marker", "storage.written", "storage.owner", "storage.slow"}
    assert [path.name for path in host.share.iterdir()] == [".noslop-share"]
    assert check_status.read(str(host.status)) == status
    assert stat.S_IMODE((host.status / "status.json").stat().st_mode) == 0o600


@root_only
def test_share_without_its_marker_is_bad_until_it_is_back(host: Host) -> None:
    before = host.run()
    shutil.move(host.share / ".noslop-share", host.status / "marker")
    bad = host.run()
    assert set(list_bad(bad)) == {"storage.marker"}
    shutil.move(host.status / "marker", host.share / ".noslop-share")
    after = host.run()

    assert list_bad(after) == {}
    since = [
        next(entry.since for entry in run.checks if entry.check == "storage.marker") for run in (before, bad, after)
    ]
    assert since == sorted(set(since)), "each turn has a time of its own"


@root_only
def test_read_only_share_is_bad(host: Host, disk: Path) -> None:
    assert list_bad(host.run()) == {}
    subprocess.run(["mount", "-o", "remount,ro", host.share], check=True)
    assert list_bad(host.run()) == {"storage.written": "Read-only file system"}
    subprocess.run(["mount", "-o", "remount,rw", host.share], check=True)
    assert list_bad(host.run()) == {}


@root_only
def test_full_share_is_bad(host: Host, disk: Path) -> None:
    fill_disk(host.share / "large")
    assert list_bad(host.run()) == {"storage.written": "No space left on device"}
    host.options["min_free_gb"] = 0.001
    assert "storage.free" in list_bad(host.run())
    (host.share / "large").unlink()
    assert list_bad(host.run()) == {}


@root_only
def test_share_without_free_inodes_is_bad(host: Host, disk: Path) -> None:
    with contextlib.suppress(OSError):
        for number in range(10_000):
            (host.share / str(number)).touch()
    bad = list_bad(host.run())
    assert set(bad) == {"storage.inodes", "storage.written"}
    assert "0 of 64 inodes are free" in bad["storage.inodes"]


@root_only
def test_other_file_system_in_place_of_the_share_is_bad_and_nothing_is_written_there(host: Host) -> None:
    with mounted("-t", "tmpfs", "other", at=host.share):
        before = host.share.stat().st_mtime_ns
        bad = list_bad(host.run())
        assert host.share.stat().st_mtime_ns == before
    assert set(bad) >= {"storage.mounted", "storage.marker"}
    assert "tmpfs from other" in bad["storage.mounted"]


@root_only
def test_share_of_a_wrong_owner_is_bad(host: Host) -> None:
    os.chown(host.share, 0, 0)
    assert list_bad(host.run()) == {"storage.written": "Permission denied"}


@root_only
def test_slow_share_is_bad_from_the_second_run_on(host: Host) -> None:
    assert list_bad(host.run(slow_s=0)) == {}
    assert set(list_bad(host.run(slow_s=0))) == {"storage.slow"}
    assert list_bad(host.run()) == {}


@root_only
def test_planted_link_and_pipe_are_not_written_through(host: Host) -> None:
    target = host.status / "target"
    target.write_text("as it was")
    (host.share / ".noslop-check.here").symlink_to(target)
    assert list_bad(host.run()) == {}
    assert target.read_text() == "as it was"
    os.mkfifo(host.share / ".noslop-check.here")
    assert list_bad(host.run()) == {}


@root_only
def test_share_that_never_answers_is_bad_in_time_and_gets_no_second_process(host: Host) -> None:
    with silent_mount(host.share):
        first = host.run(bound_s=3)
        (hanging,) = first.hanging.values()
        second = host.run(bound_s=3)
        assert list_bad(first)["storage.mounted"].endswith("no answer within 3 s")
        assert f"process {hanging.pid}, which looked at it" in list_bad(second)["storage.mounted"]
        assert second.hanging == first.hanging
        assert processes.has_started_at(hanging.pid, hanging.started)
        assert [entry.check for entry in second.bad if entry.check == "host.checks"] == []
    os.waitpid(hanging.pid, 0)
    third = host.run()
    assert (list_bad(third), third.hanging) == ({}, {})


@root_only
def test_failure_while_the_host_is_deployed_counts_for_nothing_until_the_lease_is_released(host: Host) -> None:
    run = host.deploy()
    (host.share / ".noslop-share").unlink()
    statuses = [host.run() for _ in range(3)]
    assert {status.phase for status in statuses} == {"deploying"}
    assert {entry.bad_runs for status in statuses for entry in status.bad} == {0}
    lease.release(str(host.lease), run)
    after = host.run()
    assert after.phase != "deploying"
    if not after.phase:
        assert {entry.bad_runs for entry in after.bad} == {1}


@root_only
def test_metrics_are_readable_by_all_and_as_prometheus_wants_them(host: Host) -> None:
    (host.share / ".noslop-share").unlink()
    status = host.run()

    file = host.metrics / "noslop.prom"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert list(host.metrics.iterdir()) == [file]
    families = {family.name: family for family in text_string_to_metric_families(file.read_text())}
    values = {
        (sample.labels["check"], sample.labels["share"]): sample.value for sample in families["noslop_check_ok"].samples
    }
    assert values == {entry.key: float(entry.ok) for entry in status.checks}
    (finished,) = families["noslop_check_last_run_timestamp_seconds"].samples
    assert finished.value == status.finished


@root_only
def test_status_that_cannot_be_parsed_is_replaced(host: Host) -> None:
    (host.status / "status.json").write_text('{"version": 1, "checks": [')
    assert check_status.read(str(host.status)) is None
    assert check_status.read(str(host.status)) != host.run()
    assert check_status.read(str(host.status)) is not None


@root_only
def test_part_of_an_earlier_run_that_still_hangs_is_not_started_again_and_the_others_are(host: Host) -> None:
    before = host.run()
    own = Hanging(os.getpid(), processes.read_start(os.getpid()), before.finished)
    check_status.write(replace(before, hanging={"host": own}), str(host.status))

    after = host.run()

    (bad,) = [entry for entry in after.bad if entry.check == "host.checks"]
    assert bad.observed.startswith(f"the checks of the host: process {os.getpid()}, which looked at it ")
    assert "storage.account" not in {entry.check for entry in after.checks}
    assert list_bad(after) == {}
    check_status.write(replace(after, boot="the one before"), str(host.status))
    assert host.run().hanging == {}, "a restart ended every process"


@root_only
def test_webhook_is_informed_once_of_each_turn(host: Host) -> None:
    with serving(Receiver(204)) as server:
        host.inform(server.url)
        for _ in range(2):
            host.run()
        server.bodies.clear()  # of the accounts, which this host lacks
        (host.share / ".noslop-share").unlink()
        host.run()
        assert server.bodies == []
        for _ in range(3):
            host.run()
        host.fill()
        host.run()
        host.run()
    turned = [(one["check"], one["ok"]) for body in server.bodies for one in body["turned"]]
    assert turned == [("storage.marker", False), ("storage.marker", True)]


@root_only
def test_webhook_that_fails_delays_no_check_and_is_tried_again(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    (host.share / ".noslop-share").unlink()
    with serving(Receiver(500)) as server:
        host.inform(server.url)
        statuses = [host.run() for _ in range(4)]
    assert [bool(list_bad(status)) for status in statuses] == [True] * 4
    assert len(server.bodies) == 1, "the next attempt waits half a minute"
    assert statuses[-1].deliveries.error == "127.0.0.1 answered 500"
    assert {entry.announced for entry in statuses[-1].checks} == {False}
    printed = "".join(capsys.readouterr())
    assert "the webhook was not informed: 127.0.0.1 answered 500" in printed
    assert "SECRET" not in printed + (host.status / "status.json").read_text()


@root_only
def test_webhook_is_not_informed_while_the_host_is_deployed(host: Host) -> None:
    run = host.deploy()
    (host.share / ".noslop-share").unlink()
    with serving(Receiver(204)) as server:
        host.inform(server.url)
        for _ in range(3):
            host.run()
        assert server.bodies == []
        lease.release(str(host.lease), run)
        for _ in range(2):
            host.run()
    assert "storage.marker" in {one["check"] for body in server.bodies for one in body["turned"]}
