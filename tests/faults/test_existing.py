"""Test studios of two workers on storage that a third machine shares, without NoSlop: NFS with root_squash, NFSv3, SMB.

The machine `server` is a file server of other people here, and no member. Each way of sharing gets a studio of its own,
which is deployed, verified, used and torn down again.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.lab.driver import PrintedRun, parse_run, read_checks, run_driver
from tests.support.lab.machines import CONTROLLER, LAB, MIRROR_PORT, ROOT, Machine, list_machines, reset_machines
from tests.support.lab.machines import wait_for as wait_until

INVENTORY = ROOT / "inventories" / "existing"
WORKERS = ("worker1", "worker2")
NAS = "/srv/nas"
ROOT_PATH = "/mnt/noslop"
#: Each share with the number of its account (module_utils/studio.py).
SHARES = {
    "ollama/models": 2603,
    "comfyui/models": 2601,
    "comfyui/custom_nodes": 2602,
    "projects": 2600,
    "media_cache": 2600,
}
NFS_OPTIONS = {"nfs4": "vers=4.2,hard,acdirmin=1,acdirmax=3", "nfs3": "vers=3,nolock,hard,acdirmin=1,acdirmax=3"}
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get update -q && apt-get install -q -y --no-install-recommends"
START_EXPORT = f"""
set -eu
{INSTALL} nfs-kernel-server
mkdir -p {NAS} /etc/exports.d
chown root:root {NAS}
chmod 0755 {NAS}
echo '{NAS} 10.77.42.0/24(rw,sync,root_squash,no_subtree_check)' > /etc/exports.d/nas.exports
systemctl restart nfs-server
exportfs -r
"""
START_SAMBA = f"""
set -eu
{INSTALL} samba
id nas >/dev/null 2>&1 || useradd --system --no-create-home nas
mkdir -p {" ".join(f"{NAS}/{share}" for share in SHARES)}
chown -R nas:nas {NAS}
cat > /etc/samba/smb.conf <<'END'
[global]
server min protocol = SMB3
[nas]
path = {NAS}
read only = no
valid users = nas
END
printf 'nas-password\\nnas-password\\n' | smbpasswd -s -a nas
systemctl restart smbd
"""


@dataclass(frozen=True)
class Storage:
    """A way in which the file server shares its directory with the workers."""

    name: str
    nas: Machine
    workers: tuple[Machine, ...]

    def mount(self, worker: Machine) -> None:
        """Mount the directory on a worker, as its administrator would."""
        if self.name == "smb":
            for share, number in SHARES.items():
                options = f"username=nas,password=nas-password,vers=3.1.1,mfsymlinks,uid={number},gid={number}"
                worker.check_output(
                    f"mkdir -p {ROOT_PATH}/{share} && mount -t cifs //{self.nas.address}/nas/{share} "
                    f"{ROOT_PATH}/{share} -o {options},file_mode=0664,dir_mode=02775",
                    root=True,
                )
            return
        worker.check_output(
            f"mkdir -p {ROOT_PATH} && mount -t nfs -o {NFS_OPTIONS[self.name]} {self.nas.address}:{NAS} {ROOT_PATH}",
            root=True,
        )

    def unmount(self, worker: Machine) -> None:
        """Unmount it."""
        points = [f"{ROOT_PATH}/{share}" for share in SHARES] if self.name == "smb" else [ROOT_PATH]
        worker.check_output("; ".join(f"umount {point}" for point in points), root=True)


def deploy(*words: str) -> tuple[int, PrintedRun, str]:
    """Deploy a studio of the workers on their storage. Return exit code, result, and the lines beside it."""
    machines = list_machines()
    mirror = f"http://{CONTROLLER}:{MIRROR_PORT}"
    pins = INVENTORY / "group_vars/all/mirror.yml"
    subprocess.run(
        [sys.executable, "lab/studio/pins.py", ".lab/artifacts/manifest.json", mirror, str(pins)], cwd=ROOT, check=True
    )
    hosts = [word for name in WORKERS for word in ("--host", machines[name].address)]
    command = ("deploy", "--studio", "existing", *hosts, "--user", "artist", "--ssh-key", ".lab/id_ed25519")
    command += ("--host-keys", ".lab/machines/known_hosts", "--become-pass-file", ".lab/sudo_password")
    command += ("--provider", "existing", "--min-free-gb", "1", "--artifact-mirror", mirror, "--yes", "--json")
    done = run_driver(*command, *words, timeout_s=3600)
    return done.returncode, parse_run(command, done), done.stderr


def run_command(name: str, *words: str) -> tuple[int, PrintedRun]:
    password = ("--become-pass-file", str(LAB / "sudo_password"))
    done = run_driver(name, "--studio", "existing", *password, *words, "--json", timeout_s=1800)
    return done.returncode, parse_run((name,), done)


def use(worker: Machine, other: Machine) -> None:
    """Make a project over HTTP, and read its folder on another host."""
    playbook = ["ansible-playbook", "-i", str(INVENTORY), f"--become-password-file={LAB / 'sudo_password'}"]
    made = subprocess.run(
        [*playbook, "lab/studio/first_project.yml"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
    listing = f"ls {ROOT_PATH}/projects"
    for machine in (worker, other):
        as_owner = f"setpriv --reuid 2600 --regid 2600 --clear-groups {listing}"
        assert "my-first-project" in machine.check_output(as_owner, root=True)


@pytest.fixture(scope="module")
def machines() -> dict[str, Machine]:
    """Reset the lab, and install what a mount needs on the workers."""
    reset_machines()
    found: dict[str, Machine] = list_machines()
    for name in WORKERS:
        found[name].check_output(f"{INSTALL} nfs-common cifs-utils", root=True, timeout_s=1200)
    return found


@pytest.fixture(scope="module", params=["nfs4", "nfs3", "smb"])
def storage(request: pytest.FixtureRequest, machines: dict[str, Machine]) -> Iterator[Storage]:
    """Share an empty directory of the file server in one of the ways, mounted on both workers."""
    nas = machines["server"]
    nas.check_output(f"rm -rf {NAS}", root=True)
    nas.check_output(START_SAMBA if request.param == "smb" else START_EXPORT, root=True, timeout_s=1200)
    storage = Storage(request.param, nas, tuple(machines[name] for name in WORKERS))
    shutil.rmtree(INVENTORY, ignore_errors=True)
    for worker in storage.workers:
        storage.mount(worker)
    yield storage
    if INVENTORY.exists():
        run_command("teardown", "--yes")
    for worker in storage.workers:
        storage.unmount(worker)


@pytest.fixture(scope="module")
def deployed(storage: Storage) -> tuple[int, PrintedRun, str]:
    """Prepare the directories as the error says, and deploy."""
    if storage.name != "smb":
        code, refused, text = deploy()
        assert code == 1, refused
        commands = re.search(r"run: `(install [^`]+)`", json.dumps(refused))
        assert commands, (refused, text)
        storage.nas.check_output(f"cd {NAS} && {commands[1]}", root=True)
    return deploy()


def select(result: Any, check: str) -> list[str]:  # noqa: ANN401  # the printed object, or a report
    return [one["seen"] for one in read_checks(result) if one["check"] == check]


def test_studio_is_deployed_and_verified(storage: Storage, deployed: tuple[int, PrintedRun, str]) -> None:
    code, result, text = deployed
    assert code == 0, (result, text)

    code, verified = run_command("verify")

    assert code == 0, verified
    assert len(select(verified, "probe.features")) == len(SHARES) * len(WORKERS)


def test_studio_is_used(storage: Storage, deployed: tuple[int, PrintedRun, str]) -> None:
    assert deployed[0] == 0
    use(*storage.workers)


def test_second_deployment_changes_nothing(storage: Storage, deployed: tuple[int, PrintedRun, str]) -> None:
    assert deployed[0] == 0
    code, result, text = deploy()

    assert code == 0, (result, text)
    changes = {
        (phase["phase"], host): stats["changed"] for phase in result["phases"] for host, stats in phase["hosts"].items()
    }
    assert not any(changes.values()), changes


def test_nothing_of_the_probe_stays_on_the_share(storage: Storage, deployed: tuple[int, PrintedRun, str]) -> None:
    assert deployed[0] == 0
    assert storage.nas.check_output(f"find {NAS} -name '.noslop-probe*'", root=True) == ""


def test_service_waits_for_a_mount_that_comes_late(storage: Storage, deployed: tuple[int, PrintedRun, str]) -> None:
    assert deployed[0] == 0
    worker = storage.workers[1]
    worker.check_output("systemctl stop noslop-ollama noslop-comfyui noslop-backend 2>/dev/null; true", root=True)
    storage.unmount(worker)
    worker.check_output("systemctl start --no-block noslop-ollama", root=True)
    wait_until(
        "Ollama's unit reports that it waits",
        lambda: "waiting for the share" in worker.check_output("journalctl -b -u noslop-ollama", root=True),
        timeout_s=180,
    )

    storage.mount(worker)

    wait_until(
        "Ollama answers",
        lambda: worker.sudo("systemctl is-active noslop-ollama").stdout.strip() == "active",
        timeout_s=180,
    )
    worker.check_output("systemctl start noslop-comfyui; systemctl start noslop-backend 2>/dev/null; true", root=True)


def test_worker_with_another_directory_is_refused(storage: Storage, deployed: tuple[int, PrintedRun, str]) -> None:
    assert deployed[0] == 0
    worker = storage.workers[1]
    worker.check_output("systemctl stop noslop-ollama noslop-comfyui 2>/dev/null; true", root=True)
    storage.unmount(worker)
    directories = " ".join(shlex.quote(f"/srv/own/{share}") for share in SHARES)
    worker.check_output(f"mkdir -p {ROOT_PATH} {directories} && mount --bind /srv/own {ROOT_PATH}", root=True)
    for share, number in SHARES.items():
        worker.check_output(f"chown {number}:{number} /srv/own/{share} && chmod 2775 /srv/own/{share}", root=True)
    try:
        code, result, text = deploy()
    finally:
        worker.check_output(f"umount {ROOT_PATH}", root=True)
        storage.mount(worker)

    assert code == 1, (result, text)
    assert "probe.content" in text or "probe.answered" in text
