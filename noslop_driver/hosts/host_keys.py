# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide which new SSH host keys are accepted: those that the user selects, a file lists, or a flag accepts.

Passwords are sent only to hosts whose key was accepted, so no key is accepted by default, or by `--yes`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.noslop.studio.plugins.plugin_utils.discovery import ssh_scan

from noslop_driver.errors import UsageError
from noslop_driver.models import Candidate, Problem
from noslop_driver.output.terminal import Terminal

FLAGS = "--host-keys FILE or --accept-new-keys"

_FINGERPRINT = re.compile(r"\bSHA256:[A-Za-z0-9+/]{43}(?![A-Za-z0-9+/])")
_KEY = re.compile(r"\b((?:ssh|ecdsa|sk)-[a-z0-9@.-]+) (AAAA[A-Za-z0-9+/=]+)")
_KEY_FILES = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}


@dataclass(frozen=True)
class AcceptanceRule:
    """The flags that accept new keys; without any, the user is asked."""

    every_key: bool = False
    file: Path | None = None
    fingerprints: frozenset[str] = frozenset()
    """The fingerprints in `file`."""


@dataclass(frozen=True)
class Decision:
    """Hosts whose new keys were accepted, hosts that were left out, and the problems of the latter."""

    accepted: list[Candidate]
    left_out: list[Candidate]
    problems: list[Problem]


def read_rule(*, accept_new_keys: bool, file: Path | None) -> AcceptanceRule:
    """Return the rule of the flags `--accept-new-keys` and `--host-keys`.

    Raises:
        UsageError: the flags contradict each other, or the file lists no key.
    """
    if file is None:
        return AcceptanceRule(every_key=accept_new_keys)
    if accept_new_keys:
        raise UsageError("--accept-new-keys and --host-keys contradict each other: pass one of them.")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--host-keys {file}: cannot be read ({error}). Name a text file.") from error
    fingerprints = parse_fingerprints(text)
    if not fingerprints:
        raise UsageError(
            f"--host-keys {file}: lists no key. Write a line for each host: its fingerprint (SHA256:...), as "
            "'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' prints it there, or a line of a known_hosts file."
        )
    return AcceptanceRule(file=file, fingerprints=fingerprints)


def parse_fingerprints(text: str) -> frozenset[str]:
    """Return the fingerprints in a text, and those of the keys in its lines of known_hosts and `.pub` files.

    Comments, revoked keys and keys of certificate authorities (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT) do not count.
    """
    fingerprints: set[str] = set()
    for line in text.splitlines():
        if line.lstrip().startswith(("#", "@")):
            continue
        fingerprints.update(_FINGERPRINT.findall(line))
        for kind, key in _KEY.findall(line):
            try:
                base64.b64decode(key, validate=True)
            except binascii.Error:
                continue
            fingerprints.add(ssh_scan.fingerprint(f"{kind} {key}"))
    return frozenset(fingerprints)


def parse_numbers(answer: str, count: int) -> list[int]:
    """Return the numbers from 1 to `count` that an answer like `all`, `none` or `1,3-5` selects, in order.

    Raises:
        ValueError: the answer has another form; the message says what to write.
    """
    words = answer.replace(",", " ").lower().split()
    if words in (["all"], ["none"]):
        return list(range(1, count + 1)) if words == ["all"] else []
    numbers: set[int] = set()
    for word in words:
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= count:
            raise ValueError(f"{word!r} names none of them. Write all, none, or numbers from 1 to {count}: 1,3-5.")
        numbers.update(range(first, last + 1))
    if not numbers:
        raise ValueError(f"Write all, none, or numbers from 1 to {count}: 1,3-5.")
    return sorted(numbers)


def decide(new: Sequence[Candidate], rule: AcceptanceRule, terminal: Terminal) -> Decision:
    """Show the hosts whose keys are new, and decide which of them are accepted.

    Raises:
        UsageError: there is no terminal to ask on, and no flag says which keys to accept.
    """
    if not new:
        return Decision([], [], [])
    _print_new_keys(new, terminal)
    if rule.every_key:
        return Decision(list(new), [], [])
    accepted = [listed for candidate in new if (listed := _keep_listed_keys(candidate, rule.fingerprints))]
    endpoints = {(candidate.address, candidate.port) for candidate in accepted}
    rest = [candidate for candidate in new if (candidate.address, candidate.port) not in endpoints]
    if rule.file or terminal.yes:
        return Decision(accepted, rest, [_explain_rejection(candidate, rule) for candidate in rest])
    chosen = _ask_for_own_hosts(new, terminal)
    return Decision(chosen, [candidate for candidate in new if candidate not in chosen], [])


def format_label(candidate: Candidate) -> str:
    """Return a host's name, address and port for a message."""
    endpoint = candidate.address if candidate.port == 22 else f"{candidate.address} port {candidate.port}"
    return f"{candidate.hostname} ({endpoint})" if candidate.hostname else endpoint


def _print_new_keys(new: Sequence[Candidate], terminal: Terminal) -> None:
    terminal.print("SSH host keys that are new to this studio:")
    width = max(len(format_label(candidate)) for candidate in new)
    for number, candidate in enumerate(new, 1):
        other_addresses = [address for address in candidate.addresses if address != candidate.address]
        terminal.print(
            f"{number:>4}  {format_label(candidate):{width}}  {'  '.join(_format_keys(candidate))}  "
            f"{candidate.banner or ''}" + (f"  (also {', '.join(other_addresses)})" if other_addresses else "")
        )


def _ask_for_own_hosts(new: Sequence[Candidate], terminal: Terminal) -> list[Candidate]:
    def find_error(answer: str) -> str:
        try:
            parse_numbers(answer, len(new))
        except ValueError as error:
            return str(error)
        return ""

    if terminal.interactive:
        terminal.print(f"Compare each with what '{_make_keygen_command(new[0])}' prints on the machine itself.")
        terminal.print("Passwords are sent only to machines that you name; the others are left out.")
    answer = terminal.ask(
        "Which of them are your machines? (all, none, or numbers: 1,3-5)", flag=FLAGS, default="none", check=find_error
    )
    return [new[number - 1] for number in parse_numbers(answer, len(new))]


def _keep_listed_keys(candidate: Candidate, fingerprints: frozenset[str]) -> Candidate | None:
    """Return the candidate with only those of its keys that are listed; None if none is."""
    listed = [key for key in candidate.host_keys if ssh_scan.fingerprint(key) in fingerprints]
    return candidate.model_copy(update={"host_keys": listed}) if listed else None


def _explain_rejection(candidate: Candidate, rule: AcceptanceRule) -> Problem:
    why = f"{rule.file} does not list it" if rule.file else "--yes accepts no key"
    add = f"add it to {rule.file}" if rule.file else "pass it in a file (--host-keys FILE)"
    return Problem(
        kind="host_key_not_accepted",
        host=candidate.hostname or candidate.address,
        what=f"{format_label(candidate)} was left out: its SSH host key is new, and {why}: "
        f"{', '.join(_format_keys(candidate))}.",
        todo=f"If it is your machine, compare the key with what '{_make_keygen_command(candidate)}' prints there and "
        f"{add}; or run this at a terminal without --yes and name it. --accept-new-keys accepts every new key: only "
        "for a network in which every machine is yours.",
        fatal=candidate.named,
    )


def _format_keys(candidate: Candidate) -> list[str]:
    return [f"{key.split()[0]} {ssh_scan.fingerprint(key)}" for key in candidate.host_keys]


def _make_keygen_command(candidate: Candidate) -> str:
    kind = candidate.host_keys[0].split()[0]
    return f"ssh-keygen -lf /etc/ssh/ssh_host_{_KEY_FILES.get(kind, 'ecdsa')}_key.pub"
