# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the checks of the services against real HTTP servers on loopback."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks import service_checks, service_probe
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, Checks
from ansible_collections.noslop.studio.plugins.module_utils.checks.node_checks import HostNodes
from ansible_collections.noslop.studio.plugins.module_utils.host.processes import Process
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Unit
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account, run_one
from ansible_collections.noslop.studio.plugins.module_utils.share import inspection

Answers = dict[str, Any]
UNIT = Unit("noslop-ollama.service", "loaded", "active", "enabled")
OWN = Account(os.getuid(), os.getgid())


@contextmanager
def serving(answers: Callable[[], Answers]) -> Iterator[int]:
    """Serve JSON by path; a number is a status, bytes are sent as they are."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers().get(self.path, 404)
            self.send_response(answer if isinstance(answer, int) else 200)
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def share(tmp_path: Path) -> dict[str, str]:
    return {"name": "ollama_models", "path": str(tmp_path), "kind": "models", "env": "OLLAMA_MODELS_DIR"}


def test_get_returns_data_or_error() -> None:
    with serving(lambda: {"/api/version": {"version": "0.32.7"}, "/broken": b"<html>"}) as port:
        good = service_probe.get_json("127.0.0.1", port, "/api/version")
        missing = service_probe.get_json("127.0.0.1", port, "/nothing")
        broken = service_probe.get_json("127.0.0.1", port, "/broken")
        several = service_probe.ask_peers({"a": ("127.0.0.1", port), "b": ("127.0.0.1", port)}, "/api/version")
    closed = service_probe.get_json("127.0.0.1", port, "/api/version")

    assert good.data == {"version": "0.32.7"}
    assert missing.error.endswith("/nothing answered 404 Not Found")
    assert "not JSON" in broken.error
    assert "refused" in closed.error
    assert several == {"a": "", "b": ""}


def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    with serving(lambda: {"/": []}) as port:
        assert not service_probe.get_json("127.0.0.1", port, "/").error


def test_waiting_ends_when_the_answer_is_enough() -> None:
    requests = []

    def ask() -> service_probe.Answer:
        requests.append(1)
        return service_probe.Answer("x", data=["a", "b"][: len(requests)])

    answer, _ = service_probe.wait_for(ask, lambda listed: "b" in listed, 60)

    assert (answer.data, len(requests)) == (["a", "b"], 2)


@pytest.mark.parametrize("tags", [None, [], {}, {"models": [{}]}, {"models": ["x"]}])
def test_answer_without_models_is_refused(tags: object) -> None:
    with pytest.raises(ValueError, match="no list of models"):
        service_probe.parse_ollama_models(tags)


def test_models_are_sorted_by_name() -> None:
    assert service_probe.parse_ollama_models({"models": [{"name": "b"}, {"name": "a"}]}) == ["a", "b"]
    assert service_probe.parse_ollama_models({"models": None}) == []


def process(environment: dict[str, str], unit: str = UNIT.name) -> Process:
    return Process(os.getpid(), 1, OWN, ("ollama", "serve"), "/", environment, unit=unit)


def bad(checks: Checks) -> dict[str, Check]:
    return {check["check"]: check for check in checks.list if not check["ok"]}


def ollama(
    port: int, share: dict[str, str], listeners: list[Process], peers: dict[str, Any] | None = None, unit: Unit = UNIT
) -> Checks:
    checks = Checks("worker1")
    service = service_checks.Service("ollama", "Ollama", unit, "127.0.0.1", port, share, lambda _: listeners)
    around = service_checks.CheckContext("worker1", OWN, peers or {}, ask_peers=True, writes=True)
    service_checks.check_ollama(checks, service, around)
    return checks


def test_working_ollama_passes(share: dict[str, str]) -> None:
    inspection.write_nonce(share["path"], "server.1", "x")
    peers = {
        "server": {
            "address": "127.0.0.1",
            "ollama": True,
            "models": ["tiny:latest"],
            "nonces": {"ollama_models": {"file": "server.1", "content": "x"}},
        }
    }
    answers = {"/api/version": {"version": "0.32.7"}, "/api/tags": {"models": [{"name": "tiny:latest"}]}}

    with serving(lambda: answers) as port:
        peers["server"]["ports"] = {"ollama": port}
        checks = ollama(port, share, [process({"OLLAMA_MODELS": share["path"], "OLLAMA_NOPRUNE": "1"})], peers)

    assert bad(checks) == {}
    assert [check["check"] for check in checks.list] == [
        "services.ollama_unit",
        "services.ollama_answers",
        "services.ollama_port",
        "services.ollama_environment",
        "services.ollama_share",
        "services.ollama_models",
        "services.ollama_peers",
    ]


def test_ollama_with_own_models_fails(share: dict[str, str]) -> None:
    peers = {
        "server": {"address": "127.0.0.1", "ollama": False, "models": ["tiny:latest"], "nonces": {}},
        "worker2": {"address": "127.0.0.2", "ollama": True, "ports": {"ollama": 1}, "models": [], "nonces": {}},
    }
    answers = {"/api/version": {"version": "0.32.7"}, "/api/tags": {"models": []}}

    with serving(lambda: answers) as port:
        checks = bad(ollama(port, share, [process({"OLLAMA_MODELS": "/root/.ollama/models"})], peers))

    assert set(checks) == {
        "services.ollama_environment",
        "services.ollama_share",
        "services.ollama_models",
        "services.ollama_peers",
    }
    assert checks["services.ollama_share"]["seen"] == "no host could write a file there"
    assert checks["services.ollama_models"]["seen"] == "does not list tiny:latest, which another host lists"
    assert checks["services.ollama_peers"]["seen"].startswith("worker2: GET http://127.0.0.2:")


def test_port_of_another_program_fails(share: dict[str, str]) -> None:
    with serving(lambda: {"/api/version": {"version": "0.1"}}) as port:
        checks = bad(ollama(port, share, [process({}, unit="")]))

    assert set(checks) == {"services.ollama_port"}
    assert "(ollama serve)" in checks["services.ollama_port"]["todo"]


@pytest.mark.parametrize(
    ("unit", "todo"),
    [
        (Unit(UNIT.name, "masked", "inactive", "masked"), "`systemctl unmask noslop-ollama.service`"),
        (Unit(UNIT.name, "loaded", "activating", "enabled"), "`systemctl restart noslop-ollama.service`"),
        (Unit(UNIT.name), "services playbook again for worker1"),
    ],
)
def test_stopped_service_fails(share: dict[str, str], unit: Unit, todo: str) -> None:
    checks = bad(ollama(1, share, [], unit=unit))

    assert set(checks) == {"services.ollama_unit"}
    assert todo in checks["services.ollama_unit"]["todo"]


def comfyui(
    port: int, share: dict[str, str], peers: dict[str, Any], failed_nodes: dict[str, str] | None = None
) -> dict[str, Check]:
    checks = Checks("worker1")
    unit = Unit("noslop-comfyui.service", "loaded", "active", "enabled")
    listeners = [process({}, unit=unit.name)]
    service = service_checks.Service("comfyui", "ComfyUI", unit, "127.0.0.1", port, share, lambda _: listeners)
    around = service_checks.CheckContext(
        "worker1", OWN, peers, ask_peers=False, writes=not failed_nodes, nodes=HostNodes(failed_nodes or {})
    )
    service_checks.check_comfyui(checks, service, around)
    return {check["check"]: check for check in checks.list}


def test_custom_node_that_failed_its_trial_is_named(share: dict[str, str]) -> None:
    answers = {"/system_stats": {}, "/models": ["checkpoints"]}
    with serving(lambda: answers) as port:
        failed = comfyui(port, share, {}, {"painter": "crashes at its import: SIGSEGV"})["services.comfyui_nodes"]

    assert (failed["ok"], failed["seen"]) == (False, "painter crashes at its import: SIGSEGV")
    assert "set another commit for painter" in failed["todo"]
    assert failed["details"]["left_out"] == {"painter": "crashes at its import: SIGSEGV"}


def test_comfyui_may_list_new_files_after_a_delay(share: dict[str, str]) -> None:
    requests = []

    def answers() -> Answers:
        requests.append(1)
        listed = ["own.safetensors", "server.safetensors"][: len(requests) - 2]  # not yet at the third request
        return {
            "/system_stats": {"system": {"comfyui_version": "0.3.64"}},
            "/models": ["checkpoints", "loras"],
            "/models/checkpoints": listed,
        }

    inspection.write_nonce(share["path"], "server.1", "x")
    nonces = {"ollama_models": {"file": "server.1", "content": "x"}}
    peers = {
        "worker1": {"probe": "own.safetensors"},
        "server": {"probe": "server.safetensors", "nonces": nonces},
    }
    with serving(answers) as port:
        checks = comfyui(port, share, peers)

    assert all(check["ok"] for check in checks.values())
    assert "version 0.3.64" in checks["services.comfyui_answers"]["seen"]
    assert checks["services.comfyui_lists"]["seen"].startswith("lists what worker1, server put there")


def test_host_that_could_not_write_a_file_is_named(share: dict[str, str]) -> None:
    answers = {"/system_stats": {}, "/models": ["loras"], "/models/checkpoints": ["own.safetensors"]}
    peers = {"worker1": {"probe": "own.safetensors"}, "server": {"probe": ""}}

    with serving(lambda: answers) as port:
        checks = comfyui(port, share, peers)

    assert not checks["services.comfyui_folders"]["ok"]
    assert "server could not put a file there" in checks["services.comfyui_lists"]["seen"]


def test_service_reads_the_share_in_its_mount_namespace(share: dict[str, str]) -> None:
    inspection.write_nonce(share["path"], "a.1", "x")
    expected = {"a": {"file": "a.1", "content": "x"}}

    outcome = run_one(service_probe.read_as_process(os.getpid(), OWN, share["path"], expected), None, 30)

    assert (outcome.value, outcome.error) == ({"a": ""}, "")


def backend(port: int, share: dict[str, str], peers: dict[str, Any]) -> dict[str, Check]:
    checks = Checks("server")
    unit = Unit("noslop-backend.service", "loaded", "active", "enabled")
    listeners = [process({}, unit=unit.name)]
    service = service_checks.Service("backend", "the backend", unit, "127.0.0.1", port, share, lambda _: listeners)
    around = service_checks.CheckContext("server", OWN, peers, ask_peers=True, writes=True)
    service_checks.check_backend(checks, service, around)
    return {check["check"]: check for check in checks.list}


WELL = {"status": "ok", "version": "0.1.0", "database": {"status": "ok", "detail": ""}, "disk_threads": 16}
UNWELL = {
    **WELL,
    "status": "degraded",
    "share": {"status": "degraded", "detail": "The share does not work now. The service's log says why."},
}


def test_working_backend_passes(share: dict[str, str]) -> None:
    inspection.write_nonce(share["path"], "worker1.1", "x")
    nonces = {"ollama_models": {"file": "worker1.1", "content": "x"}}
    peers = {"worker1": {"address": "127.0.0.1", "backend": False, "nonces": nonces}}

    with serving(lambda: {"/api/v1/health": WELL}) as port:
        checks = backend(port, share, peers)

    assert all(check["ok"] for check in checks.values())
    assert "version 0.1.0" in checks["services.backend_answers"]["seen"]
    assert list(checks) == [f"services.backend_{what}" for what in ("unit", "answers", "port", "ready", "share")]


def test_backend_that_cannot_write_fails(share: dict[str, str]) -> None:
    with serving(lambda: {"/api/v1/health": UNWELL}) as port:
        checks = backend(port, share, {})

    assert checks["services.backend_answers"]["ok"]
    assert not checks["services.backend_ready"]["ok"]
    assert checks["services.backend_ready"]["seen"].startswith("share: The share does not work now.")


@pytest.mark.parametrize(
    ("health", "problems"),
    [
        (WELL, []),
        ({"status": "degraded", "disk_threads": 16}, ["its status is degraded"]),
        ({"version": "0.1.0"}, ["its answer is not about its health"]),
        (None, ["its answer is not about its health"]),
    ],
)
def test_problems_in_the_health_answer_are_listed(health: object, problems: list[str]) -> None:
    assert service_probe.find_health_problems(health) == problems


def test_every_host_checks_the_backend(share: dict[str, str]) -> None:
    unit = Unit("noslop-backend.service")
    checks = Checks("worker1")

    with serving(lambda: {"/api/v1/health": WELL}) as port:
        # At the port that the backend's own host reported, and not at this host's default.
        peers = {
            "server": {"address": "127.0.0.1", "backend": True, "ports": {"backend": port}},
            "worker2": {"address": "127.0.0.2", "backend": False, "ports": {"backend": 1}},
        }
        service = service_checks.Service("backend", "the backend", unit, "127.0.0.1", 1, share)
        around = service_checks.CheckContext("worker1", OWN, peers, ask_peers=True, writes=True)
        service_checks.check_backend_elsewhere(checks, service, around)
    service_checks.check_backend_elsewhere(checks, service, around)  # the server has ended

    assert [(check["check"], check["ok"]) for check in checks.list] == [
        ("services.backend_peers", True),
        ("services.backend_peers", False),
    ]
    assert checks.list[1]["seen"].startswith("server: GET http://127.0.0.1:")
