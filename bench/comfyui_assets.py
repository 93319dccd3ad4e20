# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what assets of ComfyUI cost over NFS: start, /object_info and a render, with `--enable-assets` and without.

Runs on the studio that `make test-real-studio` leaves on the lab's machines. The share gets 20,000 empty models, and a
round trip between the two machines takes a millisecond longer. The rounds alternate; before each the database is that
of a first start, and the caches of worker and server are dropped.
"""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import sys
import time

from bench.readahead import measure_round_trip_ms
from tests.support.lab.comfyui_host import UNIT, ComfyuiHost
from tests.support.lab.machines import Machine, list_machines, wait_for

FILES = 20_000
DELAY_MS = 1
ROUNDS = 3
FOLDER = "/mnt/noslop/comfyui/models/loras/noslop-bench"
DATABASE = "/var/lib/noslop/comfyui/user/bench.db"
DROP_IN = f"/run/systemd/system/{UNIT}.d/bench.conf"
FLAG = "--enable-assets"
SCAN_TIMEOUT_S = 1800.0

Times = dict[str, float]


def start(host: ComfyuiHost, *, assets: bool) -> float:
    """Start ComfyUI with an empty database. Return the seconds until it answers."""
    machine = host.machine
    machine.check_output(f"systemctl stop {UNIT}; rm -f {DATABASE}*", root=True)
    shown = machine.check_output(
        f"rm -f {DROP_IN}; systemctl daemon-reload; systemctl show -p ExecStart {UNIT}", root=True
    )
    arguments = re.search(r"argv\[\]=(.*?) ; ", shown)
    assert arguments, shown
    # ComfyUI uses the last of two databases.
    command = " ".join((arguments[1], "--database-url", f"sqlite:///{DATABASE}", *([FLAG] if assets else [])))
    lines = f"[Service]\\nExecStart=\\nExecStart={command}\\n"
    machine.check_output(
        f"mkdir -p $(dirname {DROP_IN}) && printf '{lines}' > {DROP_IN} && systemctl daemon-reload", root=True
    )
    for one in (machine, list_machines()["server"]):
        one.check_output("sync; echo 3 > /proc/sys/vm/drop_caches", root=True)
    began = time.monotonic()
    machine.check_output(f"systemctl start {UNIT}", root=True)
    host.read_version()
    return time.monotonic() - began


def measure(host: ComfyuiHost, *, assets: bool) -> Times:
    """Start ComfyUI once. Return the seconds of the start, of requests after it, and of the scan that assets make."""
    times = {"start_s": start(host, assets=assets)}
    began = time.monotonic()
    for name in ("first_object_info_s", "second_object_info_s"):
        before = time.monotonic()
        host.request("/object_info")
        times[name] = time.monotonic() - before
    before = time.monotonic()
    host.render()
    times["render_s"] = time.monotonic() - before
    if assets:
        wait_for("the end of the scan", lambda: is_scanned(host), timeout_s=SCAN_TIMEOUT_S)
        times["scan_s"] = time.monotonic() - began
        before = time.monotonic()
        host.request("/object_info")
        times["object_info_after_scan_s"] = time.monotonic() - before
    return times


def is_scanned(host: ComfyuiHost) -> bool:
    """Return whether the scan that a start begins has ended."""
    return str(json.loads(host.request("/api/assets/seed/status"))["state"]).lower() == "idle"


def fill_share(server: Machine) -> None:
    """Create the models: directories of 200 empty files."""
    server.check_output(
        f"mkdir -p {FOLDER} && cd {FOLDER} && for d in $(seq {FILES // 200}); do mkdir -p $d;"
        f" (cd $d && touch $(seq -f 'model-%g.safetensors' 200)); done && chmod -R a+rX {FOLDER}",
        root=True,
        timeout_s=600,
    )


def compare(without: list[Times], with_assets: list[Times]) -> dict[str, object]:
    """Return the medians of both sides, and the ratios of what both have."""
    medians = [
        {name: statistics.median(times[name] for times in side) for name in side[0]} for side in (without, with_assets)
    ]
    ratios = {name: round(medians[1][name] / medians[0][name], 2) for name in medians[0]}
    rounded = [{name: round(value, 2) for name, value in side.items()} for side in medians]
    return {"without": rounded[0], "with_assets": rounded[1], "ratio": ratios}


def main() -> None:
    """Measure, and print one JSON object."""
    lab = list_machines()
    server, host = lab["server"], ComfyuiHost(lab["worker1"], {})
    without: list[Times] = []
    with_assets: list[Times] = []
    with contextlib.ExitStack() as afterwards:
        afterwards.callback(host.machine.sudo, f"systemctl restart {UNIT}")
        afterwards.callback(host.machine.sudo, f"rm -f {DROP_IN} {DATABASE}*; systemctl daemon-reload")
        afterwards.callback(server.sudo, f"rm -rf {FOLDER}", timeout_s=600)
        fill_share(server)
        afterwards.callback(server.sudo, "tc qdisc del dev eth0 root")
        server.check_output(f"tc qdisc add dev eth0 root netem delay {DELAY_MS}ms", root=True)
        round_trip_ms = measure_round_trip_ms(host.machine, server)
        for number in range(ROUNDS):
            without.append(measure(host, assets=False))
            with_assets.append(measure(host, assets=True))
            print(f"round {number + 1}: {without[-1]} against {with_assets[-1]}", file=sys.stderr)
    about = {"files": FILES, "added_round_trip_ms": DELAY_MS, "round_trip_ms": round(round_trip_ms, 1)}
    print(json.dumps({"benchmark": "ComfyUI's assets over NFSv4.2", **about, **compare(without, with_assets)}))


if __name__ == "__main__":
    main()
