# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what a verification says of a card that two services share."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks import gpu_checks
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, is_note
from ansible_collections.noslop.studio.plugins.module_utils.host.gpu import Gpu
from ansible_collections.noslop.studio.plugins.module_utils.host.processes import Process
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account

NVIDIA = Gpu("nvidia", "RTX 4090", memory_mib=24564)
SECOND = Gpu("nvidia", "RTX 3090", memory_mib=24576)
INTEL = Gpu("intel", "Arc A770", memory_mib=16384)
BROKEN = Gpu("nvidia", "GTX 970", memory_mib=4096, usable=False)
GIB = 1024**3


def observe(cards: list[Gpu], overhead: str = "", *flags: str) -> str:
    """Return the text of the note; empty where there is none."""
    account = Account(2604, 2604)
    environment = {"OLLAMA_GPU_OVERHEAD": overhead} if overhead else {}
    checks = Checks("worker1")
    ollama = Process(1, 1, account, ("ollama", "serve"), "/", environment)
    comfyui = Process(2, 1, account, ("python", "main.py", *flags), "/")
    gpu_checks.note_shared_card(checks, cards, ollama, comfyui)
    assert all(is_note(check) for check in checks.list)
    return "".join(check["seen"].removeprefix("note: ") for check in checks.list)


def test_services_without_limits_share_more_than_there_is() -> None:
    observed = observe([NVIDIA])
    assert observed.startswith("of the 24564 MiB of RTX 4090, Ollama may take 24564 and ComfyUI 24564. That is more")
    assert "OLLAMA_GPU_OVERHEAD" in observed
    assert "reserve-vram" in observed


@pytest.mark.parametrize("flags", [("--reserve-vram", "12"), ("--reserve-vram=12",)])
def test_services_with_limits_fit(flags: tuple[str, ...]) -> None:
    observed = observe([NVIDIA], str(12 * GIB), *flags)
    assert observed == "of the 24564 MiB of RTX 4090, Ollama may take 12276 and ComfyUI 12276"


def test_card_is_the_one_that_comfyui_computes_on() -> None:
    assert "RTX 4090" in observe([INTEL, NVIDIA, SECOND])
    assert "RTX 3090" in observe([INTEL, NVIDIA, SECOND], "", "--cuda-device", "1")


@pytest.mark.parametrize("cards", [[], [BROKEN], [Gpu("intel", "Arc")]])
def test_card_without_a_size_gets_no_note(cards: list[Gpu]) -> None:
    assert observe(cards) == ""


@pytest.mark.parametrize("value", ["much", "-1", "nan", "inf", ""])
def test_limit_that_is_no_number_counts_as_none(value: str) -> None:
    assert "Ollama may take 24564" in observe([NVIDIA], value)


def test_limit_above_the_memory_leaves_nothing() -> None:
    assert "Ollama may take 0 " in observe([NVIDIA], str(48 * GIB))
