#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply the configuration files of a running NFS server.

A handler that runs ``exportfs -ra`` is lost with an interrupted run, reports errors of ``exportfs`` as success
through the unit's reload, and does not notice exports that differ from their file.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: nfs_exports
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Apply the configuration files of a running NFS server
description:
  - Reloads the exports and sets the number of threads on the running server, without interruption for its clients. The
    unit's own reload hides errors of C(exportfs), so this calls it directly, and compares the exports afterwards.
  - The server is restarted in one case only - it offers NFSv3, which cannot be switched off on a running server, and
    exports nothing yet.
  - The files are written before - the exports, C(/etc/nfs.conf.d) and the drop-ins that keep C(rpcbind) from starting.
attributes:
  check_mode:
    description: Returns what would be done.
    support: full
  diff_mode:
    description: Shows the differences between the current and the requested exports.
    support: full
options:
  state:
    description:
      - C(present) applies the files, C(checked) only checks whether this host permits that.
      - C(absent) removes the exports from the running server, and disables the server when it has no other exports.
    type: str
    choices: [present, checked, absent]
    default: present
  exports_file:
    description: File with NoSlop's exports; exports in other files are the administrator's.
    type: path
    default: /etc/exports.d/noslop.exports
  exports:
    description: Exports in that file.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Exported directory.
        type: path
        required: true
      clients:
        description: Addresses that may mount it. With none, it is not exported.
        type: list
        elements: str
        required: true
      options:
        description: Options of exports(5).
        type: list
        elements: str
        required: true
  transport:
    description: Which clients the shares are to accept, for RV(accepted).
    type: str
    choices: [plain, tls, mtls]
    default: plain
  threads:
    description: Number of requests that the server handles at once.
    type: int
    default: 16
  quiet_units:
    description: Units of NFSv3 that must not run; a drop-in keeps them from starting again.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Apply the exports
  noslop.studio.nfs_exports:
    exports:
      - path: /mnt/noslop/projects
        clients: [192.168.1.20]
        options: [rw, sync, all_squash, anonuid=2600, anongid=2600]
      - path: /mnt/noslop/comfyui/custom_nodes
        clients: [192.168.1.20]
        options: [ro, sync, all_squash, anonuid=2602, anongid=2602]
"""

RETURN = r"""
changes:
  description: Changes that were made, or would be.
  type: list
  elements: str
  returned: success
installed:
  description: Whether this host has the programs of an NFS server.
  type: bool
  returned: success
exported:
  description: Exports of the server now, by path and client.
  type: dict
  returned: success
accepted:
  description: >-
    Clients that the shares accept while clients change to O(transport) - those of it, and those that are accepted now
    (C(xprtsec) of exports(5)).
  type: list
  elements: str
  returned: success
foreign:
  description: Paths that the administrator exports, each with the file that exports it.
  type: dict
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host import state
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Systemd, SystemdError
from ansible_collections.noslop.studio.plugins.module_utils.nfs import exports as exports_of
from ansible_collections.noslop.studio.plugins.module_utils.nfs import helper_daemons, transport

SERVER = studio.NFS_SERVER_UNIT
THREADS = "/proc/fs/nfsd/threads"
VERSIONS = "/proc/fs/nfsd/versions"


class ExportsError(Exception):
    """The server cannot be brought to the requested state. The message contains the next step."""


class Server:
    """The NFS server of this host."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.systemd = Systemd(module)
        self.foreign = state.read_foreign_exports(self.params["exports_file"])

    @property
    def installed(self) -> bool:
        """Return whether this host has the programs of an NFS server."""
        return bool(self.module.get_bin_path("exportfs") and self.module.get_bin_path("rpc.nfsd"))

    @property
    def changes(self) -> list[str]:
        """Return what was changed, or in check mode would be."""
        return self.systemd.changes

    def check(self) -> None:
        """Raise ExportsError when this host cannot serve the studio."""
        problems = exports_of.find_overlaps([export["path"] for export in self.params["exports"]], self.foreign)
        if self.foreign and self.offers_v3():
            problems.append(self._v3_in_use())
        if problems:
            raise ExportsError(" ".join(problems))

    def apply(self) -> None:
        """Apply the files to the running server."""
        unit = self.systemd.show([SERVER])[SERVER]
        if unit.stale:
            self.systemd.reload_manager()
        helper_daemons.stop(self.systemd, self.params["quiet_units"])
        if unit.enabled not in ("enabled", "enabled-runtime", "alias"):
            self.systemd.do("enable", SERVER)
        if not unit.is_active:
            self._start("start")
        elif self.offers_v3():
            if self.exported() or self.foreign:
                raise ExportsError(self._v3_in_use())
            self._start("restart")
        if self.module.check_mode and self.changes:
            return
        self._set_threads()
        if self.differences():
            self._reload()

    def remove(self) -> None:
        """Remove our exports from the running server; disable it where it has no others."""
        self.systemd.reload_manager()
        if self.exported() and self.differences():
            self._reload()
        unit = self.systemd.show([SERVER])[SERVER]
        if not self.foreign and unit.load == "loaded" and (unit.is_active or unit.enabled == "enabled"):
            self.systemd.do("disable", SERVER)
            self.systemd.do("stop", SERVER)
        helper_daemons.restore(self.systemd, self.params["quiet_units"])

    def differences(self) -> list[str]:
        """Return the differences between the server's exports and the requested ones."""
        wanted = {} if self.params["state"] == "absent" else exports_of.convert_requested(self.params["exports"])
        return exports_of.compare(wanted, self.exported(), self.foreign)

    def exported(self) -> exports_of.Exports:
        """Return the exports of the server."""
        if not self.installed:
            return {}
        code, out, err = self.module.run_command(["exportfs", "-s"])
        if code != 0:
            raise ExportsError(f"exportfs -s failed: {(err or out).strip()}")
        return exports_of.parse_exportfs(out)

    def offers_v3(self) -> bool:
        """Return whether the running server accepts NFSv3 clients."""
        return _number(THREADS) > 0 and bool({"+2", "+3"} & set(_read(VERSIONS).split()))

    def _v3_in_use(self) -> str:
        others = ", ".join(self.foreign) or "the studio's shares"
        return (
            f"The NFS server of this host runs with NFSv3 and exports {others}. A studio's server speaks NFSv4 only. "
            "To turn NFSv3 off it must be restarted, which stops all clients for 90 seconds and is never done "
            "automatically: at a quiet moment put vers2=n and vers3=n under [nfsd] in a file of /etc/nfs.conf.d, run "
            f"`systemctl restart {SERVER}`, and run this again."
        )

    def _start(self, verb: str) -> None:
        try:
            self.systemd.do(verb, SERVER)
        except SystemdError as error:
            raise ExportsError(
                f"The NFS server does not start. {error} Look at `systemctl --failed`. The kernel needs the module "
                "nfsd; in a container that is the business of its host."
            ) from error

    def _set_threads(self) -> None:
        wanted = self.params["threads"]
        current = _number(THREADS)
        if current == wanted:
            return
        self.changes.append(f"{THREADS}: {current} -> {wanted}")
        if not self.module.check_mode:
            with open(THREADS, "w", encoding="ascii") as stream:
                stream.write(f"{wanted}\n")

    def _reload(self) -> None:
        self.changes.append("exportfs -ra")
        if self.module.check_mode:
            return
        code, out, err = self.module.run_command(["exportfs", "-ra"])
        output = (err or out).strip()
        if code != 0:
            raise ExportsError(f"exportfs -ra refused the exports: {output}. Look at /etc/exports and /etc/exports.d.")
        left = self.differences()
        if left:
            raise ExportsError(
                f"The exports were reloaded and still differ from what was meant: {'; '.join(left)}. "
                f"exportfs printed: {output or 'nothing'}. Look at /etc/exports, /etc/exports.d and `exportfs -s`."
            )


def main() -> None:
    """Bring the server to the requested state, and return its exports."""
    export_spec = {
        "path": {"type": "path", "required": True},
        "clients": {"type": "list", "elements": "str", "required": True},
        "options": {"type": "list", "elements": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "checked", "absent"], "default": "present"},
            "exports_file": {"type": "path", "default": studio.EXPORTS_FILE},
            "exports": {"type": "list", "elements": "dict", "required": True, "options": export_spec},
            "transport": {"type": "str", "choices": list(studio.NFS_TRANSPORTS), "default": "plain"},
            "threads": {"type": "int", "default": 16},
            "quiet_units": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    server = Server(module)
    try:
        before = server.differences() if module.params["state"] != "checked" else []
        paths = [export["path"] for export in module.params["exports"]]
        wanted = studio.NFS_TRANSPORTS[module.params["transport"]]
        accepted = transport.join_clients(wanted, paths, server.exported())
        {"present": server.apply, "checked": server.check, "absent": server.remove}[module.params["state"]]()
        module.exit_json(
            changed=bool(server.changes),
            changes=server.changes,
            installed=server.installed,
            accepted=accepted,
            exported={
                path: {client: ",".join(sorted(options)) for client, options in clients.items()}
                for path, clients in server.exported().items()
            },
            foreign=server.foreign,
            diff={"before": "".join(f"{line}\n" for line in before), "after": ""},
        )
    except (ExportsError, SystemdError, OSError) as error:
        module.fail_json(msg=str(error), changes=server.changes)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def _number(path: str) -> int:
    text = _read(path).strip()
    return int(text) if text.isdigit() else 0


if __name__ == "__main__":
    main()
