"""Watch for secrets where every user of a computer can read them: in the list of processes."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

from tests.support.lab.machines import LAB


def read_secrets() -> dict[str, str]:
    """Return the lab's passwords, by what they are for."""
    return {name: (LAB / name).read_text().strip() for name in ("ssh_password", "sudo_password")}


class SecretWatch:
    """A thread that reads the command line and the environment of every process, again and again, while entered."""

    def __init__(self, values: dict[str, str]) -> None:
        """Watch for these values, named by what they are for."""
        self.exposures: list[str] = []
        self._values = {name: value.encode() for name, value in values.items()}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> SecretWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            self._read_processes()

    def _read_processes(self) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    text = (process / name).read_bytes()
                except OSError:  # it ended, or is another user's
                    continue
                self.exposures += [
                    f"{what} in {name} of {text[:60]!r}" for what, value in self._values.items() if value in text
                ]
