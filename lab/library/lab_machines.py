#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage the lab's virtual machines: overlay disk, tap and emulator process of each."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_machines
short_description: Virtual machines of the test lab
version_added: 0.1.0
author: NoSlop contributors (@noslop)
description:
  - Starts, stops and removes QEMU machines. Each has a directory with its disk (an overlay of the image), C(qemu.pid),
    C(qmp.sock) and C(console.log), and a tap on the bridge.
  - Ends only a process that the pid file names and whose command line contains the machine's own disk.
options:
  state:
    description:
      - V(running) creates missing disks and taps and starts machines that are off; V(off) kills the emulator, like a
        power failure; V(absent) also removes disk and tap.
    type: str
    choices: [running, "off", absent]
    default: running
  fresh:
    description: With V(running), stop the machine first and give it a new disk.
    type: bool
    default: false
  directory:
    description: Directory of the machines' directories, which C(lab_seeds) creates.
    type: path
    required: true
  machines:
    description: Names and addresses.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Host name.
        type: str
        required: true
      address:
        description: IPv4 address.
        type: str
        required: true
      suite:
        description: The Debian that it runs, a key of O(images).
        type: str
        default: bookworm
  images:
    description: By suite, the directory with base.img, vmlinuz and initrd.img. Needed for a machine that has no disk.
    type: dict
    default: {}
  bridge:
    description: The bridge that the taps join.
    type: str
    default: noslop0
  gateway:
    description: The controller's address on the bridge, with its prefix length.
    type: str
    default: 10.77.42.1/24
  accel:
    description: V(auto) uses KVM where the processor supports it and /dev/kvm is usable, else software emulation.
    type: str
    choices: [auto, kvm, tcg]
    default: auto
  memory_mib:
    description: Memory by the name of the machine; the others have 1500.
    type: dict
    default: {}
  cpus:
    description:
      - Processors of each machine. Unset, 2 with KVM and 1 under emulation, where further processors slow the machine
        down because they wait for each other.
    type: int
  disk_cache:
    description: QEMU's cache mode. V(unsafe) ignores flushes; tests of power failures need V(none) or V(writethrough).
    type: str
    choices: [unsafe, writeback, writethrough, none, directsync]
    default: unsafe
attributes:
  check_mode:
    description: Reports what would change.
    support: full
"""

EXAMPLES = r"""
- name: Start the machines
  lab_machines:
    directory: .lab/machines
    machines:
      - {name: server, address: 10.77.42.11}
    images: {bookworm: /var/cache/noslop-lab/machine-0123456789abcdef}
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode.
  type: list
  elements: str
  returned: always
accel:
  description: The accelerator that new processes get.
  type: str
  returned: always
"""

import ipaddress
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

STOP_TIMEOUT_S = 20.0


def usable_accelerator(requested: str) -> str:
    """Return the accelerator to use: the requested one, or for `auto` one that the processor supports."""
    if requested != "auto":
        return requested
    # /dev/kvm alone is not enough: where the processor lacks the feature, it may exist and hang a stock kernel.
    flags = re.search(r"^flags\s*:.*\b(vmx|svm)\b", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return "kvm" if flags and os.access("/dev/kvm", os.R_OK | os.W_OK) else "tcg"


class Machine:
    """One machine; each method checks the state first, then records and makes the missing changes."""

    def __init__(self, module: AnsibleModule, entry: dict[str, Any], accel: str, actions: list[str]) -> None:
        self.module, self.accel, self.actions = module, accel, actions
        self.name, self.address, self.suite = entry["name"], entry["address"], entry["suite"]
        self.memory_mib = int(module.params["memory_mib"].get(self.name, 1500))
        self.directory = Path(module.params["directory"]).absolute() / self.name
        self.disk = self.directory / "disk.qcow2"
        self.pid_file = self.directory / "qemu.pid"
        self.tap = f"noslop-{self.name}"[:15]

    def act(self, change: str) -> bool:
        """Record a change, and return whether to make it (not in check mode)."""
        self.actions.append(f"{self.name}: {change}")
        return not self.module.check_mode

    def pid(self) -> int | None:
        """Return the emulator's process id, if the pid file names a process that runs this machine."""
        try:
            pid = int(self.pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except (OSError, ValueError):
            return None
        return pid if "qemu-system" in command and str(self.disk) in command else None

    def stop(self) -> None:
        """Kill the emulator if it runs, and close the controller's connections to the machine."""
        pid = self.pid()
        if pid is not None and self.act("power off"):
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while self.pid() is not None:
                if time.monotonic() > deadline:
                    self.module.fail_json(
                        msg=f"{self.name}: process {pid} is still there {STOP_TIMEOUT_S:.0f} s after SIGKILL"
                    )
                time.sleep(0.02)
            # The controller's connections to it would hang until they time out, shared SSH connections above all.
            self.module.run_command(["ss", "--kill", "--tcp", "--numeric", "dst", self.address])
        if not self.module.check_mode:
            for leftover in (self.pid_file, self.directory / "qmp.sock"):
                leftover.unlink(missing_ok=True)

    def remove(self) -> None:
        """Stop the machine and remove its disk and tap."""
        self.stop()
        if self.disk.exists() and self.act("remove disk"):
            self.disk.unlink()
        if Path(f"/sys/class/net/{self.tap}").exists() and self.act("remove tap"):
            self.module.run_command(["ip", "link", "delete", self.tap], check_rc=True)

    def image(self) -> Path:
        """Return the image below the disk, or the one for a new disk: kernel and modules must match."""
        requested: str | None = self.module.params["images"].get(self.suite)
        if not self.disk.exists():
            if requested is None:
                self.module.fail_json(msg=f"{self.name} has no disk. lab/machines/create.yml makes it")
            return Path(str(requested))
        # -U: the emulator may have the disk open.
        info = ["qemu-img", "info", "-U", "--output=json", str(self.disk)]
        _rc, out, _err = self.module.run_command(info, check_rc=True)
        image = Path(json.loads(out)["backing-filename"]).parent
        if requested is not None and image != Path(requested):
            self.module.warn(f"{self.name} runs an older image; lab/machines/reset.yml gives it the current one")
        return image

    def make_disk(self) -> None:
        """Create the overlay disk unless it exists."""
        base = self.image() / "base.img"
        if not self.disk.exists() and self.act("make disk"):
            create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(base), str(self.disk)]
            self.module.run_command(create, check_rc=True)

    def make_tap(self) -> None:
        """Create the tap and add it to the bridge."""
        link = Path(f"/sys/class/net/{self.tap}")
        bridge: str = self.module.params["bridge"]
        if not link.exists() and self.act("make tap"):
            self.module.run_command(["ip", "tuntap", "add", "dev", self.tap, "mode", "tap"], check_rc=True)
        if not (link / "master").exists() and self.act(f"join {bridge}"):
            self.module.run_command(["ip", "link", "set", self.tap, "master", bridge, "up"], check_rc=True)

    def kernel_arguments(self) -> str:
        """Return the guest's kernel command line with its name, address and machine-id, and no secret."""
        gateway = ipaddress.ip_interface(self.module.params["gateway"])
        machine_id = (self.directory / "machine-id").read_text().strip()
        return (
            "console=ttyS0 quiet root=/dev/vda rw net.ifnames=0 mitigations=off fsck.mode=skip "
            f"ip={self.address}::{gateway.ip}:{gateway.netmask}:{self.name}:eth0:off "
            f"systemd.hostname={self.name} systemd.machine_id={machine_id}"
        )

    def command(self) -> list[str]:
        """Return the emulator's command line."""
        params: dict[str, Any] = self.module.params
        image = self.image()
        accel, cpus = ["-accel", "kvm", "-cpu", "host"], params["cpus"] or 2
        if self.accel == "tcg":
            # Nehalem is x86-64-v2, the minimum for current wheels. The further features of `max` are slow to emulate:
            # measured, a boot takes 24 s of processor time instead of 41 s, and 18 s with one processor.
            accel, cpus = ["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "Nehalem"], params["cpus"] or 1
        mac = "52:54:" + ":".join(f"{octet:02x}" for octet in ipaddress.ip_address(self.address).packed)
        return [
            "qemu-system-x86_64",
            *("-name", f"noslop-lab-{self.name}"),
            *("-machine", "q35", *accel, "-smp", str(cpus), "-m", str(self.memory_mib)),
            *(
                "-kernel",
                str(image / "vmlinuz"),
                "-initrd",
                str(image / "initrd.img"),
                "-append",
                self.kernel_arguments(),
            ),
            *("-drive", f"file={self.disk},format=qcow2,if=virtio,cache={params['disk_cache']},discard=unmap"),
            *("-drive", f"file={self.directory / 'seed.tar'},format=raw,if=virtio,readonly=on"),
            *("-netdev", f"tap,id=net0,ifname={self.tap},script=no,downscript=no"),
            *("-device", f"virtio-net-pci,netdev=net0,mac={mac},romfile="),
            *("-device", "virtio-rng-pci"),
            # Relative, since a socket's path may have 107 bytes at most.
            *("-qmp", "unix:qmp.sock,server=on,wait=off"),
            *("-chardev", "file,id=console,path=console.log,append=on", "-serial", "chardev:console"),
            *("-display", "none", "-vga", "none", "-nodefaults", "-no-user-config"),
            *("-pidfile", str(self.pid_file), "-daemonize"),
        ]

    def start(self) -> None:
        """Start the emulator unless it runs."""
        if self.pid() is not None or not self.act(f"power on ({self.accel})"):
            return
        done = subprocess.run(self.command(), cwd=self.directory, capture_output=True, text=True, check=False)
        if done.returncode:
            self.module.fail_json(
                msg=f"{self.name}: QEMU did not start with {self.accel}: {done.stderr.strip()}", command=self.command()
            )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["running", "off", "absent"], "default": "running"},
            "fresh": {"type": "bool", "default": False},
            "directory": {"type": "path", "required": True},
            "machines": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "address": {"type": "str", "required": True},
                    "suite": {"type": "str", "default": "bookworm"},
                },
            },
            "images": {"type": "dict", "default": {}},
            "bridge": {"type": "str", "default": "noslop0"},
            "gateway": {"type": "str", "default": "10.77.42.1/24"},
            "accel": {"type": "str", "choices": ["auto", "kvm", "tcg"], "default": "auto"},
            "memory_mib": {"type": "dict", "default": {}},
            "cpus": {"type": "int"},
            "disk_cache": {
                "type": "str",
                "choices": ["unsafe", "writeback", "writethrough", "none", "directsync"],
                "default": "unsafe",
            },
        },
        supports_check_mode=True,
    )
    state: str = module.params["state"]
    accel = usable_accelerator(module.params["accel"])
    actions: list[str] = []
    for entry in module.params["machines"]:
        machine = Machine(module, entry, accel, actions)
        if state == "absent":
            machine.remove()
        elif state == "off":
            machine.stop()
        else:
            if module.params["fresh"]:
                machine.remove()
            machine.make_disk()
            machine.make_tap()
            machine.start()
    module.exit_json(changed=bool(actions), actions=actions, accel=accel)


if __name__ == "__main__":
    main()
