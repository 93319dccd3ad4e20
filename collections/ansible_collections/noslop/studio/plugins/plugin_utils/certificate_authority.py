# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the studio's authority for certificates on the controller, and sign the certificates of its hosts.

A small studio has no authority of its own, and one that the whole world trusts must not decide who its members are. So
NoSlop makes one for each studio. Its key lies in one file of the controller beside the inventory, which only its owner
reads; a host makes its own key, which never leaves it, and sends a request.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ansible_collections.noslop.studio.plugins.module_utils.nfs import certificates

MISSING = ""
try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    if not hasattr(x509.Certificate, "not_valid_after_utc"):
        MISSING = "it is older than version 42"
except ImportError as _error:  # ansible-core requires it, but not everything that reads this file has ansible-core
    MISSING = str(_error)

#: The kernel of a server keeps a client's certificate as a key, which it can do with every RSA key.
KEY_BITS = 3072
PUBLIC_EXPONENT = 65537
AUTHORITY_LIFE = timedelta(days=3650)
#: The longest life of a certificate that programs of Apple accept, and a common limit.
LIFE = timedelta(days=825)
#: A certificate with less time left is replaced by the next deployment.
RENEW_BEFORE = timedelta(days=certificates.RENEWED_DAYS)
#: A host whose clock is behind must be able to use a new certificate at once.
CLOCK_TOLERANCE = timedelta(days=1)
_DNS_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Subject:
    """The host of a certificate: its name in the inventory, and the addresses with which other hosts name it."""

    host: str
    addresses: Sequence[str]


@dataclass(frozen=True)
class Authority:
    """The certificate of a studio's authority, and its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def text(self) -> str:
        """Return the certificate as PEM."""
        return _to_pem(self.certificate)


def load(path: str) -> Authority | None:
    """Return the authority in a file; ``None`` where there is no file.

    Raises:
        ValueError: others may read it, or it is unusable. The message says what to do, and has nothing of the key.
    """
    _require_cryptography()
    try:
        with open(path, "rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            data = stream.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(
            f"The studio's authority for certificates cannot be read from {path}: {error.strerror}."
        ) from error
    if mode & 0o077:
        raise ValueError(
            f"{path} has the key of the studio's authority for certificates, and others may read it (mode {mode:04o}). "
            f"Run: chmod 600 {path}"
        )
    try:
        key = serialization.load_pem_private_key(data, password=None)
        certificate = x509.load_pem_x509_certificate(data)
    except (ValueError, TypeError) as error:
        # Without the error's own text, which may show a part of the file.
        raise ValueError(
            f"{path} has no key and certificate of an authority. Restore the file from a copy. "
            f"{how_to_start_anew(path)}"
        ) from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError(
            f"The key in {path} is not that of the certificate there. Restore the file from a copy. "
            f"{how_to_start_anew(path)}"
        )
    return Authority(certificate, key)


def create(path: str, studio_id: str, now: datetime) -> Authority:
    """Make an authority, write it to a new file that only this account reads, and return it.

    Raises:
        ValueError: the file cannot be written, or exists already.
    """
    _require_cryptography()
    key = rsa.generate_private_key(PUBLIC_EXPONENT, KEY_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"NoSlop studio {studio_id}"[:64])])
    certificate = (
        _begin(name, name, key.public_key(), now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        _write_new(path, private + certificate.public_bytes(serialization.Encoding.PEM))
    except OSError as error:
        raise ValueError(
            f"The key of the studio's authority for certificates cannot be written to {path}: {error.strerror}. Make "
            "its directory writable for this account."
        ) from error
    return Authority(certificate, key)


def sign(authority: Authority, request: str, subject: Subject, now: datetime) -> str:
    """Return a certificate for a host's key, as PEM. Of the request only the key counts.

    Args:
        authority: the studio's authority.
        request: the host's request, as PEM.
        subject: the host.
        now: the time of the controller.

    Raises:
        ValueError: the request is unusable, or the authority has expired.
    """
    parsed = x509.load_pem_x509_csr(request.encode())
    if not parsed.is_signature_valid:
        raise ValueError(f"{subject.host} sent a request for a certificate that its own key did not sign.")
    life = min(LIFE, authority.certificate.not_valid_after_utc - now)
    if life <= timedelta():
        raise ValueError("The studio's authority for certificates has expired.")
    public = parsed.public_key()
    if not isinstance(public, rsa.RSAPublicKey):
        raise ValueError(f"{subject.host} sent a request for a certificate with a key that is not RSA.")
    certificate = (
        _begin(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.host[:64])]),
            authority.certificate.subject,
            public,
            now,
            life,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(_alternative_names(subject)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return _to_pem(certificate)


def find_reasons_to_sign(
    certificate: str, authority: Authority, request: str, subject: Subject, now: datetime
) -> list[str]:
    """Return why a host needs another certificate; empty where it has the right one.

    Args:
        certificate: the host's certificate, as PEM; empty where it has none.
        authority: as for :func:`sign`, like the rest.
        request: the host's request.
        subject: the host.
        now: the time of the controller.
    """
    if not certificate:
        return ["it has none"]
    try:
        present = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError:
        return ["it cannot be read"]
    reasons = []
    try:
        present.verify_directly_issued_by(authority.certificate)
    except (InvalidSignature, ValueError, TypeError):
        reasons.append("another authority signed it")
    if request and present.public_key() != x509.load_pem_x509_csr(request.encode()).public_key():
        reasons.append("it belongs to another key")
    left = present.not_valid_after_utc - now
    if left < RENEW_BEFORE and present.not_valid_after_utc < authority.certificate.not_valid_after_utc:
        reasons.append(f"it has {max(left.days, 0)} days left")
    if _read_names(present) != set(_alternative_names(subject)):
        reasons.append(f"it is not for {', '.join([subject.host, *subject.addresses])}")
    return reasons


def how_to_start_anew(path: str) -> str:
    """Return how a studio gets another authority, without a moment at which its hosts trust different ones."""
    return (
        "If there is none, the studio can have a new authority: set noslop_nfs_transport to plain and deploy, remove "
        f"{path}, set noslop_nfs_transport back, and deploy again."
    )


def _begin(
    subject: x509.Name, issuer: x509.Name, public: rsa.RSAPublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_TOLERANCE)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(subject: Subject) -> list[x509.GeneralName]:
    """Return the names of a certificate: the addresses, and the name in the inventory where it can be one."""
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address)) for address in subject.addresses]
    if subject.host not in subject.addresses and _DNS_NAME.fullmatch(subject.host):
        names.append(x509.DNSName(subject.host))
    return names


def _read_names(certificate: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


def _to_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _write_new(path: str, data: bytes) -> None:
    """Write a file that only this account reads, under its name when it is whole; never over another one.

    Git ignores its directory: an inventory is often kept in a repository.
    """
    directory = os.path.dirname(os.path.abspath(path))
    os.makedirs(directory, mode=0o700, exist_ok=True)
    with (
        contextlib.suppress(FileExistsError),
        open(os.path.join(directory, ".gitignore"), "x", encoding="ascii") as ignored,
    ):
        ignored.write("*\n")
    part = os.path.join(directory, f".{os.path.basename(path)}.{secrets.token_hex(8)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(part, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def _require_cryptography() -> None:
    if MISSING:
        raise ValueError(
            f"Certificates are made with the Python package cryptography, which Ansible needs too: {MISSING}. Run `pip "
            "install --upgrade cryptography` where Ansible is installed."
        )
