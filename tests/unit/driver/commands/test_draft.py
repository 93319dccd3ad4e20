# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from noslop_driver.commands.draft import plan_hosts
from noslop_driver.hosts.gather import GatheredHosts
from noslop_driver.models import Disk, Host, Plan, StudioSettings

SETTINGS = StudioSettings(studio_id="test")


def plan(*names: str, settings: StudioSettings = SETTINGS) -> Plan:
    hosts = [
        Host(
            name=name,
            address=f"10.0.0.{number}",
            user="artist",
            os="Debian",
            os_version="12.5",
            arch="x86_64",
            service_manager="systemd",
            disks=[Disk(mount="/", size_bytes=10**13, free_bytes=10**12, fstype="ext4")],
            machine_id=name,
        )
        for number, name in enumerate(names, 1)
    ]
    return plan_hosts(GatheredHosts(hosts, []), settings).plan


def test_single_host_keeps_its_storage_local() -> None:
    alone = plan("one")
    assert alone.settings == SETTINGS.replace(storage_provider="local")
    (note,) = [problem for problem in alone.problems if problem.kind == "one_host"]
    assert not note.fatal
    assert alone.proposals[0].roles == ["storage_server", "ollama", "comfyui", "backend"]
    assert "shared_file_system" not in {problem.kind for problem in alone.problems}
    assert not alone.blocked


@pytest.mark.parametrize("provider", ["local", "existing"])
def test_other_providers_of_a_single_host_are_kept(provider: str) -> None:
    settings = SETTINGS.replace(storage_provider=provider)
    alone = plan("one", settings=settings)
    assert alone.settings == settings
    assert "one_host" not in {problem.kind for problem in alone.problems}


def test_several_hosts_share_over_nfs() -> None:
    assert plan("one", "two").settings == SETTINGS
