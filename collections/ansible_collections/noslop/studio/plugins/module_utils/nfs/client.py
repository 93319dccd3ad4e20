# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps a studio's shares mounted on one client: what the module ``noslop.studio.nfs_mounts`` does.

An automount is never stopped while its mount is in use: systemd would detach the mount lazily and say that all is
well, and a hidden mount with open files stays behind. So a mount is taken away by umount(2), which refuses while
anything is open, and the automount stays and waits for the next access.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths, worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.host.mount_users import find_mount_users
from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import Mount, is_below, parents
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Systemd, Unit
from ansible_collections.noslop.studio.plugins.module_utils.nfs import helper_daemons, mount_options
from ansible_collections.noslop.studio.plugins.module_utils.nfs.client_state import (
    CONNECT_S,
    NFS_PORT,
    UNITS,
    MountError,
    Share,
    accepts_connections,
    managed_paths,
    mount_point_problems,
    read_mounts,
    reasons_to_unmount,
    session_servers,
)
from ansible_collections.noslop.studio.plugins.module_utils.share import markers
from ansible_collections.noslop.studio.plugins.module_utils.share.path_rules import path_problems, unit_name
from ansible_collections.noslop.studio.plugins.module_utils.studio import MARKER

#: A clean unmount may have to write back what no program waited for.
UNMOUNT_S = 120.0
FORCED_UNMOUNT_S = 10.0
#: The kernel ends a session with a server that does not answer after its requests timed out (60 s each, nfs(5)).
SESSION_END_S = 240.0
#: udev sets the read-ahead of a new mount by itself, a moment later.
UDEV_S = 5.0
#: Nothing but root may touch the directory under a mount: an unmounted share must not look like an empty one.
UNDER_MOUNT_MODE = 0o000


class NfsClient:
    """The shares of this client."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.server: str = self.params["server"]
        self.systemd = Systemd(module)
        self.notes: list[str] = []
        self._fresh = False
        #: servers that were away when their shares were unmounted
        self._unreachable_servers: set[str] = set()
        wanted = [] if self.params["state"] == "absent" else self.params["mounts"]
        self.shares = [
            Share(one["name"], one["path"], mount_options.source_of(self.server, one["path"]), one["options"])
            for one in wanted
        ]
        #: paths of our units that are no share any more
        self.stale_paths = sorted(set(managed_paths()) - {share.path for share in self.shares})

    @property
    def changes(self) -> list[str]:
        """What was done, or in check mode would be."""
        return self.systemd.changes

    def check(self) -> None:
        """Raise when something on this host stands against what was asked; nothing is changed until then."""
        problems = self._problems()
        if problems:
            raise MountError("Nothing was changed. " + " ".join(problems))

    def _problems(self) -> list[str]:
        params, mounts = self.params, read_mounts()
        problems = path_problems(params["root"], [{"name": one.name, "path": one.path} for one in self.shares])
        if problems:
            return problems
        ours = managed_paths()
        if params["quiet_units"] and self.shares:
            problems += helper_daemons.needed_by(mounts, ours)
        if self.shares:
            paths = [share.path for share in self.shares] + self.stale_paths
            problems += markers.foreign_entry_problems(params["root"], paths, params["gid"])
        for share in self.shares:
            problems += mount_point_problems(share.path, mounts, share.path in ours)
        to_unmount = [share.path for share in self.shares if reasons_to_unmount(share, mounts)] + self.stale_paths
        problems += self._find_foreign_users([path for path in to_unmount if not self._may_detach(path, mounts)])
        if to_unmount and self.shares and not accepts_connections(self.server):
            problems.append(f"{', '.join(to_unmount)} must be mounted anew. {self._server_unreachable}")
        return list(dict.fromkeys(problems))

    def mount(self) -> None:
        """Put directories, units and mounts into the state that was asked for."""
        self._make_directories()
        helper_daemons.stop(self.systemd, self.params["quiet_units"])
        units = self.systemd.show([name for share in self.shares for name in share.units])
        if self._unmask(units) or any(unit.stale or unit.load != "loaded" for unit in units.values()):
            self.systemd.reload_manager()
        mounts = read_mounts()
        to_remount = [share for share in self.shares if reasons_to_unmount(share, mounts)]
        with self._services_stopped() if to_remount or self.stale_paths else contextlib.nullcontext():
            for share in to_remount:
                self._unmount(share.path, "; ".join(reasons_to_unmount(share, mounts)))
            self._remove_mounts(self.stale_paths)
            self._wait_for_sessions()
            self._start_automounts()
            if not self.module.check_mode:
                self._mount_by_access()

    def _unmask(self, units: dict[str, Unit]) -> bool:
        masked = {name: unit.enabled for name, unit in units.items() if unit.load == "masked"}
        for state, verb in (("masked", "unmask"), ("masked-runtime", "unmask --runtime")):
            names = [name for name, enabled in masked.items() if enabled == state]
            if names:
                self.systemd.do(verb, *names)
        return bool(masked)

    def remove(self) -> None:
        """Take every share of ours away from this host."""
        if self.stale_paths:
            with self._services_stopped():
                self._remove_mounts(self.stale_paths)
        if self.params["quiet_units"]:
            self.systemd.reload_manager()
            helper_daemons.restore(self.systemd, self.params["quiet_units"])

    def verify(self) -> list[dict[str, Any]]:
        """Compare what the kernel has mounted with what was asked for. In check mode only when it is all there.

        Raises:
            MountError: a share is not mounted as it should be.
        """
        mounts = read_mounts()
        if self.module.check_mode and (
            self.changes or not all(mount_options.effective_mount(mounts, share.path) for share in self.shares)
        ):
            return []
        return [self._verify_share(share, mount_options.effective_mount(mounts, share.path)) for share in self.shares]

    def _verify_share(self, share: Share, mount: Mount | None) -> dict[str, Any]:
        if mount is None:
            raise MountError(
                f"{share.path} answered and is not mounted now: something unmounts it. "
                f"Look at `journalctl -u {share.units[0]}`."
            )
        wrong = mount_options.reasons_to_remount(mount, share.source, share.options)
        if wrong:
            raise MountError(
                f"{share.path} is mounted, but {'; '.join(wrong)}. Another mount of {self.server} on this host may "
                f"force its options on ours: look at `findmnt -t nfs4`, and at `systemctl cat {share.units[0]}`."
            )
        self.notes += [note for note in mount_options.notes_on(mount, share.options) if note not in self.notes]
        return {
            "name": share.name,
            "path": share.path,
            "source": mount.source,
            "rsize": int(mount.options.get("rsize", "0")),
            "read_ahead_kb": self._read_ahead(share, mount),
        }

    def _find_foreign_users(self, paths: list[str]) -> list[str]:
        """Name the programs that keep mounts from being taken away, the studio's own services aside."""
        mounted = [path for path in paths if mount_options.effective_mount(read_mounts(), path)]
        foreign = (
            [user for user in find_mount_users(mounted) if user.unit not in self.params["services"]] if mounted else []
        )
        return [f"{user}, on a share that has to be unmounted: end it, and run again." for user in foreign]

    def _may_detach(self, path: str, mounts: list[Mount]) -> bool:
        """Whether a mount may go while it is in use: only for good, and only when its server is away."""
        mount = mount_options.effective_mount(mounts, path)
        return (
            self.params["state"] == "absent"
            and mount is not None
            and not accepts_connections(mount_options.server_of(mount.source))
        )

    def _make_directories(self) -> None:
        root, gid = self.params["root"], self.params["gid"]
        for share in self.shares:
            for parent in reversed(parents(share.path)):
                guard = parent == root or (
                    not is_below(share.path, root)
                    and not os.path.isdir(parent)
                    and os.path.isdir(os.path.dirname(parent))
                )
                if guard:
                    self._ensure_directory(parent, gid, 0o750)
                elif not os.path.isdir(parent):
                    self._ensure_directory(parent, 0, 0o755)
            mounts = read_mounts()
            # What is mounted belongs to the server: owner and mode are its business (and root is squashed there).
            if not (
                mount_options.effective_mount(mounts, share.path) or mount_options.waits_for_access(mounts, share.path)
            ):
                self._ensure_directory(share.path, 0, UNDER_MOUNT_MODE)

    def _ensure_directory(self, path: str, gid: int, mode: int) -> None:
        current = None
        if os.path.isdir(path):
            status = os.stat(path)
            current = (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))
        if current == (0, gid, mode):
            return
        change = f"directory {mode:04o} 0:{gid} {path}"
        if change in self.changes:
            return
        self.changes.append(change)
        if not self.module.check_mode:
            safe_paths.make_directory(path, 0, gid, mode)

    def _start_automounts(self) -> None:
        units = self.systemd.show([name for share in self.shares for name in share.units])
        failed = [name for name, unit in units.items() if unit.active == "failed"]
        if failed:
            self.systemd.do("reset-failed", *failed)
        automounts = [units[share.units[1]] for share in self.shares]
        disabled = [unit.name for unit in automounts if unit.enabled != "enabled"]
        if disabled:
            self.systemd.do("enable", *disabled)
        idle = [unit.name for unit in automounts if not unit.is_active]
        if idle:
            self.systemd.do("start", *idle)

    def _mount_by_access(self) -> None:
        """Use each share once, which mounts it, and read its marker."""
        if not accepts_connections(self.server):
            raise MountError(
                f"{self._server_unreachable} Until then the automounts wait, and mount as soon as it is back."
            )
        mounts = read_mounts()
        self._fresh = not all(mount_options.effective_mount(mounts, share.path) for share in self.shares)
        works = {share.name: partial(markers.read, os.path.join(share.path, MARKER)) for share in self.shares}
        outcomes = worker_processes.run_all(works, None, self.params["timeout_s"])
        problems = []
        for share in self.shares:
            outcome = outcomes[share.name]
            if outcome.hung or outcome.error:
                problems.append(self._explain_failed_read(share, outcome))
            else:
                problem = markers.problem(outcome.value, self.params["studio_id"], share.name)
                problems += [f"{share.source}: {problem}"] if problem else []
        if problems:
            raise MountError(" ".join(problems))

    @property
    def _server_unreachable(self) -> str:
        return (
            f"The storage server {self.server} takes no connections on port {NFS_PORT} within {CONNECT_S:g} s. "
            "Start it, look at `systemctl status nfs-server` and its firewall there, and run again."
        )

    def _explain_failed_read(self, share: Share, outcome: worker_processes.Outcome) -> str:
        if mount_options.effective_mount(read_mounts(), share.path):
            todo = "Either it is another share, or the marker was removed: run the storage playbook for the server."
            if outcome.hung:
                todo = "Look at the server: a restarted one lets clients wait for 90 s, and a broken disk for ever."
            elif "Stale" in outcome.error:
                todo = (
                    f"The directory on the server was replaced: unmount it here (umount {share.path}), and run again."
                )
            return f"{share.source} is mounted at {share.path}, and its marker cannot be read: {outcome.error}. {todo}"
        journal = self.systemd.recent_journal(share.units[0])
        return (
            f"{share.source} could not be mounted at {share.path}: {outcome.error}. systemd says: "
            f"{journal or 'nothing'}. If access was denied, the server does not know this host's address: run the "
            "storage playbook for all hosts."
        )

    def _unmount(self, path: str, why: str) -> None:
        """Take one mount away: cleanly, or by force when its server is away."""
        while True:
            mount = mount_options.effective_mount(read_mounts(), path)
            if mount is None:
                return
            self.changes.append(f"unmounted {path}: {why}")
            if self.module.check_mode:
                return
            # Neither helper nor path lookup: both ask the server, and the path is a plain one.
            command = ["umount", "--internal-only", "--no-canonicalize", path]
            timeout_s = UNMOUNT_S
            if not accepts_connections(mount_options.server_of(mount.source)):
                command.insert(1, "--force")
                timeout_s = FORCED_UNMOUNT_S
                if self.params["state"] == "absent":
                    command.insert(1, "--lazy")
                self._unreachable_servers.add(mount_options.server_of(mount.source))
            outcome = worker_processes.run_one(partial(_run, command), None, timeout_s)
            # A mount whose server is away is gone at once, while umount waits for the session's end, for minutes.
            if mount in read_mounts():
                users = " ".join(self._find_foreign_users([path]))
                answer = outcome.error or outcome.value
                raise MountError(f"{path} could not be unmounted ({' '.join(command)}: {answer}). {users}".strip())

    def _wait_for_sessions(self) -> None:
        """Wait for the end of sessions with servers that are away.

        A server that only changed its address is known by its identity: the kernel would use the old session, with
        the address where nobody answers, for the new mounts too.
        """
        deadline = time.monotonic() + SESSION_END_S
        while self._unreachable_servers & session_servers():
            if time.monotonic() > deadline:
                raise MountError(
                    f"The kernel still holds a session with {', '.join(self._unreachable_servers)}, where no server "
                    f"answers, after {SESSION_END_S:g} s. Run again in some minutes, or restart this host."
                )
            time.sleep(0.5)

    def _remove_mounts(self, paths: list[str]) -> None:
        if not paths:
            return
        for path in paths:
            self._unmount(path, "it is no share any more")
        units = self.systemd.show([unit_name(path, "automount") for path in paths])
        self._unmask(units)
        self.systemd.do("disable", *units)
        active = [name for name, unit in units.items() if unit.is_active]
        if active:
            self.systemd.do("stop", *active)
        for path in paths:
            for suffix in ("mount", "automount"):
                self.changes.append(f"removed {unit_name(path, suffix)}")
                if not self.module.check_mode:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(UNITS, unit_name(path, suffix)))
            if not self.module.check_mode:
                self._remove_empty(path)
        self.systemd.reload_manager()

    def _remove_empty(self, path: str) -> None:
        """Remove the mount point, and what we made above it in the root, as far as it is empty."""
        root = self.params["root"]
        with contextlib.suppress(OSError):
            os.rmdir(path)
            for parent in parents(path):
                if not is_below(parent, root):
                    break
                os.rmdir(parent)

    @contextlib.contextmanager
    def _services_stopped(self) -> Iterator[None]:
        units = self.systemd.show(self.params["services"])
        running = [name for name, unit in units.items() if unit.is_active]
        if running:
            self.systemd.do("stop", *running)
        try:
            problems = self._problems()  # a program may have come between
            if problems:
                raise MountError("Nothing was unmounted. " + " ".join(problems))
            yield
        except BaseException:
            if running and self.shares:  # what went wrong is told first; they wait for their shares by themselves
                self.systemd.do("start --no-block", *running)
            raise
        if running and self.shares:  # without shares there is nothing that they could work on
            self.systemd.do("start", *running)

    def _read_ahead(self, share: Share, mount: Mount) -> int:
        """Bring the read-ahead of a mount to what was asked for; nfsrahead(5) does so for each new mount."""
        wanted = int(self.params["read_ahead_kb"])
        path = f"/sys/class/bdi/{mount.device}/read_ahead_kb"
        deadline = time.monotonic() + (UDEV_S if self._fresh else 0)
        while True:
            current = _number(path)
            if current == wanted or time.monotonic() >= deadline:
                break
            time.sleep(0.1)
        if current != wanted:
            self.changes.append(f"{path} ({share.path}): {current} -> {wanted}")
            if not self.module.check_mode:
                with open(path, "w", encoding="ascii") as stream:
                    stream.write(f"{wanted}\n")
                current = _number(path)
                if current != wanted:
                    raise MountError(f"{path}: {wanted} was written and {current} is in force: this kernel refuses it.")
        return current


def _run(command: list[str]) -> str:
    """What a command says when it fails; empty when it does not."""
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    return (done.stderr or done.stdout).strip() if done.returncode else ""


def _number(path: str) -> int:
    with open(path, encoding="ascii") as stream:
        return int(stream.read())
