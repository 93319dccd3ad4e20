# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the variables of a studio that hold lists and choices, each with the parser of its own. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, enumerate_words
from ansible_collections.noslop.studio.plugins.module_utils.host.addresses import parse_network
from ansible_collections.noslop.studio.plugins.module_utils.share import extra_shares
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import (
    custom_nodes,
    model_cache,
    models,
    smb,
    transport,
    webhook,
)
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.misspelled_variables import find_misspelled

#: The file in which a person sets them.
FILE = "group_vars/all/studio.yml"


def judge_networks(checks: Checks, networks: Iterable[str]) -> None:
    """Check that the allowed networks are valid, and none of them is too large."""
    problems = []
    for network in networks:
        try:
            parse_network(network)
        except ValueError as error:
            problems.append(str(error))
    _add(
        checks,
        "noslop_allowed_networks",
        problems,
        good="every allowed network is one",
        expected="addresses and networks of people who work with the studio",
    )


def judge_custom_nodes(checks: Checks, value: object, comfyui_hosts: Sequence[str]) -> None:
    """Check that the list of custom nodes is usable, and that its hosts run ComfyUI."""
    _add(
        checks,
        custom_nodes.VARIABLE,
        _collect(lambda: custom_nodes.find_unknown_hosts(custom_nodes.parse_custom_nodes(value), comfyui_hosts)),
        good="every custom node has a source with its checksum",
        expected="custom nodes with a name, a source, its commit or SHA-256, and hosts that run ComfyUI",
    )


def judge_models(checks: Checks, value: object, services: Mapping[str, Sequence[str]], servers: Sequence[str]) -> None:
    """Check that the catalogue of models is usable, and that the hosts of its warm models use them."""
    _add(
        checks,
        models.VARIABLE,
        _collect(lambda: models.find_unknown_hosts(models.parse_models(value), services, servers)),
        good="every model has a source",
        expected="models with a folder and a source, or with a name of Ollama's, warm on hosts that use them",
    )


def judge_extra_shares(checks: Checks, value: object, clients: Sequence[str]) -> None:
    """Check that the shares beyond the studio's own are usable, and that the hosts they name mount shares."""
    _add(
        checks,
        extra_shares.VARIABLE,
        _collect(lambda: extra_shares.find_unknown_hosts(extra_shares.parse(value, studio.PATH_VARIABLES), clients)),
        good="every further share has a name, and hosts that mount it",
        expected="shares with a name, and names of hosts in the group storage_clients",
    )


def judge_caches(checks: Checks, values: Mapping[str, object], storage_paths: Sequence[str]) -> None:
    """Check that each host's cache of models is usable."""
    hosts_of: dict[str, list[str]] = {}
    for host, value in values.items():
        try:
            model_cache.parse(value, storage_paths)
        except ValueError as error:
            hosts_of.setdefault(str(error), []).append(host)
    _add(
        checks,
        model_cache.VARIABLE,
        [f"On {enumerate_words(hosts)}: {problem}" for problem, hosts in hosts_of.items()],
        good="every cache of models has a path and a size",
        expected="a directory on a disk of the host, away from the shares, and a size",
        file=f"{FILE} or in host_vars",
    )


def judge_webhook(checks: Checks, value: object, read: Callable[[str], str]) -> None:
    """Check that the address that hosts inform is usable. ``read`` returns the content of a file of the controller."""
    problem = ""
    try:
        parsed = webhook.parse_webhook(value)
        if parsed:
            webhook.read_url(parsed, read)
    except ValueError as error:
        problem = str(error)
    checks.add(
        "studio.webhook",
        not problem,
        seen=problem or "as expected",
        expected="no webhook, or one with a URL that may be used",
        todo=f"correct {webhook.VARIABLE} in {FILE}",
    )


def judge_smb(checks: Checks, settings: smb.SmbSettings) -> None:
    """Check what the studio chooses about SMB, and its users, where it serves SMB at all."""
    if not settings.enabled:
        return
    expected = {
        "smb_server": "a storage server whose own disks have the shares",
        "smb_users": "users who have one password each, of at least 8 characters",
        "smb_networks": "the addresses and networks of the people who work with Windows and macOS",
        "smb_encryption": enumerate_words(studio.SMB_ENCRYPTION),
        "smb_models": "models that people may write to over SMB only where members may write to them",
    }
    todo = {
        "smb_server": f"set noslop_smb_enabled to false in {FILE}, and serve SMB where the disks are",
        "smb_users": f"correct {smb.VARIABLE} in {FILE}; the role smb_server's README shows an example",
        "smb_networks": f"set noslop_smb_networks or noslop_allowed_networks in {FILE}",
        "smb_encryption": f"set noslop_smb_encryption in {FILE}",
        "smb_models": f"in {FILE}, set noslop_models_writers to members, or the other to false",
    }
    for name, problems in smb.find_settings_problems(settings).items():
        checks.add(
            f"studio.{name}",
            not problems,
            seen=" ".join(problems) or "as it should be",
            expected=expected[name],
            todo=todo[name],
        )


def judge_transport(checks: Checks, settings: transport.TransportSettings) -> None:
    """Check what the studio chooses about NFS over TLS; nothing is added where it is not used."""
    if settings.transport == "plain":
        return
    problems = transport.find_problems(settings)
    checks.add(
        "studio.nfs_transport",
        not problems,
        seen=" ".join(problems) or f"NFS over TLS ({settings.transport})",
        expected="NFS over TLS between hosts with IPv4 addresses that NoSlop exports to, or none",
        todo=(
            f"set {transport.VARIABLE} to plain in {FILE}, or change the other: give the hosts IPv4 addresses, and "
            "serve Macs over SMB (noslop_smb_enabled)"
        ),
    )


def judge_variables(checks: Checks, names: Iterable[str], declared: Iterable[str], prefixes: Iterable[str]) -> None:
    """Check for misspelled variables: Ansible would ignore them, and the default would be used without a warning."""
    all_names = sorted(set(names))
    declared_names = set(declared)
    wrong = find_misspelled(all_names, declared_names, prefixes)
    checks.add(
        "studio.variables",
        not wrong,
        seen="; ".join(f"{name} is set, and nothing reads it" for name in wrong) or "every variable has a known name",
        expected=enumerate_words(sorted(set(wrong.values())), "known names"),
        todo="; ".join(f"write {right} for {name}" for name, right in wrong.items()),
    )
    undeclared = [
        name for name in all_names if name.startswith("noslop_") and name not in declared_names and name not in wrong
    ]
    if undeclared:
        checks.note(
            "studio.variables",
            seen=f"NoSlop does not read {enumerate_words(undeclared)}",
            expected="variables that are called noslop_ something are NoSlop's",
        )


def _collect(find: Callable[[], list[str]]) -> list[str]:
    """Return the problems that a function finds, or the one for which it refuses the variable's value."""
    try:
        return find()
    except ValueError as error:
        return [str(error)]


def _add(checks: Checks, variable: str, problems: Sequence[str], *, good: str, expected: str, file: str = FILE) -> None:
    """Add the check of one variable, which is named after it."""
    checks.add(
        f"studio.{variable.removeprefix('noslop_')}",
        not problems,
        seen=" ".join(problems) or good,
        expected=expected,
        todo=f"correct {variable} in {file}",
    )
