"""Machines go away and come back in every order a studio meets: nobody does anything, and all of it works again."""

from __future__ import annotations

import time

from tests.faults.conftest import Takeover
from tests.support.lab.driver import checks, driver_json
from tests.support.lab.machines import Machine, wait_for
from tests.support.lab.power import boot_id, switch

UP_WITHIN_S = 900.0
SERVER_LATE_S = 180.0


def reboot(machine: Machine) -> None:
    """Restart the operating system, and wait until another run of the kernel answers."""
    before = boot_id(machine)
    machine.sudo("systemctl reboot")
    wait_for(f"{machine.name} after its restart", lambda: boot_id(machine) not in ("", before), timeout_s=UP_WITHIN_S)


def wait_until_verified() -> None:
    """Let `verify` speak until it has nothing to object."""

    def passes() -> bool:
        code, report = driver_json("verify")
        failed = [check for check in checks(report) if not check["ok"]]
        print(f"verify: {code}, {[(check['host'], check['check'], check['share'], check['seen']) for check in failed]}")
        return code == 0

    wait_for("a verification without failed checks", passes, timeout_s=UP_WITHIN_S)


def test_a_file_written_while_the_server_restarts_is_complete(takeover: Takeover) -> None:
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
    worker.output_of(f"rm -f /tmp/enough; cat > /tmp/writer.py <<'END'\n{writer}\nEND")
    started = (
        "setsid nohup sh -c 'python3 /tmp/writer.py >/tmp/written; echo $? >>/tmp/written' >/dev/null 2>&1 </dev/null &"
    )
    worker.output_of(started)
    wait_for("the first bytes", lambda: worker.run(f"test -s {path}").returncode == 0, timeout_s=60)
    reboot(server)
    worker.output_of("touch /tmp/enough")
    wait_for("the writer's end", lambda: len(worker.output_of("cat /tmp/written").split()) == 3, timeout_s=UP_WITHIN_S)
    digest, size, code = worker.output_of("cat /tmp/written").split()
    assert code == "0"
    assert server.output_of(f"stat -c %s {path}", root=True).strip() == size
    assert server.output_of(f"sha256sum {path}", root=True).split()[0] == digest
    wait_until_verified()


def test_a_worker_restarts(takeover: Takeover) -> None:
    reboot(takeover.machines["worker2"])
    wait_until_verified()


def test_all_are_switched_on_together_and_the_server_is_late(takeover: Takeover) -> None:
    switch("all", "off")
    for worker in ("worker1", "worker2"):
        switch(worker, "on")
    time.sleep(SERVER_LATE_S)  # the lateness is what is tested
    switch("server", "on")
    assert takeover.machines
    wait_until_verified()
