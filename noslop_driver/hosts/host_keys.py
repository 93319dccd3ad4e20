# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides which new SSH host keys are accepted: those that the person names, a file lists, or a flag lets in.

Passwords go only to hosts whose key was accepted, so nothing is accepted by default, and never by `--yes`.
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
class Rule:
    """What accepts a new key beforehand; without either, the person is asked."""

    every_key: bool = False
    file: Path | None = None
    fingerprints: frozenset[str] = frozenset()
    """Those that `file` lists."""


@dataclass(frozen=True)
class Decision:
    """Hosts by what became of their new keys, and what a person has to know of those that were left out."""

    accepted: list[Candidate]
    left_out: list[Candidate]
    problems: list[Problem]


def read_rule(*, accept_new_keys: bool, file: Path | None) -> Rule:
    """Read what the flags `--accept-new-keys` and `--host-keys` say.

    Raises:
        UsageError: they contradict each other, or the file lists no key.
    """
    if file is None:
        return Rule(every_key=accept_new_keys)
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
    return Rule(file=file, fingerprints=fingerprints)


def parse_fingerprints(text: str) -> frozenset[str]:
    """Return the fingerprints in a text: written as such, or of the keys in lines of known_hosts and `.pub` files.

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
    """Return the numbers from 1 to `count` that `all`, `none` or `1,3-5` names, in order.

    Raises:
        ValueError: it is none of these; the message says what to write.
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


def decide(new: Sequence[Candidate], rule: Rule, terminal: Terminal) -> Decision:
    """Show the hosts whose keys are new, and decide which of them are accepted.

    Raises:
        UsageError: nobody can be asked, and no flag says which keys are good.
    """
    if not new:
        return Decision([], [], [])
    _show(new, terminal)
    if rule.every_key:
        return Decision(list(new), [], [])
    accepted = [trusted for candidate in new if (trusted := _with_listed_keys(candidate, rule.fingerprints))]
    ours = {(candidate.address, candidate.port) for candidate in accepted}
    rest = [candidate for candidate in new if (candidate.address, candidate.port) not in ours]
    if rule.file or terminal.yes:
        return Decision(accepted, rest, [_not_accepted(candidate, rule) for candidate in rest])
    chosen = _ask(new, terminal)
    return Decision(chosen, [candidate for candidate in new if candidate not in chosen], [])


def label(candidate: Candidate) -> str:
    """Return a host's name and address, as a person speaks of it."""
    where = candidate.address if candidate.port == 22 else f"{candidate.address} port {candidate.port}"
    return f"{candidate.hostname} ({where})" if candidate.hostname else where


def _show(new: Sequence[Candidate], terminal: Terminal) -> None:
    terminal.say("SSH host keys that are new to this studio:")
    width = max(len(label(candidate)) for candidate in new)
    for number, candidate in enumerate(new, 1):
        also = [address for address in candidate.addresses if address != candidate.address]
        terminal.say(
            f"{number:>4}  {label(candidate):{width}}  {'  '.join(_keys(candidate))}  {candidate.banner or ''}"
            + (f"  (also {', '.join(also)})" if also else "")
        )


def _ask(new: Sequence[Candidate], terminal: Terminal) -> list[Candidate]:
    def wrong(answer: str) -> str:
        try:
            parse_numbers(answer, len(new))
        except ValueError as error:
            return str(error)
        return ""

    if terminal.interactive:
        terminal.say(f"Compare each with what '{_show_command(new[0])}' prints on the machine itself.")
        terminal.say("Passwords are sent only to machines that you name; the others are left out.")
    answer = terminal.ask(
        "Which of them are your machines? (all, none, or numbers: 1,3-5)", flag=FLAGS, default="none", check=wrong
    )
    return [new[number - 1] for number in parse_numbers(answer, len(new))]


def _with_listed_keys(candidate: Candidate, fingerprints: frozenset[str]) -> Candidate | None:
    """Return the host with those of its keys that are listed; None where none is."""
    listed = [key for key in candidate.host_keys if ssh_scan.fingerprint(key) in fingerprints]
    return candidate.model_copy(update={"host_keys": listed}) if listed else None


def _not_accepted(candidate: Candidate, rule: Rule) -> Problem:
    why = f"{rule.file} does not list it" if rule.file else "--yes accepts no key"
    add = f"add it to {rule.file}" if rule.file else "pass it in a file (--host-keys FILE)"
    return Problem(
        kind="host_key_not_accepted",
        host=candidate.hostname or candidate.address,
        what=f"{label(candidate)} was left out: its SSH host key is new, and {why}: {', '.join(_keys(candidate))}.",
        todo=f"If it is your machine, compare the key with what '{_show_command(candidate)}' prints there and {add}; "
        "or run this at a terminal without --yes and name it. --accept-new-keys accepts every new key: only for a "
        "network in which every machine is yours.",
        fatal=candidate.named,
    )


def _keys(candidate: Candidate) -> list[str]:
    return [f"{key.split()[0]} {ssh_scan.fingerprint(key)}" for key in candidate.host_keys]


def _show_command(candidate: Candidate) -> str:
    kind = candidate.host_keys[0].split()[0]
    return f"ssh-keygen -lf /etc/ssh/ssh_host_{_KEY_FILES.get(kind, 'ecdsa')}_key.pub"
