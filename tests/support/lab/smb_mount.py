# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount a share of the studio over SMB on a machine of the lab, with the kernel's own client."""

from __future__ import annotations

from tests.support.lab.machines import Machine

CREDENTIALS = "/root/smb-credentials"


def mount_smb(machine: Machine, source: str, path: str, *, user: str, password: str, options: str = "") -> None:
    """Mount `source` (//ADDRESS/SHARE) at a path, which is made. Installs the client where it is missing."""
    given = ",".join([f"credentials={CREDENTIALS}", "vers=3.1.1", "nosuid", "nodev", *([options] if options else [])])
    machine.check_output(
        "set -e; command -v mount.cifs ||"
        " { apt-get update -q && apt-get install -qy --no-install-recommends cifs-utils; };"
        f" umask 077; printf 'username={user}\\npassword={password}\\n' > {CREDENTIALS};"
        f" mkdir -p {path}; mount -t cifs -o {given} {source} {path}",
        root=True,
        timeout_s=600,
    )
