# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test keys, requests and certificates with the real openssl."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.nfs import certificates
from ansible_collections.noslop.studio.plugins.module_utils.nfs.certificates import CertificateError, TlsFiles

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="the files belong to root")


def sign_itself(directory: Path, days: int = 40) -> TlsFiles:
    """Make an authority that is its own host, and return its files."""
    directory.mkdir(parents=True, exist_ok=True)
    files = certificates.list_files(str(directory))
    new = ["-newkey", "rsa:2048", "-nodes", "-keyout", files.key, "-subj", "/CN=x", "-days", str(days)]
    certificates.run_openssl("req", "-x509", *new, "-out", files.certificate)
    Path(files.authority).write_text(Path(files.certificate).read_text())
    return files


@root_only
def test_key_is_readable_for_root_only_and_its_request_proves_it(tmp_path: Path) -> None:
    directory = tmp_path / "nfs-tls"
    certificates.make_key(str(directory))
    key = directory / certificates.KEY

    (tmp_path / "request.pem").write_text(certificates.make_request(str(key)))

    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    certificates.run_openssl("req", "-in", str(tmp_path / "request.pem"), "-noout", "-verify")


def test_right_files_have_no_problem(tmp_path: Path) -> None:
    assert certificates.find_chain_problem(sign_itself(tmp_path)) == ""


def test_expired_certificate_is_no_problem_of_the_chain(tmp_path: Path) -> None:
    files = sign_itself(tmp_path, days=1)

    assert certificates.find_chain_problem(files) == ""
    assert 0 < certificates.read_end(files.certificate) - time.time() <= 86400


def test_another_authority_is_named(tmp_path: Path) -> None:
    files, other = sign_itself(tmp_path / "one"), sign_itself(tmp_path / "two")

    problem = certificates.find_chain_problem(TlsFiles(other.authority, files.certificate, files.key))

    assert problem.startswith("openssl verify:")


def test_another_key_is_named(tmp_path: Path) -> None:
    files, other = sign_itself(tmp_path / "one"), sign_itself(tmp_path / "two")

    problem = certificates.find_chain_problem(TlsFiles(files.authority, files.certificate, other.key))

    assert problem == f"{files.certificate} is not for the key {other.key}"


def test_missing_file_is_named(tmp_path: Path) -> None:
    files = sign_itself(tmp_path)
    Path(files.authority).unlink()

    assert files.authority in certificates.find_chain_problem(files)


def test_certificate_on_the_way_up_may_be_in_the_same_file(tmp_path: Path) -> None:
    files = sign_itself(tmp_path)
    between, own = tmp_path / "between", tmp_path / "own"
    for name, extension in ((between, "basicConstraints=CA:TRUE"), (own, "basicConstraints=CA:FALSE")):
        new = ["-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-subj", f"/CN={name.name}"]
        certificates.run_openssl("req", *new, "-out", f"{name}.request")
        (tmp_path / f"{name.name}.extensions").write_text(f"{extension}\n")
    signer = (files.certificate, files.key)
    for name in (between, own):
        by = ["-CA", signer[0], "-CAkey", signer[1], "-days", "9", "-extfile", f"{name}.extensions"]
        certificates.run_openssl("x509", "-req", "-in", f"{name}.request", *by, "-out", f"{name}.pem")
        signer = (f"{name}.pem", f"{name}.key")
    chain = tmp_path / "chain.pem"
    chain.write_text(own.with_suffix(".pem").read_text() + between.with_suffix(".pem").read_text())

    assert certificates.find_chain_problem(TlsFiles(files.authority, str(chain), f"{own}.key")) == ""
    assert certificates.find_chain_problem(TlsFiles(files.authority, f"{own}.pem", f"{own}.key")) != ""


@root_only
@pytest.mark.parametrize("mode", [0o664, 0o666])
def test_certificate_that_others_may_change_does_not_count(tmp_path: Path, mode: int) -> None:
    files = sign_itself(tmp_path)
    os.chmod(files.certificate, 0o644)
    assert certificates.read(files.certificate)

    os.chmod(files.certificate, mode)

    assert certificates.read(files.certificate) == ""


def test_message_has_nothing_of_a_damaged_key(tmp_path: Path) -> None:
    files = sign_itself(tmp_path)
    lines = Path(files.key).read_text().splitlines()
    Path(files.key).write_text("\n".join(lines[: len(lines) // 2]))

    with pytest.raises(CertificateError) as raised:
        certificates.make_request(files.key)

    assert lines[1] not in str(raised.value)
    assert "remove it and run again: a new one is made" in str(raised.value)


def test_missing_certificate_is_empty(tmp_path: Path) -> None:
    assert certificates.read(str(tmp_path / "none/certificate.pem")) == ""
