# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a host's key and its request for a certificate, and read certificates, with the program openssl."""

from __future__ import annotations

import os
import ssl
import stat
import subprocess
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths

AUTHORITY, CERTIFICATE, KEY = "authority.pem", "certificate.pem", "key.pem"
#: The modes that tlshd(8) expects, and warns of others.
KEY_MODE, CERTIFICATE_MODE = 0o600, 0o644
DIRECTORY_MODE = 0o755
KEY_BITS = 3072
#: A certificate with less time left is replaced by the next deployment.
RENEWED_DAYS = 60
LIMIT_BYTES = 1024 * 1024
#: A slow machine needs some seconds for a key.
PROGRAM_TIMEOUT_S = 300.0


class CertificateError(Exception):
    """A certificate cannot be made or read. The message says why, and never contains a key."""


@dataclass(frozen=True)
class TlsFiles:
    """The paths of a host's certificates: its own, its key, and that of the authority that it trusts, and no other."""

    authority: str
    certificate: str
    key: str


def list_files(directory: str) -> TlsFiles:
    """Return the paths of the certificates that NoSlop makes."""
    return TlsFiles(*(os.path.join(directory, name) for name in (AUTHORITY, CERTIFICATE, KEY)))


def is_intact(path: str, mode: int) -> bool:
    """Return whether a file is a regular one of root's with this mode. Any other may be known to others, or theirs."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == 0 and stat.S_IMODE(status.st_mode) == mode


def read(path: str) -> str:
    """Return the text of a certificate; empty where there is none that only root can change."""
    if not is_intact(path, CERTIFICATE_MODE):
        return ""
    return safe_paths.read_file(path, LIMIT_BYTES).decode(errors="replace")


def make_key(directory: str) -> None:
    """Make the host's key in its directory, a file that only root may read."""
    data = run_openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{KEY_BITS}")
    _write(directory, KEY, data, KEY_MODE)


def make_request(key: str) -> str:
    """Return a request for a certificate of a key, as PEM. The authority chooses the names in the certificate."""
    try:
        return run_openssl("req", "-new", "-key", key, "-subj", "/CN=noslop")
    except CertificateError as error:
        raise CertificateError(f"{error}. If {key} is damaged, remove it and run again: a new one is made.") from error


def write_certificates(directory: str, authority: str, certificate: str) -> None:
    """Write the authority's certificate, and then the host's, each in one step."""
    _write(directory, AUTHORITY, authority, CERTIFICATE_MODE)
    _write(directory, CERTIFICATE, certificate, CERTIFICATE_MODE)


def read_end(path: str) -> float:
    """Return until when a certificate is valid, in seconds since 1970."""
    text = run_openssl("x509", "-in", path, "-noout", "-enddate")
    return float(ssl.cert_time_to_seconds(text.strip().partition("=")[2]))


def find_chain_problem(files: TlsFiles) -> str:
    """Return why the authority did not sign the certificate, or whose key is another; empty where all is right."""
    try:
        # The time is judged by itself, with its own advice. The file may have further certificates on the way up.
        trusted = ("-no_check_time", "-no-CApath", "-no-CAstore", "-CAfile", files.authority)
        run_openssl("verify", *trusted, "-untrusted", files.certificate, files.certificate)
        public = run_openssl("x509", "-in", files.certificate, "-noout", "-pubkey")
        if public != run_openssl("pkey", "-in", files.key, "-pubout"):
            return f"{files.certificate} is not for the key {files.key}"
    except CertificateError as error:
        return str(error)
    return ""


def run_openssl(*arguments: str) -> str:
    """Return what openssl prints.

    Raises:
        CertificateError: it is missing, or it failed.
    """
    command = ["openssl", *arguments]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PROGRAM_TIMEOUT_S,
            # Without the messages of other languages, and without a configuration of the administrator's.
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise CertificateError("The program openssl is missing. Install the package openssl.") from error
    except subprocess.TimeoutExpired as error:
        raise CertificateError(f"openssl {arguments[0]} did not end within {PROGRAM_TIMEOUT_S:g} s.") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise CertificateError(f"openssl {arguments[0]}: {'; '.join(lines[:3]) or 'it failed and says nothing'}")
    return done.stdout


def _write(directory: str, name: str, text: str, mode: int) -> None:
    safe_paths.make_directory(directory, 0, 0, DIRECTORY_MODE)
    descriptor = safe_paths.open_directory(directory)
    try:
        safe_paths.write_file(descriptor, name, text.encode(), 0, 0, mode)
    finally:
        os.close(descriptor)
