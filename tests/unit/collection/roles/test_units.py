# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the units of the services that the roles' templates make: their exposure and their view of the storage."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils import studio
from noslop_backend.core.settings import load

GPUS = ("none", "nvidia", "amd", "intel")
WHEEL = {"path": "/tmp/noslop_backend-1.0-py3-none-any.whl", "version": "1.0", "sha256": "0" * 64}
#: Unit to the highest exposure that it may have (systemd-analyze security).
LIMITS = {
    "noslop-ollama.service": 2.5,
    "noslop-comfyui.service": 2.5,
    "noslop-backend.service": 2.0,
    "noslop-backend-recover.service": 2.0,
    "noslop-failure@.service": 2.0,
    "noslop-firewall.service": 2.0,
    "noslop-models-warm.service": 2.0,
    "noslop-models-verify.service": 2.0,
    "noslop-model-cache.service": 2.0,
    # It sees the host's own mounts, so nothing that needs a mount namespace protects it.
    "noslop-check.service": 4.5,
    # A server that changes to other accounts needs capabilities that the others do not.
    "noslop-smb.service": 3.5,
    "noslop-wsdd.service": 2.5,
}
TEMPLATES = {
    "noslop-ollama.service": "ollama/templates/noslop-ollama.service.j2",
    "noslop-comfyui.service": "comfyui/templates/noslop-comfyui.service.j2",
    "noslop-backend.service": "studio_backend/templates/noslop-backend.service.j2",
    "noslop-backend-recover.service": "studio_backend/templates/job.service.j2",
    "noslop-failure@.service": "node_env/templates/noslop-failure@.service.j2",
    "noslop-firewall.service": "studio_firewall/templates/noslop-firewall.service.j2",
    "noslop-models-warm.service": "model_jobs/templates/noslop-models-warm.service.j2",
    "noslop-models-verify.service": "model_jobs/templates/noslop-models-verify.service.j2",
    "noslop-model-cache.service": "model_cache/templates/noslop-model-cache.service.j2",
    "noslop-check.service": "studio_verify/templates/noslop-check.service.j2",
    "noslop-smb.service": "smb_server/templates/noslop-smb.service.j2",
    "noslop-wsdd.service": "smb_server/templates/noslop-wsdd.service.j2",
}


@pytest.fixture(scope="module", autouse=True)
def _renderer() -> Iterator[None]:
    renderer()
    yield
    renderer().communicate()
    renderer.cache_clear()


@cache
def renderer() -> subprocess.Popen[str]:
    """Start the program that renders templates."""
    program = Path(__file__).parents[4] / "tests/support/template_renderer.py"
    return subprocess.Popen([sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def render(template: str, **variables: object) -> str:
    """Render a template of a role with the role's own defaults."""
    values_by_name: dict[str, object] = {
        "noslop_studio_id": "test",
        "inventory_hostname": "host",
        "ansible_facts": {"architecture": "x86_64"},
    }
    values_by_name |= {"__studio_backend_wheel": WHEEL, "job": {"title": "a job", "words": "recover"}, **variables}
    process = renderer()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({"template": template, "variables": values_by_name}) + "\n")
    process.stdin.flush()
    return str(json.loads(process.stdout.readline()))


def unit(name: str, gpu: str = "none", /, **variables: object) -> str:
    """Render a unit for a host with this GPU."""
    gpus = [] if gpu == "none" else [{"vendor": gpu, "usable": True, "driver": "580.65.06", "name": "a card"}]
    facts = {"architecture": "x86_64", "noslop_gpus": gpus}
    return render(TEMPLATES[name], ansible_facts=facts, **variables)


def values(text: str, name: str) -> list[str]:
    """List the values of a setting of a unit, in order."""
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{name}=")]


@pytest.mark.parametrize("gpu", GPUS)
def test_exposure_of_each_unit_is_within_its_limit(
    gpu: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exposures: list[tuple[str, float]] = []
    for provider in ("nfs", "local", "existing"):
        directory = tmp_path / provider
        directory.mkdir()
        for name in LIMITS:
            (directory / name).write_text(unit(name, gpu, noslop_storage_provider=provider))
        command = [
            "systemd-analyze",
            "security",
            "--no-pager",
            "--offline=true",
            *map(str, sorted(directory.iterdir())),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        levels = re.findall(r"Overall exposure level for (\S+): ([\d.]+)", done.stdout)
        assert len(levels) == len(LIMITS), done.stdout + done.stderr
        assert "Unknown" not in done.stderr
        # It instantiates a template unit.
        exposures += [(re.sub("@.*", "@.service", name), float(level)) for name, level in levels]

    with capsys.disabled():
        print(f"\nexposure with GPU {gpu}: {', '.join(f'{name} {level}' for name, level in sorted(set(exposures)))}")
    assert [(name, level) for name, level in exposures if level > LIMITS[name]] == []


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("noslop-ollama.service", "ollama/models"),
        ("noslop-comfyui.service", "comfyui/custom_nodes"),
        ("noslop-backend.service", "projects"),
    ],
)
def test_service_waits_for_an_existing_share_before_its_view_of_the_host_is_made(name: str, share: str) -> None:
    existing = unit(name, noslop_storage_provider="existing")
    mounted = unit(name, noslop_storage_provider="nfs")

    # Only with a + does systemd run a command outside of the unit's view (systemd.service(5)).
    first = values(existing, "ExecStartPre")[0]
    assert first.startswith("+/usr/bin/timeout 30 ")
    assert f"test -e /mnt/noslop/{share}/.noslop-share" in first
    assert "remote-fs.target" in values(existing, "After")[0].split()
    assert ".automount" not in existing
    assert not values(mounted, "ExecStartPre")[0].startswith("+")
    assert "remote-fs.target" not in mounted


@pytest.mark.parametrize("name", ["noslop-ollama.service", "noslop-comfyui.service"])
def test_service_sees_only_its_own_shares(name: str) -> None:
    text = unit(name, noslop_project_storage_dir="/srv/projects")

    assert "/mnt/noslop:ro" in values(text, "TemporaryFileSystem")[0].split()
    bound = " ".join(values(text, "BindPaths") + values(text, "BindReadOnlyPaths")).split()
    assert not {"/mnt/noslop", "/mnt/noslop/projects", "/mnt/noslop/media_cache"} & set(bound)
    assert "-/srv/projects" in values(text, "InaccessiblePaths")[0].split()
    beside = unit(name, noslop_project_storage_dir=f"/mnt/noslop/{name[7:-8]}/projects")
    assert f"-/mnt/noslop/{name[7:-8]}/projects" in values(beside, "InaccessiblePaths")[0].split()
    below = unit(name, noslop_ollama_models_dir="/mnt/noslop/one", noslop_comfyui_models_dir="/mnt/noslop/two")
    assert "/mnt/noslop" not in " ".join(values(below, "BindReadOnlyPaths")).split()


def test_export_file_has_a_line_for_readers_and_one_for_writers_that_waits_for_the_disk() -> None:
    hostvars = {f"w{number}": {"noslop_address": f"10.0.0.{number}"} for number in (1, 2, 3)}
    shares = [{"name": "reference", "clients": ["w2", "w1"], "read_only": ["w2"]}, {"name": "secret", "clients": []}]
    disks = {"reference": "/mnt/noslop/reference"}
    directories = [
        {"name": name, "path": f"/mnt/noslop/{name}", "file_system_root": False, "disk": disks.get(name, "")}
        for name in (*studio.PATH_VARIABLES, "reference", "secret")
    ]
    text = render(
        "nfs_server/templates/noslop.exports.j2",
        noslop_extra_shares=shares,
        hostvars=hostvars,
        groups={"storage_clients": list(hostvars)},
        nfs_server_clients=["10.0.0.1", "10.0.0.2", "10.0.0.3"],
        __nfs_server_directories={"shares": directories},
    )
    lines = [line for line in text.splitlines() if line.startswith("/")]
    options = "sync,all_squash,anonuid=2600,anongid=2600,subtree_check,sec=sys"
    assert lines[-2:] == [
        f"/mnt/noslop/reference 10.0.0.1(rw,{options},mp=/mnt/noslop/reference)",
        f"/mnt/noslop/reference 10.0.0.2(ro,{options},mp=/mnt/noslop/reference)",
    ]
    assert lines[3] == "/mnt/noslop/projects " + " ".join(f"10.0.0.{number}(rw,{options})" for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("template", "mounted", "path"),
    [
        ("ollama/templates/noslop-ollama.service.j2", "ollama_share_is_mounted", "ollama/models/.noslop-share"),
        ("comfyui/templates/noslop-comfyui.service.j2", "comfyui_shares_are_mounted", "comfyui/models/.noslop-share"),
        ("studio_backend/templates/noslop-backend.service.j2", "studio_backend_shares_are_mounted", "projects"),
    ],
)
def test_service_waits_for_a_disk_of_its_host_before_its_view_of_the_host_is_made(
    template: str, mounted: str, path: str
) -> None:
    outside = re.compile(rf"^ExecStartPre=\+/usr/bin/timeout 30 .*until test -[de] /mnt/noslop/{path}\b", re.MULTILINE)

    assert outside.search(render(template, **{mounted: False}))
    assert not outside.search(render(template, **{mounted: True})), "an automount is in the view from the start"


def test_services_of_a_worker_with_a_cache_read_its_view_and_still_wait_for_the_share() -> None:
    groups = {"storage_clients": ["first", "host"], "ollama": ["first", "host"], "comfyui": ["host"]}
    cached = {"noslop_models_cache": {"path": "/data/cache", "size": "1GB"}, "groups": groups}

    ollama = unit("noslop-ollama.service", **cached)
    assert 'Environment="OLLAMA_MODELS=/data/cache/ollama_models/view"' in ollama
    assert "/mnt/noslop/ollama/models/.noslop-share" in values(ollama, "ExecStartPre")[0]
    puller = unit("noslop-ollama.service", **cached, inventory_hostname="first")
    assert 'Environment="OLLAMA_MODELS=/mnt/noslop/ollama/models"' in puller
    text = unit("noslop-model-cache.service", **cached, model_cache_services=["comfyui"])
    assert values(text, "ReadWritePaths") == ["/data/cache"]
    assert values(text, "Wants") == ["mnt-noslop-comfyui-models.automount"]


def test_custom_nodes_are_read_only_and_models_follow_the_writers() -> None:
    nodes, models = "/mnt/noslop/comfyui/custom_nodes", "/mnt/noslop/comfyui/models"

    by_members, by_server = (unit("noslop-comfyui.service", noslop_models_writers=who) for who in ("members", "server"))

    for text in (by_members, by_server):
        assert values(text, "BindReadOnlyPaths")[0] == "/mnt/noslop/comfyui"
        assert nodes in values(text, "ReadOnlyPaths")
    assert values(by_members, "ReadWritePaths") == [models]
    assert values(by_server, "ReadWritePaths") == []
    assert models in values(by_server, "ReadOnlyPaths")


def test_writable_node_gets_a_copy_of_its_folder() -> None:
    text = unit("noslop-comfyui.service", comfyui_writable_nodes=["scripts"])

    copy = "/var/lib/noslop/comfyui-nodes/scripts:/mnt/noslop/comfyui/custom_nodes/scripts"
    assert copy in values(text, "BindPaths")
    assert "/mnt/noslop/comfyui/custom_nodes" in values(text, "ReadOnlyPaths")


def test_writable_node_that_is_not_on_the_share_does_not_stop_the_service() -> None:
    others = [{"name": "scripts"}]
    text = unit(
        "noslop-comfyui.service", comfyui_writable_nodes=["scripts", "gone"], __comfyui_linked={"others": others}
    )

    bound = " ".join(values(text, "BindPaths") + values(text, "ExecStartPre"))
    assert "/scripts" in bound
    assert "/gone" not in bound


def test_writable_node_of_the_list_goes_back_to_older_files() -> None:
    listed = {"name": "listed", "directory": ".noslop-nodes.disabled/listed/1", "hosts": None}
    text = unit("noslop-comfyui.service", comfyui_writable_nodes=["by-hand", "listed"], comfyui_nodes=[listed])

    copies = [line.split() for line in values(text, "ExecStartPre") if line.startswith("/bin/cp ")]
    assert ["--update" in words for words in copies] == [True, False]
    # The name of a listed node is a link, on both sides.
    assert all(word.endswith("/.") for words in copies for word in words[-2:])


def test_no_unit_contains_a_secret_of_its_environment() -> None:
    token = {"HF_TOKEN": 'hf_"secret\\ with $dollars` and %percents'}

    for role, name in (("ollama", "noslop-ollama.service"), ("comfyui", "noslop-comfyui.service")):
        text = unit(name, "none", **{f"{role}_environment": token})
        file = render(f"{role}/templates/environment.j2", **{f"{role}_environment": token})

        assert "HF_TOKEN" not in text
        assert values(text, "EnvironmentFile") == [f"/etc/noslop/credentials/{name}/environment"]
        assert file.splitlines()[-1] == r'HF_TOKEN="hf_\"secret\\ with \$dollars\` and %percents"'


def test_backend_may_write_backups_to_another_directory() -> None:
    text = unit("noslop-backend.service", studio_backend_environment={"NOSLOP_BACKUP_DIR": "/srv/copies"})

    assert values(text, "ReadWritePaths") == ["/mnt/noslop -/srv/copies"]
    assert values(unit("noslop-backend.service"), "ReadWritePaths") == ["/mnt/noslop"]


def test_backend_reads_the_settings_that_the_role_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in filter(re.compile("NOSLOP_|.*_DIR$|SHARED_").match, list(os.environ)):
        monkeypatch.delenv(name)
    written = tmp_path / "backend.env"
    chosen = {
        "studio_backend_cors_origins": ["https://studio.lan:3000", "http://[fd00::7]"],
        "studio_backend_root_path": "/noslop",
        "studio_backend_litter_names": ["#recycle", "._*", "Network Trash Folder"],
        "studio_backend_trash_days": 9,
    }
    written.write_text(render("studio_backend/templates/backend.env.j2", **chosen))
    settings = load(written)
    assert settings.cors_origins == chosen["studio_backend_cors_origins"]
    assert (settings.root_path, settings.trash_days) == ("/noslop", 9)
    assert settings.litter_names == ("#recycle", "._*", "Network Trash Folder")

    written.write_text(render("studio_backend/templates/backend.env.j2"))
    settings = load(written)
    assert (settings.cors_origins, settings.root_path, settings.litter_names) == ([], "", None)


def test_command_passes_its_arguments_and_no_environment_and_no_umask(tmp_path: Path) -> None:
    """Run a program that prints its arguments and environment; access by other accounts is tested on a host."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n/usr/bin/env\necho umask $(umask)\nprintf 'word %s\\n' \"$@\"\n")
    program.chmod(0o755)
    account = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    command = tmp_path / "command"
    command.write_text(
        render(
            "studio_backend/templates/noslop-backend.j2",
            __studio_backend_program=str(program),
            studio_backend_user=account,
        )
    )
    hostile = {"PYTHONPATH": "/tmp", "LD_PRELOAD": "", "TERM": "x /bin/sh", "ENV": "/tmp/x", "NOSLOP_DATABASE_URL": "x"}

    words = ["sh", str(command), "project", "create", "A name; $(id)"]
    done = subprocess.run(words, env=hostile, umask=0o077, capture_output=True, text=True, check=True)
    shown = done.stdout.splitlines()

    assert "umask 0002" in shown
    assert [line for line in shown if line.startswith("word ")] == ["word project", "word create", "word A name; $(id)"]
    assert {line.partition("=")[0] for line in shown if "=" in line} <= {
        "PATH",
        "HOME",
        "LANG",
        "TERM",
        "SUDO_USER",
        "PWD",
    }
    assert "TERM=x /bin/sh" in shown


def test_only_devices_of_usable_gpus_are_allowed() -> None:
    for name in ("noslop-ollama.service", "noslop-comfyui.service"):
        assert values(unit(name, "nvidia"), "DeviceAllow") == ["char-nvidia* rw"]
        assert values(unit(name, "amd"), "DeviceAllow") == ["char-drm rw", "char-kfd rw"]
        assert values(unit(name, "intel"), "DeviceAllow") == ["char-drm rw"]
        assert values(unit(name), "PrivateDevices") == ["true"]
        groups = {gpu: " ".join(values(unit(name, gpu), "SupplementaryGroups")) for gpu in GPUS}
        assert [gpu for gpu, names in groups.items() if names.endswith("video render")] == ["amd", "intel"]


def test_cloud_and_api_nodes_are_off_by_default() -> None:
    assert '"OLLAMA_NO_CLOUD=1"' in values(unit("noslop-ollama.service"), "Environment")
    assert '"OLLAMA_NO_CLOUD=1"' not in values(unit("noslop-ollama.service", ollama_cloud=True), "Environment")
    assert "--disable-api-nodes" in unit("noslop-comfyui.service")
    assert "--disable-api-nodes" not in unit("noslop-comfyui.service", comfyui_api_nodes=True)


def test_settings_are_written_as_the_programs_read_them() -> None:
    settings = {"OLLAMA_DEBUG": False, "OLLAMA_NUM_PARALLEL": 2, "OLLAMA_ORIGINS": ["https://a", 'b "%\\']}
    flags = {"lowvram": True, "highvram": False, "reserve-vram": 1.5, "fast": ["autotune"], "comfy-api-base": "a $%b"}

    ollama = unit("noslop-ollama.service", ollama_settings=settings)
    comfyui = unit("noslop-comfyui.service", comfyui_flags=flags, comfyui_extra_args=["--last"])

    assert values(ollama, "Environment")[-3:] == [
        '"OLLAMA_DEBUG=0"',
        '"OLLAMA_NUM_PARALLEL=2"',
        r'"OLLAMA_ORIGINS=https://a,b \"%%\\"',
    ]
    words = '"--comfy-api-base" "a $$%%b" "--fast" "autotune" "--lowvram" "--reserve-vram" "1.5" "--last"'
    assert f" --cpu {words}\n" in comfyui
