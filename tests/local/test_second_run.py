# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a second deployment of a studio of one machine: it does nothing, and notices whatever was changed by hand."""

from __future__ import annotations

import pytest

from tests.local.conftest import DEPLOY, STUDIO, TIMEOUT_S, Solo
from tests.support.lab.drift import LOOK, Drift, change_mode, list_failed, parse_looks
from tests.support.lab.machines import wait_for

OLLAMA, COMFYUI = "noslop-ollama.service", "noslop-comfyui.service"
MENDED_WITHIN_S = 180.0
JOB = "noslop-backend-recover.timer"
ROOT = "/mnt/noslop"
CHECKPOINTS = f"{ROOT}/comfyui/models/checkpoints"
NODE_ENV = "/etc/noslop/node.env"
RELOAD = "systemctl daemon-reload"
DRIFTS = {
    "disabled service": Drift(
        f"systemctl disable {OLLAMA}", f"systemctl enable {OLLAMA}", "deployed.units", OLLAMA,
        f"systemctl is-enabled {OLLAMA}",
    ),
    "stopped service": Drift(
        f"systemctl stop {COMFYUI}", f"systemctl start {COMFYUI}", "deployed.units", COMFYUI,
        f"systemctl is-active {COMFYUI}",
    ),
    "stopped timer": Drift(
        "systemctl disable --now noslop-backend-backup.timer", "systemctl enable --now noslop-backend-backup.timer",
        "deployed.units", "noslop-backend-backup.timer", "systemctl is-active noslop-backend-backup.timer",
    ),
    "drop-in of others": Drift(
        f"mkdir -p /etc/systemd/system/{OLLAMA}.d; echo '[Service]' > /etc/systemd/system/{OLLAMA}.d/x.conf; {RELOAD}",
        f"rm /etc/systemd/system/{OLLAMA}.d/x.conf; {RELOAD}", "deployed.units", "drop-ins",
    ),
    "changed unit": Drift(
        f"sed -i.old 's/^Restart=.*/Restart=no/' /etc/systemd/system/{OLLAMA}; {RELOAD}",
        f"mv /etc/systemd/system/{OLLAMA}.old /etc/systemd/system/{OLLAMA}; {RELOAD}", "deployed.units", "its file",
        f"! grep -q ^Restart=no /etc/systemd/system/{OLLAMA}",
    ),
    "changed settings": Drift(
        f"cp -p {NODE_ENV} /root/; echo X=1 >> {NODE_ENV}", f"mv /root/node.env {NODE_ENV}", "deployed.files",
        NODE_ENV, f"! grep -q X=1 {NODE_ENV}",
    ),
    "mode of settings": change_mode(NODE_ENV, "666", "644"),
    "owner of settings": Drift(
        f"chown nobody {NODE_ENV}", f"chown root {NODE_ENV}", "deployed.files", "owner",
        f'[ "$(stat -c %U {NODE_ENV})" = root ]',
    ),
    "removed command": Drift(
        "mv /usr/local/bin/noslop-backend /root/", "mv /root/noslop-backend /usr/local/bin/", "deployed.files",
        "/usr/local/bin/noslop-backend is missing", "test -x /usr/local/bin/noslop-backend",
    ),
    "mode of the services' state": change_mode("/var/lib/noslop/backend", "755", "700"),
    "link to another version": Drift(
        "cd /opt/noslop/ollama; readlink current > /root/current; ln -sfn / current",
        'ln -sfn "$(cat /root/current)" /opt/noslop/ollama/current', "deployed.programs", "/opt/noslop/ollama/current",
        'test "$(readlink /opt/noslop/ollama/current)" != /',
    ),
    "changed program": Drift(
        "cd /opt/noslop/backend; touch -r . /root/stamp; mkdir x", "rmdir /opt/noslop/backend/x",
        "deployed.programs", "/opt/noslop/backend",
    ),
    "owner of a share": Drift(
        f"chown root {ROOT}/projects", f"chown noslop {ROOT}/projects", "deployed.shares", f"{ROOT}/projects: owner",
        f'[ "$(stat -c %U {ROOT}/projects)" = noslop ]',
    ),
    "mode of a share": Drift(
        f"stat -c %a {ROOT}/media_cache > /root/mode; chmod 700 {ROOT}/media_cache",
        f'chmod "$(cat /root/mode)" {ROOT}/media_cache', "deployed.shares", f"{ROOT}/media_cache: mode",
        # A chmod in numbers leaves the set-group-ID bit of a directory.
        f"! stat -c %a {ROOT}/media_cache | grep -q 700$",
    ),
    "removed marker": Drift(
        f"mv {ROOT}/projects/.noslop-share /root/", f"mv /root/.noslop-share {ROOT}/projects/", "storage.marker", "",
    ),
    "mode of a folder of models": Drift(
        f"stat -c %a {CHECKPOINTS} > /root/mode; chmod 700 {CHECKPOINTS}", f'chmod "$(cat /root/mode)" {CHECKPOINTS}',
        "deployed.shares", f"{CHECKPOINTS}: mode",
    ),
    "removed member of a group": Drift(
        "gpasswd -d noslop-backend noslop", "gpasswd -a noslop-backend noslop", "deployed.accounts", "noslop-backend",
        "id -nG noslop-backend | tr ' ' '\\n' | grep -qx noslop",
    ),
    "shell of an account": Drift(
        "getent passwd noslop-nodes | cut -d: -f7 > /root/shell; usermod -s /bin/bash noslop-nodes",
        'usermod -s "$(cat /root/shell)" noslop-nodes', "deployed.accounts", "noslop-nodes: shell",
        "! getent passwd noslop-nodes | grep -q /bin/bash",
    ),
    "removed package": Drift(
        "dpkg --force-depends --remove git", "apt-get install -qy --no-install-recommends git", "deployed.packages",
        "git", "command -v git",
    ),
    "added rule of the firewall": Drift(
        "nft insert rule inet noslop_studio $(nft list table inet noslop_studio | awk '/chain/ { print $2; exit }')"
        " tcp dport 1 drop",
        "systemctl reload-or-restart noslop-firewall", "firewall.table", "",
        "! nft list table inet noslop_studio | grep -q 'dport 1 '",
    ),
    "removed table of the firewall": Drift(
        "nft delete table inet noslop_studio", "systemctl reload-or-restart noslop-firewall", "firewall.loaded", "",
        "nft list table inet noslop_studio",
    ),
    "unit that systemd has not read": Drift(
        f"touch /etc/systemd/system/{JOB}", RELOAD, "deployed.units", f"{JOB}: waits for a reload"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def deployed(solo: Solo) -> Solo:
    """Deploy everything, so that the host has a record."""
    code, result = solo.run_driver_json(*DEPLOY, "--full")
    assert code == 0, result
    return solo


def look(solo: Solo) -> dict[str, str]:
    """Look at the host once, and return what was observed by each check that did not pass."""
    command = f"venv/bin/ansible all -i {STUDIO} --become-password-file .password {' '.join(LOOK)}"
    done = solo.host.run(f"ANSIBLE_CALLBACK_RESULT_FORMAT=json {command}", timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    (checks,) = parse_looks(done.stdout).values()
    return list_failed(checks)


def test_second_deployment_runs_nothing(deployed: Solo) -> None:
    for words in (DEPLOY, ("deploy", "--studio solo --yes")):
        code, result = deployed.run_driver_json(*words)
        assert code == 0, result
        assert result["phases"] == []
        assert result["look"]
        assert (result["look"]["need"], result["look"]["drift"]) == ("nothing", [])
        assert {address["service"] for address in result["addresses"]} == {"ollama", "comfyui", "backend"}


@pytest.mark.long
@pytest.mark.parametrize("name", DRIFTS)
def test_each_kind_of_drift_is_noticed_by_one_look(deployed: Solo, name: str) -> None:
    drift = DRIFTS[name]
    deployed.host.check_output(drift.plant, root=True, timeout_s=TIMEOUT_S)
    failed = look(deployed)
    deployed.host.check_output(drift.undo, root=True, timeout_s=TIMEOUT_S)
    assert drift.check in failed, failed
    assert drift.word in failed[drift.check]
    # A service that was started again answers some time later.
    wait_for("the host to be as it was", lambda: look(deployed) == {}, timeout_s=MENDED_WITHIN_S)


def test_one_deployment_mends_all_kinds_of_drift_together(deployed: Solo) -> None:
    # A table that is gone needs no rule in it.
    planted = [drift for name, drift in DRIFTS.items() if drift.mended and name != "added rule of the firewall"]
    assert len(planted) >= 15
    for drift in planted:
        deployed.host.check_output(drift.mended, root=True)
        deployed.host.check_output(drift.plant, root=True, timeout_s=TIMEOUT_S)
        assert deployed.host.sudo(drift.mended).returncode != 0, drift
    code, result = deployed.run_driver_json("deploy --studio solo --yes")
    assert code == 0, result
    assert result["look"]
    assert result["look"]["need"] == "drift"
    assert {drift.check for drift in planted} <= {one["check"] for one in result["look"]["drift"]}
    assert [drift for drift in planted if deployed.host.sudo(drift.mended).returncode != 0] == []
    code, result = deployed.run_driver_json("deploy --studio solo --yes")
    assert (code, result["phases"]) == (0, []), result


def test_plain_playbook_leaves_the_same_host_and_no_record(deployed: Solo) -> None:
    words = f"-i {STUDIO} --become-password-file .password noslop.studio.site"
    done = deployed.host.run(f"venv/bin/ansible-playbook {words}", timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=0" in done.stdout
    code, result = deployed.run_driver_json("deploy --studio solo --yes")
    assert code == 0, result
    assert result["look"]
    assert result["look"]["need"] == "everything"
    assert "no record" in result["look"]["reason"]
    assert sum(phase["changed"] for phase in result["phases"]) == 0
