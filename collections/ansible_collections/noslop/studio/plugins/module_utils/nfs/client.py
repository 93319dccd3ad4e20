# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount a studio's shares on one client, for the module ``noslop.studio.nfs_mounts``.

An automount is never stopped while its mount is in use: systemd would detach the mount lazily and report success, and
a hidden mount with open files would remain. A mount is therefore removed by umount(2), which refuses while a file is
open, and the automount stays active for the next access.
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
from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import Mount, is_below, parents, read_mounts
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Systemd, Unit
from ansible_collections.noslop.studio.plugins.module_utils.nfs import helper_daemons, mount_options
from ansible_collections.noslop.studio.plugins.module_utils.nfs.client_state import (
    CONNECT_S,
    MountError,
    Share,
    accepts_connections,
    find_mount_point_problems,
    find_reasons_to_unmount,
    find_refusal_step,
    read_managed_paths,
    read_session_servers,
)
from ansible_collections.noslop.studio.plugins.module_utils.share import markers
from ansible_collections.noslop.studio.plugins.module_utils.share.path_rules import find_path_problems, make_unit_name
from ansible_collections.noslop.studio.plugins.module_utils.studio import MARKER, NFS_PORT, UNITS_DIR

#: A clean unmount may have to write back cached data.
UNMOUNT_S = 120.0
FORCED_UNMOUNT_S = 10.0
#: The kernel ends the session with a server that is down after its requests have timed out (60 s each, nfs(5)).
SESSION_END_S = 240.0
#: udev sets the read-ahead of a new mount shortly after it was mounted.
UDEV_S = 5.0
#: Only root may access the directory under a mount: an unmounted share must not look like an empty one.
UNDER_MOUNT_MODE = 0o000


class NfsClient:
    """The mounts of this client."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.server: str = self.params["server"]
        self.systemd = Systemd(module)
        self.notes: list[str] = []
        self._fresh = False
        #: servers that did not answer when their shares were unmounted
        self._unreachable_servers: set[str] = set()
        wanted = [] if self.params["state"] == "absent" else self.params["mounts"]
        self.shares = [
            Share(one["name"], one["path"], mount_options.source_of(self.server, one["path"]), one["options"])
            for one in wanted
        ]
        #: paths of our units that are not among the requested shares
        self.stale_paths = sorted(set(read_managed_paths()) - {share.path for share in self.shares})

    @property
    def changes(self) -> list[str]:
        """Return what was changed, or in check mode would be."""
        return self.systemd.changes

    def check(self) -> None:
        """Raise MountError when this host cannot be brought to the requested state. Changes nothing."""
        problems = self._problems()
        if problems:
            raise MountError("Nothing was changed. " + " ".join(problems))

    def _problems(self) -> list[str]:
        params, mounts = self.params, read_mounts()
        problems = find_path_problems(params["root"], [{"name": one.name, "path": one.path} for one in self.shares])
        if problems:
            return problems
        ours = read_managed_paths()
        if params["quiet_units"] and self.shares:
            problems += helper_daemons.find_dependents(mounts, ours)
        if self.shares:
            paths = [share.path for share in self.shares] + self.stale_paths
            problems += markers.find_foreign_entries(params["root"], paths, params["gid"])
        for share in self.shares:
            problems += find_mount_point_problems(share.path, mounts, share.path in ours)
        to_unmount = [share.path for share in self.shares if find_reasons_to_unmount(share, mounts)] + self.stale_paths
        problems += self._find_foreign_users([path for path in to_unmount if not self._may_detach(path, mounts)])
        if to_unmount and self.shares and not accepts_connections(self.server):
            problems.append(f"{', '.join(to_unmount)} must be mounted anew. {self._server_unreachable}")
        return list(dict.fromkeys(problems))

    def mount(self) -> None:
        """Bring directories, units and mounts to the requested state."""
        self._make_directories()
        helper_daemons.stop(self.systemd, self.params["quiet_units"])
        units = self.systemd.show([name for share in self.shares for name in share.units])
        if self._unmask(units) or any(unit.stale or unit.load != "loaded" for unit in units.values()):
            self.systemd.reload_manager()
        mounts = read_mounts()
        to_remount = [share for share in self.shares if find_reasons_to_unmount(share, mounts)]
        with self._services_stopped() if to_remount or self.stale_paths else contextlib.nullcontext():
            for share in to_remount:
                self._unmount(share.path, "; ".join(find_reasons_to_unmount(share, mounts)))
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
        """Unmount every share of ours, and remove its units and its mount point."""
        if self.stale_paths:
            with self._services_stopped():
                self._remove_mounts(self.stale_paths)
        if self.params["quiet_units"]:
            self.systemd.reload_manager()
            helper_daemons.restore(self.systemd, self.params["quiet_units"])

    def verify(self) -> list[dict[str, Any]]:
        """Compare the kernel's mounts with the requested ones. In check mode only when all are mounted.

        Raises:
            MountError: a share is not mounted as it should be.
        """
        mounts = read_mounts()
        mounted = all(mount_options.effective_mount(mounts, share.path) for share in self.shares)
        if self.module.check_mode and (self.changes or not mounted):
            return []
        return [self._verify_share(share, mount_options.effective_mount(mounts, share.path)) for share in self.shares]

    def _verify_share(self, share: Share, mount: Mount | None) -> dict[str, Any]:
        if mount is None:
            raise MountError(
                f"{share.path} answered and is not mounted now: something unmounts it. "
                f"Look at `journalctl -u {share.units[0]}`."
            )
        wrong = mount_options.find_reasons_to_remount(mount, share.source, share.options)
        if wrong:
            raise MountError(
                f"{share.path} is mounted, but {'; '.join(wrong)}. Another mount of {self.server} on this host may "
                f"force its options on ours: look at `findmnt -t nfs4`, and at `systemctl cat {share.units[0]}`."
            )
        self.notes += [note for note in mount_options.find_notes(mount, share.options) if note not in self.notes]
        return {
            "name": share.name,
            "path": share.path,
            "source": mount.source,
            "rsize": int(mount.options.get("rsize", "0")),
            "read_ahead_kb": self._read_ahead(share, mount),
        }

    def _find_foreign_users(self, paths: list[str]) -> list[str]:
        """Return a sentence for each program that uses a mount, except the studio's own services."""
        mounted = [path for path in paths if mount_options.effective_mount(read_mounts(), path)]
        users = find_mount_users(mounted) if mounted else []
        foreign = [user for user in users if user.unit not in self.params["services"]]
        return [f"{user}, on a share that has to be unmounted: end it, and run again." for user in foreign]

    def _may_detach(self, path: str, mounts: list[Mount]) -> bool:
        """Return whether a mount may be detached while it is in use: on removal, when its server is down."""
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
            # Owner and mode of a mounted directory are the server's (and root is squashed there).
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
        self.systemd.do("reset-failed", *[name for name, unit in units.items() if unit.active == "failed"])
        automounts = [units[share.units[1]] for share in self.shares]
        self.systemd.do("enable", *[unit.name for unit in automounts if unit.enabled != "enabled"])
        self.systemd.do("start", *[unit.name for unit in automounts if not unit.is_active])

    def _mount_by_access(self) -> None:
        """Mount each share by an access to its marker, and compare the marker."""
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
                problem = markers.find_problem(outcome.value, self.params["studio_id"], share.name)
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
            f"{journal or 'nothing'}. {find_refusal_step(share.options)}"
        )

    def _unmount(self, path: str, why: str) -> None:
        """Unmount one path: cleanly, or by force when its server is down."""
        while True:
            mount = mount_options.effective_mount(read_mounts(), path)
            if mount is None:
                return
            self.changes.append(f"unmounted {path}: {why}")
            if self.module.check_mode:
                return
            # Without umount.nfs and without path resolution: both contact the server, and the path needs neither.
            command = ["umount", "--internal-only", "--no-canonicalize", path]
            timeout_s = UNMOUNT_S
            if not accepts_connections(mount_options.server_of(mount.source)):
                command.insert(1, "--force")
                timeout_s = FORCED_UNMOUNT_S
                if self.params["state"] == "absent":
                    command.insert(1, "--lazy")
                self._unreachable_servers.add(mount_options.server_of(mount.source))
            outcome = worker_processes.run_one(partial(_run, command), None, timeout_s)
            # A mount whose server is down disappears at once, while umount waits minutes for the end of the session.
            if mount in read_mounts():
                users = " ".join(self._find_foreign_users([path]))
                answer = outcome.error or outcome.value
                raise MountError(f"{path} could not be unmounted ({' '.join(command)}: {answer}). {users}".strip())

    def _wait_for_sessions(self) -> None:
        """Wait for the end of sessions with servers that are down.

        The kernel identifies a server that changed its address as the same server: it would use the old session, with
        the old address, for the new mounts too.
        """
        deadline = time.monotonic() + SESSION_END_S
        while self._unreachable_servers & read_session_servers():
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
        units = self.systemd.show([make_unit_name(path, "automount") for path in paths])
        self._unmask(units)
        self.systemd.do("disable", *units)
        self.systemd.do("stop", *[name for name, unit in units.items() if unit.is_active])
        # Mounts that wait for a server that is down: nothing starts them again without their automounts.
        mounts = [make_unit_name(path, "mount") for path in paths]
        self.systemd.do("stop", *self._find_in_state("activating", mounts))
        for path in paths:
            for suffix in ("mount", "automount"):
                self.changes.append(f"removed {make_unit_name(path, suffix)}")
                if not self.module.check_mode:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(UNITS_DIR, make_unit_name(path, suffix)))
            if not self.module.check_mode:
                self._remove_empty(path)
        self.systemd.reload_manager()
        self.systemd.do("reset-failed", *self._find_in_state("failed", mounts))

    def _find_in_state(self, state: str, units: list[str]) -> list[str]:
        return [name for name, unit in self.systemd.show(units).items() if unit.active == state]

    def _remove_empty(self, path: str) -> None:
        """Remove the mount point, and the empty directories above it in the root."""
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
            problems = self._problems()  # a program may have been started meanwhile
            if problems:
                raise MountError("Nothing was unmounted. " + " ".join(problems))
            yield
        except BaseException:
            if running and self.shares:  # without waiting, so that the error is reported first
                self.systemd.do("start --no-block", *running)
            raise
        if running and self.shares:  # without shares the services cannot run
            self.systemd.do("start", *running)

    def _read_ahead(self, share: Share, mount: Mount) -> int:
        """Set the read-ahead of a mount to the requested value; nfsrahead(5) does so for each new mount."""
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
    """Return the output of a command that fails; empty when it succeeds."""
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    return (done.stderr or done.stdout).strip() if done.returncode else ""


def _number(path: str) -> int:
    with open(path, encoding="ascii") as stream:
        return int(stream.read())
