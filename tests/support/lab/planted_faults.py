# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plant faults on hosts as accidents do, for tests of `noslop-driver doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from noslop_driver.commands.doctor_result import CauseData
from tests.support.lab.driver import PrintedRun

PROJECTS = "/mnt/noslop/projects"

_OLLAMA = "noslop-ollama.service"
_DROP_IN = f"/etc/systemd/system/{_OLLAMA}.d/planted.conf"
_PROGRAM = "/opt/noslop/ollama/current/bin/ollama"
#: One that no timer starts again, and mends, within a test: it is daily.
_JOB = "noslop-backend-backup.service"
_JOB_DROP_IN = f"/etc/systemd/system/{_JOB}.d/planted.conf"
#: Services are bound to the firewall's unit: a stop while they start again would end as a failure.
_LOAD_FIREWALL = f"systemctl restart noslop-firewall; systemctl start {_OLLAMA} noslop-comfyui"
_START_AGAIN = f"systemctl reset-failed {_OLLAMA}; systemctl restart {_OLLAMA}"


@dataclass(frozen=True)
class Fault:
    """A fault by shell commands of root. `fixed` is whether `doctor --fix` mends it without a question."""

    host: str
    plant: str
    undo: str
    kind: str
    fixed: bool


FAULTS_OF_A_HOST = {
    "directories of root below the top": Fault(
        "server",
        f"mkdir -p {PROJECTS}/planted/below; chown -R root:root {PROJECTS}/planted; chmod 755 {PROJECTS}/planted",
        f"rm -r {PROJECTS}/planted",
        "share.ownership",
        False,
    ),
    "process stopped by a signal": Fault(
        "worker1",
        f"systemctl kill --signal=STOP {_OLLAMA}",
        f"systemctl kill --signal=CONT {_OLLAMA}",
        "unit.process_stopped",
        True,
    ),
    "drop-in that breaks a service": Fault(
        "worker1",
        f"mkdir -p {_DROP_IN.rpartition('/')[0]};"
        f" printf '[Service]\\nExecStart=\\nExecStart=/no/program\\n' > {_DROP_IN};"
        f" systemctl daemon-reload; systemctl restart {_OLLAMA}; true",
        f"rm {_DROP_IN}; systemctl daemon-reload; {_START_AGAIN}",
        "unit.drop_in",
        False,
    ),
    "missing firewall table": Fault(
        "worker1", "nft delete table inet noslop_studio", _LOAD_FIREWALL, "firewall.missing", True
    ),
    "stopped service": Fault(
        "worker1", f"systemctl stop {_OLLAMA}", f"systemctl start {_OLLAMA}", "unit.stopped", True
    ),
    "disabled service": Fault(
        "worker1", f"systemctl disable {_OLLAMA}", f"systemctl enable {_OLLAMA}", "unit.disabled", True
    ),
    "missing program": Fault(
        "worker1",
        f"mv $(readlink -f {_PROGRAM}) /root/program; systemctl restart {_OLLAMA}; true",
        f"mv /root/program $(readlink -m {_PROGRAM}); {_START_AGAIN}",
        "unit.program_missing",
        False,
    ),
    "port that another program listens on": Fault(
        "worker1",
        f"systemctl stop {_OLLAMA}; systemd-run --quiet --unit=planted python3 -m http.server 11434;"
        f" until ss -Hlnt | grep -q :11434; do :; done; systemctl start {_OLLAMA}; true",
        f"systemctl stop planted; {_START_AGAIN}",
        "unit.port_used",
        False,
    ),
    "changed firewall table": Fault(
        "worker1",
        "nft insert rule inet noslop_studio $(nft list table inet noslop_studio | awk '/chain/ { print $2; exit }')"
        " tcp dport 1 drop",
        _LOAD_FIREWALL,
        "firewall.changed",
        True,
    ),
    "missing marker": Fault(
        "server",
        f"mv {PROJECTS}/.noslop-share /root/",
        f"mv /root/.noslop-share {PROJECTS}/",
        "share.marker",
        False,
    ),
    "failed job": Fault(
        "server",
        f"mkdir -p {_JOB_DROP_IN.rpartition('/')[0]};"
        f" printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' > {_JOB_DROP_IN}; systemctl daemon-reload;"
        f" systemctl start {_JOB}; rm {_JOB_DROP_IN}; systemctl daemon-reload",
        f"systemctl start {_JOB}",
        "job.failed",
        False,
    ),
}
"""Faults that a studio of one machine can have too."""


def list_causes(result: PrintedRun, host: str) -> list[CauseData]:
    """Return the causes of a host."""
    return [cause for cause in result["causes"] if cause["host"] == host]
