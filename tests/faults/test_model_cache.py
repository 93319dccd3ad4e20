# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a worker's cache of models on machines: it serves while the storage server is away, and goes without a trace."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Takeover
from tests.support.lab.driver import INVENTORY
from tests.support.lab.machines import LAB, ROOT, Machine, wait_for

CACHE = "/var/cache/noslop-models"
VIEW = f"{CACHE}/comfyui_models/view"
SHARE = "/mnt/noslop/comfyui/models"
MODEL, OTHER = "loras/cached.safetensors", "loras/other.safetensors"
SIZE = 30_000_000
#: As a process of the cache does: the storage root is open to the group noslop.
AS_READER = "setpriv --reuid noslop-models --regid noslop-models --groups noslop,noslop-models"
#: Longer than any of the waits takes; the machines are emulated.
WITHIN_S = 300


def run_playbook(name: str, directory: Path, cache: dict[str, str], models: list[dict[str, object]]) -> str:
    """Run a playbook for the studio, with a cache on worker2. Return its output."""
    (INVENTORY / "host_vars/worker2").mkdir(parents=True, exist_ok=True)
    (INVENTORY / "host_vars/worker2/cache.yml").write_text(json.dumps({"noslop_models_cache": cache}))
    (directory / "variables.json").write_text(json.dumps({"noslop_models": models}))
    words = [
        *(f"--inventory={INVENTORY}", f"--become-password-file={LAB / 'sudo_password'}"),
        *(f"--extra-vars=@{directory / 'variables.json'}", f"playbooks/{name}.yml"),
    ]
    done = subprocess.run(
        ["ansible-playbook", *words], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def list_models(worker: Machine) -> list[str]:
    """Return the names in the folder that ComfyUI of a worker offers to its users."""
    answer = worker.check_output("curl -sS --max-time 30 http://127.0.0.1:8188/models/loras")
    names: list[str] = json.loads(answer)
    return names


@pytest.fixture
def models(takeover: Takeover) -> Iterator[list[dict[str, object]]]:
    """Write two models to the share. Yield their entries of the catalogue."""
    server = takeover.machines["server"]
    entries: list[dict[str, object]] = []
    for path in (MODEL, OTHER):
        write = f"head -c {SIZE} /dev/urandom > {SHARE}/{path}; chown noslop-models: {SHARE}/{path}"
        digest = server.check_output(f"{write}; sha256sum {SHARE}/{path}", root=True).split()[0]
        folder, __, file = path.partition("/")
        entries.append({"folder": folder, "file": file, "sha256": digest, "local": True})
    yield entries
    server.check_output(f"rm -f {SHARE}/{MODEL} {SHARE}/{OTHER}", root=True)


def test_worker_reads_its_cache_while_the_server_is_away(
    takeover: Takeover, models: list[dict[str, object]], tmp_path: Path
) -> None:
    server, worker = takeover.machines["server"], takeover.machines["worker2"]
    cache = {"path": CACHE, "size": "50MB"}
    run_playbook("services", tmp_path, cache, models)
    again = run_playbook("services", tmp_path, cache, models)
    assert re.search(r"worker2 .*changed=0 ", again), again
    wait_for(
        "both models",
        lambda: len({Path(MODEL).name, Path(OTHER).name} & set(list_models(worker))) == 2,
        timeout_s=WITHIN_S,
    )

    read = f"{AS_READER} sha256sum {VIEW}/{MODEL}"
    assert worker.check_output(read, root=True).split()[0] == models[0]["sha256"]
    wait_for(
        "the copy",
        lambda: worker.check_output(f"readlink {VIEW}/{MODEL}", root=True).startswith(CACHE),
        timeout_s=WITHIN_S,
    )
    # nftables drops what reaches the server's nfsd, so the hard mounts of the workers wait, as for one without power.
    server.check_output(
        "nft add table inet away; nft add chain inet away in '{ type filter hook input priority -300; }';"
        " nft add rule inet away in tcp dport 2049 drop",
        root=True,
    )
    try:
        wait_for(
            "names that lead to the share to disappear",
            lambda: worker.check_output(f"find {VIEW}/loras -type l", root=True).split() == [f"{VIEW}/{MODEL}"],
            timeout_s=WITHIN_S,
        )
        # From the disk, and not from memory. The kernel cannot drop its caches now: it waits for the server.
        from_disk = f"{AS_READER} dd if={VIEW}/{MODEL} iflag=direct bs=1M status=none | sha256sum"
        assert worker.check_output(from_disk, root=True).split()[0] == models[0]["sha256"]
        assert list_models(worker) == [Path(MODEL).name]
    finally:
        server.check_output("nft delete table inet away", root=True)
    wait_for("the other model", lambda: Path(OTHER).name in list_models(worker), timeout_s=WITHIN_S)
    assert worker.check_output(f"{AS_READER} sha256sum {VIEW}/{OTHER}", root=True).split()[0] == models[1]["sha256"]
    # Both do not fit: the one that was used last stays.
    wait_for(
        "the second copy",
        lambda: worker.check_output(f"readlink {VIEW}/{OTHER}", root=True).startswith(CACHE),
        timeout_s=WITHIN_S,
    )
    assert worker.check_output(f"readlink {VIEW}/{MODEL}", root=True).strip() == f"{SHARE}/{MODEL}"

    run_playbook("services", tmp_path, {}, models)
    gone = f"test ! -e {CACHE} && test ! -e /opt/noslop/model-cache && ! systemctl cat noslop-model-cache.service"
    worker.check_output(gone, root=True)
    assert {Path(MODEL).name, Path(OTHER).name} <= set(list_models(worker))
    assert server.check_output(f"sha256sum {SHARE}/{MODEL}", root=True).split()[0] == models[0]["sha256"]
