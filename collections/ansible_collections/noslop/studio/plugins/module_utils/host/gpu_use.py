# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read how busy the graphics cards of a host are: the memory that is used, and the load.

NVIDIA's cards are asked through ``nvidia-smi``. The driver amdgpu shows the same in ``/sys``, where
rocm-smi reads it too.
"""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.host import gpu, state

NVIDIA_SMI = ("nvidia-smi", "--query-gpu=pci.bus_id,memory.used,utilization.gpu", "--format=csv")


@dataclass(frozen=True)
class GpuUse:
    """The use of one card. ``None`` is what its driver does not tell."""

    used_mib: int | None = None
    load_percent: int | None = None


UNKNOWN = GpuUse()


def read_use(run: gpu.Runner, root: str = "/") -> dict[str, GpuUse]:
    """Return the use of the cards that a driver reports, by their PCI addresses.

    Args:
        run: how to run a program; see :data:`gpu.Runner`.
        root: directory that holds ``sys``, for tests.
    """
    answer = run(NVIDIA_SMI)
    uses = parse_nvidia_smi(answer[1]) if answer is not None and answer[0] == 0 else {}
    return {**read_amdgpu(root), **uses}


def parse_nvidia_smi(text: str) -> dict[str, GpuUse]:
    """Parse what :data:`NVIDIA_SMI` prints. A card that is divided (MIG) has no load."""
    return {
        gpu.parse_slot(cell["pci.bus_id"]): GpuUse(
            gpu.parse_leading_number(cell.get("memory.used", "")),
            gpu.parse_leading_number(cell.get("utilization.gpu", "")),
        )
        for cell in gpu.parse_rows(text, "pci.bus_id")
    }


def read_amdgpu(root: str) -> dict[str, GpuUse]:
    """Return the use of AMD's cards (the kernel's documentation, gpu/amdgpu/driver-misc)."""
    uses = {}
    for path in glob.glob(os.path.join(root, "sys/bus/pci/devices/*/mem_info_vram_used")):
        device = os.path.dirname(path)
        used_bytes = gpu.parse_leading_number(state.read_text(path))
        load = gpu.parse_leading_number(state.read_text(os.path.join(device, "gpu_busy_percent")))
        uses[os.path.basename(device)] = GpuUse(None if used_bytes is None else used_bytes // gpu.MIB, load)
    return uses
