# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the clock, the name, the cards, the certificates and the failed jobs of a host, as evidence."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import service_probe
from ansible_collections.noslop.studio.plugins.module_utils.host import gpu, state, systemd
from ansible_collections.noslop.studio.plugins.module_utils.nfs import certificates
from ansible_collections.noslop.studio.plugins.module_utils.nfs.certificates import TlsFiles

DAY_S = 86400.0
ASK_S = 4.0
MOST_UNITS = 20


def read_clock() -> dict[str, Any]:
    """Return the time of this host, and what keeps it right."""
    return {**parse_clock(state.run_program("timedatectl", "show")), "epoch": time.time()}


def parse_clock(text: str) -> dict[str, Any]:
    """Return what ``timedatectl show`` prints of NTP; ``None`` for what it does not print."""
    values = {"yes": True, "no": False}
    properties = systemd.parse_properties(text)
    names = {"can_ntp": "CanNTP", "ntp": "NTP", "synchronized": "NTPSynchronized"}
    return {name: values.get(properties.get(key, "")) for name, key in names.items()}


def read_identity() -> dict[str, str]:
    """Return the name and the number of this machine."""
    identity = state.read_identity()
    return {"hostname": str(identity["hostname"]), "machine_id": str(identity["machine_id"])}


def read_cards() -> list[dict[str, Any]]:
    """Return the graphics cards, with why one cannot be used."""
    cards = gpu.find_gpus(gpu.run_program)
    return [{"vendor": card.vendor, "name": card.name, "usable": card.usable, "why": card.why} for card in cards]


def read_devices(address: str, port: int) -> list[str]:
    """Return the kinds of devices that ComfyUI computes on, such as cuda or cpu; none where it does not answer."""
    return parse_devices(service_probe.get_json(address, port, "/system_stats", ASK_S).data)


def parse_devices(answer: Any) -> list[str]:
    """Return the kinds of devices in what ComfyUI answers to ``/system_stats``. A custom node may answer anything."""
    devices = answer.get("devices") if isinstance(answer, dict) else None
    kinds = [device.get("type") for device in devices if isinstance(device, dict)] if isinstance(devices, list) else []
    return [kind[:20] for kind in kinds if isinstance(kind, str)][:16]


def read_certificates(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the certificates of this host, with the days that they have left."""
    if options.get("transport", "plain") == "plain" or options["provider"] != "nfs":
        return []
    own = options["tls_files"]
    files = TlsFiles(**own) if own else certificates.list_files(studio.TLS_DIR)
    read = []
    for path in (files.certificate, files.authority):
        try:
            days = round((certificates.read_end(path) - time.time()) / DAY_S, 1)
        except certificates.CertificateError:
            continue
        read.append({"path": path, "days": days, "made": not own})
    return read


def read_failed_units() -> list[str]:
    """Return the units of NoSlop that systemd calls failed."""
    text = state.run_program(
        "systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager", "noslop-*"
    )
    return [line.split()[0] for line in text.splitlines() if line.split()][:MOST_UNITS]
