# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import configparser
import os
import secrets as random_secrets
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from noslop_driver.ansible.config import ANSIBLE_DEFAULTS
from noslop_driver.ansible.events import Event, Status
from noslop_driver.ansible.inventory_list import list_inventory
from noslop_driver.ansible.runner import run_playbook
from noslop_driver.errors import UsageError
from noslop_driver.secrets import Secrets
from tests.support.plays import local_inventory, ssh_inventory, write_playbook
from tests.unit.conftest import StartSshd

ROOT = Path(__file__).parents[4]
CONFIG_LOOKUP = "{{ lookup('ansible.builtin.config', %r) }}"


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a directory without an ansible.cfg, as an installed driver does."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.delenv("ANSIBLE_CONFIG", raising=False)


def debug_task(message: str) -> dict[str, object]:
    return {"name": "Print a message", "ansible.builtin.debug": {"msg": message}}


def command_task(*words: str, **keywords: object) -> dict[str, object]:
    return {"name": "Run a command", "ansible.builtin.command": {"argv": list(words)}, **keywords}


def list_messages(events: list[Event]) -> list[object]:
    return [event.result["msg"] for event in events if event.kind == "ok" and "msg" in event.result]


def test_defaults_equal_the_ansible_cfg_of_the_checkout() -> None:
    checkout = configparser.ConfigParser(interpolation=None)
    checkout.read(ROOT / "ansible.cfg", encoding="utf-8")
    placed_by_each_run = {"defaults": {"collections_path", "fact_caching_connection"}}
    values = {
        section: {
            name: value
            for name, value in checkout[section].items()
            if name not in placed_by_each_run.get(section, set())
        }
        for section in checkout.sections()
    }
    assert values == ANSIBLE_DEFAULTS


def test_events_arrive_in_order_in_the_calling_thread(tmp_path: Path) -> None:
    playbook = write_playbook(tmp_path, debug_task("hello"), command_task("true"))
    observed: list[tuple[str, str]] = []
    threads = set()

    def follow(event: Event) -> None:
        threads.add(threading.current_thread())
        observed.append((event.kind, event.host))

    outcome = run_playbook(playbook, local_inventory(tmp_path / "inventory"), on_event=follow)

    on_host = [("task", ""), ("start", "here"), ("ok", "here")]
    assert [entry for entry in observed if entry[0] != "warning"] == [("play", ""), *on_host, *on_host, ("stats", "")]
    assert threads == {threading.current_thread()}
    assert outcome.status is Status.OK
    assert (outcome.stats["here"].ok, outcome.stats["here"].changed, outcome.changed) == (2, 1, 1)


def test_failures_have_host_task_and_message_and_exclude_rescued_ones(tmp_path: Path) -> None:
    rescued = {
        "block": [command_task("false")],
        "rescue": [debug_task("rescued")],
        "when": "inventory_hostname == 'one'",
    }
    ignored = command_task("false", ignore_errors=True)
    failing = {
        "name": "Refuse",
        "ansible.builtin.fail": {"msg": "no {{ item }}"},
        "loop": ["a", "b", "c"],
        "when": "inventory_hostname == 'two' and item != 'b'",
    }
    inventory = local_inventory(tmp_path / "inventory", ["one", "two"])

    outcome = run_playbook(write_playbook(tmp_path, rescued, ignored, failing), inventory)

    assert outcome.status is Status.FAILED
    [failure] = outcome.failures
    assert (failure.host, failure.task, failure.unreachable) == ("two", "Refuse", False)
    assert failure.message.splitlines() == ["a: no a", "c: no c"], "every failed item is reported"
    assert outcome.stats["one"].rescued == 1


def test_host_without_an_answer_is_unreachable(tmp_path: Path) -> None:
    inventory = local_inventory(
        tmp_path / "inventory", ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1
    )
    outcome = run_playbook(write_playbook(tmp_path, command_task("true")), inventory)
    assert outcome.status is Status.UNREACHABLE
    [failure] = outcome.failures
    assert failure.unreachable
    assert "Connection refused" in failure.message


def test_invalid_playbook_is_an_error_with_the_output_of_ansible(tmp_path: Path) -> None:
    playbook = tmp_path / "broken.yml"
    playbook.write_text("- hosts: [", encoding="utf-8")
    outcome = run_playbook(playbook, local_inventory(tmp_path / "inventory"))
    assert outcome.status is Status.ERROR
    assert "YAML" in outcome.output


def test_ansible_playbook_beside_this_python_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert run_playbook(write_playbook(tmp_path, debug_task("x")), local_inventory(tmp_path / "inventory")).ok


def test_defaults_apply_without_an_ansible_cfg(tmp_path: Path) -> None:
    names = ["DEFAULT_FORKS", "DEFAULT_GATHERING", "INJECT_FACTS_AS_VARS", "HOST_KEY_CHECKING", "COLLECTIONS_PATHS"]
    playbook = write_playbook(tmp_path, *[debug_task(CONFIG_LOOKUP % name) for name in names])
    events: list[Event] = []
    assert run_playbook(playbook, local_inventory(tmp_path / "inventory"), on_event=events.append).ok
    forks, gathering, inject, checking, collections = list_messages(events)
    assert (str(forks), gathering, str(inject), str(checking)) == ("25", "smart", "False", "True")
    assert str(ROOT / "collections") in str(collections)


def test_ansible_cfg_of_the_directory_applies_but_host_keys_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir(mode=0o755)
    (project / "ansible.cfg").write_text("[defaults]\nforks = 3\nhost_key_checking = False\n", encoding="utf-8")
    monkeypatch.chdir(project)
    playbook = write_playbook(
        tmp_path, debug_task(CONFIG_LOOKUP % "DEFAULT_FORKS"), debug_task(CONFIG_LOOKUP % "HOST_KEY_CHECKING")
    )
    events: list[Event] = []
    run_playbook(playbook, local_inventory(tmp_path / "inventory"), on_event=events.append)
    assert [str(value) for value in list_messages(events)] == ["3", "True"]


def test_variables_limit_and_check_mode_are_passed_to_ansible(tmp_path: Path) -> None:
    target = tmp_path / "made"
    playbook = write_playbook(
        tmp_path,
        debug_task("{{ greeting }}"),
        {"name": "Make a directory", "ansible.builtin.file": {"path": str(target), "state": "directory"}},
    )
    events: list[Event] = []
    outcome = run_playbook(
        playbook,
        local_inventory(tmp_path / "inventory", ["one", "two"]),
        on_event=events.append,
        extra_vars={"greeting": 'it\'s "quoted" {not} a $template'},
        limit="two",
        check=True,
    )
    assert outcome.ok
    assert list_messages(events) == ['it\'s "quoted" {not} a $template']
    assert set(outcome.stats) == {"two"}
    assert outcome.changed == 1
    assert not target.exists()


@pytest.mark.parametrize(
    ("options", "shown", "hidden"),
    [
        ({}, [], ["+new", "TASK", "printed"]),
        ({"diff": True}, ["+new"], ["PLAY", "printed", "secret"]),
        ({"verbosity": 1}, ["TASK [Run a command]", "printed"], ["+new", "secret"]),
        ({"verbosity": 2, "diff": True, "check": True}, ["+new", "task path:"], ["printed", "secret"]),
    ],
    ids=str,
)
def test_output_of_ansible_is_passed_on_request(
    tmp_path: Path, options: dict[str, Any], shown: list[str], hidden: list[str]
) -> None:
    copy = {"dest": str(tmp_path / "file"), "content": "new\n"}
    copy_secret = {"dest": str(tmp_path / "hidden"), "content": "secret\n"}
    playbook = write_playbook(
        tmp_path,
        {"name": "Write a file", "ansible.builtin.copy": copy},
        {"name": "Write another", "ansible.builtin.copy": copy_secret, "no_log": True},
        command_task("echo", "printed"),
    )
    texts: list[str] = []
    outcome = run_playbook(playbook, local_inventory(tmp_path / "inventory"), on_output=texts.append, **options)
    assert outcome.ok
    output = "\n".join(texts)
    assert [part for part in shown if part not in output] == []
    assert [part for part in hidden if part in output] == []


def test_facts_are_cached_with_the_studio(tmp_path: Path) -> None:
    inventory = local_inventory(tmp_path / "inventory")
    (inventory / ".noslop").mkdir()
    events: list[Event] = []
    task = {"name": "Gather facts", "ansible.builtin.setup": {"gather_subset": ["!all", "min"]}}
    run_playbook(write_playbook(tmp_path, task), inventory, on_event=events.append)
    assert any("ansible_distribution" in event.result.get("ansible_facts", {}) for event in events)
    [cached] = (inventory / ".noslop/cache/facts").iterdir()
    assert cached.name.endswith("here")


def gathered_subsets() -> list[list[str]]:
    """Return the subsets of facts that the collection's playbooks gather."""
    subsets = []
    for path in (ROOT / "collections/ansible_collections/noslop/studio/playbooks").glob("*.yml"):
        for play in yaml.safe_load(path.read_text(encoding="utf-8")):
            assert play.get("gather_facts") is not True or "gather_subset" in play, path
            subsets += [play["gather_subset"]] if play.get("gather_facts") else []
            subsets += [
                task["ansible.builtin.setup"]["gather_subset"]
                for task in play.get("tasks", [])
                if "ansible.builtin.setup" in task
            ]
    return subsets


def test_gathered_facts_exclude_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    subsets = gathered_subsets()
    assert len(subsets) >= 3
    tasks = [{"name": "Gather facts", "ansible.builtin.setup": {"gather_subset": subset}} for subset in subsets]
    inventory = local_inventory(tmp_path / "inventory")
    (inventory / ".noslop").mkdir()
    assert run_playbook(write_playbook(tmp_path, *tasks), inventory).ok
    [cached] = (inventory / ".noslop/cache/facts").iterdir()
    facts = cached.read_text(encoding="utf-8")
    assert "ansible_distribution" in facts
    assert "hunter2" not in facts


def test_sudo_password_reaches_sudo_and_no_other_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tmp_path / "memory"
    memory.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(memory))
    password = random_secrets.token_hex(12)
    sudo = tmp_path / "sudo"
    # Acts as sudo does with `-H -S -p PROMPT -u root COMMAND`, if the password is right.
    sudo.write_text(
        "#!/bin/sh\n"
        'while [ "$1" != "-p" ]; do shift; done\n'
        'printf %s "$2" >&2; read -r given; shift 4\n'
        f'[ "$given" = "$(cat {tmp_path}/expected)" ] || {{ echo "Sorry, try again." >&2; exit 1; }}\n'
        'exec "$@"\n',
        encoding="utf-8",
    )
    sudo.chmod(0o755)
    (tmp_path / "expected").write_text(password, encoding="ascii")
    inventory = local_inventory(tmp_path / "inventory", ansible_become_exe=str(sudo), ansible_become_user="nobody")
    leaks: list[str] = []
    events: list[Event] = []

    def follow(event: Event) -> None:
        events.append(event)
        if event.kind == "start":
            leaks.extend(find_processes_with(password))

    outcome = run_playbook(
        write_playbook(tmp_path, command_task("id"), become=True, become_flags="-H -S"),
        inventory,
        on_event=follow,
        secrets=Secrets(become_password=password),
    )

    assert outcome.ok, outcome
    assert leaks == []
    assert password not in repr(events)
    assert list(memory.iterdir()) == []
    wrong = run_playbook(tmp_path / "play.yml", inventory, secrets=Secrets(become_password=password[::-1]))
    assert wrong.status in (Status.FAILED, Status.UNREACHABLE)


def find_processes_with(text: str) -> Iterator[str]:
    """Return the command lines and environments of all processes that contain `text`."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            for name in ("cmdline", "environ"):
                try:
                    content = (process / name).read_bytes()
                except OSError:
                    continue
                if text.encode() in content:
                    yield f"{process.name}: {content!r}"


def test_interrupt_ends_a_local_task(tmp_path: Path) -> None:
    fifo, task = make_waiting_task(tmp_path)
    pids: list[int] = []
    outcome = run_playbook(
        write_playbook(tmp_path, task),
        local_inventory(tmp_path / "inventory"),
        on_event=interrupt_at_start(fifo, pids),
    )
    assert outcome.status is Status.INTERRUPTED
    assert outcome.left_running == []
    assert not is_alive(pids[0])


@pytest.mark.parametrize("background", [{}, {"async": 300, "poll": 1}], ids=["in the foreground", "in the background"])
def test_interrupt_ends_remote_tasks_only(
    tmp_path: Path, sshd_server: StartSshd, background: dict[str, object]
) -> None:
    inventory = ssh_inventory(tmp_path / "inventory", sshd_server(), known_hosts=tmp_path / "known_hosts")
    bystander = start_bystander(sshd_inventory=inventory, directory=tmp_path)
    fifo, task = make_waiting_task(tmp_path, **background)
    pids: list[int] = []
    notes: list[str] = []
    outcome = run_playbook(
        write_playbook(tmp_path, task),
        inventory,
        on_event=interrupt_at_start(fifo, pids),
        on_interrupt=notes.append,
    )
    assert outcome.status is Status.INTERRUPTED
    assert outcome.left_running == []
    assert not is_alive(pids[0])
    assert "far" in notes[-1]
    assert is_alive(bystander), "a process that this run did not start was ended"
    os.kill(bystander, signal.SIGKILL)


def test_second_interrupt_returns_at_once_with_the_busy_hosts(tmp_path: Path, sshd_server: StartSshd) -> None:
    inventory = ssh_inventory(tmp_path / "inventory", sshd_server(), known_hosts=tmp_path / "known_hosts")
    fifo, task = make_waiting_task(tmp_path)
    pids: list[int] = []

    def interrupt_again(_message: str) -> None:
        raise KeyboardInterrupt

    outcome = run_playbook(
        write_playbook(tmp_path, task),
        inventory,
        on_event=interrupt_at_start(fifo, pids),
        on_interrupt=interrupt_again,
    )
    assert outcome.status is Status.INTERRUPTED
    assert outcome.left_running == ["far"]
    os.kill(pids[0], signal.SIGKILL)


def make_waiting_task(directory: Path, **keywords: object) -> tuple[Path, dict[str, object]]:
    """Return a pipe, and a task that writes its process id into it and then sleeps longer than any test."""
    fifo = directory / "fifo"
    os.mkfifo(fifo)
    return fifo, command_task("sh", "-c", f"echo $$ > {fifo}; exec sleep 1000", **keywords)


def interrupt_at_start(fifo: Path, pids: list[int]) -> Callable[[Event], None]:
    """Return an event handler that interrupts as soon as the task has written its process id."""

    def follow(event: Event) -> None:
        if event.kind == "start" and not pids:
            pids.append(int(fifo.read_text(encoding="ascii")))
            os.kill(os.getpid(), signal.SIGINT)

    return follow


def start_bystander(sshd_inventory: Path, directory: Path) -> int:
    """Start a daemon over SSH, which does not belong to the run under test."""
    note = directory / "bystander"
    start = f"nohup setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $! > {note}"
    playbook = write_playbook(
        directory, {"name": "Start a daemon", "ansible.builtin.shell": start}, name="bystander.yml"
    )
    assert run_playbook(playbook, sshd_inventory).ok
    return int(note.read_text(encoding="ascii"))


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return "\nState:\tZ" not in status


def test_inventory_is_listed_with_groups_and_variables(tmp_path: Path) -> None:
    inventory = local_inventory(tmp_path / "inventory", colour="red")
    listing = list_inventory(inventory)
    assert listing["_meta"]["hostvars"]["here"]["colour"] == "red"


def test_invalid_inventory_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/hosts.yml").write_text("all: [", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot read this inventory"):
        list_inventory(tmp_path / "inventory")
