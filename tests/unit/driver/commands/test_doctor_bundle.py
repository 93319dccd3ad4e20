# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the archive of doctor: it has what another person needs, and no secret of any place where there are some."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from noslop_driver.records import Record
from noslop_driver.secrets import Secrets
from tests.support import driver_cli
from tests.support.doctor_cases import SERVER_ADDRESS, make_healthy, make_unit
from tests.support.doctor_faults import OLLAMA, STOPPED
from tests.support.doctor_studio import DoctorStudio

PLANTED = {
    "vault": "planted-in-a-vault",
    "token": "planted-in-a-token-file",
    "webhook": "planted-in-a-webhook",
    "webhook_file": "planted-in-the-file-of-a-webhook",
    "smb": "planted-in-a-password-file",
    "sudo": "planted-as-sudo-password",
    "url": "planted-in-a-url",
    "journal": "planted-in-a-journal",
    "key": "plantedInAPrivateKey",
    "log": "planted-in-a-log",
}

pytestmark = pytest.mark.slow


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DoctorStudio:
    return DoctorStudio(tmp_path, monkeypatch)


def plant_secrets(studio: DoctorStudio, directory: Path) -> Path:
    """Plant a secret in each place where a studio has some, and return the file with the sudo password."""
    for name in ("token", "webhook_file", "smb", "sudo"):
        (directory / name).write_text(PLANTED[name] + "\n", encoding="utf-8")
        (directory / name).chmod(0o600)
    variables = {
        "noslop_models_tokens": {"https://hub.lan": str(directory / "token")},
        "noslop_monitor_webhook": {"url": f"https://chat.lan/{PLANTED['webhook']}", "format": "json"},
        "other_webhook": {"secret_file": str(directory / "webhook_file")},
        "noslop_smb_users": [{"name": "anna", "password_file": str(directory / "smb")}],
        "noslop_artifact_mirror": f"https://user:{PLANTED['url']}@mirror.lan/",
        "noslop_studio_id": "abc",
        "noslop_storage_provider": "nfs",
    }
    studio.settings.write_text(json.dumps(variables), encoding="utf-8")
    vault = {"smb_server_passwords": {"bert": PLANTED["vault"]}}
    (studio.settings.parent / "vault.yml").write_text(json.dumps(vault), encoding="utf-8")
    key = f"-----BEGIN RSA PRIVATE KEY----- {PLANTED['key']} -----END RSA PRIVATE KEY-----"
    journal = [
        f"password={PLANTED['journal']}",
        key,
        *(PLANTED[name] for name in ("vault", "token", "smb", "webhook_file")),
    ]
    evidence = make_healthy()
    evidence["worker1"]["units"][OLLAMA] = make_unit(active="failed", restarts=9, journal=journal)
    studio.plant(evidence, [STOPPED])
    earlier = Record(studio.studio.records, "deploy", Secrets())
    lines = (PLANTED["sudo"], PLANTED["webhook"], f"Authorization: Bearer {PLANTED['log']}", f"at {SERVER_ADDRESS}")
    earlier.log.write_text("\n".join(lines), encoding="utf-8")
    earlier.finish(1, f"failed at https://x:{PLANTED['url']}@mirror.lan, secret: {PLANTED['log']}", "0")
    return directory / "sudo"


def test_archive_has_the_report_and_the_logs_and_no_secret(studio: DoctorStudio, tmp_path: Path) -> None:
    sudo = plant_secrets(studio, tmp_path)
    bundle = tmp_path / "out" / "case.tar.gz"
    bundle.parent.mkdir()
    words = ("--bundle", str(bundle), "--become-pass-file", str(sudo), "--inventory", str(studio.path))
    output, done = driver_cli.run_json("doctor", *words)

    assert (output["bundle"], done.returncode) == (str(bundle), 1)
    assert bundle.stat().st_mode & 0o777 == 0o600
    with tarfile.open(bundle) as archive:
        texts = {
            member.name: file.read().decode()
            for member in archive.getmembers()
            if (file := archive.extractfile(member))
        }
    names = {name.removeprefix("case/") for name in texts}
    assert {"report.json", "versions.json", "inventory.json", "verification.json", "evidence.json"} <= names
    assert len([name for name in names if name.endswith("run.log")]) == 2
    everything = "\n".join(texts.values())
    assert [name for name, secret in PLANTED.items() if secret in everything] == []
    assert SERVER_ADDRESS in texts["case/inventory.json"]
    assert f"at {SERVER_ADDRESS}" in everything
    report = json.loads(texts["case/report.json"])
    assert [cause["kind"] for cause in report["causes"]] == ["unit.crashes"]
    assert report["exit_code"] == 1
    assert json.loads(texts["case/versions.json"])["ansible-core"]


@pytest.mark.parametrize("name", ["case.zip", "missing/case.tar.gz"])
def test_archive_that_cannot_be_written_is_refused_before_a_host_is_asked(
    studio: DoctorStudio, tmp_path: Path, name: str
) -> None:
    done = driver_cli.run("doctor", "--bundle", str(tmp_path / name), "--inventory", str(studio.path))
    assert (done.returncode, "name a file" in done.stderr) == (2, True)
    assert studio.read_records() == []
