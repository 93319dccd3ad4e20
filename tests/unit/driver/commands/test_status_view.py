# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that hosts are shown with what they do, each by itself, in the words of a person."""

from __future__ import annotations

from noslop_driver.commands.look_result import HostNowData
from noslop_driver.commands.status_view import format_host
from noslop_driver.hosts.status_run import HostStateData, ServiceStateData

GB = 10**9


def make_service(service: str, **values: object) -> ServiceStateData:
    blank = {"version": "1.0", "unit": "active", "problem": "", "models": None, "running": None, "waiting": None}
    return {"service": service, **blank, **values}  # type: ignore[typeddict-item]  # values of any type


def show(**state: object) -> list[str]:
    blank = {"deployed": "", "services": [], "gpus": [], "room": [], "units": [], "problems": []}
    full: HostStateData = {**blank, "monitor": {"finished": None, "phase": "", "bad": []}, **state}  # type: ignore[typeddict-item]  # values of any type
    host: HostNowData = {"host": "one", "up": True, "reason": "", "todo": "", "last_answer": None, "state": full}
    first, *lines = format_host(host)
    assert first.startswith("one: up")
    return [line.removeprefix("  ") for line in lines]


def test_services_show_version_and_work() -> None:
    models = [
        {"name": "a", "size": 6 * GB, "on_gpu": 6 * GB},
        {"name": "b", "size": 4 * GB, "on_gpu": GB},
        {"name": "c", "size": GB, "on_gpu": 0},
    ]
    services = [
        make_service("ollama", models=models),
        make_service("comfyui", running=1, waiting=2),
        make_service("backend"),
        make_service("ollama", models=[]),
    ]
    assert show(services=services) == [
        "Ollama 1.0: loaded: a (6.0 GB, on the card), b (4.0 GB, 25 % on the card), c (1.0 GB, in main memory)",
        "ComfyUI 1.0: jobs: 1 running, 2 waiting",
        "The backend 1.0: healthy",
        "Ollama 1.0: no model is loaded",
    ]


def test_service_that_does_not_run_shows_unit_and_reason() -> None:
    (line,) = show(services=[make_service("comfyui", version="", unit="failed", problem="refused")])
    assert line == "ComfyUI (not installed) is failed: refused"


def test_cards_show_memory_and_load_as_far_as_it_is_reported() -> None:
    card = {"name": "RTX", "memory_mib": 24000, "used_mib": 3000, "load_percent": 41, "problem": ""}
    cards = [
        card,
        {**card, "used_mib": None},
        {**card, "used_mib": None, "load_percent": None},
        {**card, "problem": "no driver"},
    ]
    assert show(gpus=cards) == [
        "RTX: 3.1 GB of 25 GB used, load 41 %",
        "RTX: load 41 %",
        "RTX: its driver does not report its use",
        "RTX: cannot be used: no driver",
    ]


def test_file_systems_of_the_same_size_are_shown_once() -> None:
    rooms = [
        {"name": "/", "path": "/", "size": 50 * GB, "free": 20 * GB, "problem": ""},
        {"name": "projects", "path": "/p", "size": 900 * GB, "free": 90 * GB, "problem": ""},
        {"name": "media_cache", "path": "/m", "size": 900 * GB, "free": 90 * GB, "problem": ""},
        {"name": "ollama_models", "path": "/o", "size": None, "free": None, "problem": "not mounted"},
    ]
    assert show(room=rooms) == [
        "ollama_models: not mounted",
        "/: 20 GB of 50 GB free",
        "projects, media_cache: 90 GB of 900 GB free",
    ]


def test_failed_units_are_shown_with_their_errors() -> None:
    unit = {"unit": "noslop-x.service", "state": "failed (exit-code)", "restarts": 0, "lines": ["error: a"]}
    assert show(units=[unit], problems=["cards: no answer within 7 s"]) == [
        "noslop-x.service: failed (exit-code)",
        "  error: a",
        "not read: cards: no answer within 7 s",
    ]


def test_own_checks_of_the_host_are_shown_with_what_is_bad() -> None:
    bad = {"check": "storage.mounted", "share": "projects", "since": 1_700_000_000.0, "observed": "nothing"}
    assert show(monitor={"finished": 1_700_000_600.0, "phase": "", "bad": [bad]}) == [
        "one checked itself 2023-11-14T22:23:20+00:00: 1 bad",
        "  storage.mounted projects, since 2023-11-14T22:13:20+00:00: nothing",
    ]


def test_host_that_is_away_is_shown_with_the_reason_and_its_last_answer() -> None:
    host: HostNowData = {
        "host": "one", "up": False, "reason": "one did not answer.", "todo": "Switch it on.",
        "last_answer": "2026-01-01T00:00:00+00:00", "state": None,
    }  # fmt: skip
    assert list(format_host(host)) == [
        "one: away. one did not answer.",
        "  last seen: 2026-01-01T00:00:00+00:00",
        "  Switch it on.",
    ]
    assert next(format_host({**host, "up": True})) == "one: up, but it cannot be asked. one did not answer."
