"""Switch the lab's machines off as by a power cut, and on again."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.support.lab.machines import LAB, ROOT, Machine, wait_for

#: Modes of QEMU's cache (qemu-system-x86_64(1), -drive cache=) in which killing the emulator is like pulling the plug.
#: What a program did not fsync is in the guest's page cache, which goes with the emulator in any mode. The modes differ
#: in what the guest's kernel wrote: with `unsafe` and `writeback` it sits in the host's page cache, which outlives the
#: emulator, so a flush that is missing further down would go unnoticed, and `unsafe` ignores requested flushes.
#: With `none` and `directsync` it goes past the host's cache, and what of qcow2's tables was not flushed is lost too;
#: with `writethrough` no write is answered before it is on the disk.
POWER_LOSS_CACHE_MODES = ("none", "directsync", "writethrough")


def switch_power(machine: str, state: str, *, disk_cache: str | None = None) -> None:
    """Switch a machine, or `all`, `off`, `on`, or off and on again at once (`reboot`).

    Return at once: the caller waits for what it needs.

    Args:
        machine: its name.
        state: off, on or reboot.
        disk_cache: QEMU's cache mode of what is switched on, when it is not to be the lab's.
    """
    environment = os.environ | ({"NOSLOP_LAB_DISK_CACHE": disk_cache} if disk_cache else {})
    subprocess.run(
        ["ansible-playbook", "lab/machines/power.yml", "-e", f"machine={machine}", "-e", f"power={state}"],
        cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def select_cache_mode(requested: str | None) -> str:
    """Return the cache mode for machines that lose their power.

    Args:
        requested: the mode that was asked for; nothing means `none`.

    Raises:
        AssertionError: in this mode a power cut loses less than on a real machine.
    """
    mode = requested or POWER_LOSS_CACHE_MODES[0]
    assert mode in POWER_LOSS_CACHE_MODES, (
        f"NOSLOP_LAB_DISK_CACHE={mode}: a power cut on such a disk loses less than a real one, so the test would prove "
        f"nothing. Set it to one of {', '.join(POWER_LOSS_CACHE_MODES)}, or leave it unset."
    )
    return mode


def read_cache_mode(machine: str) -> str:
    """Return the cache mode that a running machine's emulator was started with."""
    pid = (LAB / "machines" / machine / "qemu.pid").read_text().strip()
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    match = re.search(r"disk\.qcow2,[^\0]*cache=(\w+)", command)
    assert match, command
    return match.group(1)


def read_boot_id(machine: Machine) -> str:
    """Return the identifier of this run of a machine's kernel; empty while the machine does not answer."""
    done = machine.run("cat /proc/sys/kernel/random/boot_id")
    return done.stdout.strip() if done.returncode == 0 else ""


def wait_until_up(machine: Machine, *, timeout_s: float) -> None:
    """Wait until a machine answers."""
    wait_for(f"{machine.name} after it was switched on", lambda: read_boot_id(machine), timeout_s=timeout_s)
