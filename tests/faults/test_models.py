# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a model comes whole, or not at all, while the storage server loses its power, its room or its clock."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.backends import UP_WITHIN_S, Backends, cut_power
from tests.support.lab.machines import LAB, ROOT, Machine, wait_for
from tests.support.model_server import ModelServer, make_safetensors, serving_models

#: Ten where the time is there: NOSLOP_CUTS=10.
CUTS = int(os.environ.get("NOSLOP_CUTS", "3"))
#: The host's address in the lab's network, from which the machines fetch.
ADDRESS = "10.77.42.1"
SHARE = "/mnt/noslop/comfyui/models"
MARKER = f"{SHARE}/.noslop-share"
#: What a power cut may cost of what was fetched (module_utils/models/part_file.py).
SYNC_BYTES = 64 * 1024 * 1024
LARGE = make_safetensors(300_000_000, "large")
SMALL = make_safetensors(20_000_000, "small")


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with serving_models(ADDRESS) as models:
        models.add("large", LARGE)
        models.add("small", SMALL)
        yield models


class Fetch:
    """Runs of the playbook `models` on the lab's storage server, for one model."""

    def __init__(self, directory: Path, server: ModelServer, name: str, **variables: object) -> None:
        self.name, self.server = name, server
        model = {"folder": "loras", "file": f"{name}.safetensors", "url": server.url(name)}
        path = directory / "variables.json"
        path.write_text(json.dumps({"noslop_models": [model], "lab_dir": str(LAB), **variables}))
        inventories = (LAB / "machines/inventory.yml", ROOT / "lab/studio/inventory/two_backends.yml")
        self.command = [
            *("ansible-playbook", *(f"--inventory={one}" for one in inventories), f"--extra-vars=@{path}"),
            *("--tags", "studio_models", "noslop.studio.models"),
        ]

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, code: int = 0) -> str:
        process = self.start()
        output, _ = process.communicate(timeout=UP_WITHIN_S)
        assert process.returncode == code, output
        return output

    def sent(self) -> int:
        with self.server.lock:
            return self.server.sent.get(self.name, 0)


def wait_for_bytes(fetch: Fetch, count: int) -> None:
    """Wait until the server has sent this many bytes of the model."""
    wait_for(f"{count} bytes", lambda: fetch.sent() > count, timeout_s=UP_WITHIN_S)


def read_sha256(machine: Machine, path: str) -> str:
    """Return the SHA-256 of a file on a machine's own disk; empty where it is not there."""
    command = f"test ! -e {path} || {{ sync; echo 3 > /proc/sys/vm/drop_caches; sha256sum {path}; }}"
    return machine.check_output(command, root=True, timeout_s=UP_WITHIN_S).partition(" ")[0]


def test_power_cuts_lose_little_and_show_nothing_wrong(backends: Backends, server: ModelServer, tmp_path: Path) -> None:
    # So slow that the power goes while bytes come.
    fetch = Fetch(tmp_path, server, "large", noslop_models_rate_mb=20)
    path = f"{SHARE}/loras/large.safetensors"
    for cut in range(1, CUTS + 1):
        process = fetch.start()
        try:
            least = max(fetch.sent(), cut * len(LARGE) // (CUTS + 1))
            wait_for_bytes(fetch, least)
            cut_power(backends)
            assert read_sha256(backends.server, path) == ""
        finally:
            process.kill()
            process.communicate()
        print(f"cut {cut} after {fetch.sent()} bytes")
        wait_for("the share", lambda: backends.server.sudo(f"test -e {MARKER}").returncode == 0, timeout_s=300)
    assert "changed=1" in fetch.run()
    assert read_sha256(backends.server, path) == hashlib.sha256(LARGE).hexdigest()
    ratio = fetch.sent() / len(LARGE)
    print(f"{CUTS} cuts: {ratio:.3f} of the model's bytes were sent")
    # Beside what was not on the disk for certain: what was on its way through the sockets.
    assert fetch.sent() < len(LARGE) + CUTS * (SYNC_BYTES + 16_000_000)
    assert "changed=0" in fetch.run()


@contextmanager
def filled_disk(machine: Machine, left_bytes: int) -> Iterator[None]:
    """Fill the disk of the storage up to this many bytes."""
    free = int(machine.check_output("stat -f -c '%a %S' /mnt/noslop | { read a s; echo $((a * s)); }", root=True))
    machine.check_output(f"fallocate -l {free - left_bytes} /mnt/noslop/filler", root=True)
    try:
        yield
    finally:
        machine.check_output("rm -f /mnt/noslop/filler", root=True)


def test_full_disk_is_named_before_the_first_byte(backends: Backends, server: ModelServer, tmp_path: Path) -> None:
    fetch = Fetch(tmp_path, server, "small")
    before = fetch.sent()
    with filled_disk(backends.server, len(SMALL) // 2):
        output = fetch.run(code=2)
    assert "There is no room for loras/small.safetensors" in output
    assert "Make room, and run this again" in output
    assert read_sha256(backends.server, f"{SHARE}/loras/small.safetensors") == ""
    # What was in the sockets' buffers when the answer was dropped.
    assert fetch.sent() - before < len(SMALL)
    assert "changed=1" in fetch.run()
    assert read_sha256(backends.server, f"{SHARE}/loras/small.safetensors") == hashlib.sha256(SMALL).hexdigest()


@contextmanager
def limited_share(machine: Machine) -> Iterator[str]:
    """Mount a file system with a quota of half the small model for the share's owner. Yield a share on it."""
    top = "/srv/quota"
    limit_kb = len(SMALL) // 2048
    set_quota = (
        "import ctypes, pwd, struct\n"
        "uid = pwd.getpwnam('noslop-models').pw_uid\n"
        "device = open('/run/quota-device').read().strip().encode()\n"
        # quotactl(2): Q_SETQUOTA of users; dqblk with the hard limit of blocks of 1 KiB, valid in QIF_BLIMITS.
        f"block = struct.pack('8QI4x', {limit_kb}, {limit_kb}, 0, 0, 0, 0, 0, 0, 1)\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "assert libc.quotactl(0x800008 << 8, device, uid, block) == 0, ctypes.get_errno()\n"
    )
    machine.check_output(
        f"mkdir -p {top} && truncate -s 200M /srv/quota.img"
        " && mkfs.ext4 -q -O quota -E quotatype=usrquota /srv/quota.img"
        " && losetup --find --show /srv/quota.img > /run/quota-device"
        f" && mount -o usrquota $(cat /run/quota-device) {top}"
        f" && install -d -o noslop-models -g noslop -m 2775 {top}/models"
        f" && install -o noslop-models -m 644 {SHARE}/.noslop-share {top}/models/",
        root=True,
    )
    try:
        done = machine.sudo("python3 -", stdin=set_quota)
        assert done.returncode == 0, done.stderr
        yield f"{top}/models"
    finally:
        machine.check_output(
            f"umount {top}; losetup -d $(cat /run/quota-device); rm -rf /srv/quota.img {top} /run/quota-device",
            root=True,
        )


def test_quota_is_named(backends: Backends, server: ModelServer, tmp_path: Path) -> None:
    with limited_share(backends.server) as share:
        output = Fetch(tmp_path, server, "small", studio_models_dir=share).run(code=2)
        assert "The quota is used up for loras/small.safetensors" in output
        assert read_sha256(backends.server, f"{share}/loras/small.safetensors") == ""


def test_share_that_goes_away_is_named_and_the_next_run_goes_on(
    backends: Backends, server: ModelServer, tmp_path: Path
) -> None:
    machine = backends.server
    machine.check_output(f"rm -f {SHARE}/loras/small.safetensors", root=True)
    fetch = Fetch(tmp_path, server, "small", noslop_models_rate_mb=1)
    start = fetch.sent()
    process = fetch.start()
    wait_for_bytes(fetch, start + 2_000_000)
    machine.check_output(f"mount -t tmpfs none {SHARE}", root=True)
    try:
        output, _ = process.communicate(timeout=UP_WITHIN_S)
        assert process.returncode == 2, output
        assert "loras/small.safetensors" in output
        assert "is not a share of the studio, or is not mounted" in fetch.run(code=2)
    finally:
        machine.check_output(f"umount {SHARE}", root=True)
    assert "changed=1" in fetch.run()
    assert read_sha256(machine, f"{SHARE}/loras/small.safetensors") == hashlib.sha256(SMALL).hexdigest()


def test_clock_that_steps_in_mid_fetch_changes_nothing(backends: Backends, server: ModelServer, tmp_path: Path) -> None:
    machine = backends.server
    machine.check_output(f"rm -f {SHARE}/loras/small.safetensors", root=True)
    machine.check_output("timedatectl set-ntp false || true", root=True)
    fetch = Fetch(tmp_path, server, "small", noslop_models_rate_mb=1)
    for step in ("+2 days", "-3 days"):
        start = fetch.sent()
        process = fetch.start()
        wait_for_bytes(fetch, start + 2_000_000)
        machine.check_output(f"date -s '{step}'", root=True)
        output, _ = process.communicate(timeout=UP_WITHIN_S)
        assert process.returncode == 0, output
        assert read_sha256(machine, f"{SHARE}/loras/small.safetensors") == hashlib.sha256(SMALL).hexdigest()
        assert fetch.sent() - start == len(SMALL)
        assert "changed=0" in fetch.run()
        machine.check_output(f"rm -f {SHARE}/loras/small.safetensors", root=True)
    machine.check_output(f"date -s @{int(subprocess.check_output(['date', '+%s']))}", root=True)
