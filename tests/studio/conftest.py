"""Deploy one studio for all tests of this directory, by the command that a person would type."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

import pytest

from tests.support.lab.driver import INVENTORY
from tests.support.lab.machines import ROOT, Machine, list_machines, reset_machines
from tests.support.lab.secret_watch import SecretWatch, read_secrets

#: The share that gets a file system of its own; the others lie on the server's system disk, as in most homes.
OWN_DISK = "media_cache"
MAKE_OWN_DISK = f"""
set -eu
truncate -s 3G /var/lib/{OWN_DISK}.img
mkfs.ext4 -q -F /var/lib/{OWN_DISK}.img
mkdir -p /mnt/noslop/{OWN_DISK}
echo "/var/lib/{OWN_DISK}.img /mnt/noslop/{OWN_DISK} ext4 loop,nosuid,nodev,noatime 0 2" >> /etc/fstab
systemctl daemon-reload
mount /mnt/noslop/{OWN_DISK}
"""


@dataclass(frozen=True)
class Studio:
    """The studio of `make demo`, and the secrets that were exposed while it was deployed."""

    output: str
    exit_code: int
    machines: dict[str, Machine]
    exposed: list[str]


@pytest.fixture(scope="session")
def studio() -> Studio:
    """Run the demo on bare machines, and watch every process of this computer for secrets."""
    reset_machines()
    shutil.rmtree(INVENTORY, ignore_errors=True)
    list_machines()["server"].check_output(MAKE_OWN_DISK, root=True)
    with SecretWatch(read_secrets()) as watch:
        done = subprocess.run(
            ["bash", "lab/studio/demo.sh"],
            cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2400, check=False,
        )  # fmt: skip
    output = done.stdout + done.stderr
    print(output)
    return Studio(output, done.returncode, list_machines(), watch.exposures)
