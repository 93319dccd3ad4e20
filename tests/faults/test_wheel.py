"""Test a studio that is deployed from the wheel alone, in an empty directory, by the driver and by plain Ansible."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.lab.driver import count_changes_by_host
from tests.support.lab.machines import LAB, NETWORK, ROOT, list_machines, reset_machines
from tests.support.lab.wheel import Installation, install


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Reset the machines, install the wheel, and write the versions that a studio with a mirror pins."""
    reset_machines()
    installation = install(tmp_path_factory.mktemp("wheel"))
    pins = installation.directory / "inventories" / "new" / "group_vars" / "all" / "mirror.yml"
    manifest = LAB / "artifacts" / "manifest.json"
    subprocess.run(
        ["python", "lab/studio/pins.py", str(manifest), "http://10.77.42.1:8042", str(pins)], cwd=ROOT, check=True
    )
    return installation


def test_driver_from_the_wheel_deploys_a_studio(installation: Installation) -> None:
    done = installation.run(
        "noslop-driver", "deploy", "--studio", "new", "--network", NETWORK, "--user", "artist",
        "--ssh-key", str(LAB / "id_ed25519"), "--become-pass-file", str(LAB / "sudo_password"),
        "--host-keys", str(LAB / "machines" / "known_hosts"),
        "--min-free-gb", "1", "--artifact-mirror", "http://10.77.42.1:8042", "--yes", timeout_s=2400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "http://10.77.42.11:8188" in done.stdout


def test_plain_ansible_changes_nothing(installation: Installation) -> None:
    inventory: Path = installation.directory / "inventories" / "new"
    password = f"--become-password-file={LAB / 'sudo_password'}"
    done = installation.run("ansible-playbook", "-i", str(inventory), password, "noslop.studio.site")
    assert done.returncode == 0, done.stdout + done.stderr
    hosts = yaml.safe_load((inventory / "hosts.yml").read_text())
    assert hosts
    assert count_changes_by_host(done.stdout) | {"localhost": 0} == dict.fromkeys(
        ("localhost", "server", "worker1", "worker2"), 0
    )


def test_teardown_keeps_data_and_stops_everything(installation: Installation) -> None:
    lab = list_machines()
    kept = "/mnt/noslop/projects/kept"
    lab["worker1"].check_output(f"echo precious > {kept}")
    inventory = str(installation.directory / "inventories" / "new")
    done = installation.run(
        "noslop-driver", "teardown", "--inventory", inventory, "--become-pass-file", str(LAB / "sudo_password"), "--yes"
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "/mnt/noslop/projects" in done.stdout
    assert lab["server"].check_output(f"cat {kept}", root=True) == "precious\n"
    assert lab["server"].check_output("exportfs -s", root=True) == ""
    for machine in lab.values():
        assert "noslop" not in machine.check_output("systemctl list-units --all --no-legend 'noslop-*' 'mnt-noslop*'")
        assert "noslop" not in machine.check_output("nft list tables", root=True)
        assert "nfs4" not in machine.check_output("cat /proc/mounts")
        assert "noslop" in machine.check_output("getent passwd noslop")
