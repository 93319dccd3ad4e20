# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the use of cards is read as nvidia-smi and the driver amdgpu report it."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.noslop.studio.plugins.module_utils.host import gpu_use
from ansible_collections.noslop.studio.plugins.module_utils.host.gpu_use import GpuUse

NVIDIA = """\
pci.bus_id, memory.used [MiB], utilization.gpu [%]
00000000:01:00.0, 3211 MiB, 41 %
00000000:02:00.0, 20 MiB, [N/A]
"""


def nothing(_: tuple[str, ...]) -> tuple[int, str] | None:
    return None


def test_nvidia_reports_memory_and_load_of_each_card() -> None:
    uses = gpu_use.read_use(lambda _: (0, NVIDIA), "/nowhere")
    assert uses == {"0000:01:00.0": GpuUse(3211, 41), "0000:02:00.0": GpuUse(20, None)}


def test_failing_nvidia_smi_reports_nothing() -> None:
    assert gpu_use.read_use(lambda _: (9, "NVIDIA-SMI has failed: " + NVIDIA), "/nowhere") == {}


def test_amdgpu_reports_memory_and_load_in_sys(tmp_path: Path) -> None:
    device = tmp_path / "sys/bus/pci/devices/0000:03:00.0"
    device.mkdir(parents=True)
    (device / "mem_info_vram_used").write_text("2147483648\n")
    assert gpu_use.read_use(nothing, str(tmp_path)) == {"0000:03:00.0": GpuUse(2048, None)}
    (device / "gpu_busy_percent").write_text("7\n")
    assert gpu_use.read_use(nothing, str(tmp_path)) == {"0000:03:00.0": GpuUse(2048, 7)}
