# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the user's SSH key on hosts that only have a password, or remove it from them.

A host gets the password only after its key was accepted, as everywhere in the driver; the key is pinned for the studio.
"""

from __future__ import annotations

import getpass
import os
import shlex
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

from ansible_collections.noslop.studio.plugins.plugin_utils.discovery import ssh_scan

from noslop_driver.commands.login import read_login
from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult, SshKeyData, SshSetupData
from noslop_driver.commands.studio import find_studio
from noslop_driver.errors import DriverError, ExitCode, UsageError
from noslop_driver.hosts import authorized_keys, discovery, host_keys, ssh_errors
from noslop_driver.hosts.authorized_keys import Answer, PublicKey
from noslop_driver.hosts.discovery import SearchTargets
from noslop_driver.hosts.known_hosts import KnownHosts
from noslop_driver.hosts.login import Login
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.models import Candidate, Endpoint, Problem
from noslop_driver.output.printable import printable
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import ask_password

_DEFAULT_KEY = Path("~/.ssh/id_ed25519")
_MOST_ATTEMPTS = 3
"""The passwords that are asked for on each host, as ssh does itself."""
_KEY_STEP = (
    "The key is in ~/.ssh/authorized_keys there, and the server does not accept it. Look at its log: others may "
    "write to the home directory (StrictModes), or its sshd_config has another AuthorizedKeysFile."
)

_FLAG_STEP = "It wants the SSH password of the account, and {reason}. Pass it in a file: --pass-file FILE."
_OWN_MESSAGES = (_KEY_STEP, _FLAG_STEP.partition("{")[0])
"""Begins of messages that are not from ssh."""


def ssh_setup(options: Options, terminal: Terminal) -> CommandResult:
    """Put the key on the hosts, or remove it, and check the login with it."""
    path = (options.ssh_key or _DEFAULT_KEY).expanduser()
    if not options.ssh_key and not path.exists() and not options.remove:
        _make_key(path, terminal)
    # Checks the key too: one that needs a question is of no use to Ansible.
    login = read_login(replace(options, ssh_key=path), terminal)
    key = _read_public_key(path)
    studio = find_studio(inventory=options.inventory, name=options.studio, must_exist=False)
    hosts, problems = _find_hosts(options, login, studio, terminal)
    done = [_report_problem(problem) for problem in problems]
    password = login.secrets.ssh_password
    for host in hosts:
        answer, password = _set_up(host, key, studio.known_hosts, password, remove=options.remove, terminal=terminal)
        entry = _report(host, answer)
        done.append(entry)
        _print_entry(entry, key, terminal)
    failed = [entry for entry in done if entry["state"] == "failed"]
    if added := [host for host, entry in zip(hosts, done[len(problems) :], strict=True) if entry["state"] == "added"]:
        again = f" --ssh-key {shlex.quote(str(path))}" if options.ssh_key else ""
        targets = " ".join(_format_target(host) for host in added)
        terminal.print(f"To undo it: noslop-driver ssh-setup --remove{again} {targets}")
    data: SshSetupData = {"key": str(path), "fingerprint": ssh_scan.fingerprint(key.text), "hosts": done}
    message = "\n".join(f"{entry['host']}: {entry['reason']}" for entry in failed)
    return CommandResult(ExitCode.UNREACHABLE if failed else ExitCode.OK, data, message)


def _make_key(path: Path, terminal: Terminal) -> None:
    """Make a key pair without a passphrase, after a question.

    Raises:
        DriverError: the answer was no, or ssh-keygen failed.
        UsageError: there is no terminal to ask on, and `--yes` was not given.
    """
    if not terminal.confirm(f"There is no {path}. Make a key pair there, without a passphrase?"):
        raise DriverError("You answered no: nothing was changed. Name a key with --ssh-key.")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    comment = f"{getpass.getuser()}@{socket.gethostname()}"
    _run_keygen("-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path))
    terminal.print(f"Made {path} and {path}.pub. Keep the first to yourself.")


def _read_public_key(path: Path) -> PublicKey:
    """Return the public key of a private one, from the file beside it, else from the private key itself."""
    public = path if path.suffix == ".pub" else path.with_name(f"{path.name}.pub")
    text = public.read_text(encoding="utf-8", errors="replace") if public.exists() else ""
    text = text or _run_keygen("-y", "-P", "", "-f", str(path))
    words = printable(text.partition("\n")[0]).split()
    if len(words) < 2:
        raise UsageError(f"{public}: is no public key. Make it again: ssh-keygen -y -f {path} > {public}")
    return PublicKey(path.absolute(), " ".join(words))


def _find_hosts(
    options: Options, login: Login, studio: StudioDirectory, terminal: Terminal
) -> tuple[list[Endpoint], list[Problem]]:
    """Return the hosts whose SSH host keys are pinned or accepted now, and the problems of the others.

    Raises:
        PreflightError: a host shows another key than the accepted one.
        DriverError: the search failed.
    """
    rule = host_keys.read_rule(accept_new_keys=options.accept_new_keys, file=options.host_keys)
    search = SearchTargets(hosts=options.hosts, port=options.port, user=options.user or "", own_keys=False)
    discovered = discovery.search(search, terminal)
    known_hosts = KnownHosts(studio.known_hosts)
    classified = known_hosts.classify(discovered.candidates)
    decision = host_keys.decide(classified.new, rule, terminal)
    if decision.accepted:
        studio.make_state_dir()
        known_hosts.accept(decision.accepted)
    problems = [*discovered.problems, *decision.problems]
    rejected = {problem.host for problem in decision.problems}
    for candidate in [*decision.left_out, *classified.without_key]:
        if (candidate.hostname or candidate.address) not in rejected:
            problems.append(_explain_left_out(candidate))
    accepted = [*classified.pinned, *decision.accepted]
    return [_make_endpoint(candidate, login.user) for candidate in accepted], problems


def _set_up(
    host: Endpoint,
    key: PublicKey,
    known_hosts: Path,
    password: str | None,
    *,
    remove: bool,
    terminal: Terminal,
) -> tuple[Answer, str | None]:
    """Put the key on one host, or remove it. Return the answer, and the password to try on the next host."""
    with terminal.out.status(f"Trying the key on {host.name}"):
        answer = authorized_keys.try_key(host, key, known_hosts)
    if answer.ok and remove:
        return authorized_keys.change(host, key, known_hosts, remove=True, password=None), password
    if answer.ok or not _is_denied(answer):
        return answer, password
    asked = 0
    while True:
        if password is not None:
            with terminal.out.status(f"Logging in to {host.name}"):
                answer = authorized_keys.change(host, key, known_hosts, remove=remove, password=password)
            if not _is_denied(answer) or asked == _MOST_ATTEMPTS or not terminal.can_ask_password:
                break
            terminal.print(f"{host.name} refused it.")
        elif not terminal.can_ask_password:
            return Answer(message=_FLAG_STEP.format(reason=terminal.no_input_reason)), None
        prompt = f"SSH password of {host.user} on {host.name}: "
        password = ask_password(prompt, "--ask-pass", "--pass-file", interactive=True)
        asked += 1
    if answer.ok and not remove:
        check = authorized_keys.try_key(host, key, known_hosts)
        if not check.ok:
            return Answer(message=f"{_KEY_STEP} ({check.message})"), password
    return answer, password


def _is_denied(answer: Answer) -> bool:
    """Return whether the host itself refused the login."""
    return not answer.ok and "Permission denied" in answer.message


def _report(host: Endpoint, answer: Answer) -> SshKeyData:
    reason = ""
    if not answer.ok and answer.message.startswith(_OWN_MESSAGES):
        reason = answer.message
    elif not answer.ok:
        problem = ssh_errors.explain(host, host.user, answer.message)
        todo = problem.todo
        if problem.kind == "auth_refused":
            todo = (
                "It accepts neither this key nor this password. If its sshd_config has PasswordAuthentication no, add "
                "the key there by other means."
            )
        reason = f"{problem.what} {todo}"
    return {
        "host": host.name,
        "address": host.address,
        "user": host.user,
        "state": answer.state if answer.ok else "failed",
        "reason": reason,
    }


def _report_problem(problem: Problem) -> SshKeyData:
    reason = f"{problem.what} {problem.todo}"
    return {"host": problem.host or "", "address": "", "user": "", "state": "failed", "reason": reason}


def _print_entry(entry: SshKeyData, key: PublicKey, terminal: Terminal) -> None:
    where = f"~/.ssh/authorized_keys of {entry['user']}"
    fingerprint = ssh_scan.fingerprint(key.text)
    texts = {
        "added": f"{fingerprint} was added to {where}; the login with it works.",
        "present": f"the login of {entry['user']} with {fingerprint} works already.",
        "removed": f"{fingerprint} was removed from {where}.",
        "absent": f"{fingerprint} is not in {where}.",
    }
    if entry["state"] in texts:
        terminal.print(f"{entry['host']}: {texts[entry['state']]}")


def _explain_left_out(candidate: Candidate) -> Problem:
    label = host_keys.format_label(candidate)
    return Problem(
        host=candidate.hostname or candidate.address,
        what=f"{label} was left out: its SSH host key was not accepted.",
        todo=f"Name it in the list of new keys, or pass its key ({host_keys.FLAGS}).",
    )


def _format_target(host: Endpoint) -> str:
    """Return a host in the form of the command line."""
    return f"{host.user}@{discovery.format_target(host.name, host.port)}"


def _make_endpoint(candidate: Candidate, user: str) -> Endpoint:
    return Endpoint(
        name=candidate.hostname or candidate.address,
        address=candidate.address,
        port=candidate.port,
        user=candidate.user or user,
        ssh=candidate.ssh,
    )


def _run_keygen(*arguments: str) -> str:
    done = subprocess.run(
        ["ssh-keygen", *arguments],
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise DriverError(f"ssh-keygen failed: {' '.join(done.stderr.split())}")
    return done.stdout
