"""Deploy and read two backends on two workers, with one share over NFS and one database."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import tarfile
from dataclasses import dataclass
from typing import Any

from tests.backend.on_host import DONE, LOGS, TASK, Task
from tests.support.lab.machines import LAB, ROOT, Machine, list_machines, parse_checksums, reset_machines, wait_for
from tests.support.lab.power import read_cache_mode, select_cache_mode, switch_power, wait_until_up

ENV_FILE = "/etc/noslop/backend.env"
PROJECTS = "/mnt/noslop/projects"
#: The directories of the tests' program on a worker, and of what its writers record.
CODE, STATE = "/opt/noslop-test", "/var/lib/noslop-test"
MODULES = ("checking", "on_host", "studio", "writers")
UNIT = "noslop-test-writers"
UP_WITHIN_S = 900.0
#: A whole run of writers, on machines that may be emulated.
RUN_WITHIN_S = 4 * 3600.0


@dataclass(frozen=True)
class Host:
    """A worker with a backend, and the tests' program on it."""

    machine: Machine

    def install_program(self) -> None:
        """Copy the tests' program to the worker, and check that the share is mounted."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name in MODULES:
                archive.add(ROOT / "tests" / "backend" / f"{name}.py", f"tests/backend/{name}.py")
        subprocess.run(
            [*self.machine.ssh(), "cat > /tmp/noslop-test.tar.gz"], input=packed.getvalue(), check=True, timeout=120
        )
        self.machine.check_output(
            f"rm -rf {CODE} && mkdir -p {CODE} && tar -C {CODE} --no-same-owner -xzf /tmp/noslop-test.tar.gz"
            f" && chmod -R a+rX {CODE}",
            root=True,
        )
        output = self.machine.check_output(f"cat {PROJECTS}/.noslop-share; stat -f -c %T {PROJECTS}", root=True)
        assert output.splitlines()[-1] == "nfs", output

    def _command(self, *words: str) -> str:
        python = "$(ls -td /opt/noslop/backend/*/venv | head -n 1)/bin/python"  # older releases stay
        return f"{python} -m tests.backend.on_host {shlex.join(words)}"

    def run_program(self, *words: str, stdin: object = None, timeout_s: float = UP_WITHIN_S) -> Any:  # noqa: ANN401 - JSON
        """Run the tests' program as the backend's account, with a JSON document as input. Return what it printed."""
        done = self.machine.sudo(
            f"cd {CODE} && export HOME=/var/lib/noslop/backend"
            f" && exec setpriv --reuid noslop-backend --regid noslop-backend --init-groups"
            f" --inh-caps=+fowner --ambient-caps=+fowner {self._command(*words)}",
            stdin="" if stdin is None else json.dumps(stdin),
            timeout_s=timeout_s,
        )
        assert done.returncode == 0, f"{self.machine.name}: {words[0]}: {done.stderr}{done.stdout}"
        return json.loads(done.stdout)

    def start_writers(self, task: Task) -> None:
        """Start writers, which run without this connection."""
        self.machine.check_output(
            f"systemctl stop {UNIT} 2>/dev/null; systemctl reset-failed {UNIT} 2>/dev/null;"
            f" rm -rf {STATE} && install -d -o noslop-backend -g noslop-backend {STATE}",
            root=True,
        )
        self.machine.run(f"cat > /tmp/{TASK}", stdin=task.dump())
        self.machine.check_output(
            f"cp /tmp/{TASK} {STATE}/{TASK} && systemd-run --quiet --unit={UNIT}"
            " --uid=noslop-backend --gid=noslop-backend --property=AmbientCapabilities=CAP_FOWNER"
            f" --working-directory={CODE} --property=UMask=0002 --property=StandardError=file:/tmp/{UNIT}.error"
            f" {self._command('write', ENV_FILE, STATE)}",
            root=True,
        )

    def read_progress(self) -> tuple[int, bool]:
        """Return how many answers this worker's writers recorded, and whether that is all of them.

        Assert that no writer failed. This is called again and again, so it costs the machine little.
        """
        output = self.machine.check_output(
            f"if systemctl is-failed --quiet {UNIT}; then cat /tmp/{UNIT}.error {STATE}/{LOGS}/*.error >&2; exit 1; fi;"
            f" cat {STATE}/{LOGS}/*.log 2>/dev/null | wc -l; ls {STATE}"
        )
        count, *names = output.split()
        return int(count), DONE in names

    def read_logs(self) -> str:
        """Return the answers that the writers recorded."""
        return self.machine.check_output(f"cat {STATE}/{LOGS}/*.log")

    def count_kills(self) -> int:
        """Return how many writers were killed, after the run."""
        return int(json.loads(self.machine.check_output(f"cat {STATE}/{DONE}"))["kills"])

    def drop_caches(self) -> None:
        """Drop the page cache, so that the next read goes to the disk or to the server."""
        self.machine.check_output("sync; echo 3 > /proc/sys/vm/drop_caches", root=True, timeout_s=UP_WITHIN_S)


@dataclass(frozen=True)
class Backends:
    """The storage server, and two workers with a backend each. Both use the first worker's database."""

    server: Machine
    hosts: list[Host]

    def hash_server_files(self) -> dict[str, str]:
        """Return the SHA-256 of every file of every project on the server's own disk."""
        done = self.server.check_output(
            f"sync; echo 3 > /proc/sys/vm/drop_caches; cd {PROJECTS} && find . -type f -print0 | xargs -0 sha256sum",
            root=True, timeout_s=UP_WITHIN_S,
        )  # fmt: skip
        return parse_checksums(done)


def deploy_backends() -> Backends:
    """Deploy two backends on bare machines. With NOSLOP_LAB_KEEP, use those of an earlier run, which saves minutes."""
    # First, because a wrong mode should not fail after minutes of deployment.
    mode = select_cache_mode(os.environ.get("NOSLOP_LAB_DISK_CACHE"))
    if not os.environ.get("NOSLOP_LAB_KEEP"):
        reset_machines()
        _run_playbook()
    lab = list_machines()
    backends = Backends(lab["server"], [Host(lab["worker1"]), Host(lab["worker2"])])
    if read_cache_mode("server") != mode:
        # Write what is there to the disk: a power cut may lose only what follows.
        backends.server.check_output("sync", root=True)
        switch_power("server", "reboot", disk_cache=mode)
        wait_until_up(backends.server, timeout_s=UP_WITHIN_S)
    assert read_cache_mode("server") == mode
    for host in backends.hosts:
        host.install_program()
    return backends


def _run_playbook() -> None:
    inventories = (LAB / "machines" / "inventory.yml", ROOT / "lab" / "studio" / "inventory" / "two_backends.yml")
    done = subprocess.run(
        [
            *("ansible-playbook", *(f"--inventory={path}" for path in inventories)),
            *("--extra-vars", f"lab_dir={LAB}", "lab/studio/two_backends.yml"),
        ],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    (LAB / "two_backends.log").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr


def cut_power(backends: Backends) -> None:
    """Cut the server's power, restore it, and wait until it answers SSH. Its shares may come later."""
    switch_power("server", "reboot", disk_cache=read_cache_mode("server"))
    wait_until_up(backends.server, timeout_s=UP_WITHIN_S)


def wait_for_answers(backends: Backends, count: int | None) -> None:
    """Wait until all writers together have this many answers (None: all), or have ended."""

    def have_enough() -> bool:
        progress = [host.read_progress() for host in backends.hosts]
        return all(done for _, done in progress) or (
            count is not None and sum(answers for answers, _ in progress) >= count
        )

    wait_for(f"{count or 'all'} answers of the writers", have_enough, timeout_s=RUN_WITHIN_S)
