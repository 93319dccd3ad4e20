# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Know what each vendor's cards need: the build of PyTorch, drivers, groups and device files.

Owns these facts for the roles (by the filter ``noslop.studio.gpu_support``), preflight and the driver's plan. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host.version_numbers import is_older, parse_numbers


@dataclass(frozen=True)
class Build:
    """A build of PyTorch; ``index`` is the name of its package index. An empty limit is none."""

    index: str
    least_driver: str = ""
    #: the range of compute capabilities of NVIDIA's cards
    least_capability: str = ""
    greatest_capability: str = ""

    def supports(self, capability: str) -> bool:
        """Return whether it has code for a card; a card whose capability is not known counts as supported."""
        if not capability:
            return True
        low, high = self.least_capability, self.greatest_capability
        return not is_older(capability, low) and not (high and is_older(high, capability))


@dataclass(frozen=True)
class Vendor:
    """The needs of one vendor's cards. ``builds`` are PyTorch's, the preferred one first.

    ``groups`` own the device files. ``devices`` are device files as ``DeviceAllow=`` names them: character devices by
    the name of their driver (/proc/devices, systemd.resource-control(5)).
    """

    name: str
    builds: tuple[Build, ...]
    groups: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()


#: In the order of preference: one build of PyTorch supports one vendor's cards.
#:
#: CUDA 13 needs driver 580.65.06, and has no code for cards below compute capability 7.5 (Maxwell, Pascal, Volta;
#: release notes of the CUDA Toolkit 13.0: table of driver versions, deprecated architectures). PyTorch's wheels for
#: CUDA 12.6 have code for 5.0 to 9.0 (pytorch/pytorch, RELEASE.md), and CUDA 12 runs with driver 525.60.13 and newer
#: (CUDA Compatibility, minor version compatibility).
VENDORS: dict[str, Vendor] = {
    vendor.name: vendor
    for vendor in (
        Vendor(
            "nvidia",
            (Build("cu130", "580.65.06", "7.5"), Build("cu126", "525.60.13", "5.0", "9.0")),
            devices=("char-nvidia*",),
        ),
        Vendor("amd", (Build("rocm7.2"),), groups=("video", "render"), devices=("char-drm", "char-kfd")),
        Vendor("intel", (Build("xpu"),), groups=("video", "render"), devices=("char-drm",)),
        Vendor("none", (Build("cpu"),)),
    )
}
BUILDS: dict[str, Build] = {build.index: build for vendor in VENDORS.values() for build in vendor.builds}


@dataclass(frozen=True)
class Card:
    """A card that can be used, as the facts of a host describe it."""

    vendor: str
    name: str = ""
    driver: str = ""
    capability: str = ""


@dataclass(frozen=True)
class Support:
    """The needs of a host's usable cards: of one vendor's for ComfyUI, and of all for Ollama.

    ``index`` is the build of PyTorch for the cards of ``vendor``.
    """

    vendor: str
    index: str
    groups: tuple[str, ...]
    devices: tuple[str, ...]
    all_vendors: tuple[str, ...]
    all_groups: tuple[str, ...]
    all_devices: tuple[str, ...]


def parse_cards(cards: Iterable[Mapping[str, Any]]) -> list[Card]:
    """Return the cards that can be used, from facts of a host."""
    return [
        Card(card["vendor"], *(str(card.get(name) or "") for name in ("name", "driver", "capability")))
        for card in cards
        if card["usable"]
    ]


def choose_support(cards: Sequence[Card]) -> Support:
    """Return what a host with these usable cards needs."""
    vendors = _list_vendors(cards)
    chosen = vendors[0] if vendors else VENDORS["none"]
    return Support(
        vendor=chosen.name,
        index=_choose_build(chosen, cards).index,
        groups=chosen.groups,
        devices=chosen.devices,
        all_vendors=tuple(vendor.name for vendor in vendors),
        all_groups=_unique(group for vendor in vendors for group in vendor.groups),
        all_devices=_unique(device for vendor in vendors for device in vendor.devices),
    )


def _list_vendors(cards: Sequence[Card]) -> list[Vendor]:
    return [vendor for vendor in VENDORS.values() if any(card.vendor == vendor.name for card in cards)]


def _choose_build(vendor: Vendor, cards: Sequence[Card]) -> Build:
    """Return the build of PyTorch that supports the most of a vendor's cards; of several, the preferred one."""
    own = [card for card in cards if card.vendor == vendor.name]
    return max(vendor.builds, key=lambda build: sum(build.supports(card.capability) for card in own))


def find_problems(cards: Sequence[Card], index: str = "") -> list[str]:
    """Return a sentence for each reason why a build of PyTorch cannot compute on the cards, with what to do.

    Args:
        cards: the usable cards of the host.
        index: the build, where the user chose one; else the one for the cards. Of others nothing is known.
    """
    support = choose_support(cards)
    build = BUILDS.get(index or support.index)
    own = [card for card in cards if build in VENDORS[card.vendor].builds]
    if build is None or not own:
        return []
    if not any(build.supports(card.capability) for card in own):
        return [
            f"PyTorch for {build.index} has no code for {own[0].name} (compute capability {own[0].capability}). "
            f"Set comfyui_torch_index for this host to {support.index}, or remove it"
        ]
    outdated = [card for card in own if is_older(card.driver, build.least_driver)]
    if not outdated:
        return []
    others = [
        f"{other.index}, which this driver supports (a mirror of yours must have it too), or to "
        for other in VENDORS[outdated[0].vendor].builds
        if all(other.supports(card.capability) and not is_older(card.driver, other.least_driver) for card in own)
    ]
    return [
        f"{outdated[0].name} has driver {outdated[0].driver}, and PyTorch for {build.index} needs "
        f"{build.least_driver}. Install a newer driver, or set comfyui_torch_index for this host to "
        f"{''.join(others)}cpu"
    ]


def list_notes(cards: Sequence[Card], index: str = "") -> list[str]:
    """Return a sentence for each card that does not get the preferred build of PyTorch, or for which it has no code."""
    support = choose_support(cards)
    build = BUILDS.get(index or support.index)
    if build is None:
        return []
    preferred = VENDORS[support.vendor].builds[0]
    notes = []
    for card in cards:
        about = f"{card.name} has compute capability {card.capability}"
        if build in VENDORS[card.vendor].builds and not build.supports(card.capability):
            notes.append(f"{about}, for which PyTorch for {build.index} has no code: ComfyUI cannot use this card")
        elif card.vendor == support.vendor and not index and not preferred.supports(card.capability):
            notes.append(f"{about}: ComfyUI gets PyTorch for {build.index}, since {preferred.index} has no code for it")
    return notes


def least_capability(vendor: str) -> str:
    """Return the least compute capability that any build supports; empty where there is no limit."""
    limits = [build.least_capability for build in VENDORS[vendor].builds]
    return min(limits, key=parse_numbers) if limits and all(limits) else ""


def _unique(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))
