# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a studio of one machine: the wheel on a bare host, `noslop-driver deploy --local` by an ordinary user."""

from __future__ import annotations

import json

from tests.local.conftest import MIRROR, STUDIO, TIMEOUT_S, Solo
from tests.support.lab.driver import count_changes_by_host, read_checks
from tests.support.lab.machines import LAB


def test_one_command_deploys_a_studio_on_this_computer(solo: Solo) -> None:
    done = solo.run_driver("deploy", "--local", "--studio solo --yes --min-free-gb 1 --artifact-mirror", MIRROR)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"http://{solo.host.address}:8188" in done.stdout
    assert "ID" in solo.host.check_output("ollama list")
    request = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8188/models').read().decode())"
    assert "checkpoints" in json.loads(solo.host.check_output(f'python3 -c "{request}"'))
    assert solo.host.run("grep -q nfs /proc/mounts").returncode == 1


def test_playbook_after_the_driver_changes_nothing(solo: Solo) -> None:
    """Run the collection's playbook as an administrator would, on the inventory that the driver wrote."""
    words = f"-i {STUDIO} --become-password-file .password noslop.studio.site"
    done = solo.host.run(f"venv/bin/ansible-playbook {words}", timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(count_changes_by_host(done.stdout).values()) == {0}, done.stdout


def test_models_of_the_catalogue_are_fetched_and_offered(solo: Solo) -> None:
    model = json.loads((LAB / "artifacts" / "manifest.json").read_text(encoding="utf-8"))["model"]
    sha256 = model.pop("sha256")
    catalogue = {
        "noslop_models_hub": f"{MIRROR}/hub",
        "noslop_models": [{"folder": "checkpoints", "hub": model, "sha256": sha256}, {"ollama": "painter:1b"}],
    }
    # JSON is YAML. Ansible reads it after the studio's own file.
    put = solo.host.run(f"cat > {STUDIO}/group_vars/all/zz-models.yml", stdin=json.dumps(catalogue))
    assert put.returncode == 0, put.stderr
    code, result = solo.run_driver_json("models pull --studio solo --yes")
    assert code == 0, result
    assert [row["state"] for row in result["models"]] == ["fetched", "fetched"]
    request = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8188/models/checkpoints').read())"
    assert model["file"] in solo.host.check_output(f'python3 -c "{request}"')
    assert "painter:1b" in solo.host.check_output("ollama list")
    code, result = solo.run_driver_json("models pull --studio solo --yes")
    assert [row["state"] for row in result["models"]] == ["present", "present"]
    code, result = solo.run_driver_json("verify --studio solo")
    assert code == 0, result
    checks = {check["check"]: check for check in read_checks(result)}
    assert checks["services.comfyui_models"]["seen"].endswith("(1)")
    assert "services.models_fetched" not in checks


def test_upgrade_goes_to_another_version_and_back_from_one_that_does_not_work(solo: Solo) -> None:
    request = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8188/system_stats').read().decode())"

    def read_version() -> str:
        stats = json.loads(solo.host.check_output(f'python3 -c "{request}"'))
        return str(stats["system"]["comfyui_version"])

    newest = read_version()
    code, result = solo.run_driver_json("upgrade --studio solo --yes --to comfyui=0.3.64")
    assert code == 0, result
    assert read_version() == "0.3.64"
    assert "noslop_comfyui_version: v0.3.64" in solo.host.check_output(f"cat {STUDIO}/group_vars/all/studio.yml")
    done = solo.run_driver("upgrade --studio solo --yes --to comfyui=0.33.2")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "v0.3.64 serves again" in done.stdout + done.stderr
    assert read_version() == "0.3.64"
    done = solo.run_driver("upgrade --studio solo --yes")
    assert "Every host runs the version that it is to have" in done.stdout
    code, result = solo.run_driver_json(f"upgrade --studio solo --yes --to comfyui={newest}")
    assert code == 0, result
