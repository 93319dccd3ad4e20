"""Test that a release is installed whole and verified, or not at all."""

from __future__ import annotations

import contextlib
import functools
import getpass
import hashlib
import http.server
import io
import os
import re
import ssl
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.module_utils.install import release_dir
from ansible_collections.noslop.studio.plugins.modules import release_tree

from tests.support.module_runner import CHANGES, Fault, die, run_module

NAME = "program-linux-amd64.tar.gz"


class Vendor:
    """A vendor's server with one release, and a host that installs it."""

    def __init__(self, root: Path, address: str) -> None:
        self.files = root / "vendor"
        self.base = root / "opt/program"
        self.command = root / "bin/program"
        self.address = address

    def release(self, **files: str) -> str:
        """Offer a release with these files (``__`` is a slash), and return its checksum."""
        self.files.mkdir(exist_ok=True)
        with tarfile.open(self.files / NAME, "w:gz") as archive:
            for name, text in files.items():
                member = tarfile.TarInfo(name.replace("__", "/"))
                member.size, member.mode = len(text), 0o755
                archive.addfile(member, io.BytesIO(text.encode()))
        sha256 = hashlib.sha256((self.files / NAME).read_bytes()).hexdigest()
        (self.files / "sha256sum.txt").write_text(f"{'0' * 64}  ./other.tar.gz\n{sha256}  ./{NAME}\n")
        return sha256

    def install(self, *, check: bool = False, fault: Fault | None = None, **more: object) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "base": str(self.base),
            "version": "1.0",
            "source": self.address,
            "archives": [NAME],
            "must_hold": ["bin/program"],
            "command": str(self.command),
            "command_target": "bin/program",
            "account": getpass.getuser(),
            "programs": str(self.base.parent),
            **more,
        }
        answer = run_module("release_tree", arguments, check=check, fault=fault)
        if arguments.get("state") != "absent" and not (check or answer.get("failed") or "died" in answer):
            release_dir.make_current(str(self.base), str(arguments["version"]))  # as service_switch does
        return answer

    def left_over(self) -> list[str]:
        """Return the files of an installation beside its version directories."""
        expected = {"current", "previous", "1.0", "2.0"}
        return [name for name in os.listdir(self.base) if name not in expected] if self.base.exists() else []


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    handler = functools.partial(Quiet, directory=str(tmp_path / "vendor"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Vendor(tmp_path, f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
        thread.join()


def test_a_pinned_release_is_installed_once(vendor: Vendor) -> None:
    sha256 = vendor.release(bin__program="#!/bin/sh\n", lib__data="x")
    answer = vendor.install(sha256={NAME: sha256.upper()})
    assert answer["installed"]
    assert "warnings" not in answer
    assert (vendor.base / "current").resolve() == vendor.base / "1.0"
    assert vendor.command.resolve() == vendor.base / "1.0/bin/program"
    assert os.access(vendor.command, os.X_OK)
    assert vendor.left_over() == []
    (vendor.files / NAME).unlink()  # no further request
    assert not vendor.install(sha256={NAME: sha256})["changed"]


def test_documented_example_runs(vendor: Vendor) -> None:
    sha256 = vendor.release(bin__ollama="#!/bin/sh\n")
    text = re.sub(r"https://\S+", vendor.address, release_tree.EXAMPLES).replace("ollama-linux-amd64.tar.zst", NAME)
    text = re.sub(r"\b[0-9a-f]{64}\b", sha256, text).replace("/usr/local/bin", str(vendor.command.parent))
    (task,) = yaml.safe_load(text.replace("/opt/noslop", str(vendor.base.parent)))
    accounts = {"account": getpass.getuser(), "programs": str(vendor.base.parent)}

    result = run_module("release_tree", {**task["noslop.studio.release_tree"], **accounts})

    assert result["installed"], result
    assert "warnings" not in result
    assert (vendor.command.parent / "ollama").readlink() == vendor.base.parent / "ollama/current/bin/ollama"


def test_without_a_pin_the_releases_list_is_used_with_a_warning(vendor: Vendor) -> None:
    sha256 = vendor.release(bin__program="1")
    answer = vendor.install()
    assert answer["archives"][0]["compared_with"] == f"{vendor.address}/sha256sum.txt"
    assert sha256 in str(answer["warnings"])


@pytest.mark.parametrize("pinned", [True, False])
def test_archive_with_another_checksum_is_not_unpacked(vendor: Vendor, pinned: bool) -> None:
    vendor.release(bin__program="good")
    (vendor.files / "sha256sum.txt").write_text(f"{'1' * 64} *{NAME}\n")
    answer = vendor.install(sha256={NAME: "2" * 64} if pinned else {})
    assert answer["failed"]
    assert ("2" if pinned else "1") * 64 in answer["msg"]
    assert not (vendor.base / "1.0").exists()
    assert not (vendor.base / "current").exists()
    assert not vendor.command.exists()
    assert vendor.left_over() == []


def test_checksum_list_without_the_archive_is_refused(vendor: Vendor) -> None:
    vendor.release(bin__program="good")
    (vendor.files / "sha256sum.txt").write_text("")
    assert f"no line for {NAME}" in vendor.install()["msg"]


def test_release_with_another_layout_is_refused(vendor: Vendor) -> None:
    vendor.release(program="at the top")
    assert "bin/program" in vendor.install()["msg"]
    assert not (vendor.base / "1.0").exists()


def test_wrong_address_is_named(vendor: Vendor) -> None:
    answer = vendor.install(sha256={NAME: "0" * 64})
    assert f"{vendor.address}/{NAME} cannot be downloaded" in answer["msg"]
    assert "404" in answer["msg"]


def test_mirror_that_is_away_changes_nothing(vendor: Vendor) -> None:
    answer = vendor.install(source="http://127.0.0.1:1", sha256={NAME: "0" * 64})
    assert "set noslop_artifact_mirror to a mirror of yours" in answer["msg"]
    assert vendor.left_over() == []
    assert not vendor.command.exists()


@contextlib.contextmanager
def redirecting(target: str, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve a redirect to `target` for every path, with TLS or without. Yield the address."""

    class Redirect(Quiet):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", target + self.path)
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return the context of a server on loopback whose certificate is trusted."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*request, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def test_redirect_to_another_server_is_followed(vendor: Vendor) -> None:
    sha256 = vendor.release(bin__program="1")
    with redirecting(vendor.address) as address:
        assert vendor.install(source=address, sha256={NAME: sha256})["installed"]
        with redirecting(address) as first:
            assert vendor.install(source=first, version="2.0")["installed"], "its list of checksums too"


@pytest.mark.parametrize("pinned", [True, False])
def test_redirect_to_a_weaker_protocol_is_refused(vendor: Vendor, tls: ssl.SSLContext, pinned: bool) -> None:
    sha256 = {NAME: vendor.release(bin__program="1")} if pinned else {}
    with redirecting(vendor.address, tls) as secure:
        weaker = vendor.install(source=secure, sha256=sha256)
    with redirecting(vendor.files.as_uri()) as address:
        local = vendor.install(source=address, sha256=sha256)
    assert f"redirects to {vendor.address}/" in weaker["msg"]
    assert "redirects to file:///" in local["msg"]
    assert vendor.left_over() == []
    assert not vendor.command.exists()


def test_endless_redirects_are_refused(vendor: Vendor) -> None:
    with redirecting("") as address:
        assert "redirects more than 5 times" in vendor.install(source=address, sha256={NAME: "0" * 64})["msg"]


def test_new_version_is_installed_beside_the_old(vendor: Vendor) -> None:
    vendor.release(bin__program="1")
    vendor.install()
    vendor.release(bin__program="2")
    assert vendor.install(version="2.0")["changed"]
    assert vendor.command.read_text() == "2"
    assert (vendor.base / "1.0/bin/program").read_text() == "1"
    assert not vendor.install(version="1.0")["installed"]
    assert vendor.command.read_text() == "1"


def test_replaced_release_is_installed_again(vendor: Vendor) -> None:
    """Test the same version with another checksum: the directory is replaced."""
    vendor.install(sha256={NAME: vendor.release(bin__program="1", bin__gone="x")})
    assert vendor.install(sha256={NAME: vendor.release(bin__program="2")})["installed"]
    assert vendor.command.read_text() == "2"
    assert not (vendor.base / "1.0/bin/gone").exists()


def test_foreign_program_is_kept(vendor: Vendor) -> None:
    vendor.release(bin__program="1")
    vendor.command.parent.mkdir()
    vendor.command.write_text("theirs")
    assert vendor.install()["kept"] == [str(vendor.command)]
    vendor.install(state="absent")
    assert vendor.command.read_text() == "theirs"


def test_check_mode_downloads_nothing(vendor: Vendor) -> None:
    answer = vendor.install(check=True)
    assert answer["changed"]
    assert not vendor.base.exists()
    assert not vendor.command.exists()


def test_removal_leaves_no_file_of_ours(vendor: Vendor) -> None:
    vendor.release(bin__program="1")
    vendor.install()
    assert vendor.install(state="absent", check=True)["changed"]
    assert vendor.install(state="absent")["changed"]
    assert not vendor.base.exists()
    assert not vendor.command.is_symlink()
    assert not vendor.install(state="absent")["changed"]


@pytest.mark.slow
def test_run_killed_at_any_change_leaves_no_partial_release(vendor: Vendor) -> None:
    sha256 = vendor.release(bin__program="1", lib__data="x" * 1000)
    events = CHANGES | {"open"}
    total = vendor.install(sha256={NAME: sha256}, fault=Fault(0, die, events))["changes"]
    vendor.install(state="absent")
    assert total > 20
    for number in range(1, total, total // 25):  # at 25 changes of the run
        assert vendor.install(sha256={NAME: sha256}, fault=Fault(number, die, events)).get("died", 9) == 9
        tree = vendor.base / "1.0"
        if tree.exists():
            assert (tree / "bin/program").read_text() == "1"
            assert (tree / "lib/data").read_text() == "x" * 1000
        assert "failed" not in vendor.install(sha256={NAME: sha256})
        assert vendor.command.read_text() == "1"
        assert vendor.left_over() == []
        vendor.install(state="absent")
