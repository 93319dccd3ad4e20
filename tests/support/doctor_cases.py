# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe a studio of a server and two workers as doctor reads it: healthy, until a test plants a fault in it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check
from ansible_collections.noslop.studio.plugins.module_utils.share.path_rules import make_unit_name

from noslop_driver.diagnosis.case import Case, HostCase
from noslop_driver.diagnosis.evidence import read_evidence

Planted = dict[str, dict[str, Any]]
SERVER_ADDRESS = "10.0.0.1"
HOSTS = {
    "server": (SERVER_ADDRESS, frozenset({"storage_server", "backend"})),
    "worker1": ("10.0.0.2", frozenset({"storage_clients", "ollama", "comfyui"})),
    "worker2": ("10.0.0.3", frozenset({"storage_clients", "ollama", "comfyui"})),
}
SHARES = studio.shares({"noslop_studio_id": "studio"})
PROJECTS = "/mnt/noslop/projects"
MOUNT, AUTOMOUNT = (make_unit_name(PROJECTS, kind) for kind in ("mount", "automount"))
DEPLOY = "noslop-driver deploy --inventory inventories/x"
GIGABYTE = 10**9


def make_unit(**changes: object) -> dict[str, Any]:
    """Return the evidence of a unit that runs, with changes."""
    running = {"load": "loaded", "active": "active", "sub": "running", "enabled": "enabled", "result": "success"}
    return {**running, "pid": 77, "state": "S", "program": "/opt/noslop/program", **changes}


def make_check(host: str, check: str, observed: str = "it is wrong", share: str = "", **more: Any) -> Check:  # noqa: ANN401 - any JSON
    """Return a failed check."""
    fields = {"host": host, "check": check, "share": share, "seen": observed, **more}
    return cast("Check", {**fields, "ok": False, "expected": "right", "todo": "look"})


def make_healthy() -> Planted:
    """Return the evidence of three hosts without a fault."""
    common = {"firewall": {"loaded": True, "drops": []}, "clock": {"can_ntp": True, "ntp": True, "synchronized": True}}
    disk = {"bytes": 1000 * GIGABYTE, "free_bytes": 500 * GIGABYTE, "inodes": 1000000, "free_inodes": 900000}
    paths = [share.path for share in SHARES]
    server = {
        **common,
        "units": {
            studio.NFS_SERVER_UNIT: make_unit(sub="exited", pid=0, state=""),
            studio.FIREWALL_UNIT: make_unit(sub="exited", pid=0, state=""),
            "noslop-backend.service": make_unit(),
            "noslop-backend-recover.timer": make_unit(sub="waiting", pid=0),
        },
        "ports": {"backend": {"port": 8765, "listeners": [{"pid": 77, "unit": "noslop-backend.service"}]}},
        "disks": [{"path": "/", "device": "8:1", **disk}, *({"path": path, "device": "8:2", **disk} for path in paths)],
        "exports": {"written": paths, "exported": paths, "threads": 16},
        "trees": {share.name: {"path": share.path, "count": 0} for share in SHARES},
        "identity": {"hostname": "server", "machine_id": "1"},
    }
    result: Planted = {"server": server}
    for number, name in ((2, "worker1"), (3, "worker2")):
        units = {
            make_unit_name(path, kind): make_unit(
                sub="mounted", pid=0, enabled="enabled" if kind == "automount" else "static"
            )
            for path in paths
            for kind in ("automount", "mount")
        }
        services = {service: make_unit() for service in ("noslop-ollama.service", "noslop-comfyui.service")}
        ports = {"ollama": (11434, "noslop-ollama.service"), "comfyui": (8188, "noslop-comfyui.service")}
        result[name] = {
            **copy.deepcopy(common),
            "units": {**units, **services, studio.FIREWALL_UNIT: make_unit(sub="exited", pid=0, state="")},
            "ports": {
                key: {"port": port, "listeners": [{"pid": 77, "unit": unit}]} for key, (port, unit) in ports.items()
            },
            "way": {
                "server": SERVER_ADDRESS, "address": SERVER_ADDRESS, "route": f"{SERVER_ADDRESS} dev eth0",
                "nfs": "open", "ssh": "open", "source": f"10.0.0.{number}", "sent": 10, "received": 10,
            },
            "mounts": {
                share.name: {
                    "path": share.path, "point": share.path, "type": "nfs4", "source": f"{SERVER_ADDRESS}:{share.path}",
                    "options": "rw", "read_only": False,
                }
                for share in SHARES
            },
            "disks": [{"path": "/", "device": "8:1", **disk}],
            "cards": [{"vendor": "nvidia", "name": "RTX", "usable": True, "why": ""}],
            "devices": ["cuda"],
            "identity": {"hostname": name, "machine_id": str(number)},
        }  # fmt: skip
    return result


def make_case(
    plant: Callable[[Planted], None] = lambda _evidence: None, failed: Sequence[Check] = (), *, provider: str = "nfs"
) -> Case:
    """Return the case of the studio, after `plant` changed the evidence."""
    planted = make_healthy()
    plant(planted)
    evidence, errors = read_evidence(planted)
    assert not errors
    hosts = {
        name: HostCase(name, address, "artist", 22, groups, evidence.get(name))
        for name, (address, groups) in HOSTS.items()
    }
    return Case(hosts, provider, SHARES, failed, DEPLOY)
