# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check what NFS over TLS needs on a host: the service that makes the handshakes, and the certificates."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, shorten
from ansible_collections.noslop.studio.plugins.module_utils.checks.storage_checks import describe_unit, rerun_step
from ansible_collections.noslop.studio.plugins.module_utils.host import state
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Unit
from ansible_collections.noslop.studio.plugins.module_utils.nfs import certificates
from ansible_collections.noslop.studio.plugins.module_utils.nfs.certificates import TlsFiles

#: A deployment renews a certificate earlier than that. One with less days is named, and fails when it has none.
NOTED_DAYS = 30
DAY_S = 86400.0
_BEGIN = "-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True)
class Observed:
    """The state of a host. ``command`` is that of the service; ``days`` of what expires first, ``None`` unknown."""

    unit: Unit
    command: str
    problems: Sequence[str] = ()
    days: float | None = None


def check_where_used(checks: Checks, options: Mapping[str, Any]) -> None:
    """Read the service and the certificates, and judge them, on a host of a studio with NFS over TLS.

    Args:
        checks: where the results go.
        options: of the module ``studio_check``: ``transport``, ``provider`` and ``tls_files``.
    """
    if options.get("transport", "plain") == "plain" or options["provider"] != "nfs":
        return
    own = options["tls_files"]
    files = TlsFiles(**own) if own else certificates.list_files(studio.TLS_DIR)
    unit = state.read_units([studio.TLSHD_UNIT])[studio.TLSHD_UNIT]
    command = state.run_program("systemctl", "show", "--property=ExecStart", studio.TLSHD_UNIT)
    problems = find_file_problems(files, made=not own) or [certificates.find_chain_problem(files)]
    observed = Observed(unit, command, [problem for problem in problems if problem], _read_days(files))
    judge_transport(checks, observed, files, made=not own)


def check_renewal(checks: Checks, options: Mapping[str, Any]) -> None:
    """Check that the next deployment would renew no certificate, on a host of a studio with NFS over TLS.

    Args:
        checks: where the result goes.
        options: as for :func:`check_where_used`. The user's own certificates are not renewed.
    """
    if options.get("transport", "plain") == "plain" or options["provider"] != "nfs" or options["tls_files"]:
        return
    judge_renewal(checks, _read_days(certificates.list_files(studio.TLS_DIR)))


def judge_renewal(checks: Checks, days: float | None) -> None:
    """Check that a certificate with so many days left is not renewed yet; ``None`` is one that cannot be read."""
    checks.add(
        "deployed.certificate",
        days is not None and days >= certificates.RENEWED_DAYS,
        seen="it cannot be read" if days is None else f"it has {days:.0f} days left",
        expected=f"a certificate with {certificates.RENEWED_DAYS} days left, or more",
        todo="deploy, which renews it",
    )


def judge_transport(checks: Checks, observed: Observed, files: TlsFiles, *, made: bool) -> None:
    """Check that the service runs with the studio's settings, and the certificates are right and have time left.

    Args:
        checks: where the results go.
        observed: what there is.
        files: the certificates.
        made: whether NoSlop makes them, and not the user.
    """
    again = rerun_step(checks.host)
    ours = f"{studio.TLS_DIR}/tlshd.conf" in observed.command and not observed.unit.stale
    checks.add(
        "storage.tls_service",
        observed.unit.active == "active" and ours,
        seen=describe_unit(observed.unit) + ("" if ours else ", with other settings than the studio's"),
        expected=f"{studio.TLSHD_UNIT} is active, and reads {studio.TLS_DIR}/tlshd.conf",
        todo=f"{again}; if that does not help, `journalctl -u {studio.TLSHD_UNIT}` on {checks.host} says why",
    )
    mend = again if made else f"put the right files there on {checks.host}"
    checks.add(
        "storage.certificate",
        not observed.problems,
        seen=shorten("; ".join(observed.problems)) or f"{files.certificate}, signed by {files.authority}",
        expected=f"a certificate for the key of {checks.host}, signed by the only authority that it trusts",
        todo=mend,
    )
    days = observed.days
    if days is None:
        return
    renewal = f"{again}, which renews it" if made else f"put a new one to {files.certificate} on {checks.host}"
    expected = f"a certificate with {NOTED_DAYS} days left, or more"
    if 0 < days < NOTED_DAYS:
        checks.note("storage.certificate_days", seen=f"it has {days:.0f} days left: {renewal}", expected=expected)
        return
    checks.add(
        "storage.certificate_days",
        days > 0,
        seen=f"it has {days:.0f} days left" if days > 0 else f"it expired {-days:.0f} days ago",
        expected=expected,
        todo=renewal,
    )


def find_file_problems(files: TlsFiles, *, made: bool) -> list[str]:
    """Return the problems of the files themselves. Without the file of the authority, tlshd trusts every public one."""
    problems = []
    for path, secret in ((files.authority, False), (files.certificate, False), (files.key, True)):
        try:
            status = os.lstat(path)
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
            continue
        if not stat.S_ISREG(status.st_mode):
            problems.append(f"{path} is no regular file")
        elif status.st_uid != 0 or stat.S_IMODE(status.st_mode) & (0o077 if secret else 0o022):
            what = "read" if secret else "change"
            problems.append(f"others than root may {what} {path} (mode {stat.S_IMODE(status.st_mode):04o})")
    if made and not problems:
        count = state.read_text(files.authority).count(_BEGIN)
        problems += [] if count == 1 else [f"{files.authority} has {count} certificates, and not the studio's alone"]
    return problems


def _read_days(files: TlsFiles) -> float | None:
    """Return the days until the first of both certificates expires."""
    try:
        ends = [certificates.read_end(path) for path in (files.certificate, files.authority)]
    except certificates.CertificateError:
        return None
    return (min(ends) - time.time()) / DAY_S
