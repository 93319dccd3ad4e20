"""Test that a studio works again by itself after its machines restart, in each order that a studio meets."""

from __future__ import annotations

import time

from tests.faults.conftest import Takeover
from tests.support.lab.driver import read_checks, run_driver_json
from tests.support.lab.machines import Machine, wait_for
from tests.support.lab.power import read_boot_id, switch_power

UP_WITHIN_S = 900.0
SERVER_LATE_S = 180.0


def restart(machine: Machine) -> None:
    """Restart the operating system, and wait until another run of the kernel answers."""
    before = read_boot_id(machine)
    machine.sudo("systemctl reboot")
    wait_for(
        f"{machine.name} after its restart", lambda: read_boot_id(machine) not in ("", before), timeout_s=UP_WITHIN_S
    )


def wait_until_verified() -> None:
    """Run `verify` until no check fails."""

    def is_verified() -> bool:
        code, report = run_driver_json("verify")
        failed = [check for check in read_checks(report) if not check["ok"]]
        print(f"verify: {code}, {[(check['host'], check['check'], check['share'], check['seen']) for check in failed]}")
        return code == 0

    wait_for("a verification without failed checks", is_verified, timeout_s=UP_WITHIN_S)


def test_file_written_while_the_server_restarts_is_complete(takeover: Takeover) -> None:
    worker, server = takeover.machines["worker1"], takeover.machines["server"]
    path = "/mnt/noslop/projects/written-through-a-restart"
    writer = (
        "import hashlib, os\n"
        "digest = hashlib.sha256()\n"
        "size = 0\n"
        f'with open("{path}", "wb") as stream:\n'
        '    while not os.path.exists("/tmp/enough"):\n'
        "        data = os.urandom(1 << 16)\n"
        "        digest.update(data); stream.write(data); stream.flush(); os.fsync(stream.fileno())\n"
        "        size += len(data)\n"
        "print(digest.hexdigest(), size, flush=True)\n"
    )
    worker.check_output(f"rm -f /tmp/enough; cat > /tmp/writer.py <<'END'\n{writer}\nEND")
    started = (
        "setsid nohup sh -c 'python3 /tmp/writer.py >/tmp/written; echo $? >>/tmp/written' >/dev/null 2>&1 </dev/null &"
    )
    worker.check_output(started)
    wait_for("the first bytes", lambda: worker.run(f"test -s {path}").returncode == 0, timeout_s=60)
    restart(server)
    worker.check_output("touch /tmp/enough")
    wait_for(
        "the writer's end", lambda: len(worker.check_output("cat /tmp/written").split()) == 3, timeout_s=UP_WITHIN_S
    )
    digest, size, code = worker.check_output("cat /tmp/written").split()
    assert code == "0"
    assert server.check_output(f"stat -c %s {path}", root=True).strip() == size
    assert server.check_output(f"sha256sum {path}", root=True).split()[0] == digest
    wait_until_verified()


def test_studio_verifies_after_a_worker_restarts(takeover: Takeover) -> None:
    restart(takeover.machines["worker2"])
    wait_until_verified()


def test_studio_verifies_when_the_server_starts_after_the_workers(takeover: Takeover) -> None:
    switch_power("all", "off")
    for worker in ("worker1", "worker2"):
        switch_power(worker, "on")
    time.sleep(SERVER_LATE_S)  # the delay is what is tested
    switch_power("server", "on")
    assert takeover.machines
    wait_until_verified()
