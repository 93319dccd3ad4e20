# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check one host before a studio is deployed to it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import host_rules
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, enumerate_words
from ansible_collections.noslop.studio.plugins.module_utils.host import gpu, gpu_support, mountinfo, processes, state
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import run_one
from ansible_collections.noslop.studio.plugins.module_utils.nfs import client_state, exports
from ansible_collections.noslop.studio.plugins.module_utils.probe import directories
from ansible_collections.noslop.studio.plugins.module_utils.share import markers, own_file_system

OLDEST_PYTHON = (3, 9)
NFS_PORT = studio.NFS_PORT
#: Timeout of a path; a share of an earlier deployment blocks while its server is down.
PATH_TIMEOUT_S = 20.0

#: Share to the directory of an existing ComfyUI that is adopted into it.
ADOPTED_DIRECTORIES = {"comfyui_models": "models", "comfyui_custom_nodes": "custom_nodes"}


class HostChecks:
    """The checks of one host. ``options`` are the module's parameters."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._shares: list[dict[str, str]] = options["shares"]
        self._accounts = studio.accounts_from_dicts(options["accounts"])
        self._nfs = options["provider"] == "nfs"
        self._client = self._nfs and options["client"]
        self._server = self._nfs and options["server"]
        self._transport: str = options.get("transport", "plain")
        self.checks = Checks(options["host"])

    def run(self) -> dict[str, Any]:
        """Make every check."""
        self._system()
        self._account()
        self._network()
        self._ports()
        self._kernel()
        self._gpus()
        self._storage()
        unknown = state.find_unknown_users(self._options["users"])
        return {
            "checks": self.checks.list,
            "identity": state.read_identity(),
            "paths": [share["path"] for share in self._shares],
            "unknown_users": unknown,
        }

    def _system(self) -> None:
        release = state.parse_os_release(state.read_text("/etc/os-release"))
        system = (release.get("ID", ""), release.get("VERSION_ID", ""))
        host_rules.judge_system(self.checks, *system)
        if self._client or self._server:
            host_rules.judge_transport(self.checks, self._transport, *system, platform.release())
        first = state.read_text("/proc/1/comm").strip()
        host_rules.judge_service_manager(self.checks, "systemd" if os.path.isdir("/run/systemd/system") else first)
        self.checks.add(
            "host.python",
            sys.version_info >= OLDEST_PYTHON,
            seen=f"Python {platform.python_version()}",
            expected="Python 3.9 or newer",
            todo="install a newer Python, and name it in ansible_python_interpreter",
        )
        services = [name for name in ("ollama", "comfyui") if self._options[name]]
        host_rules.judge_architecture(self.checks, platform.machine(), services)
        for service, python in self._options["pythons"].items():
            if self._options[service] and python["oldest"]:
                version = state.read_python_version(python["program"])
                host_rules.judge_python(self.checks, service, python["program"], version, python["oldest"])
        for service in services:
            for problem in self._options["release_problems"].get(service, []):
                expected = f"a release of {service} that works here and has no vulnerability"
                self.checks.add(
                    "host.service_release", False, seen=problem["text"], expected=expected, todo=problem["todo"]
                )

    def _account(self) -> None:
        conflicts = [
            conflict
            for account in self._accounts.values()
            for conflict in state.find_account_conflicts(account.name, account.uid, account.gid)
        ]
        numbers = enumerate_words(f"{one.name} {one.uid}:{one.gid}" for one in self._accounts.values())
        self.checks.add(
            "host.account",
            not conflicts,
            seen="; ".join(dict.fromkeys(conflicts)) or "the numbers of the studio's accounts are free, or theirs",
            expected=f"the numbers belong to the studio's accounts, or are free, on every host: {numbers}",
            todo=(
                "choose other numbers with noslop_uid, noslop_gid and noslop_*_id, or give what has them other ones "
                "(usermod --uid, groupmod --gid, and chown what it owns)"
            ),
        )

    def _network(self) -> None:
        address = self._options["address"]
        if address:
            self.checks.add(
                "host.address",
                state.has_address(address),
                seen=f"this host has {enumerate_words(state.read_addresses(), 'no address')}",
                expected=address,
                todo=f"set noslop_address for {self.checks.host} to the address under which the other hosts reach it",
            )
        if not (self._client and self._options["server_address"]):
            return
        server = self._options["server_address"]
        error, certain = state.find_route_error(server, NFS_PORT)
        expected = f"{server} answers, be it with a refusal"
        todo = f"see whether {server} is on, and whether `ip route get {server}` finds a way on {self.checks.host}"
        if error and not certain:
            self.checks.note(
                "host.route", seen=f"{server}:{NFS_PORT}: {error}; a firewall may drop it", expected=expected
            )
        else:
            self.checks.add("host.route", not error, seen=error or f"{server} answers", expected=expected, todo=todo)

    def _ports(self) -> None:
        if self._server:
            self._port(NFS_PORT, "NFS", ())
        if self._options.get("smb"):
            self._port(studio.SMB_PORT, "the studio's SMB server", (studio.SMB_UNIT,))
        for name in ("ollama", "comfyui", "backend"):
            if self._options[name]:
                title = studio.SERVICES[name].title
                self._port(self._options[f"{name}_port"], title, self._options[f"{name}_units"])

    def _port(self, port: int, title: str, units: tuple[str, ...]) -> None:
        listening = state.kernel_listens(port)
        listeners = processes.find_listeners(port) if listening else []
        existing = self._options["comfyui_existing_dir"]
        adopted_pids = {process.pid for process in processes.find_running_from(existing)} if existing else set()
        foreign = [one.describe() for one in listeners if one.unit not in units and one.pid not in adopted_pids]
        if listening and not listeners and port != NFS_PORT:
            foreign = ["the kernel, or a container"]
        self.checks.add(
            "host.port",
            not foreign,
            seen=f"port {port} is held by {enumerate_words(foreign)}" if foreign else f"port {port} is free or ours",
            expected=f"port {port} is free for {title}",
            todo=f"stop it, or move it to another port, on {self.checks.host}",
        )

    def _kernel(self) -> None:
        tls = self._transport != "plain" and (self._server or self._client)
        parts = ((self._server, "nfsd", "nfsd"), (self._client, "nfs4", "nfsv4"), (tls, "tls", "tls"))
        for wanted, file_system, module in parts:
            if wanted:
                self.checks.add(
                    "host.kernel",
                    state.supports(file_system, module),
                    seen=f"kernel {platform.release()}",
                    expected=f"a kernel with {file_system}",
                    todo=f"install a kernel with the module {module} (on Debian linux-image-amd64), and reboot into it",
                )

    def _gpus(self) -> None:
        if self._options["comfyui"]:
            cards = gpu_support.parse_cards(card.as_fact() for card in gpu.find_gpus(gpu.run_program))
            host_rules.judge_gpus(self.checks, cards, self._options["comfyui_torch_index"])

    def _storage(self) -> None:
        if not host_rules.judge_paths(self.checks, self._options["root"], self._shares):
            return
        outcome = run_one(self._check_paths, None, PATH_TIMEOUT_S)
        if outcome.error:
            self.checks.add(
                "storage.answers",
                False,
                seen=outcome.error,
                expected="the directories of the shares can be looked at",
                todo="start the storage server that is mounted there, or unmount it (`umount --lazy`)",
            )
            return
        for check in outcome.value:
            self.checks.add(check.pop("check"), check.pop("ok"), **check)

    def _check_paths(self) -> list[dict[str, Any]]:
        """Check the paths of the shares, and return the checks. Runs in a worker process: any access may block."""
        inner = HostChecks(self._options)
        table = mountinfo.read_mounts()
        if self._client and not self._options["server"]:
            ours = client_state.read_managed_paths()
            for share in self._shares:
                path = share["path"]
                problems = client_state.find_mount_point_problems(path, table, path in ours)
                expected = f"nothing at {path} that a mount would hide"
                host_rules.add_problems(
                    inner.checks, "storage.mount_point", problems, expected=expected, share=share["name"]
                )
            inner._takeover()
        elif self._options["provider"] == "existing":
            inner._mounted_by_others(table)
        elif self._options["server"] or not self._nfs:
            inner._directories(table)
        if self._server:
            inner._exports()
        return [{key: value for key, value in check.items() if key != "host"} for check in inner.checks.list]

    def _takeover(self) -> None:
        """Add a note for each directory of an existing ComfyUI that a read-only share keeps from being adopted."""
        existing = self._options["comfyui_existing_dir"]
        for share in self._shares if existing else []:
            name, path = share["name"], share["path"]
            directory = os.path.join(existing, ADOPTED_DIRECTORIES.get(name, ""))
            if name not in ADOPTED_DIRECTORIES or share.get("writers") != "server" or not os.path.lexists(directory):
                continue
            if not (os.path.islink(directory) and os.readlink(directory) == path):
                variable = studio.writers_variable(name)
                self.checks.note(
                    "storage.takeover",
                    share=name,
                    seen=(
                        f"only the storage server writes to {path}. {directory} stays as it is if it has anything that "
                        f"the share lacks. To adopt it, deploy once with {variable}: members"
                    ),
                    expected=f"{directory} is adopted, or stays as it is",
                )

    def _directories(self, table: list[mountinfo.Mount]) -> None:
        root, gid = self._options["root"], self._accounts[studio.PEOPLE].gid
        paths = [share["path"] for share in self._shares]
        foreign_entries = markers.find_foreign_entries(root, paths, gid)
        host_rules.add_problems(self.checks, "storage.root", foreign_entries, expected=f"{root} is the studio's alone")
        if self._server:
            inside = [path for path in paths if not own_file_system.has_own(table, root, path)]
            required = self._options["require_own_file_system"]
            host_rules.judge_own_file_systems(
                self.checks, root, inside, required=required, check="storage.own_file_system"
            )
        usable = [share["path"] for share in self._shares if self._directory(share, table)]
        for on_one, free_bytes in state.read_free_space(usable):
            host_rules.judge_free_space(
                self.checks, on_one, free_bytes, self._options["min_free_gb"], check="storage.room"
            )

    def _mounted_by_others(self, table: list[mountinfo.Mount]) -> None:
        """Check that a file system is mounted where the shares are, and whose they are, as far as root may read it."""
        usable = []
        for share in self._shares:
            problem = directories.find_mount_problem(share["path"], table)
            expected = f"{share['path']} on a file system that is mounted on every host by you"
            if host_rules.add_problems(
                self.checks, "storage.existing", [problem] if problem else [], expected=expected, share=share["name"]
            ) and self._directory(share, table):
                usable.append(share["path"])
        for on_one, free_bytes in state.read_free_space(usable):
            host_rules.judge_free_space(
                self.checks, on_one, free_bytes, self._options["min_free_gb"], check="storage.room"
            )

    def _directory(self, share: Mapping[str, str], table: list[mountinfo.Mount]) -> bool:
        """Check the directory of a share and its marker. Returns whether the directory can be used."""
        name, path = share["name"], share["path"]
        problems = markers.find_directory_problems(path) + markers.find_missing_mounts(path, table)
        expected = f"{path} without a link on the way, on a disk that is mounted"
        if not host_rules.add_problems(self.checks, "storage.directory", problems, expected=expected, share=name):
            return False
        marker = os.path.join(path, studio.MARKER)
        if os.path.lexists(marker):
            try:
                text = markers.read(marker)
            except PermissionError:  # a file server that grants root no rights: phase 2 reads it as the account
                return True
            problem = markers.find_problem(text, self._options["studio_id"], name)
            expected = f"no marker at {path}, or that of share {name} of studio {self._options['studio_id']}"
            wrong = [problem] if problem else []
            host_rules.add_problems(self.checks, "storage.marker", wrong, expected=expected, share=name)
        return True

    def _exports(self) -> None:
        foreign = state.read_foreign_exports()
        problems = exports.find_overlaps([share["path"] for share in self._shares], foreign)
        host_rules.add_problems(
            self.checks, "storage.exports", problems, expected="no export of others above or below a share"
        )
        self.checks.add(
            "storage.nfs3",
            not (foreign and state.offers_nfs3()),
            seen=f"the NFS server speaks version 3 and exports {enumerate_words(foreign)}"
            if foreign
            else "no export needs it",
            expected="NFSv4 alone, since version 3 cannot be given up without a restart",
            todo=(
                "put vers2=n and vers3=n under [nfsd] into a file of /etc/nfs.conf.d, and at a quiet moment run "
                "`systemctl restart nfs-server`"
            ),
        )
