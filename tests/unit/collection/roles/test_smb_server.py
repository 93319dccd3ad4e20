# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the files that the role smb_server writes, by their text."""

from __future__ import annotations

from ansible_collections.noslop.studio.plugins.module_utils.smb import samba_settings

from tests.support.samba import render_template as render


def test_unit_may_write_to_the_writable_shares_only() -> None:
    text = render("noslop-smb.service.j2")

    assert "ReadWritePaths=-/mnt/noslop/projects -/mnt/noslop/media_cache\n" in text
    assert "ProtectSystem=strict" in text
    assert "ProtectHome=true" in text
    assert "models" in render("noslop-smb.service.j2", noslop_smb_models_writable=True)
    home = render("noslop-smb.service.j2", noslop_project_storage_dir="/home/studio/projects")
    assert "ProtectHome=false" in home


def test_custom_nodes_are_not_served_and_models_are_read_only_by_default() -> None:
    text = render("smb.conf.j2", noslop_allowed_networks=["192.168.1.0/24"], smb_server_members=["10.0.0.5"])
    settings = samba_settings.parse_testparm(text)

    assert set(settings) == {"global", "projects", "media_cache", "comfyui_models", "ollama_models"}
    read_only = {name for name, section in settings.items() if section.get("read only") == "yes"}
    assert read_only == {"comfyui_models", "ollama_models"}
    assert settings["global"]["hosts allow"] == "127.0.0.1 ::1 10.0.0.5 192.168.1.0/24"
    writable = samba_settings.parse_testparm(render("smb.conf.j2", noslop_smb_models_writable="yes"))
    assert writable["comfyui_models"]["read only"] == "no"
    assert writable["ollama_models"]["read only"] == "yes"


def test_discovery_ends_with_the_server() -> None:
    text = render("noslop-wsdd.service.j2", smb_server_workgroup="STUDIO")
    assert "BindsTo=noslop-smb.service" in text
    assert "--workgroup STUDIO" in text
