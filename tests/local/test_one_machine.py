# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a studio of one machine: the wheel on a bare host, `noslop-driver deploy --local` by an ordinary user."""

from __future__ import annotations

import json

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check

from tests.local.conftest import DEPLOY, MIRROR, STUDIO, TIMEOUT_S, Solo
from tests.support.lab.driver import PrintedRun, read_checks
from tests.support.lab.host_state import find_remains, read_state
from tests.support.lab.machines import LAB


def test_check_mode_of_every_role_changes_nothing_on_a_bare_host(solo: Solo) -> None:
    before = read_state(solo.host)
    code, result = solo.run_driver_json(*DEPLOY, "--check")
    assert code == 0, result
    changed = {phase["phase"]: phase["changed"] for phase in result["phases"]}
    assert changed["storage"] > 0, changed
    assert changed["services"] > 0, changed
    assert find_remains(solo.host, before) == []


def test_one_command_deploys_a_studio_on_this_computer(solo: Solo) -> None:
    done = solo.run_driver(*DEPLOY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"http://{solo.host.address}:8188" in done.stdout
    assert "ID" in solo.host.check_output("ollama list")
    request = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8188/models').read().decode())"
    assert "checkpoints" in json.loads(solo.host.check_output(f'python3 -c "{request}"'))
    assert solo.host.run("grep -q nfs /proc/mounts").returncode == 1


def put_catalogue(solo: Solo, **more: object) -> dict[str, str]:
    """Write a catalogue of two models, whose entries have these keys too. Return the source of the file."""
    model: dict[str, str] = json.loads((LAB / "artifacts" / "manifest.json").read_text(encoding="utf-8"))["model"]
    sha256 = model.pop("sha256")
    daily = {"noslop_models_daily_gb": more.pop("daily_gb")} if "daily_gb" in more else {}
    file = {"folder": "checkpoints", "hub": model, "sha256": sha256, **more}
    catalogue = {
        "noslop_models_hub": f"{MIRROR}/hub",
        "noslop_models": [file, {"ollama": "painter:1b", **more}],
        **daily,
    }
    # JSON is YAML. Ansible reads it after the studio's own file.
    put = solo.host.run(f"cat > {STUDIO}/group_vars/all/zz-models.yml", stdin=json.dumps(catalogue))
    assert put.returncode == 0, put.stderr
    return model


def test_models_of_the_catalogue_are_fetched_and_offered(solo: Solo) -> None:
    model = put_catalogue(solo)
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


def test_warm_models_are_in_memory_and_a_second_pull_changes_nothing(solo: Solo) -> None:
    put_catalogue(solo, warm=True)
    words = f"-i {STUDIO} --become-password-file .password noslop.studio.models --check"
    done = solo.host.run(f"venv/bin/ansible-playbook {words}", timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "noslop-models-warm.timer" not in solo.host.check_output("ls /etc/systemd/system")
    code, result = solo.run_driver_json("models pull --studio solo --yes")
    assert code == 0, result
    assert [row["state"] for row in result["warm"]] == ["warm", "warm"]
    assert all(row["resident"] == row["size"] > 0 for row in result["warm"])
    code, result = solo.run_driver_json("models pull --studio solo --yes")
    assert (code, [phase["changed"] for phase in result["phases"]]) == (0, [0])
    code, result = solo.run_driver_json("models warm --studio solo --yes")
    assert [(row["state"], row["read"]) for row in result["warm"]] == [("warm", 0), ("warm", 0)]
    timers = solo.host.check_output("systemctl list-timers --all noslop-models-*")
    assert "noslop-models-warm.timer" in timers
    assert "noslop-models-verify.timer" in timers
    solo.host.check_output("systemctl start noslop-models-warm.service", root=True)
    assert "painter:1b: warm" in solo.host.check_output("journalctl -u noslop-models-warm.service", root=True)
    shown = json.loads(solo.host.check_output("venv/bin/noslop-driver status --cached --studio solo --json"))["models"]
    assert (shown["on_share"], len(shown["warm"]), shown["failed"]) == (2, 2, 0)


def test_damaged_model_fails_the_daily_check_and_the_verification(solo: Solo) -> None:
    start = "systemctl start noslop-models-verify.service"
    solo.host.check_output(start, root=True)
    code, result = solo.run_driver_json("verify --studio solo")
    assert (code, read_intact(result)["ok"]) == (0, True), result
    path = f"/mnt/noslop/comfyui/models/checkpoints/{put_catalogue(solo, warm=True)['file']}"
    solo.host.check_output(f"printf x | dd of={path} bs=1 seek=100 conv=notrunc", root=True)
    assert solo.host.sudo(start).returncode == 1
    journal = solo.host.check_output("journalctl -u noslop-models-verify.service -o cat", root=True)
    assert f"{path} of checkpoints/" in journal
    assert "is damaged: its SHA-256 is " in journal
    code, result = solo.run_driver_json("verify --studio solo")
    failed = read_intact(result)
    assert (code == 0, failed["ok"], path in failed["seen"]) == (False, False, True)
    shown = solo.host.check_output("venv/bin/noslop-driver status --cached --studio solo")
    assert f"checked every day: {path}" in " ".join(shown.split())
    solo.host.check_output(f"mv {path} /root/damaged", root=True)
    code, result = solo.run_driver_json("models pull --studio solo --yes")
    assert [row["state"] for row in result["models"]] == ["fetched", "present"]
    solo.host.check_output(start, root=True)
    code, result = solo.run_driver_json("verify --studio solo")
    assert (code, read_intact(result)["ok"]) == (0, True), result


def read_intact(run: PrintedRun) -> Check:
    """Return the check of the daily check in the result of `verify`."""
    return next(check for check in read_checks(run) if check["check"] == "services.models_intact")


def save_workflow(solo: Solo, graph: object) -> None:
    """Save a workflow in a project of the backend, through its API."""
    backend = "/usr/local/bin/noslop-backend"
    made = json.loads(solo.host.check_output(f"umask 077; {backend} project create Film --json", root=True))
    closed = "find /mnt/noslop/projects -mindepth 1 -type d -not -perm -g=rwx"
    assert solo.host.check_output(closed, root=True) == "", "the owner of the share cannot write there"
    token = solo.host.check_output(f"{backend} token create artist --scope write", root=True).strip()
    request = (
        "import sys, urllib.request as u; "
        f"u.urlopen(u.Request('http://127.0.0.1:8765/api/v1/projects/{made['project']['id']}/workflows?name=night', "
        f"sys.stdin.buffer.read(), {{'Authorization': 'Bearer {token}', 'Content-Type': 'application/json'}}))"
    )
    done = solo.host.run(f'python3 -c "{request}"', stdin=json.dumps(graph))
    assert done.returncode == 0, done.stderr


def test_removed_model_is_named_by_its_workflow_and_comes_back(solo: Solo) -> None:
    model = put_catalogue(solo)
    solo.host.check_output(f"rm {STUDIO}/group_vars/all/zz-models.yml")
    address = f"{MIRROR}/hub/{model['repo']}/resolve/{model['commit']}/{model['file']}"
    code, result = solo.run_driver_json(f"models add {address} --folder checkpoints --studio solo --yes")
    assert (code, [row["state"] for row in result["models"]]) == (0, ["present"]), result
    save_workflow(solo, {"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": model["file"]}}})
    path = f"/mnt/noslop/comfyui/models/checkpoints/{model['file']}"
    done = solo.run_driver(f"models remove {model['file']} --studio solo --yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "named by the workflow night in Film, version 1" in done.stdout
    assert solo.host.sudo(f"test -e {path}").returncode == 1
    done = solo.run_driver(f"models restore {model['file']} --studio solo --yes")
    assert f"checkpoints/{model['file']} is back, and in the catalogue." in done.stdout, done.stdout + done.stderr
    assert solo.host.sudo(f"test -e {path}").returncode == 0
    code, result = solo.run_driver_json("models gc --studio solo")
    assert (code, result["models"]) == (0, []), result


def test_jobs_of_models_are_removed_when_none_is_wanted(solo: Solo) -> None:
    put_catalogue(solo, daily_gb=0)
    code, result = solo.run_driver_json("models pull --studio solo --yes")
    assert code == 0, result
    assert "noslop-models" not in solo.host.check_output(
        "ls /etc/systemd/system /etc/systemd/system/timers.target.wants"
    )
    assert "models" not in solo.host.check_output("ls /opt/noslop").split()


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
