# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write to a share as the account that owns it, and only where its marker is the right one."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Iterator

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.share import markers

#: An NFS server that restarts makes opens wait for its grace period, 90 s by default (nfs.conf(5)).
SHARE_TIMEOUT_S = 120.0


class ShareError(Exception):
    """A share cannot be used. The message is for the user who has to repair it."""


def share_owner(name: str) -> worker_processes.Account | None:
    """Return the account ``name`` that owns a share, with the group that may enter the storage root.

    ``None`` where the host has no such account.
    """
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    try:
        groups = (entry.pw_gid, grp.getgrnam(studio.PEOPLE).gr_gid)
    except KeyError:
        groups = (entry.pw_gid, entry.pw_gid)
    return worker_processes.Account(entry.pw_uid, entry.pw_gid, groups)


def require_share_owner(name: str) -> worker_processes.Account:
    """Return the account ``name`` that owns a share. Raises ShareError where the host has no such account."""
    account = share_owner(name)
    if account is None:
        raise ShareError(f"There is no account {name} here. Run the playbook storage first.")
    return account


def check_marker(path: str, share: str, studio_id: str, account: worker_processes.Account | None) -> None:
    """Check that ``path`` is the named share of this studio.

    Args:
        path: where the share is mounted or lies.
        share: its name, as in the marker.
        studio_id: the studio's.
        account: the account that reads the marker. A share can be entered by its own accounts only.

    Raises:
        ShareError: it is missing, does not answer, or is another share.
    """
    marker = os.path.join(path, studio.MARKER)
    outcome = worker_processes.run_one(lambda: markers.read(marker), account, SHARE_TIMEOUT_S)
    if outcome.hung:
        raise ShareError(
            f"{path} does not answer: {marker} could not be read within {SHARE_TIMEOUT_S:g} s. "
            "Look at the storage server, then run again."
        )
    if outcome.error:
        raise ShareError(
            f"{path} is not a share of the studio, or is not mounted: its marker {marker} cannot be read "
            f"({outcome.error}). Run the playbook storage first, or mount the share, then run again."
        )
    problem = markers.find_problem(outcome.value, studio_id, share)
    if problem:
        raise ShareError(f"{path} is not the share that belongs there: {problem}")


@contextlib.contextmanager
def acting_as(account: worker_processes.Account | None) -> Iterator[None]:
    """Run the body of the ``with`` statement as ``account``, and return to root afterwards.

    Open files stay usable, so that a file that was opened as root can be copied as the account. Does nothing where
    there is no account or this process is not root.
    """
    if account is None or os.geteuid() != 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups(account.groups or (account.gid,))
    os.setegid(account.gid)
    os.seteuid(account.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
