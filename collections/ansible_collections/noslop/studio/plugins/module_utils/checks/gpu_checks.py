# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report how much of a card's memory each of two services may take that share it."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.module_utils.host.gpu import MIB, Gpu
from ansible_collections.noslop.studio.plugins.module_utils.host.gpu_support import choose_support, parse_cards
from ansible_collections.noslop.studio.plugins.module_utils.host.processes import Process

#: ``--reserve-vram`` is in gigabytes of 1024 MiB.
MIB_OF_GIGABYTE = 1024


def note_shared_card(checks: Checks, cards: Sequence[Gpu], ollama: Process, comfyui: Process) -> None:
    """Note what Ollama and ComfyUI may each take of the card that ComfyUI computes on.

    Ollama leaves ``OLLAMA_GPU_OVERHEAD`` bytes of each card to others (its envconfig/config.go). ComfyUI leaves
    ``--reserve-vram`` gigabytes, and computes on the first card of its vendor or on number ``--cuda-device`` (its
    comfy/cli_args.py). Without these settings each takes all that it needs.

    Args:
        checks: where the note goes.
        cards: all cards of the host.
        ollama: Ollama's process.
        comfyui: ComfyUI's process.
    """
    usable = [card for card in cards if card.usable]
    vendor = choose_support(parse_cards(card.as_fact() for card in usable)).vendor
    own = [card for card in usable if card.vendor == vendor]
    number = int(_read_number(_read_flag(comfyui, "--cuda-device")))
    if number >= len(own) or not own[number].memory_mib:
        return
    card = own[number]
    total_mib = card.memory_mib or 0
    left_by_ollama_mib = int(_read_number(ollama.environment.get("OLLAMA_GPU_OVERHEAD", "")) / MIB)
    left_by_comfyui_mib = int(_read_number(_read_flag(comfyui, "--reserve-vram")) * MIB_OF_GIGABYTE)
    ollama_mib, comfyui_mib = max(total_mib - left_by_ollama_mib, 0), max(total_mib - left_by_comfyui_mib, 0)
    observed = f"of the {total_mib} MiB of {card.name}, Ollama may take {ollama_mib} and ComfyUI {comfyui_mib}"
    if ollama_mib + comfyui_mib > total_mib:
        observed += (
            ". That is more than there is: the one can fail for what the other holds. OLLAMA_GPU_OVERHEAD in "
            "ollama_settings (bytes) and reserve-vram in comfyui_flags (GB) say what each leaves to the other"
        )
    checks.note("services.gpu_shared", seen=observed, expected="both services fit into the card's memory")


def _read_flag(process: Process, flag: str) -> str:
    """Return the value of a flag, given as its own argument or after an equals sign; empty where it is not there."""
    words = process.arguments
    for index, word in enumerate(words):
        if word == flag and index + 1 < len(words):
            return words[index + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return ""


def _read_number(text: str) -> float:
    """Return a number that is not negative; 0 for any other text."""
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if 0 < number < float("inf") else 0.0
