# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the storage moves to a worker and back while a client writes: no acknowledged file is lost or changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import Takeover, read_checksums
from tests.support.lab.driver import INVENTORY, read_checks, run_driver_json
from tests.support.lab.machines import Machine, parse_checksums, wait_for

OLD, NEW, CLIENT = "server", "worker1", "worker2"
PROJECTS = "/mnt/noslop/projects"
#: Copies, hashes and two deployments, on machines that may be emulated.
MOVE_WITHIN_S = 3 * 3600.0
#: What the writer was told is on the disk: a line `DIGEST  NAME` for each file. It lies on the client's own disk.
ACKNOWLEDGED, STOP, FAILED = "/tmp/move-acknowledged", "/tmp/move-stop", "/tmp/move-failed"
#: Writes a file, waits until the server has it on its disk, and only then records it. Each error means that the file
#: was not acknowledged: it goes on with another name.
WRITER = f"""
import hashlib, os, sys, time
number = failed = 0
os.chdir("/")
with open("{ACKNOWLEDGED}", "w") as log:
    while not os.path.exists("{STOP}"):
        number += 1
        name = f"{{sys.argv[1]}}-{{number}}"
        data = os.urandom(1000 + number % 50_000)
        try:
            descriptor = os.open(f"{PROJECTS}/{{name}}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o664)
            try:
                os.write(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            failed += 1
            time.sleep(0.5)
            continue
        log.write(f"{{hashlib.sha256(data).hexdigest()}}  {{name}}\\n")
        log.flush()
        time.sleep(0.2)
with open("{FAILED}", "w") as out:
    out.write(f"{{failed}}\\n")
"""


class Writer:
    """A program of an ordinary user on a client."""

    def __init__(self, machine: Machine, prefix: str) -> None:
        self._machine = machine
        machine.check_output(f"rm -f {STOP} {FAILED} {ACKNOWLEDGED}; cat > /tmp/move-writer.py <<'END'\n{WRITER}\nEND")
        machine.check_output(
            f"setsid nohup python3 /tmp/move-writer.py {prefix} >/tmp/move-writer.log 2>&1 </dev/null &"
        )
        wait_for("the first files", lambda: len(self.read()) > 5, timeout_s=120)

    def read(self) -> dict[str, str]:
        """Return the SHA-256 of each file that was acknowledged, by its name."""
        return parse_checksums(self._machine.check_output(f"cat {ACKNOWLEDGED} 2>/dev/null; true"))

    def stop(self) -> tuple[dict[str, str], int]:
        """End it. Return the acknowledged files, and how many could not be written."""
        self._machine.check_output(f"touch {STOP}")
        wait_for("the end of the writer", lambda: self._machine.run(f"test -s {FAILED}").returncode == 0, timeout_s=900)
        return self.read(), int(self._machine.check_output(f"cat {FAILED}"))


def move(name: str, *words: str) -> tuple[int, dict[str, object]]:
    """Run `host move-storage`."""
    code, result = run_driver_json("host", "move-storage", name, *words, timeout_s=MOVE_WITHIN_S)
    return code, dict(result)


def list_exports(machine: Machine) -> str:
    """Return the studio's shares that a machine exports; empty where it exports none."""
    return machine.check_output("exportfs -s 2>/dev/null | grep ^/mnt/noslop; true", root=True)


def list_missing(machine: Machine, acknowledged: dict[str, str]) -> list[str]:
    """Return the acknowledged files that a server does not have on its own disk as they were written."""
    # From the disk, not from memory.
    machine.check_output("sync; echo 3 > /proc/sys/vm/drop_caches", root=True)
    there = {name: digest for name, digest in read_checksums(machine, PROJECTS).items() if name in acknowledged}
    return [name for name, digest in acknowledged.items() if there.get(name) != digest]


@pytest.fixture
def writer(takeover: Takeover) -> Iterator[Writer]:
    """Return a writer on a client that is neither of the two servers. It ends with the test."""
    machine = takeover.machines[CLIENT]
    yield Writer(machine, "there")
    machine.check_output(f"touch {STOP}")


def test_check_says_what_is_copied_and_changes_nothing(takeover: Takeover) -> None:
    before = (INVENTORY / "hosts.yml").read_text()
    code, result = move(NEW, "--check")
    assert code == 0, result
    assert (INVENTORY / "hosts.yml").read_text() == before
    for machine in takeover.machines.values():
        assert machine.run("test -e /var/lib/noslop/storage-move.json").returncode == 1


def test_storage_moves_to_a_worker_and_back_while_a_client_writes(takeover: Takeover, writer: Writer) -> None:
    old, new = takeover.machines[OLD], takeover.machines[NEW]
    models = read_checksums(old, "/mnt/noslop/comfyui/models")
    assert models

    code, result = move(NEW, "--yes")
    assert code == 0, result
    assert result["switched"] is True
    assert list_exports(new)
    assert not list_exports(old), "never two servers of the same shares"
    assert old.check_output(f"stat -f -c %T {PROJECTS}").strip() == "nfs"
    assert new.check_output(f"stat -f -c %T {PROJECTS}").strip() != "nfs"
    during = len(writer.read())
    wait_for("files that are written to the new server", lambda: len(writer.read()) > during + 5, timeout_s=900)
    acknowledged, failed = writer.stop()
    assert failed > 0, "while it was switched, nothing could be written"
    assert list_missing(new, acknowledged) == []
    assert read_checksums(new, "/mnt/noslop/comfyui/models") == models
    kept = result["kept"]
    assert isinstance(kept, dict)
    assert list(kept) == [OLD]
    old.check_output(f"test -d {kept[OLD][0]}", root=True)

    # An old inventory makes no second server: the old host refuses.
    hosts = INVENTORY / "hosts.yml"
    current = hosts.read_text()
    done = old.sudo("cat /var/lib/noslop/storage-move.json")
    assert '"stage": "switched"' in done.stdout
    code, verified = run_driver_json("verify")
    assert code == 0, [check for check in read_checks(verified) if not check["ok"]]
    code, again = run_driver_json("deploy", "--yes", "--full", timeout_s=MOVE_WITHIN_S)
    assert code == 0, again
    assert sum(phase["changed"] for phase in again["phases"]) == 0
    assert hosts.read_text() == current

    old.check_output(f"rm -r {' '.join(kept[OLD])}", root=True)
    second = Writer(takeover.machines[CLIENT], "back")
    code, result = move(OLD, "--yes")
    assert code == 0, result
    more, _failed = second.stop()
    assert list_missing(old, {**acknowledged, **more}) == []
    assert list_exports(old)
    assert not list_exports(new)
    kept = result["kept"]
    assert isinstance(kept, dict)
    new.check_output(f"rm -r {' '.join(kept[NEW])}", root=True)


def test_program_with_an_open_file_stops_the_switch_and_everything_goes_on(takeover: Takeover) -> None:
    old, new, client = takeover.machines[OLD], takeover.machines[NEW], takeover.machines[CLIENT]
    client.check_output(
        f"touch {PROJECTS}/held; setsid nohup sh -c 'echo $$ > /tmp/held.pid; exec 3<{PROJECTS}/held; exec sleep 20000'"
        " >/dev/null 2>&1 </dev/null &"
    )
    try:
        code, result = move(NEW, "--yes")
        assert code == 1, result
        assert result["switched"] is False
        assert list_exports(old)
        assert "(rw" in list_exports(old)
        assert not list_exports(new)
        client.check_output(f"echo still > {PROJECTS}/after-a-refused-move")
        code, undone = move(NEW, "--undo", "--yes")
        assert code == 0, undone
        assert new.run("test -e /mnt/noslop/.noslop-move").returncode == 1
    finally:
        client.run("kill $(cat /tmp/held.pid)")
    code, verified = run_driver_json("verify")
    assert code == 0, [check for check in read_checks(verified) if not check["ok"]]
