# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the lookup ``noslop.studio.studio``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: studio
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the shares, accounts, services, addresses, settings and constants of a studio
description:
  - Returns what a studio has, as the variables of the host that the task runs for decide it.
  - Roles use it in their defaults, so that a path, a number, a port and the name of a unit is written in one place
    only, C(module_utils/studio.py).
  - The first term is the subject, further terms are names. A subject in the plural returns a list, of all or of the
    named; a subject in the singular returns the one that is named.
options:
  _terms:
    description:
      - V(shares) or V(share) - the directories that all hosts share, each with C(name), C(path), C(kind) (C(models) or
        C(work)), C(env), the name of its variable in C(/etc/noslop/node.env), C(owner), the account that owns it, and
        C(writers), the hosts that may write to it, C(members) or C(server), and C(options), further options of its
        mounts. A share of C(noslop_extra_shares) is left out for a client that does not mount it, has C(writers)
        C(server) for one that may only read, and C(client_addresses) and C(read_only_addresses) of those clients.
      - V(accounts) or V(account) - each with C(name), C(uid), C(gid), C(groups), further groups that it is a member
        of, and C(people), whether the studio's people are members of its group.
      - V(smb_shares) - the shares that Windows and macOS see, or the named, each with C(name), C(path), C(owner),
        the account as which every file is read and written, and C(writable).
      - V(smb_networks) - the networks that may use them, C(noslop_smb_networks) or else C(noslop_allowed_networks).
      - V(services) or V(service) - each with C(name), which is its group in the inventory too, C(unit), C(port),
        C(port_variable), its role's variable for the port, and C(account), which runs it.
      - V(addresses) - the addresses in the studio of the hosts of the named groups, C(noslop_address) or else
        C(ansible_host) when that is an IP address; each once. A group that the inventory does not have is empty.
        Meant for playbooks, which pass addresses to roles; roles themselves use no groups.
      - V(custom_nodes) - the custom nodes of C(noslop_custom_nodes), or those for the named host, each with C(name),
        C(repo) and C(commit) or C(archive) and C(sha256), C(hosts), C(allow_install_script), C(allow_source), and
        C(directory), the path of its files below the share. An entry that is unusable is refused.
      - V(models) - those models of C(noslop_models) that are V(files), each with C(path), C(url), C(sha256), C(size),
        or those of V(ollama), each with C(ollama), its name. An entry that is unusable is refused.
      - V(warm_models) - those models of C(noslop_models) that this host is to keep in memory where it runs the named
        services, each with C(path) or C(ollama), the other one empty.
      - V(cached_shares) - the shares with models that this host reads through a cache on its own disk where it runs the
        named services, C(comfyui) and C(ollama), each with C(name), C(path), C(owner), C(cache), the directory of the
        cache, C(size), of all copies in it, in bytes, and C(view), the directory that programs read in place of
        C(path). Empty where C(noslop_models_cache) is, on the host that has the shares, and for Ollama on the host
        that pulls its models, the first of the group C(ollama).
      - V(webhook) - the address of C(noslop_monitor_webhook), or that of a value like it, with C(url), which is a
        secret where it comes from a file of the controller, and C(format); an empty dictionary where there is none.
      - V(setting) - the value of one variable of the studio, such as C(noslop_storage_root), C(ollama_port) or
        C(nfs_client_read_ahead_kb), or its default where it is not set or empty.
      - V(default) - the default of such a variable.
      - V(constant) - a name, path or number that is the same in every studio - C(avahi_directory), C(avahi_unit),
        C(backend_command), C(backend_env_file),
        C(build_account), C(credentials_dir), C(exports_file), C(firewall_file), C(firewall_unit),
        C(marker), C(mdns_port), C(model_folders), C(nfs_port),
        C(nfs_server_unit), C(nfs_transports), C(node_env_file), C(node_trial_file), C(programs_dir), C(smb_conf_file),
        C(smb_discovery_ports), C(smb_encryption), C(smb_group), C(smb_port), C(smb_state_dir), C(smb_unit),
        C(state_dir), C(tls_dir), C(tlshd_unit) or C(units_dir).
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show the paths of all shares
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.studio', 'shares') | map(attribute='path') }}"

- name: Show the path of the projects
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.studio', 'share', 'projects').path }}"

- name: Show the number of ComfyUI's account
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.studio', 'account', 'noslop-comfyui').uid }}"

- name: Show the ports of all services
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.studio', 'services') | map(attribute='port') }}"

- name: Show the unit of Ollama
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.studio', 'service', 'ollama').unit }}"

- name: Show the addresses of the storage clients
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.studio', 'addresses', 'storage_clients') }}"

- name: Show the names of the custom nodes of this host
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.studio', 'custom_nodes', inventory_hostname) | map(attribute='name') }}"

- name: Show the models that Ollama pulls
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.studio', 'models', 'ollama') | map(attribute='ollama') }}"

- name: Show the models of ComfyUI's that this host keeps in memory
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.studio', 'warm_models', 'comfyui') | map(attribute='path') }}"

- name: Show the directories that ComfyUI of this host reads in place of a share
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.studio', 'cached_shares', 'comfyui') | map(attribute='view') }}"

- name: Show how hosts inform of what turned bad
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.studio', 'webhook').format | default('not at all') }}"

- name: Show the shares that Windows and macOS may write to
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.studio', 'smb_shares') | selectattr('writable') | map(attribute='name') }}"

- name: Show the storage root
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.studio', 'setting', 'noslop_storage_root') }}"

- name: Show the default port of ComfyUI
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.studio', 'default', 'comfyui_port') }}"

- name: Show the directory of the installed programs
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.studio', 'constant', 'programs_dir') }}"
"""

RETURN = r"""
_raw:
  description: >-
    One value - a list of dictionaries for C(shares), C(accounts), C(services), C(smb_shares), C(custom_nodes),
    C(models), C(warm_models) and C(cached_shares), one dictionary for C(share), C(account), C(service) and C(webhook),
    a list of addresses for C(addresses), of networks for C(smb_networks), and the value itself for C(setting),
    C(default) and C(constant).
  type: list
  elements: raw
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host.addresses import address_of
from ansible_collections.noslop.studio.plugins.module_utils.install import node_store
from ansible_collections.noslop.studio.plugins.module_utils.model_cache import layout
from ansible_collections.noslop.studio.plugins.module_utils.smb import smb_shares
from ansible_collections.noslop.studio.plugins.plugin_utils import token_file
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import custom_nodes, model_cache, models, webhook

#: Subject in the plural to the same in the singular.
SINGULAR = {"shares": "share", "accounts": "account", "services": "service"}
#: Subjects that need exactly one name.
OF_ONE_NAME = (*SINGULAR.values(), "models", "setting", "default", "constant")
SUBJECTS = (
    *(*SINGULAR, "smb_shares", "smb_networks", "addresses", "custom_nodes", "warm_models", "cached_shares", "webhook"),
    *OF_ONE_NAME,
)
#: Kind of model to what a role reads of it.
_MODEL_FIELDS = {"files": ("path", "url", "sha256", "size"), "ollama": ("ollama",)}


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no types
    """Return what the studio of the current host has."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """Return one value in a list, so that ``lookup`` and ``query`` both keep it whole."""
        self.set_options(var_options=variables, direct=kwargs)
        subject, *names = terms or [""]
        if subject not in SUBJECTS:
            raise AnsibleError(f"{subject!r} is no subject of a studio; there are {', '.join(SUBJECTS)}")
        if subject in OF_ONE_NAME and len(names) != 1:
            raise AnsibleError(f"{subject} needs exactly one name, and {len(names)} were given")
        try:
            return [self._find(subject, names, variables or {})]
        except ValueError as error:
            raise AnsibleError(str(error)) from error

    def _find(self, subject: str, names: list[str], variables: Mapping[str, Any]) -> Any:
        """Return the value of a subject. Raises ValueError where a name or a variable's value is unusable."""
        if subject == "addresses":
            return _addresses(names, variables["groups"], variables["hostvars"])
        if subject in OF_ONE_NAME:
            return self._find_one(subject, names[0], variables)
        special: dict[str, Callable[[list[str], Mapping[str, Any]], Any]] = {
            "custom_nodes": self._custom_nodes,
            "warm_models": self._warm_models,
            "cached_shares": self._cached_shares,
            "webhook": self._webhook,
            "smb_networks": self._smb_networks,
        }
        return special[subject](names, variables) if subject in special else self._list(subject, names, variables)

    def _find_one(self, subject: str, name: str, variables: Mapping[str, Any]) -> Any:
        if subject == "constant":
            value = _pick("constant", studio.CONSTANTS, [name])[0]
            return list(value) if isinstance(value, tuple) else value
        if subject == "default":
            return studio.default_of(name)
        if subject == "setting":
            return self._setting(name, variables)
        if subject == "models":
            return self._models(name, variables)
        return self._list(next(key for key, one in SINGULAR.items() if one == subject), [name], variables)[0]

    def _setting(self, name: str, variables: Mapping[str, Any]) -> Any:
        default = studio.default_of(name)
        value = self._values([name], variables).get(name)
        return default if value is None or value == "" else value

    def _custom_nodes(self, hosts: list[str], variables: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return all custom nodes, or those for one of the named hosts."""
        nodes = custom_nodes.parse_custom_nodes(self._setting(custom_nodes.VARIABLE, variables))
        return [
            {**_as_dict(node), "directory": node_store.make_target(node.name, node.revision)}
            for node in nodes
            if not hosts or any(node.is_for(host) for host in hosts)
        ]

    def _models(self, kind: str, variables: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the models of one kind."""
        fields = _pick("kind of model", _MODEL_FIELDS, [kind])[0]
        listed = self._parse_models(variables)
        return [{name: getattr(model, name) for name in fields} for model in listed if getattr(model, fields[0])]

    def _parse_models(self, variables: Mapping[str, Any]) -> list[models.Model]:
        addresses = [str(self._setting(name, variables)) for name in ("noslop_models_hub", "noslop_models_market")]
        return models.parse_models(self._setting(models.VARIABLE, variables), *addresses)

    def _warm_models(self, services: list[str], variables: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the models that this host is to keep in memory."""
        host = str(variables["inventory_hostname"])
        warm = [model for model in self._parse_models(variables) if model.is_warm_on(host, services)]
        return [{"path": model.path, "ollama": model.ollama} for model in warm]

    def _webhook(self, values: list[Any], variables: Mapping[str, Any]) -> dict[str, str]:
        """Return the address that hosts inform; empty where there is none."""
        parsed = webhook.parse_webhook(values[0] if values else self._setting(webhook.VARIABLE, variables))
        return {"url": webhook.read_url(parsed, token_file.read), "format": parsed.format} if parsed else {}

    def _smb_networks(self, _names: list[str], variables: Mapping[str, Any]) -> list[str]:
        """Return the networks of those who use the shares over SMB."""
        return smb_shares.list_networks(self._values(smb_shares.NETWORK_VARIABLES, variables))

    def _cached_shares(self, services: list[str], variables: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the shares that this host reads through a cache."""
        shares = studio.shares(self._values(studio.SHARE_VARIABLES, variables))
        storage = (self._setting("noslop_storage_root", variables), *(share.path for share in shares))
        cache = model_cache.parse(self._setting(model_cache.VARIABLE, variables), storage)
        if cache is None:
            return []
        provider = self._setting("noslop_storage_provider", variables)
        host = str(variables["inventory_hostname"])
        names = model_cache.list_shares(services, host, variables.get("groups", {}), provider)
        return [
            {
                "name": share.name,
                "path": share.path,
                "owner": share.owner,
                "cache": cache.path,
                "size": cache.size,
                "view": layout.CachedShare(share.name, share.path, f"{cache.path}/{share.name}", "").view,
            }
            for share in shares
            if share.name in names
        ]

    def _list(self, subject: str, names: list[str], variables: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return all shares, accounts or services, or the named ones, in the studio's order."""
        relevant, list_all = _LISTS[subject]
        listed = {one.name: one for one in list_all(self._values(relevant, variables))}
        _pick(SINGULAR.get(subject, "share"), listed, names)
        found = [_as_dict(one) for name, one in listed.items() if not names or name in names]
        return _adapt_shares(found, variables) if subject == "shares" else found

    def _values(self, names: Iterable[str], variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of those variables that are set, which may themselves be templates."""
        return {name: self._templar.template(variables[name]) for name in names if name in variables}


def _adapt_shares(shares: list[dict[str, Any]], variables: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return shares as the current host has them, with addresses in place of the names of hosts."""
    host = variables.get("inventory_hostname")
    is_client = host in variables.get("groups", {}).get("storage_clients", ())
    adapted = []
    for share in shares:
        clients, read_only = share.pop("clients"), share.pop("read_only")
        if is_client and clients is not None and host not in clients:
            continue
        if is_client and host in read_only:
            share["writers"] = "server"
        for name, hosts in (("client_addresses", clients), ("read_only_addresses", read_only)):
            if hosts:
                known = [one for one in hosts if one in variables["hostvars"]]
                share[name] = _addresses(known, {one: [one] for one in known}, variables["hostvars"])
        if clients == []:
            share["client_addresses"] = []
        adapted.append(share)
    return adapted


#: Subject to the variables that decide it, and the function that lists it.
_LISTS: dict[str, tuple[Iterable[str], Callable[[Mapping[str, Any]], list[Any]]]] = {
    "shares": (studio.SHARE_VARIABLES, studio.shares),
    "accounts": (studio.ACCOUNT_VARIABLES, studio.accounts),
    "smb_shares": (smb_shares.SHARE_VARIABLES, smb_shares.list_shares),
    "services": (tuple(service.port_variable for service in studio.SERVICES.values()), studio.services),
}


def _as_dict(one: Any) -> dict[str, Any]:
    """Return the fields of a dataclass. Ansible's templates know lists, and no tuples."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(one).items()}


def _pick(kind: str, named: Mapping[str, Any], names: list[str]) -> list[Any]:
    """Return the things with these names. Raises ValueError for a name that is none."""
    unknown = sorted(set(names) - set(named))
    if unknown:
        raise ValueError(f"no {kind} is called {', '.join(unknown)}; there are {', '.join(named)}")
    return [named[name] for name in names]


def _addresses(
    groups: list[str], hosts_of: Mapping[str, list[str]], hostvars: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Return the addresses of the groups' hosts, in order, each once. Raises ValueError where a host has none."""
    hosts = dict.fromkeys(host for group in groups for host in hosts_of.get(group, []))
    addresses = [
        address_of(host, {name: hostvars[host].get(name) for name in ("noslop_address", "ansible_host")})
        for host in hosts
    ]
    return list(dict.fromkeys(addresses))
