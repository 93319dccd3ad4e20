"""The studio that `make demo` leaves, looked at from outside: over SSH and over HTTP."""

from __future__ import annotations

import json
import shlex
import urllib.request
from collections.abc import Iterator

import pytest

from tests.studio.conftest import Studio
from tests.support.lab.driver import INVENTORY, changed_by_host, changed_by_phase, checks, driver_json, playbook
from tests.support.lab.machines import CONTROLLER, LAB, MIRROR_PORT, Machine, share_taken_away, wait_for
from tests.support.lab.processes import secrets

CHECKPOINTS = "/mnt/noslop/comfyui/models/checkpoints"
WORKERS = ("worker1", "worker2")
EVERYBODY = ("server", *WORKERS)


def listed(url: str) -> list[str]:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # the address is the lab's own
        names: list[str] = json.loads(answer.read())
    return names


def test_the_demo_says_what_it_found_decided_and_proved(studio: Studio) -> None:
    assert studio.exit_code == 0, studio.output
    for name in EVERYBODY:
        assert name in studio.output
        assert studio.machines[name].address in studio.output
        assert f"http://{studio.machines[name].address}:8188" in studio.output
    assert "storage server" in studio.output


def test_a_second_deployment_changes_nothing(studio: Studio) -> None:
    code, result = driver_json("deploy", "--yes")
    assert code == 0, result
    changed = changed_by_phase(result)
    assert {(phase, host) for phase in ("storage", "services") for host in EVERYBODY} <= set(changed)
    assert not any(changed.values()), changed


def test_the_playbook_alone_does_the_same_as_the_driver(studio: Studio) -> None:
    done = playbook("site")
    assert done.returncode == 0, done.stdout + done.stderr
    changed = changed_by_host(done.stdout)
    assert {name: changed.get(name) for name in EVERYBODY} == dict.fromkeys(EVERYBODY, 0), done.stdout


def test_a_model_put_on_one_host_is_listed_by_comfyui_on_the_others(studio: Studio) -> None:
    name = "put-on-worker1.safetensors"
    for host in EVERYBODY:  # every list has been read before, and may be cached
        assert name not in listed(f"http://{studio.machines[host].address}:8188/models/checkpoints")
    studio.machines["worker1"].output_of(f"head -c 4096 /dev/urandom > {CHECKPOINTS}/{name}")
    for host in ("worker2", "server"):
        url = f"http://{studio.machines[host].address}:8188/models/checkpoints"
        wait_for(f"{name} in {url}", lambda url=url: name in listed(url), timeout_s=10)  # type: ignore[misc]
    studio.machines["worker1"].output_of(f"rm {CHECKPOINTS}/{name}")


def test_a_model_of_ollama_on_one_host_is_listed_by_ollama_on_the_others(studio: Studio) -> None:
    studio.machines["worker1"].output_of("ollama pull tinyllama")
    for host in ("worker2", "server"):
        assert "tinyllama" in studio.machines[host].output_of("ollama list")


@pytest.fixture
def projects_away_on_worker1(studio: Studio) -> Iterator[None]:
    with share_taken_away(studio.machines["worker1"], "projects"):
        yield


@pytest.mark.usefixtures("projects_away_on_worker1")
def test_verify_names_the_host_and_the_share_that_is_not_mounted() -> None:
    code, report = driver_json("verify")
    assert code == 1
    failed = [check for check in checks(report) if not check["ok"]]
    assert failed
    assert {(check["host"], check["share"]) for check in failed if check["check"] == "storage.mounted"} == {
        ("worker1", "projects")
    }
    assert all(check["todo"] for check in failed)


def try_as_stranger(worker: Machine, server: str, targets: dict[str, list[int]]) -> str:
    """From a network namespace of its own, with an address that no member has: what can be reached."""
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
    return worker.output_of(
        "set -e; ip netns add stranger; trap 'ip netns del stranger' EXIT;"
        "ip link add link eth0 name stranger0 type macvlan mode bridge; ip link set stranger0 netns stranger;"
        f"ip -n stranger addr add {address}/24 dev stranger0; ip -n stranger link set stranger0 up;"
        f"ip netns exec stranger python3 -c {shlex.quote(probe)};"
        "mkdir -p /tmp/stranger;"
        f"ip netns exec stranger timeout 20 mount -t nfs4 -o vers=4.2,soft,timeo=20,retrans=1,retry=0"
        f" {server}:/mnt/noslop/projects /tmp/stranger && {{ echo MOUNTED; umount /tmp/stranger; }} || echo kept out",
        root=True,
    )  # fmt: skip


def test_an_address_that_is_no_member_mounts_nothing_and_reaches_no_service(studio: Studio) -> None:
    addresses = {name: studio.machines[name].address for name in EVERYBODY}
    # worker2 is where the stranger lives: a macvlan cannot reach its own parent, so the others are asked.
    targets = {addresses["server"]: [2049, 11434, 8188, 8765], addresses["worker1"]: [11434, 8188]}
    seen = try_as_stranger(studio.machines["worker2"], addresses["server"], targets)
    assert "ON_THE_NETWORK" in seen
    assert "REACHED" not in seen
    assert "MOUNTED" not in seen
    assert seen.count("refused") == 6


def test_the_passwords_are_nowhere(studio: Studio) -> None:
    assert studio.exposed == []
    for what, value in secrets().items():
        assert value not in studio.output
        for tree in (INVENTORY, LAB.parent / ".ansible"):
            for file in tree.rglob("*"):
                assert not (file.is_file() and value.encode() in file.read_bytes()), f"{what} in {file}"
        for machine in studio.machines.values():
            found = machine.sudo(
                'read -r secret; journalctl -o cat | grep -cF -e "$secret";'
                ' grep -rlF -e "$secret" /var/log /etc/noslop /opt/noslop /var/lib/noslop',
                stdin=value,
            )
            assert found.stdout.split() == ["0"], f"{what} on {machine.name}: {found.stdout}"
