# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what each vendor's cards need, and which cards and drivers are refused or reported."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host.gpu_support import (
    Card,
    choose_support,
    find_problems,
    list_notes,
    parse_cards,
)

PASCAL = Card("nvidia", "GTX 1080", "580.95.05", "6.1")
AMPERE = Card("nvidia", "RTX 3090", "580.95.05", "8.6")
BLACKWELL = Card("nvidia", "RTX 5090", "580.95.05", "12.0")
UNKNOWN = Card("nvidia", "a card", "580.95.05")
OLD_DRIVER = Card("nvidia", "RTX 3090", "550.54.14", "8.6")
OLDEST_DRIVER = Card("nvidia", "RTX 3090", "470.256.02", "8.6")
AMD, INTEL = Card("amd", "RX 7900", "amdgpu"), Card("intel", "Arc B580", "xe")


@pytest.mark.parametrize(
    ("cards", "vendor", "index", "groups", "devices"),
    [
        ([], "none", "cpu", [], []),
        ([AMPERE], "nvidia", "cu130", [], ["char-nvidia*"]),
        ([UNKNOWN], "nvidia", "cu130", [], ["char-nvidia*"]),
        ([PASCAL], "nvidia", "cu126", [], ["char-nvidia*"]),
        ([PASCAL, AMPERE], "nvidia", "cu126", [], ["char-nvidia*"]),
        ([PASCAL, BLACKWELL], "nvidia", "cu130", [], ["char-nvidia*"]),
        ([AMD], "amd", "rocm7.2", ["video", "render"], ["char-drm", "char-kfd"]),
        ([INTEL], "intel", "xpu", ["video", "render"], ["char-drm"]),
        ([INTEL, AMPERE], "nvidia", "cu130", [], ["char-nvidia*"]),
    ],
)
def test_each_vendor_gets_its_build_groups_and_devices(
    cards: list[Card], vendor: str, index: str, groups: list[str], devices: list[str]
) -> None:
    support = choose_support(cards)

    assert (support.vendor, support.index) == (vendor, index)
    assert (list(support.groups), list(support.devices)) == (groups, devices)


def test_ollama_gets_what_the_cards_of_all_vendors_need() -> None:
    support = choose_support([INTEL, AMPERE, AMD])

    assert support.all_vendors == ("nvidia", "amd", "intel")
    assert support.all_groups == ("video", "render")
    assert support.all_devices == ("char-nvidia*", "char-drm", "char-kfd")


@pytest.mark.parametrize(
    ("cards", "index", "expected"),
    [
        ([AMPERE], "", []),
        ([UNKNOWN], "cu130", []),
        ([PASCAL], "", []),
        ([PASCAL, BLACKWELL], "", []),
        ([AMD, INTEL], "", []),
        ([OLD_DRIVER], "cu126", []),
        ([OLD_DRIVER], "cpu", []),
        ([OLD_DRIVER], "cu999", []),  # a build that is not in the table: the user knows
        ([PASCAL], "cu130", ["cu130 has no code for GTX 1080 (compute capability 6.1). Set comfyui_torch_index"]),
        (
            [OLD_DRIVER],
            "",
            ["needs 580.65.06. Install a newer driver, or set comfyui_torch_index for this host to cu126"],
        ),
        ([OLDEST_DRIVER], "", ["RTX 3090 has driver 470.256.02", "for this host to cpu"]),
    ],
)
def test_build_that_cannot_compute_is_refused(cards: list[Card], index: str, expected: list[str]) -> None:
    problems = find_problems(cards, index)

    assert len(problems) == bool(expected)
    for words in expected:
        assert words in problems[0]


@pytest.mark.parametrize(
    ("cards", "index", "expected"),
    [
        ([AMPERE, AMD], "", []),
        ([], "", []),
        (
            [PASCAL],
            "",
            ["GTX 1080 has compute capability 6.1: ComfyUI gets PyTorch for cu126, since cu130 has no code"],
        ),
        ([PASCAL], "cu126", []),
        ([PASCAL, BLACKWELL], "", ["for which PyTorch for cu130 has no code: ComfyUI cannot use this card"]),
    ],
)
def test_card_without_the_preferred_build_is_reported(cards: list[Card], index: str, expected: list[str]) -> None:
    notes = list_notes(cards, index)

    assert len(notes) == len(expected)
    for note, words in zip(notes, expected, strict=True):
        assert words in note


def test_only_usable_cards_are_parsed() -> None:
    facts = {"vendor": "nvidia", "name": "one", "memory_mib": 1, "driver": None, "usable": True, "why": ""}

    assert parse_cards([facts, {**facts, "usable": False}]) == [Card("nvidia", "one")]
