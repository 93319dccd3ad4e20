"""Test that `make lab-down` leaves this computer as it was before the lab."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.support.lab.machines import LAB


def check_output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_no_process_of_the_lab_runs() -> None:
    running = [path.read_bytes().split(b"\0") for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    lab = str(LAB).encode()
    assert [
        words for words in running if words[0].startswith(b"qemu-system") and b"noslop-lab" in b" ".join(words)
    ] == []
    assert [words for words in running if any(lab in word for word in words) and b"serve.py" in b" ".join(words)] == []


def test_no_bridge_tap_or_address_of_the_lab_is_left() -> None:
    links = json.loads(check_output("ip", "-json", "address"))
    assert [link["ifname"] for link in links if link["ifname"].startswith("noslop")] == []
    addresses = [address["local"] for link in links for address in link["addr_info"]]
    assert [address for address in addresses if address.startswith(("10.77.42.", "10.77.43."))] == []


def test_no_rule_and_no_mount_of_the_lab_is_left() -> None:
    assert "noslop" not in check_output("nft", "list", "tables")
    assert str(LAB) not in Path("/proc/self/mountinfo").read_text()


def test_no_container_and_no_network_of_the_lab_is_left() -> None:
    assert "role-" not in check_output("podman", "ps", "--all", "--format", "{{.Names}}")
    assert "noslop" not in check_output("podman", "network", "ls", "--format", "{{.Name}}")
