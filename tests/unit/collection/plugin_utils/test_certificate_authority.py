# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the studio's authority signs what openssl accepts, renews in time, and keeps its key to itself."""

from __future__ import annotations

import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.plugin_utils import certificate_authority
from ansible_collections.noslop.studio.plugins.plugin_utils.certificate_authority import Authority, Subject

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
SERVER = Subject("server", ["10.77.42.11"])


def openssl(*words: str) -> str:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return certificate_authority.create(str(tmp_path_factory.mktemp("studio") / "authority.pem"), "atelier", NOW)


@pytest.fixture(scope="module")
def request_of_host(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a request whose own names are not those of the host."""
    key = tmp_path_factory.mktemp("host") / "key.pem"
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(key))
    return openssl("req", "-new", "-key", str(key), "-subj", "/CN=10.0.0.1", "-addext", "subjectAltName=IP:10.0.0.1")


@pytest.fixture(scope="module")
def certificate(authority: Authority, request_of_host: str) -> str:
    return certificate_authority.sign(authority, request_of_host, SERVER, NOW)


def verify(directory: Path, trusted: str, certificate: str, *words: str) -> subprocess.CompletedProcess[str]:
    (directory / "trusted.pem").write_text(trusted)
    (directory / "certificate.pem").write_text(certificate)
    files = ["-CAfile", str(directory / "trusted.pem"), str(directory / "certificate.pem")]
    at = ["-attime", str(int(NOW.timestamp())), "-no-CApath", "-no-CAstore"]
    command = ["openssl", "verify", *at, "-x509_strict", *words, *files]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_certificate_is_valid_for_the_address_of_its_host(
    tmp_path: Path, authority: Authority, certificate: str
) -> None:
    done = verify(tmp_path, authority.text, certificate, "-verify_ip", "10.77.42.11", "-purpose", "sslserver")

    assert done.returncode == 0, done.stdout + done.stderr
    assert verify(tmp_path, authority.text, certificate, "-purpose", "sslclient").returncode == 0


def test_names_of_the_request_do_not_count(tmp_path: Path, authority: Authority, certificate: str) -> None:
    assert verify(tmp_path, authority.text, certificate, "-verify_ip", "10.0.0.1").returncode != 0


def test_certificate_of_another_authority_is_refused(
    tmp_path: Path, authority: Authority, request_of_host: str
) -> None:
    other = certificate_authority.create(str(tmp_path / "other.pem"), "atelier", NOW)

    done = verify(tmp_path, authority.text, certificate_authority.sign(other, request_of_host, SERVER, NOW))

    assert done.returncode != 0


def test_host_cannot_sign_for_others(tmp_path: Path, certificate: str) -> None:
    (tmp_path / "certificate.pem").write_text(certificate)

    text = openssl("x509", "-in", str(tmp_path / "certificate.pem"), "-noout", "-text")

    assert "CA:FALSE" in text
    assert "Certificate Sign" not in text


@pytest.mark.parametrize(
    ("days", "reasons"),
    [(0, []), (825 - 61, []), (825 - 59, ["it has 58 days left"]), (900, ["it has 0 days left"])],
)
def test_certificate_is_renewed_by_the_days_that_are_left(
    authority: Authority, certificate: str, request_of_host: str, days: int, reasons: list[str]
) -> None:
    later = NOW + timedelta(days=days, minutes=1)

    found = certificate_authority.find_reasons_to_sign(certificate, authority, request_of_host, SERVER, later)

    assert found == reasons


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (Subject("server", ["10.77.42.99"]), "it is not for server, 10.77.42.99"),
        (Subject("renamed", ["10.77.42.11"]), "it is not for renamed, 10.77.42.11"),
    ],
)
def test_certificate_is_renewed_for_another_address_or_name(
    authority: Authority, certificate: str, request_of_host: str, subject: Subject, expected: str
) -> None:
    found = certificate_authority.find_reasons_to_sign(certificate, authority, request_of_host, subject, NOW)

    assert found == [expected]


def test_certificate_is_renewed_for_another_key(authority: Authority, certificate: str, tmp_path: Path) -> None:
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(tmp_path / "key.pem"))
    request = openssl("req", "-new", "-key", str(tmp_path / "key.pem"), "-subj", "/CN=x")

    found = certificate_authority.find_reasons_to_sign(certificate, authority, request, SERVER, NOW)

    assert found == ["it belongs to another key"]


@pytest.mark.parametrize(("text", "reason"), [("", "it has none"), ("-----BEGIN CERT", "it cannot be read")])
def test_missing_or_damaged_certificate_is_replaced(
    authority: Authority, request_of_host: str, text: str, reason: str
) -> None:
    found = certificate_authority.find_reasons_to_sign(text, authority, request_of_host, SERVER, NOW)

    assert found == [reason]


def test_certificate_ends_with_its_authority_and_is_then_not_renewed_again(
    authority: Authority, request_of_host: str
) -> None:
    late = NOW + timedelta(days=3650 - 30)
    certificate = certificate_authority.sign(authority, request_of_host, SERVER, late)

    assert certificate_authority.find_reasons_to_sign(certificate, authority, request_of_host, SERVER, late) == []


def test_expired_authority_signs_nothing(authority: Authority, request_of_host: str) -> None:
    with pytest.raises(ValueError, match="expired"):
        certificate_authority.sign(authority, request_of_host, SERVER, NOW + timedelta(days=3651))


def test_file_of_the_authority_is_read_by_its_owner_only_and_ignored_by_git(tmp_path: Path) -> None:
    path = tmp_path / ".noslop/nfs-authority/authority.pem"
    previous = os.umask(0)
    try:
        made = certificate_authority.create(str(path), "atelier", NOW)
    finally:
        os.umask(previous)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    shown = subprocess.run(
        ["git", "-C", str(tmp_path), "status", "--porcelain"], capture_output=True, text=True, check=True
    )
    assert shown.stdout == ""
    loaded = certificate_authority.load(str(path))
    assert loaded is not None
    assert loaded.text == made.text


def test_authority_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "authority.pem"
    path.write_text("something else")

    with pytest.raises(ValueError, match="cannot be written"):
        certificate_authority.create(str(path), "atelier", NOW)

    assert path.read_text() == "something else"
    assert sorted(one.name for one in tmp_path.iterdir()) == [".gitignore", "authority.pem"]


def test_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "authority.pem"
    certificate_authority.create(str(path), "atelier", NOW)
    path.chmod(0o640)

    with pytest.raises(ValueError, match="chmod 600"):
        certificate_authority.load(str(path))


def test_damaged_file_is_refused_without_showing_it(tmp_path: Path) -> None:
    path = tmp_path / "authority.pem"
    certificate_authority.create(str(path), "atelier", NOW)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3])

    with pytest.raises(ValueError, match="Restore the file") as raised:
        certificate_authority.load(str(path))

    assert data.splitlines()[1].decode()[:20] not in str(raised.value)


def test_missing_file_is_no_authority(tmp_path: Path) -> None:
    assert certificate_authority.load(str(tmp_path / "authority.pem")) is None
