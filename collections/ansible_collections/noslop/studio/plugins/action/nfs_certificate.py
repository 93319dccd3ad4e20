# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign the certificate of a host on the controller, where the authority's key is."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.noslop.studio.plugins.plugin_utils import certificate_authority
from ansible_collections.noslop.studio.plugins.plugin_utils.certificate_authority import Authority, Subject


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Read the host's certificate and request, and sign a new certificate where there is a reason."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return whether the host got a certificate, and why."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = {name: value for name, value in self._task.args.items() if name != "signed"}
        path = os.path.expanduser(str(arguments.get("authority_file") or ""))
        if not os.path.isabs(path):
            raise AnsibleActionFail(f"authority_file is {path!r}: write an absolute path of this computer.")
        host = self._run_module(arguments, task_vars)
        if host.get("failed"):
            return {**result, **host}
        try:
            authority, made = self._find_authority(path, str(arguments.get("studio_id") or ""), host["authority"])
            subject = Subject(str(arguments.get("host") or ""), [str(one) for one in arguments.get("addresses") or []])
            now = datetime.now(UTC)
            reasons = ["it has none"]
            if authority and host["authority"]:
                reasons = certificate_authority.find_reasons_to_sign(
                    host["certificate"], authority, host["request"], subject, now
                )
            result.update(changed=bool(reasons), reasons=reasons, authority_made=made)
            if not reasons or authority is None or self._task.check_mode:
                return result
            certificate = certificate_authority.sign(authority, host["request"], subject, now)
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
        signed = {"certificate": certificate, "authority": authority.text}
        written = self._run_module({**arguments, "signed": signed}, task_vars)
        return {**result, **written} if written.get("failed") else result

    def _run_module(self, arguments: dict[str, Any], variables: dict[str, Any] | None) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module("noslop.studio.nfs_certificate", arguments, task_vars=variables)
        return answer

    def _find_authority(self, path: str, studio_id: str, trusted: str) -> tuple[Authority | None, bool]:
        """Return the studio's authority, and whether it was made just now; in check mode none is made.

        Args:
            path: the file of the authority.
            studio_id: the identity of the studio.
            trusted: the certificate of the authority that the host trusts; empty where it trusts none yet.

        Raises:
            ValueError: the host trusts another authority, or the file is unusable.
        """
        authority = certificate_authority.load(path)
        if trusted and (authority is None or authority.text != trusted):
            has = "is missing here" if authority is None else "is another one"
            raise ValueError(
                f"This host trusts the authority of an earlier deployment, and that in {path} {has}. Copy the file "
                f"from the computer that deployed before. {certificate_authority.how_to_start_anew(path)}"
            )
        if authority or self._task.check_mode:
            return authority, authority is None
        with _locked(os.path.dirname(path)):
            # Another host of this run may have made it meanwhile.
            authority = certificate_authority.load(path)
            if authority:
                return authority, False
            return certificate_authority.create(path, studio_id, datetime.now(UTC)), True


@contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Lock a directory against the other hosts of this run, which are processes of their own."""
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ValueError(f"{directory} cannot be used for the studio's authority: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
