"""Two backends on two workers, one share over NFS, one database: how the tests make them, use them and look at them."""

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
from tests.support.lab.machines import LAB, ROOT, Machine, machines, reset, wait_for
from tests.support.lab.power import cache_of, honest_cache, switch, wait_until_up

ENV_FILE = "/etc/noslop/backend.env"
PROJECTS = "/mnt/noslop/projects"
#: Where the tests' own code lies on a worker, and where its writers keep what they were told.
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

    def prepare(self) -> None:
        """Bring the tests' program, and make room for what it writes."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tape:
            for name in MODULES:
                tape.add(ROOT / "tests" / "backend" / f"{name}.py", f"tests/backend/{name}.py")
        subprocess.run(
            [*self.machine.ssh(), "cat > /tmp/noslop-test.tar.gz"], input=packed.getvalue(), check=True, timeout=120
        )
        self.machine.output_of(
            f"rm -rf {CODE} && mkdir -p {CODE} && tar -C {CODE} --no-same-owner -xzf /tmp/noslop-test.tar.gz"
            f" && chmod -R a+rX {CODE}",
            root=True,
        )
        seen = self.machine.output_of(f"cat {PROJECTS}/.noslop-share; stat -f -c %T {PROJECTS}", root=True)
        assert seen.splitlines()[-1] == "nfs", seen

    def _command(self, *words: str) -> str:
        python = "$(ls -td /opt/noslop/backend/*/venv | head -n 1)/bin/python"  # older releases stay
        return f"{python} -m tests.backend.on_host {shlex.join(words)}"

    def ask(self, *words: str, said: object = None, timeout_s: float = UP_WITHIN_S) -> Any:  # noqa: ANN401 - JSON
        """Run the tests' program as the backend's account; gives what it printed."""
        done = self.machine.sudo(
            f"cd {CODE} && export HOME=/var/lib/noslop/backend"
            f" && exec setpriv --reuid noslop-backend --regid noslop-backend --init-groups"
            f" --inh-caps=+fowner --ambient-caps=+fowner {self._command(*words)}",
            stdin="" if said is None else json.dumps(said),
            timeout_s=timeout_s,
        )
        assert done.returncode == 0, f"{self.machine.name}: {words[0]}: {done.stderr}{done.stdout}"
        return json.loads(done.stdout)

    def start(self, task: Task) -> None:
        """Let writers begin; they go on by themselves."""
        self.machine.output_of(
            f"systemctl stop {UNIT} 2>/dev/null; systemctl reset-failed {UNIT} 2>/dev/null;"
            f" rm -rf {STATE} && install -d -o noslop-backend -g noslop-backend {STATE}",
            root=True,
        )
        self.machine.run(f"cat > /tmp/{TASK}", stdin=task.dump())
        self.machine.output_of(
            f"cp /tmp/{TASK} {STATE}/{TASK} && systemd-run --quiet --unit={UNIT}"
            " --uid=noslop-backend --gid=noslop-backend --property=AmbientCapabilities=CAP_FOWNER"
            f" --working-directory={CODE} --property=UMask=0002 --property=StandardError=file:/tmp/{UNIT}.error"
            f" {self._command('write', ENV_FILE, STATE)}",
            root=True,
        )

    def progress(self) -> tuple[int, bool]:
        """How many answers this worker's writers have written down, and whether they have all of them.

        Asserts that none gave up. Asks little of the machine: it is asked again and again.
        """
        seen = self.machine.output_of(
            f"if systemctl is-failed --quiet {UNIT}; then cat /tmp/{UNIT}.error {STATE}/{LOGS}/*.error >&2; exit 1; fi;"
            f" cat {STATE}/{LOGS}/*.log 2>/dev/null | wc -l; ls {STATE}"
        )
        count, *names = seen.split()
        return int(count), DONE in names

    def logs(self) -> str:
        """What the writers have written down."""
        return self.machine.output_of(f"cat {STATE}/{LOGS}/*.log")

    def kills(self) -> int:
        """How many writers were killed, when all is done."""
        return int(json.loads(self.machine.output_of(f"cat {STATE}/{DONE}"))["kills"])

    def forget_cached(self) -> None:
        """Let the next reader have it from the disk, or from the server."""
        self.machine.output_of("sync; echo 3 > /proc/sys/vm/drop_caches", root=True, timeout_s=UP_WITHIN_S)


@dataclass(frozen=True)
class Backends:
    """The storage server, and the workers with a backend each. The first one's database serves both."""

    server: Machine
    hosts: list[Host]

    def server_hashes(self) -> dict[str, str]:
        """SHA-256 of every file of every project on the server's own disk."""
        done = self.server.output_of(
            f"sync; echo 3 > /proc/sys/vm/drop_caches; cd {PROJECTS} && find . -type f -print0 | xargs -0 sha256sum",
            root=True, timeout_s=UP_WITHIN_S,
        )  # fmt: skip
        pairs = (line.split(maxsplit=1) for line in done.splitlines())
        return {path.removeprefix("./"): digest for digest, path in pairs}


def deploy() -> Backends:
    """Make bare machines two backends. With NOSLOP_LAB_KEEP, use those that an earlier run made: that saves minutes."""
    # Before anything else, so that nobody waits for it.
    mode = honest_cache(os.environ.get("NOSLOP_LAB_DISK_CACHE"))
    if not os.environ.get("NOSLOP_LAB_KEEP"):
        reset()
        _play()
    lab = machines()
    made = Backends(lab["server"], [Host(lab["worker1"]), Host(lab["worker2"])])
    if cache_of("server") != mode:
        # Everything so far is on the disk: what the cuts may take is what comes after.
        made.server.output_of("sync", root=True)
        switch("server", "reboot", disk_cache=mode)
        wait_until_up(made.server, timeout_s=UP_WITHIN_S)
    assert cache_of("server") == mode
    for host in made.hosts:
        host.prepare()
    return made


def _play() -> None:
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


def cut(backends: Backends) -> None:
    """Pull the server's plug and put it in again; wait until it answers. Its shares come back when they do."""
    switch("server", "reboot", disk_cache=cache_of("server"))
    wait_until_up(backends.server, timeout_s=UP_WITHIN_S)


def wait_for_answers(backends: Backends, count: int | None) -> None:
    """Wait until the writers have this many answers together (None: all), or are done."""

    def enough() -> bool:
        seen = [host.progress() for host in backends.hosts]
        return all(done for _, done in seen) or (count is not None and sum(answers for answers, _ in seen) >= count)

    wait_for(f"{count or 'all'} answers of the writers", enough, timeout_s=RUN_WITHIN_S)
