"""Measure a cold read of a large file through a memory map over NFS: a studio's mount against the kernel's defaults.

Model loaders map their files and fault page by page (docs/architecture.md names the reports), so what counts is how
far the kernel reads ahead. Both mounts are of the same export on the same worker and share their connections (nfs(5),
nconnect), which if anything helps the kernel's; the rounds alternate, and before each the caches of worker and
server are dropped. Needs the running demo studio (`make bench` sees to that).
"""

from __future__ import annotations

import contextlib
import json
import shlex
import statistics
import sys

from tests.support.lab.machines import Machine, list_machines

FILE_MIB = 256
ROUNDS = 3
# Machines that are emulated have a round trip of some milliseconds already: it is measured and reported beside.
DELAYS_MS = (0, 3)
SHARE = "/mnt/noslop/comfyui/models"
KERNEL_MOUNT = "/mnt/noslop-bench-defaults"
# What the kernel gives an NFS mount since Linux 5.4 (nfsrahead(5)); our rule would raise it for this mount too.
KERNEL_READ_AHEAD_KIB = 128

READER = """
import mmap, sys, time
with open(sys.argv[1], 'rb') as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as memory:
    start = time.monotonic()
    for offset in range(0, len(memory), mmap.PAGESIZE):
        memory[offset]
    print(time.monotonic() - start)
"""


# A TCP connection to the port of sshd is one round trip.
PING = """
import socket, statistics, sys, time
def connect():
    start = time.monotonic()
    socket.create_connection((sys.argv[1], 22)).close()
    return 1000 * (time.monotonic() - start)
print(statistics.median(connect() for _ in range(9)))
"""


def set_read_ahead(worker: Machine, path: str, kib: int) -> None:
    """Set the read-ahead of the mount that holds ``path``."""
    worker.check_output(f"echo {kib} > /sys/class/bdi/$(mountpoint -d {path})/read_ahead_kb", root=True)


def get_read_ahead(worker: Machine, path: str) -> int:
    """Return the read-ahead in force for the mount that holds ``path``, in KiB."""
    return int(worker.check_output(f"cat /sys/class/bdi/$(mountpoint -d {path})/read_ahead_kb"))


def measure_round_trip_ms(worker: Machine, server: Machine) -> float:
    """Return the median round trip between the two, in milliseconds."""
    return float(worker.check_output(f"python3 -c {shlex.quote(PING)} {server.address}"))


def measure_cold_read_mb_s(worker: Machine, server: Machine, path: str) -> float:
    """Read the file at ``path`` on ``worker`` with cold caches. Return MB (10^6 bytes) a second."""
    for machine in (worker, server):
        machine.check_output("sync; echo 3 > /proc/sys/vm/drop_caches", root=True)
    seconds = float(worker.check_output(f"python3 -c {shlex.quote(READER)} {path}", timeout_s=600))
    return FILE_MIB * 1.048576 / seconds


def compare(worker: Machine, server: Machine, file: str, delay_ms: int) -> dict[str, object]:
    """Measure both mounts in turn, over a network whose round trip takes ``delay_ms`` longer than the lab's own."""
    if delay_ms:
        server.check_output(f"tc qdisc add dev eth0 root netem delay {delay_ms}ms", root=True)
    try:
        ours: list[float] = []
        kernels: list[float] = []
        round_trip = measure_round_trip_ms(worker, server)
        for number in range(ROUNDS):
            ours.append(measure_cold_read_mb_s(worker, server, f"{SHARE}/{file}"))
            kernels.append(measure_cold_read_mb_s(worker, server, f"{KERNEL_MOUNT}/{file}"))
            rates = f"{ours[-1]:.1f} against {kernels[-1]:.1f} MB/s"
            print(f"+{delay_ms} ms, round {number + 1}: {rates}", file=sys.stderr)
    finally:
        if delay_ms:
            server.check_output("tc qdisc del dev eth0 root", root=True)
    ratios = [mine / theirs for mine, theirs in zip(ours, kernels, strict=True)]
    return {
        "added_round_trip_ms": delay_ms,
        "round_trip_ms": round(round_trip, 1),
        "noslop_mb_s": [round(rate, 1) for rate in ours],
        "kernel_mb_s": [round(rate, 1) for rate in kernels],
        "ratio_median": round(statistics.median(ratios), 2),
    }


def main() -> None:
    """Measure, and print one JSON object."""
    lab = list_machines()
    server, worker = lab["server"], lab["worker1"]
    file = "noslop-bench.bin"
    with contextlib.ExitStack() as afterwards:
        worker.check_output(f"ls {SHARE} >/dev/null")  # the automount
        afterwards.callback(server.sudo, f"rm -f {SHARE}/{file}")
        server.check_output(f"head -c {FILE_MIB}M /dev/urandom > {SHARE}/{file} && chmod 644 {SHARE}/{file}", root=True)
        afterwards.callback(worker.sudo, f"umount {KERNEL_MOUNT}; rmdir {KERNEL_MOUNT}")
        mount = f"mkdir -p {KERNEL_MOUNT} && mount -t nfs4 -o ro,nosharecache {server.address}:{SHARE} {KERNEL_MOUNT}"
        worker.check_output(mount, root=True)
        set_read_ahead(worker, KERNEL_MOUNT, KERNEL_READ_AHEAD_KIB)
        result = {
            "benchmark": "cold memory-mapped read over NFSv4.2",
            "file_mib": FILE_MIB,
            "read_ahead_kib": {"noslop": get_read_ahead(worker, SHARE), "kernel": get_read_ahead(worker, KERNEL_MOUNT)},
            "runs": [compare(worker, server, file, delay_ms) for delay_ms in DELAYS_MS],
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
