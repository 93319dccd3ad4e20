# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show in lines what the hosts of a studio are doing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ansible_collections.noslop.studio.plugins.module_utils.studio import SERVICES

from noslop_driver.commands.look_result import HostNowData
from noslop_driver.commands.monitor_view import format_monitors, format_time
from noslop_driver.commands.result import HostMonitorData
from noslop_driver.hosts.status_run import CardData, HostStateData, MonitorData, RoomData, ServiceStateData
from noslop_driver.planning.scoring import format_gb

_MIB = 1024 * 1024


def format_host(host: HostNowData) -> Iterator[str]:
    """Return the lines of one host: whether it answers, and what it is doing."""
    state = host["state"]
    if state is None:
        status = "up, but it cannot be asked" if host["up"] else "away"
        yield f"{host['host']}: {status}. {host['reason']}"
        yield f"  last seen: {host['last_answer'] or 'in no record'}"
        if host["todo"]:
            yield f"  {host['todo']}"
        return
    yield f"{host['host']}: up" + (f", deployed and verified {state['deployed']}" if state["deployed"] else "")
    yield from (f"  {line}" for line in _format_state(host["host"], state))


def _format_state(name: str, state: HostStateData) -> Iterator[str]:
    yield from map(_format_service, state["services"])
    yield from map(_format_card, state["gpus"])
    yield from _format_room(state["room"])
    for unit in state["units"]:
        yield f"{unit['unit']}: {unit['state']}"
        yield from (f"  {line}" for line in unit["lines"])
    yield from (f"not read: {problem}" for problem in state["problems"])
    if state["monitor"]["finished"] is not None:
        yield from format_monitors({name: _describe_monitor(state["monitor"])}, when="")


def _describe_monitor(monitor: MonitorData) -> HostMonitorData:
    """Return the own checks of a host with times as the records have them."""
    return {
        "checked": format_time(monitor["finished"]),
        "phase": monitor["phase"],
        "bad": [
            {
                "check": one["check"],
                "share": one["share"],
                "since": format_time(one["since"]),
                "observed": one["observed"],
            }
            for one in monitor["bad"]
        ],
    }


def _format_service(service: ServiceStateData) -> str:
    title = SERVICES[service["service"]].title if service["service"] in SERVICES else service["service"]
    title = f"{title[:1].upper()}{title[1:]} {service['version'] or '(not installed)'}"
    if service["unit"] not in ("active", ""):
        title += f" is {service['unit']}"
    if service["problem"]:
        return f"{title}: {service['problem']}"
    parts = []
    if service["models"] is not None:
        loaded = ", ".join(
            f"{model['name']} ({format_gb(model['size'])}, {_describe_place(model['size'], model['on_gpu'])})"
            for model in service["models"]
        )
        parts.append(f"loaded: {loaded}" if loaded else "no model is loaded")
    if service["running"] is not None:
        parts.append(f"jobs: {service['running']} running, {service['waiting'] or 0} waiting")
    return f"{title}: {'; '.join(parts) or 'healthy'}"


def _describe_place(size: int, on_gpu: int) -> str:
    if on_gpu <= 0:
        return "in main memory"
    return "on the card" if on_gpu >= size else f"{100 * on_gpu // size} % on the card"


def _format_card(card: CardData) -> str:
    if card["problem"]:
        return f"{card['name']}: cannot be used: {card['problem']}"
    parts = []
    if card["used_mib"] is not None and card["memory_mib"]:
        used, size = card["used_mib"] * _MIB, card["memory_mib"] * _MIB
        parts.append(f"{format_gb(used)} of {format_gb(size)} used")
    if card["load_percent"] is not None:
        parts.append(f"load {card['load_percent']} %")
    return f"{card['name']}: {', '.join(parts) or 'its driver does not report its use'}"


def _format_room(rooms: Sequence[RoomData]) -> Iterator[str]:
    """Return a line for each size of a file system, with all that have the same: shares mostly lie on one disk."""
    measured: dict[tuple[int, int], list[str]] = {}
    for room in rooms:
        if room["problem"] or room["free"] is None or room["size"] is None:
            yield f"{room['name']}: {room['problem'] or 'its room cannot be measured'}"
        else:
            measured.setdefault((room["free"], room["size"]), []).append(room["name"])
    for (free, size), names in measured.items():
        yield f"{', '.join(names)}: {format_gb(free)} of {format_gb(size)} free"
