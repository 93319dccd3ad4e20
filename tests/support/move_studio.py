# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make two hosts of this computer that have the same paths: an sshd each, with /etc, /run and the shares of its own.

systemctl and exportfs are programs that log what they are told. What they would do is tried on the lab.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.sshd import SshServer

SETUP = """
set -e
mount --make-rprivate /
mount --bind {host}/storage {root}
for tree in etc var/lib; do
    mkdir -p {host}/upper/$tree {host}/work/$tree
    mount -t overlay overlay -o lowerdir=/$tree,upperdir={host}/upper/$tree,workdir={host}/work/$tree /$tree
done
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd /run/systemd/system
mount -t tmpfs tmpfs /proc/fs
mkdir /proc/fs/nfsd
echo 16 > /proc/fs/nfsd/threads
cp /proc/filesystems /run/filesystems
printf 'nodev\\tnfsd\\n' >> /run/filesystems
mount --bind /run/filesystems /proc/filesystems
echo "-2 -3 +4" > /proc/fs/nfsd/versions
exec "$@"
"""
SYSTEMCTL = r"""#!/bin/sh
# Every unit is loaded and active until it is stopped.
case "$1" in
    list-units) cat {host}/units ;;
    show)
        while [ "$1" != -- ]; do shift; done; shift
        for unit; do
            printf 'LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\nResult=success\n'
            echo
        done ;;
    stop|start) echo "$*" >> {host}/log; [ "$1" = start ] || : > {host}/units ;;
    disable|enable|restart) echo "$*" >> {host}/log ;;
esac
"""
EXPORTFS = r"""#!/bin/sh
# The exports of a server in a file. While they change, no client writes.
case "$1" in
    -s) cat {host}/exported 2>/dev/null; exit 0 ;;
    -ra)
        exec 9>{host}/lock
        flock 9
        cat /etc/exports.d/noslop.exports 2>/dev/null | grep '^/' > {host}/exported || : > {host}/exported
        mode=nothing
        grep -q '(ro' {host}/exported && mode=ro
        grep -q '(rw' {host}/exported && mode=rw
        echo "export $mode" >> {host}/log ;;
esac
"""


class LinkedHost:
    """A host with its own directories. `root` is the storage root on each of them."""

    def __init__(self, directory: Path, root: Path) -> None:
        self.directory, self.root = directory, root
        for name in ("storage", "bin"):
            (directory / name).mkdir(parents=True)
        (directory / "storage").chmod(0o750)
        self.write_program("systemctl", SYSTEMCTL)
        self.write_program("exportfs", EXPORTFS)
        self.write_program("rpc.nfsd", "#!/bin/sh\n")
        self.write_program("journalctl", "#!/bin/sh\n")
        (directory / "units").write_text("noslop-backend.service loaded active running The backend\n")
        (directory / "log").touch()

    @property
    def storage(self) -> Path:
        """Return where its storage root lies on this computer."""
        return self.directory / "storage"

    def write_program(self, name: str, text: str) -> None:
        """Write a program that the host finds first."""
        path = self.directory / "bin" / name
        path.write_text(text.replace("{host}", str(self.directory)), encoding="utf-8")
        path.chmod(0o755)

    def read_log(self) -> list[str]:
        """Return what systemctl and exportfs were told."""
        return (self.directory / "log").read_text(encoding="utf-8").splitlines()

    def list_prefix(self) -> Sequence[str]:
        """Return the words before the command of its sshd."""
        setup = SETUP.format(host=self.directory, root=self.root)
        return ["unshare", "--mount", "sh", "-c", setup, "sh"]

    def list_options(self) -> Sequence[str]:
        """Return the lines of its sshd_config."""
        return [f"SetEnv PATH={self.directory}/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]


def write_groups(inventory: Path, server: str, client: str) -> None:
    """Write which host serves. The other one is no client here, because nothing can be mounted."""
    groups = {"storage_server": {"hosts": {server: None}}, "comfyui_none": {"hosts": {client: None}}}
    (inventory / "groups.yml").write_text(json.dumps(groups), encoding="utf-8")


def host_variables(server: SshServer, known_hosts: Path) -> dict[str, object]:
    """Return the variables of the connection with one of the hosts."""
    return {
        "ansible_host": server.address,
        "noslop_address": server.address,
        "ansible_port": server.port,
        "ansible_user": server.user,
        "ansible_ssh_private_key_file": str(server.client_key),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={known_hosts} -o StrictHostKeyChecking=no",
        "ansible_python_interpreter": sys.executable,
    }
