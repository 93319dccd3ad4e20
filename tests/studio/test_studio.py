"""Test the studio that `make demo` deploys, from outside, over SSH and HTTP."""

from __future__ import annotations

import json
import shlex
import urllib.request
from collections.abc import Iterator

import pytest

from tests.studio.conftest import Studio
from tests.support.lab.driver import (
    INVENTORY,
    count_changes_by_phase,
    read_checks,
    run_driver_json,
    run_playbook,
)
from tests.support.lab.machines import CONTROLLER, LAB, MIRROR_PORT, Machine, unmounted_share, wait_for
from tests.support.lab.secret_watch import read_secrets

CHECKPOINTS = "/mnt/noslop/comfyui/models/checkpoints"
WORKERS = ("worker1", "worker2")
HOSTS = ("server", *WORKERS)


def list_models(url: str) -> list[str]:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # the address is the lab's own
        names: list[str] = json.loads(answer.read())
    return names


def test_demo_prints_hosts_plan_and_addresses(studio: Studio) -> None:
    assert studio.exit_code == 0, studio.output
    for name in HOSTS:
        assert name in studio.output
        assert studio.machines[name].address in studio.output
        assert f"http://{studio.machines[name].address}:8188" in studio.output
    assert "storage server" in studio.output


@pytest.mark.long
def test_second_deploy_changes_nothing(studio: Studio) -> None:
    code, result = run_driver_json("deploy", "--yes", "--full")
    assert code == 0, result
    changed = count_changes_by_phase(result)
    assert {(phase, host) for phase in ("storage", "services") for host in HOSTS} <= set(changed)
    assert not any(changed.values()), changed


def test_tags_run_the_tasks_that_they_name(studio: Studio) -> None:
    assert studio.exit_code == 0
    verified = run_playbook("verify", "--tags", "studio_verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "Verification of studio" in verified.stdout
    misspelled = run_playbook("verify", "--tags", "studio_verfy")
    assert misspelled.returncode != 0
    assert "No check ran" in misspelled.stdout
    installed = run_playbook("services", "--tags", "ollama_install")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert "noslop.studio.ollama : install | " in installed.stdout
    assert "noslop.studio.comfyui : install | " not in installed.stdout


def test_model_put_on_one_host_is_listed_by_comfyui_on_the_others(studio: Studio) -> None:
    name = "put-on-worker1.safetensors"
    for host in HOSTS:  # every list has been read before, and may be cached
        assert name not in list_models(f"http://{studio.machines[host].address}:8188/models/checkpoints")
    studio.machines["worker1"].check_output(f"head -c 4096 /dev/urandom > {CHECKPOINTS}/{name}")
    for host in ("worker2", "server"):
        url = f"http://{studio.machines[host].address}:8188/models/checkpoints"
        wait_for(f"{name} in {url}", lambda url=url: name in list_models(url), timeout_s=10)  # type: ignore[misc]
    studio.machines["worker1"].check_output(f"rm {CHECKPOINTS}/{name}")


def test_model_pulled_on_one_host_is_listed_by_ollama_on_the_others(studio: Studio) -> None:
    studio.machines["worker1"].check_output("ollama pull tinyllama")
    for host in ("worker2", "server"):
        assert "tinyllama" in studio.machines[host].check_output("ollama list")


@pytest.fixture
def projects_unmounted_on_worker1(studio: Studio) -> Iterator[None]:
    with unmounted_share(studio.machines["worker1"], "projects"):
        yield


@pytest.mark.usefixtures("projects_unmounted_on_worker1")
def test_verify_names_the_host_and_the_share_that_is_not_mounted() -> None:
    code, report = run_driver_json("verify")
    assert code == 1
    failed = [check for check in read_checks(report) if not check["ok"]]
    assert failed
    assert {(check["host"], check["share"]) for check in failed if check["check"] == "storage.mounted"} == {
        ("worker1", "projects")
    }
    assert all(check["todo"] for check in failed)


def probe_as_non_member(worker: Machine, server: str, targets: dict[str, list[int]]) -> str:
    """Return what can be reached from a network namespace with an address that no member has."""
    address = "10.77.42.99"
    probe = (
        "import socket\n"
        f"socket.create_connection({(CONTROLLER, MIRROR_PORT)!r}, timeout=10).close()\n"
        "print('ON_THE_NETWORK')\n"
        f"for host, ports in {targets!r}.items():\n"
        "    for port in ports:\n"
        "        try:\n"
        "            socket.create_connection((host, port), timeout=3).close()\n"
        "            print('REACHED', host, port)\n"
        "        except OSError as error:\n"
        "            print('refused', host, port, error)\n"
    )
    return worker.check_output(
        "set -e; ip netns add outsider; trap 'ip netns del outsider' EXIT;"
        "ip link add link eth0 name outsider0 type macvlan mode bridge; ip link set outsider0 netns outsider;"
        f"ip -n outsider addr add {address}/24 dev outsider0; ip -n outsider link set outsider0 up;"
        f"ip netns exec outsider python3 -c {shlex.quote(probe)};"
        "mkdir -p /tmp/outsider;"
        f"ip netns exec outsider timeout 20 mount -t nfs4 -o vers=4.2,soft,timeo=20,retrans=1,retry=0"
        f" {server}:/mnt/noslop/projects /tmp/outsider && {{ echo MOUNTED; umount /tmp/outsider; }} || echo kept out",
        root=True,
    )  # fmt: skip


def test_non_member_mounts_nothing_and_reaches_no_service(studio: Studio) -> None:
    addresses = {name: studio.machines[name].address for name in HOSTS}
    # The namespace is on worker2, and a macvlan cannot reach its own parent, so the other hosts are tried.
    targets = {addresses["server"]: [2049, 11434, 8188, 8765], addresses["worker1"]: [11434, 8188]}
    output = probe_as_non_member(studio.machines["worker2"], addresses["server"], targets)
    assert "ON_THE_NETWORK" in output
    assert "REACHED" not in output
    assert "MOUNTED" not in output
    assert output.count("refused") == 6


def test_passwords_are_in_no_process_output_file_or_log(studio: Studio) -> None:
    assert studio.exposed == []
    for what, value in read_secrets().items():
        assert value not in studio.output
        for tree in (INVENTORY, LAB.parent / ".ansible"):
            for file in tree.rglob("*"):
                assert not (file.is_file() and value.encode() in file.read_bytes()), f"{what} in {file}"
        for machine in studio.machines.values():
            matches = machine.sudo(
                'read -r secret; journalctl -o cat | grep -cF -e "$secret";'
                ' grep -rlF -e "$secret" /var/log /etc/noslop /opt/noslop /var/lib/noslop',
                stdin=value,
            )
            assert matches.stdout.split() == ["0"], f"{what} on {machine.name}: {matches.stdout}"
