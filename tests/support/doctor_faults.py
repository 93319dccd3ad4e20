# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plant faults in the evidence of hosts, each with what doctor must make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check

from noslop_driver.diagnosis.cause import Layer, Risk
from tests.support.doctor_cases import (
    AUTOMOUNT,
    DEPLOY,
    MOUNT,
    PROJECTS,
    SERVER_ADDRESS,
    Planted,
    make_check,
    make_unit,
)

NFS = studio.NFS_SERVER_UNIT
OLLAMA, COMFYUI, BACKEND = (studio.SERVICES[name].unit for name in ("ollama", "comfyui", "backend"))
WORKERS = ("worker1", "worker2")


def unit(host: str, name: str, **changes: object) -> Callable[[Planted], None]:
    def plant(evidence: Planted) -> None:
        evidence[host]["units"][name] = make_unit(**changes)

    return plant


def part(host: str, name: str, **changes: object) -> Callable[[Planted], None]:
    def plant(evidence: Planted) -> None:
        evidence[host][name] = {**evidence[host].get(name, {}), **changes}

    return plant


def both(*plants: Callable[[Planted], None]) -> Callable[[Planted], None]:
    def plant(evidence: Planted) -> None:
        for one in plants:
            one(evidence)

    return plant


def mount(host: str, **changes: object) -> Callable[[Planted], None]:
    def plant(evidence: Planted) -> None:
        evidence[host]["mounts"]["projects"].update(changes)

    return plant


def disk(**changes: object) -> Callable[[Planted], None]:
    def plant(evidence: Planted) -> None:
        for entry in evidence["server"]["disks"]:
            entry.update(changes if entry["device"] == "8:2" else {})

    return plant


def value(host: str, name: str, content: Any) -> Callable[[Planted], None]:  # noqa: ANN401 - any JSON
    def plant(evidence: Planted) -> None:
        evidence[host][name] = content

    return plant


@dataclass(frozen=True)
class Fault:
    """A planted fault, and what doctor must make of it."""

    plant: Callable[[Planted], None]
    kind: str
    host: str
    command: str
    """A part that the command must have."""
    risk: Risk
    safe: bool
    failed: tuple[Check, ...] = ()
    layer: Layer | None = None


UNANSWERED = make_check("worker1", "services.ollama_answers")
STOPPED = make_check("worker1", "services.ollama_unit")
WRITE = tuple(make_check(host, "storage.written", "No space left on device", "projects") for host in WORKERS)
AWAY = tuple(make_check(host, "storage.server", "timed out") for host in WORKERS)
FOREIGN = {"pid": 5, "command": "python3 -m http.server", "unit": "other.service", "state": "S"}
DROP = {"table": "inet x", "chain": "output", "hook": "output", "rule": "tcp dport 2049 drop"}
TIMEOUT = {"nfs": "timeout", "ssh": "open"}

FAULTS: dict[str, Fault] = {
    "stopped service": Fault(
        unit("worker1", OLLAMA, active="inactive", pid=0), "unit.stopped", "worker1", f"systemctl start {OLLAMA}",
        Risk.RESTART, True, (STOPPED,),
    ),
    "stopped and disabled service": Fault(
        unit("worker1", OLLAMA, active="inactive", enabled="disabled"), "unit.stopped", "worker1",
        f"systemctl enable --now {OLLAMA}", Risk.RESTART, True, (STOPPED,),
    ),
    "disabled service that runs": Fault(
        unit("worker1", OLLAMA, enabled="disabled"), "unit.disabled", "worker1", f"systemctl enable {OLLAMA}",
        Risk.NONE, True, (), Layer.LATER,
    ),
    "masked service": Fault(
        unit("worker1", OLLAMA, load="masked", active="inactive", enabled="masked"), "unit.masked", "worker1",
        f"systemctl unmask {OLLAMA} && systemctl enable --now {OLLAMA}", Risk.NONE, True, (STOPPED,),
    ),
    "service masked until the next start of the host": Fault(
        unit("worker1", OLLAMA, load="masked", active="inactive", enabled="masked-runtime"), "unit.masked", "worker1",
        f"systemctl unmask --runtime {OLLAMA}", Risk.NONE, True, (STOPPED,),
    ),
    "removed unit": Fault(
        unit("worker1", OLLAMA, load="not-found", active="inactive"), "unit.removed", "worker1",
        f"{DEPLOY} --limit worker1", Risk.RESTART, True, (STOPPED,),
    ),
    "missing program": Fault(
        unit("worker1", COMFYUI, active="activating", sub="auto-restart", status=203, program_missing=True, restarts=9),
        "unit.program_missing", "worker1", f"{DEPLOY} --limit worker1", Risk.RESTART, True,
        (make_check("worker1", "services.comfyui_unit", "noslop-comfyui.service is activating"),),
    ),
    "program removed below a running service": Fault(
        unit("worker1", OLLAMA, program_missing=True), "unit.program_gone", "worker1", f"{DEPLOY} --limit worker1",
        Risk.RESTART, False, (), Layer.LATER,
    ),
    "crash loop": Fault(
        unit("worker1", OLLAMA, active="activating", sub="auto-restart", restarts=7, journal=["cannot open /x"]),
        "unit.crashes", "worker1", f"journalctl -u {OLLAMA} -n 50", Risk.RESTART, True, (STOPPED,),
    ),
    "crash loop by a drop-in": Fault(
        unit("worker1", OLLAMA, active="activating", sub="auto-restart", drop_ins=["/etc/systemd/system/x.d/a.conf"]),
        "unit.drop_in", "worker1", "rm /etc/systemd/system/x.d/a.conf && systemctl daemon-reload", Risk.DATA, False,
        (STOPPED,),
    ),
    "drop-in with a program that is missing, before the first try has ended": Fault(
        unit(
            "worker1", OLLAMA, active="activating", sub="start", program_missing=True,
            drop_ins=["/etc/systemd/system/x.d/a.conf"],
        ),
        "unit.drop_in", "worker1", f"systemctl restart {OLLAMA}", Risk.DATA, False, (STOPPED,),
    ),
    "drop-in that changes where models lie": Fault(
        unit("worker1", OLLAMA, drop_ins=["/etc/systemd/system/x.d/a.conf"]), "unit.drop_in", "worker1",
        f"systemctl restart {OLLAMA}", Risk.DATA, False, (make_check("worker1", "services.ollama_environment"),),
    ),
    "drop-in that changes nothing yet": Fault(
        unit("worker1", OLLAMA, drop_ins=["/etc/systemd/system/x.d/a.conf"]), "unit.drop_in", "worker1",
        "what is to stay belongs into the inventory", Risk.DATA, False, (), Layer.LATER,
    ),
    "port used by another unit": Fault(
        both(
            unit("worker1", OLLAMA, active="failed", pid=0, restarts=5),
            part("worker1", "ports", ollama={"port": 11434, "listeners": [FOREIGN]}),
        ),
        "unit.port_used", "worker1", f"systemctl disable --now other.service && systemctl restart {OLLAMA}",
        Risk.RESTART, False, (STOPPED,),
    ),
    "port used by a process of no unit": Fault(
        both(
            unit("worker1", OLLAMA, active="inactive", pid=0),
            part("worker1", "ports", ollama={"port": 11434, "listeners": [{**FOREIGN, "unit": ""}]}),
        ),
        "unit.port_used", "worker1", f"kill 5 && systemctl restart {OLLAMA}", Risk.RESTART, False, (STOPPED,),
    ),
    "process stopped by a signal": Fault(
        unit("worker1", OLLAMA, state="T"), "unit.process_stopped", "worker1", f"systemctl restart {OLLAMA}",
        Risk.RESTART, True, (UNANSWERED,),
    ),
    "process that waits for the kernel": Fault(
        unit("worker1", OLLAMA, state="D"), "unit.process_waits", "worker1", "cat /proc/77/stack", Risk.REBOOT, False,
        (UNANSWERED,),
    ),
    "custom node that a trial refused": Fault(
        lambda _evidence: None, "node.import", "worker1", "noslop-driver nodes rollback some-node", Risk.RESTART, False,
        (make_check("worker1", "services.comfyui_nodes", details={"left_out": {"some-node": "no torch"}}),),
    ),
    "custom node that failed at the last start": Fault(
        value("worker1", "failed_imports", ["/x/custom_nodes/some-node"]), "node.import", "worker1",
        f"journalctl -b -u {COMFYUI} | grep -B 20 some-node", Risk.RESTART, False,
    ),
    "emptied exports file": Fault(
        part("server", "exports", written=[]), "server.exports_file", "server", f"{DEPLOY} --limit server",
        Risk.RESTART, False, (), Layer.LATER,
    ),
    "exports missing in the kernel": Fault(
        part("server", "exports", exported=[]), "server.exports_kernel", "server", f"systemctl reload {NFS}", Risk.NONE,
        True, (make_check("server", "server.exports", "not exported to 10.0.0.2", "projects"),),
    ),
    "exports missing in both": Fault(
        part("server", "exports", exported=[], written=[]), "server.exports_file", "server", f"{DEPLOY} --limit server",
        Risk.RESTART, False, (make_check("worker1", "storage.mounted", "refused", "projects"),),
    ),
    "stopped NFS server": Fault(
        unit("server", NFS, active="inactive", sub="dead"), "unit.stopped", "server", f"systemctl start {NFS}",
        Risk.RESTART, True, AWAY,
    ),
    "disabled NFS server": Fault(
        unit("server", NFS, enabled="disabled"), "unit.disabled", "server", f"systemctl enable {NFS}", Risk.NONE, True,
        (), Layer.LATER,
    ),
    "too few threads": Fault(
        part("server", "exports", threads=1), "server.threads", "server", f"systemctl restart {NFS}", Risk.RESTART,
        False, (make_check("server", "server.threads", "1 threads"),),
    ),
    "share not mounted": Fault(
        both(
            unit("worker1", AUTOMOUNT, active="inactive"),
            unit("worker1", MOUNT, active="inactive", enabled="static"),
            mount("worker1", point="/"),
        ),
        "mount.stopped", "worker1", f"systemctl enable --now {AUTOMOUNT}", Risk.RESTART, True,
        (make_check("worker1", "storage.mounted", "ext4 at /", "projects"),),
    ),
    "automount stopped while its mount stays": Fault(
        unit("worker1", AUTOMOUNT, active="inactive", enabled="disabled"), "mount.automount", "worker1",
        f"systemctl stop {MOUNT} && systemctl enable --now {AUTOMOUNT}", Risk.RESTART, False,
        (make_check("worker1", "storage.units", share="projects"),),
    ),
    "masked mount": Fault(
        unit("worker1", MOUNT, load="masked", active="inactive", enabled="masked"), "mount.masked", "worker1",
        f"systemctl unmask {MOUNT} && systemctl enable --now {AUTOMOUNT}", Risk.NONE, True,
        (make_check("worker1", "storage.units", share="projects"),),
    ),
    "mount that failed": Fault(
        both(unit("worker1", MOUNT, active="failed", result="exit-code"), mount("worker1", point="/")), "mount.failed",
        "worker1", f"systemctl reset-failed {MOUNT}", Risk.RESTART, True,
        (make_check("worker1", "storage.units", share="projects"),),
    ),
    "read-only remount": Fault(
        mount("worker1", read_only=True, options="ro"), "mount.read_only", "worker1", f"mount -o remount,rw {PROJECTS}",
        Risk.NONE, True, (make_check("worker1", "storage.written", "Read-only file system", "projects"),),
    ),
    "another export mounted": Fault(
        mount("worker1", source=f"{SERVER_ADDRESS}:/srv/other"), "mount.other", "worker1",
        f"umount {PROJECTS} && systemctl enable --now {AUTOMOUNT}", Risk.RESTART, False,
        (make_check("worker1", "storage.mounted", share="projects"),),
    ),
    "automount disabled": Fault(
        unit("worker1", AUTOMOUNT, enabled="disabled"), "mount.disabled", "worker1", f"systemctl enable {AUTOMOUNT}",
        Risk.NONE, True, (), Layer.LATER,
    ),
    "missing marker": Fault(
        lambda _evidence: None, "share.marker", "server", f"ls -la {PROJECTS}", Risk.DATA, False,
        tuple(make_check(host, "storage.marker", "no readable marker", "projects") for host in ("server", *WORKERS)),
    ),
    "directories of root below the top": Fault(
        part("server", "trees", projects={"path": PROJECTS, "count": 3, "examples": [{"path": f"{PROJECTS}/a"}]}),
        "share.ownership", "server", f"chown -hR noslop:noslop {PROJECTS}", Risk.DATA, False,
    ),
    "full file system": Fault(
        disk(free_bytes=0), "disk.full", "server", "noslop-driver models gc", Risk.DATA, False, WRITE
    ),
    "file system with less room than asked for": Fault(
        disk(free_bytes=10**9), "disk.low", "server", "noslop-driver models gc", Risk.DATA, False,
        tuple(make_check(host, "storage.free", "1.0 GB", "projects") for host in ("server", *WORKERS)),
    ),
    "no inodes": Fault(
        disk(free_inodes=0), "disk.inodes", "server", "du --inodes", Risk.DATA, False, WRITE
    ),
    "file system that became read-only": Fault(
        disk(read_only=True), "disk.read_only", "server", "journalctl -k", Risk.DATA, False, WRITE
    ),
    "used up quota": Fault(
        lambda _evidence: None, "disk.quota", "server", "edquota -u noslop", Risk.NONE, False,
        (make_check("worker1", "storage.written", "Disk quota exceeded", "projects"),),
    ),
    "clock without a service": Fault(
        part("worker1", "clock", can_ntp=False, ntp=False), "host.clock", "worker1",
        "apt install systemd-timesyncd && timedatectl set-ntp true", Risk.NONE, False,
        (make_check("worker1", "storage.clock", "+60.0 s"),),
    ),
    "clock whose service is off": Fault(
        part("worker1", "clock", ntp=False), "host.clock", "worker1", "timedatectl set-ntp true", Risk.NONE, False,
        (make_check("worker1", "storage.clock", "+60.0 s"),),
    ),
    "clock of the server": Fault(
        part("server", "clock", ntp=False), "host.clock", "server", "timedatectl set-ntp true", Risk.NONE, False,
        tuple(make_check(host, "storage.clock", "+60.0 s") for host in WORKERS),
    ),
    "missing firewall table": Fault(
        part("worker1", "firewall", loaded=False), "firewall.missing", "worker1",
        f"systemctl restart {studio.FIREWALL_UNIT}", Risk.NONE, True, (make_check("worker1", "firewall.loaded"),),
    ),
    "changed firewall table": Fault(
        lambda _evidence: None, "firewall.changed", "worker1", f"systemctl restart {studio.FIREWALL_UNIT}", Risk.NONE,
        True, (make_check("worker1", "firewall.table"),),
    ),
    "outgoing port dropped on one worker": Fault(
        both(part("worker1", "way", **TIMEOUT), part("worker1", "firewall", loaded=True, drops=[DROP])),
        "network.dropped", "worker1", "nft -a list chain inet x output", Risk.NONE, False, AWAY[:1],
    ),
    "something between one worker and the server": Fault(
        part("worker1", "way", **TIMEOUT), "network.path", "worker1", "the cable, switch and firewall between",
        Risk.NONE, False, AWAY[:1],
    ),
    "no route": Fault(
        part("worker1", "way", nfs="unreachable", route=""), "network.route", "worker1",
        f"ip route get {SERVER_ADDRESS}", Risk.RESTART, False, AWAY[:1],
    ),
    "port dropped on the server": Fault(
        both(
            *(part(name, "way", **TIMEOUT) for name in WORKERS),
            part("server", "firewall", drops=[{**DROP, "chain": "input", "hook": "input"}]),
        ),
        "network.server", "server", "nft -a list chain inet x input", Risk.NONE, False, AWAY,
    ),
    "name of the server on one worker": Fault(
        part("worker1", "way", name_error="Name or service not known", nfs=""), "network.name", "worker1",
        f"getent hosts {SERVER_ADDRESS}", Risk.NONE, False, AWAY[:1],
    ),
    "name of the server on all workers": Fault(
        both(*(part(name, "way", name_error="Name or service not known", nfs="") for name in WORKERS)), "network.name",
        "server", "set noslop_address of server", Risk.NONE, False, AWAY,
    ),
    "lost packets": Fault(
        part("worker1", "way", sent=10, received=6), "network.loss", "worker1", f"ping -c 100 {SERVER_ADDRESS}",
        Risk.NONE, False, (make_check("worker1", "storage.slow", share="projects"),),
    ),
    "rule of others before a service": Fault(
        part("worker2", "firewall", drops=[{**DROP, "hook": "input", "rule": "tcp dport 8188 drop"}]),
        "firewall.foreign", "worker2", "nft -a list chain inet x output", Risk.NONE, False,
        (make_check("worker1", "services.comfyui_peers", "worker2: timed out"),),
    ),
    "name of another host": Fault(
        part("worker2", "identity", hostname="worker1"), "host.name", "worker2", "hostnamectl set-hostname worker2",
        Risk.NONE, False, (), Layer.LATER,
    ),
    "number of another host": Fault(
        part("worker2", "identity", machine_id="2"), "host.machine_id", "worker2", "systemd-machine-id-setup",
        Risk.REBOOT, False, (), Layer.LATER,
    ),
    "card that its driver lost": Fault(
        value("worker1", "cards", [{"vendor": "nvidia", "name": "RTX", "usable": False, "why": "nvidia-smi says: no"}]),
        "gpu.missing", "worker1", "restart the host", Risk.REBOOT, False,
    ),
    "card on which nothing computes": Fault(
        value("worker1", "devices", ["cpu"]), "gpu.unused", "worker1", f"{DEPLOY} --limit worker1", Risk.RESTART, False
    ),
    "failed job": Fault(
        value("server", "failed_units", ["noslop-backend-recover.service"]), "job.failed", "server",
        "systemctl start noslop-backend-recover.service", Risk.NONE, False,
    ),
    "certificate that ends soon": Fault(
        value("worker1", "certificates", [{"path": "/etc/noslop/x.pem", "days": 12.0}]), "host.certificate",
        "worker1", DEPLOY, Risk.RESTART, False, (), Layer.LATER,
    ),
    "certificate that ended": Fault(
        value("worker1", "certificates", [{"path": "/etc/noslop/x.pem", "days": -2.0}]), "host.certificate",
        "worker1", DEPLOY, Risk.RESTART, True, (make_check("worker1", "storage.certificate_days"),),
    ),
    "timer of the backend that is disabled": Fault(
        unit("server", "noslop-backend-recover.timer", enabled="disabled"), "unit.disabled", "server",
        "systemctl enable noslop-backend-recover.timer", Risk.NONE, True, (), Layer.LATER,
    ),
}  # fmt: skip
