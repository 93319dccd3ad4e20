# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the services that run on one host."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks import model_checks, node_checks, service_probe
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, enumerate_words, shorten
from ansible_collections.noslop.studio.plugins.module_utils.checks.storage_checks import describe_unit
from ansible_collections.noslop.studio.plugins.module_utils.host import processes, state
from ansible_collections.noslop.studio.plugins.module_utils.host.processes import Process
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Unit
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account, run_one
from ansible_collections.noslop.studio.plugins.module_utils.share import inspection

#: How long a service that was just started may take to answer.
START_BOUND_S = 30.0
#: How long ComfyUI may take to list a file of another host, beside the time that a client caches directories.
LIST_BOUND_S = 15.0
#: Answers with 200 while the backend runs, and lists its problems.
HEALTH = "/api/v1/health"
#: Service to a path that it answers with a JSON object, at little cost.
LIGHT_PATHS = {"ollama": "/api/version", "comfyui": "/system_stats", "backend": HEALTH}


@dataclass(frozen=True)
class Service:
    """One service of one host, with its unit, address and share."""

    name: str
    title: str
    unit: Unit
    address: str
    port: int
    share: Mapping[str, str]
    listeners: Callable[[int], Sequence[Process]] = processes.find_listeners


@dataclass(frozen=True)
class Patience:
    """How many seconds a service may take to start, to list a file of another host, and to read what others wrote."""

    start_s: float = START_BOUND_S
    list_s: float = LIST_BOUND_S
    share_s: float = inspection.CACHE_BOUND_S + service_probe.REQUEST_TIMEOUT_S


#: While the storage server is away, what does not answer at once does not answer: each is asked once.
NO_PATIENCE = Patience(0.0, 0.0, 5.0)


@dataclass(frozen=True)
class CheckContext:
    """The results that all hosts returned in the phase before; ``peers`` includes this host."""

    host: str
    account: Account
    peers: Mapping[str, Mapping[str, Any]]
    ask_peers: bool
    writes: bool
    patience: Patience = Patience()
    nodes: node_checks.HostNodes = node_checks.NO_NODES
    models: model_checks.Catalogue = model_checks.NO_MODELS

    def others(self) -> dict[str, Mapping[str, Any]]:
        """Return the results of the other hosts."""
        return {name: peer for name, peer in self.peers.items() if name != self.host}


def wait_for_units(names: list[str], bound_s: float = START_BOUND_S) -> dict[str, Unit]:
    """Return the states of units; wait for those that are starting or about to be restarted."""
    deadline = time.monotonic() + bound_s
    while True:
        units = state.read_units(names)
        if not any(unit.active == "activating" for unit in units.values()) or time.monotonic() >= deadline:
            return units
        time.sleep(service_probe.POLL_S)


def check_ollama(checks: Checks, service: Service, context: CheckContext) -> Process | None:
    """Check Ollama: it runs, answers, reads the shared models, and lists the models that the other hosts list.

    Returns:
        Its process, where it runs and answers.
    """
    process = _check_running(checks, service, context.patience.start_s)
    if process is None:
        return None
    environment = process.environment
    path = service.share["path"]
    noprune = environment.get("OLLAMA_NOPRUNE", "")
    checks.add(
        "services.ollama_environment",
        environment.get("OLLAMA_MODELS") == path and noprune.lower() in ("1", "true"),
        share=service.share["name"],
        seen=f"OLLAMA_MODELS={environment.get('OLLAMA_MODELS', '')} OLLAMA_NOPRUNE={noprune}",
        expected=f"OLLAMA_MODELS={path} OLLAMA_NOPRUNE=1",
        todo=_rerun_step(checks.host) + "; without OLLAMA_NOPRUNE each start deletes what other hosts are downloading",
    )
    _check_share_view(checks, service, process, context)
    answer = service_probe.get_json(service.address, service.port, "/api/tags")
    try:
        models = [] if answer.error else service_probe.parse_ollama_models(answer.data)
        problem = answer.error
    except ValueError as error:
        models, problem = [], str(error)
    all_models = sorted({name for peer in context.peers.values() for name in peer.get("models", [])} | set(models))
    missing = service_probe.find_missing(all_models, models)
    problem = problem or (f"does not list {enumerate_words(missing)}, which another host lists" if missing else "")
    checks.add(
        "services.ollama_models",
        not problem,
        share=service.share["name"],
        seen=shorten(problem) or f"lists {len(models)} models",
        expected=f"the models that every host lists ({len(all_models)})",
        todo=(
            f"mend the failed checks of share {service.share['name']} first; "
            f"then run `systemctl restart {service.unit.name}` on {checks.host}"
        ),
    )
    if not problem:
        model_checks.note_ollama_models(checks, context.models, models)
    _check_peers(checks, service, context)
    return process


def check_comfyui(checks: Checks, service: Service, context: CheckContext) -> Process | None:
    """Check ComfyUI: it runs, answers, and lists the model that each other host has just written to the share.

    Returns:
        Its process, where it runs and answers.
    """
    process = _check_running(checks, service, context.patience.start_s)
    if process is None:
        return None
    answer = service_probe.get_json(service.address, service.port, "/models")
    lacking = service_probe.find_missing([inspection.CHECKPOINTS], answer.data)
    checks.add(
        "services.comfyui_folders",
        not answer.error and not lacking,
        share=service.share["name"],
        seen=answer.error
        or (f"no folder {inspection.CHECKPOINTS}" if lacking else f"lists {len(answer.data)} folders"),
        expected=f"the folders of models, {inspection.CHECKPOINTS} among them",
        todo=_rerun_step(checks.host),
    )
    _check_share_view(checks, service, process, context)
    node_checks.check_nodes(checks, context.nodes, _rerun_step(checks.host))
    if context.writes:
        _check_probes(checks, service, context)
    if not answer.error:
        model_checks.check_comfyui_models(
            checks,
            context.models,
            lambda folder, names: _list_folder(service, folder, names, context.patience.list_s),
            _rerun_step(checks.host),
        )
    _check_peers(checks, service, context)
    return process


def _list_folder(service: Service, folder: str, names: Sequence[str], bound_s: float) -> tuple[Any, str]:
    """Return ComfyUI's list of a folder of models, once the names are in it or the time is over; or an error."""
    answer, __ = service_probe.wait_for(
        lambda: service_probe.get_json(service.address, service.port, service_probe.folder_path(folder)),
        lambda listed: not service_probe.find_missing(names, listed),
        bound_s,
    )
    return answer.data, answer.error


def check_backend(checks: Checks, service: Service, context: CheckContext) -> Process | None:
    """Check the backend: it runs, its database and share answer, and it reads what the other hosts wrote.

    Returns:
        Its process, where it runs and answers.
    """
    process = _check_running(checks, service, context.patience.start_s)
    if process is None:
        return None
    answer = service_probe.get_json(service.address, service.port, HEALTH)
    parts = service_probe.find_health_problems(answer.data)
    checks.add(
        "services.backend_ready",
        not answer.error and not parts,
        share=service.share["name"],
        seen=shorten(answer.error or "; ".join(parts)) or "its database and its share answer it",
        expected="the backend can write",
        todo=(
            f"mend the failed checks of share {service.share['name']} first; if there are none, "
            f"`journalctl -u {service.unit.name} -n 50` on {checks.host} tells why"
        ),
    )
    _check_share_view(checks, service, process, context)
    _check_peers(checks, service, context)
    return process


def check_backend_elsewhere(checks: Checks, service: Service, context: CheckContext) -> None:
    """Check that the backend of another host can be reached from this one."""
    _check_peers(checks, service, context)


def _check_probes(checks: Checks, service: Service, context: CheckContext) -> None:
    probes = {name: str(peer.get("probe") or "") for name, peer in context.peers.items()}
    wanted = [probe for probe in probes.values() if probe]
    unwritten = [name for name, probe in probes.items() if not probe]
    answer, waited_s = service_probe.wait_for(
        lambda: service_probe.get_json(
            service.address, service.port, service_probe.folder_path(inspection.CHECKPOINTS)
        ),
        lambda listed: not service_probe.find_missing(wanted, listed),
        context.patience.list_s,
    )
    lacking = service_probe.find_missing(wanted, answer.data)
    late = [name for name, probe in probes.items() if probe and probe in lacking]
    in_time = [name for name in probes if name not in late + unwritten]
    observed = f"lists what {enumerate_words(in_time)} put there ({waited_s:.0f} s)"
    if unwritten:
        observed += f"; {enumerate_words(unwritten)} could not put a file there"
    if late:
        observed += f"; does not list what {enumerate_words(late)} put there within {context.patience.list_s:g} s"
    checks.add(
        "services.comfyui_lists",
        not answer.error and not late and not unwritten,
        share=service.share["name"],
        seen=answer.error or observed,
        expected=f"lists what {enumerate_words(probes)} put into {service.share['path']}/{inspection.CHECKPOINTS}",
        todo=(
            f"mend the failed checks of share {service.share['name']} first; if there are none, "
            f"{_rerun_step(checks.host)}: ComfyUI's directory models is to be a link to the share"
        ),
    )


def check_answer(checks: Checks, service: Service, bound_s: float) -> bool:
    """Check that the unit is active and answers within ``bound_s`` seconds, and return whether all of that is so."""
    unit = service.unit
    logs = f"`journalctl -u {unit.name} -n 50` on {checks.host}"
    steps = {
        "masked": f"run `systemctl unmask {unit.name}` and `systemctl start {unit.name}` on {checks.host}",
        "loaded": f"run `systemctl restart {unit.name}` on {checks.host}; if it stays so, {logs} tells why",
    }
    if not checks.add(
        f"services.{service.name}_unit",
        unit.load == "loaded" and unit.active == "active",
        seen=describe_unit(unit),
        expected=f"{unit.name} is active",
        todo=steps.get(unit.load, _rerun_step(checks.host)),
    ):
        return False
    answer, waited_s = service_probe.wait_for(
        lambda: service_probe.get_json(service.address, service.port, LIGHT_PATHS[service.name]),
        lambda data: isinstance(data, dict),
        bound_s,
    )
    version = _version(answer.data)
    return checks.add(
        f"services.{service.name}_answers",
        not answer.error and isinstance(answer.data, dict),
        seen=shorten(answer.error)
        or f"{answer.url} answered{version}{f' after {waited_s:.0f} s' if waited_s > 2 else ''}",
        expected=f"{service.title} answers {answer.url}",
        todo=f"{logs} tells what {service.title} does; `ss -ltnp sport = :{service.port}` tells who listens",
    )


def _check_running(checks: Checks, service: Service, bound_s: float) -> Process | None:
    """Check that the unit is active, answers and listens on the port. Returns its process when all of that is so."""
    unit = service.unit
    if not check_answer(checks, service, bound_s):
        return None
    listeners = service.listeners(service.port)
    own = next((process for process in listeners if process.unit == unit.name), None)
    others = [process.describe() for process in listeners if process.unit != unit.name]
    checks.add(
        f"services.{service.name}_port",
        own is not None,
        seen=f"port {service.port} is held by {enumerate_words(others or [unit.name])}",
        expected=f"{unit.name} holds port {service.port}",
        todo=f"stop {enumerate_words(others, 'the other program')} on {checks.host}, then {_rerun_step(checks.host)}",
    )
    return own


def _version(data: Any) -> str:
    if not isinstance(data, dict):
        return ""
    system = data.get("system")
    version = data.get("version") or (system.get("comfyui_version") if isinstance(system, dict) else None)
    return f", version {version}" if version else ""


def _check_share_view(checks: Checks, service: Service, process: Process, context: CheckContext) -> None:
    """Check the share in the mount namespace of the service, which may differ from the host's."""
    name = service.share["name"]
    expected = {host: peer["nonces"][name] for host, peer in context.peers.items() if name in peer.get("nonces", {})}
    if not expected and not context.writes:
        return
    work = service_probe.read_as_process(process.pid, context.account, service.share["path"], expected)
    outcome = run_one(work, None, context.patience.share_s)
    bad = {host: problem for host, problem in (outcome.value or {}).items() if problem}
    checks.add(
        f"services.{service.name}_share",
        bool(expected) and not outcome.error and not bad,
        share=name,
        seen=outcome.error
        or ("" if expected else "no host could write a file there")
        or "; ".join(f"from {host}: {shorten(problem)}" for host, problem in bad.items())
        or f"process {process.pid} reads what {enumerate_words(expected)} wrote",
        expected=f"{service.title} itself sees at {service.share['path']} what {enumerate_words(expected)} wrote",
        todo=(
            f"run `systemctl restart {service.unit.name}` on {checks.host}, then verify again"
            if expected
            else f"mend the failed checks of share {name} first"
        ),
    )


def _check_peers(checks: Checks, service: Service, context: CheckContext) -> None:
    """Check that the services of other hosts answer this one, as the backend and the users need."""
    # Each host reports its own port: a port may be changed for one host only.
    peers = {
        name: (str(peer["address"]), int(peer["ports"][service.name]))
        for name, peer in context.others().items()
        if peer.get(service.name)
    }
    if not context.ask_peers or not peers:
        return
    errors = {name: error for name, error in service_probe.ask_peers(peers, LIGHT_PATHS[service.name]).items() if error}
    closed = next((peers[name][1] for name in errors), service.port)
    checks.add(
        f"services.{service.name}_peers",
        not errors,
        seen="; ".join(f"{name}: {shorten(error)}" for name, error in errors.items())
        or f"{service.title} answers from {enumerate_words(peers)}",
        expected=f"{service.title} on {enumerate_words(peers)} answers {checks.host}",
        todo=(
            f"see whether {service.title} runs on {enumerate_words(errors)}; if it does, another firewall there drops "
            f"port {closed}: open it with `ufw allow proto tcp from ADDRESS to any port {closed}` or "
            f"`firewall-cmd --add-port={closed}/tcp`, with the address of {checks.host}"
        ),
    )


def _rerun_step(host: str) -> str:
    return f"run the services playbook again for {host}"
