# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a deployment manages on this host, for a comparison with the next time."""

from __future__ import annotations

import functools
import grp
import os
import pwd
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.deployed import files, units
from ansible_collections.noslop.studio.plugins.module_utils.deployed.record import State
from ansible_collections.noslop.studio.plugins.module_utils.host import gpu, mountinfo, state, written_files
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account, run_all
from ansible_collections.noslop.studio.plugins.module_utils.nfs import exports, mount_options

_DPKG_STATUS = "/var/lib/dpkg/status"
_APT_STATES = "/var/lib/apt/extended_states"
_BUILDS = ".build"
_OLLAMA_FOLDERS = ("blobs", "manifests")


def read_state(options: Mapping[str, Any], owners: Mapping[str, Account], key: bytes, bound_s: float) -> State:
    """Return what a deployment manages on this host.

    Args:
        options: the parameters of ``studio_check`` for this host.
        owners: the account of each share, as which it is used, by the share's name.
        key: the key of the checksums.
        bound_s: seconds after which a share does not count as answering.
    """
    shares = options["shares"]
    network = options["provider"] == "nfs" and not options["server"]
    return {
        "files": read_files(key),
        "programs": read_programs(key),
        "units": units.read_units(units.find_units(), key),
        "accounts": read_accounts([account["name"] for account in options["accounts"]]),
        "packages": read_packages(),
        "kernel": {**read_mounts([share["path"] for share in shares]), **read_nfs_server()},
        "shares": {} if network else read_shares(shares, owners, key, bound_s),
        "system": read_system(),
    }


def read_files(key: bytes) -> dict[str, dict[str, str]]:
    """Return the files that NoSlop wrote, all of its settings, and the directories of its state."""
    entries: dict[str, dict[str, str]] = {}
    for path in (*written_files.read().files, studio.EXPORTS_FILE, studio.BACKEND_COMMAND):
        entries[path] = files.read_entry(path, key)
    entries.update(files.read_below(studio.SETTINGS_DIR, key))
    state_directories = files.read_below(studio.STATE_DIR, key, depth=1)
    entries.update({path: one for path, one in state_directories.items() if one["kind"] == "directory"})
    return {path: properties for path, properties in entries.items() if properties}


def read_programs(key: bytes, directory: str = studio.PROGRAMS_DIR) -> dict[str, dict[str, str]]:
    """Return each installed program, with a checksum of its trees, and the links to the versions that run."""
    entries = {directory: files.read_entry(directory, key)}
    for name in sorted(os.listdir(directory)) if entries[directory] else ():
        path = os.path.join(directory, name)
        if name == _BUILDS:
            continue
        entries[path] = files.read_tree(path, key)
        for link in sorted(os.listdir(path)) if entries[path].get("kind") == "directory" else ():
            if os.path.islink(os.path.join(path, link)):
                entries[os.path.join(path, link)] = files.read_entry(os.path.join(path, link), key)
    return {path: properties for path, properties in entries.items() if properties}


def read_accounts(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the numbers, home and shell of accounts that exist, and the members of the studio's groups."""
    entries: dict[str, dict[str, str]] = {}
    for name in names:
        try:
            one = pwd.getpwnam(name)
        except KeyError:
            continue
        groups = sorted(os.getgrouplist(name, one.pw_gid))
        entries[name] = {
            "numbers": f"{one.pw_uid}:{one.pw_gid}",
            "groups": " ".join(map(str, groups)),
            "home": one.pw_dir,
            "shell": one.pw_shell,
        }
    for name in (*studio.PEOPLE_GROUPS, studio.SMB_GROUP):
        try:
            entries[f"group {name}"] = {"members": " ".join(sorted(grp.getgrnam(name).gr_mem))}
        except KeyError:
            continue
    return entries


def read_packages(status: str = _DPKG_STATUS, states: str = _APT_STATES) -> dict[str, dict[str, str]]:
    """Return the packages of Debian that were asked for by name, which those of the roles are.

    Those that others need are left out: they go with them. A newer version is no difference.
    """
    automatic = {
        block.get("Package", "")
        for block in _read_blocks(states, ("Package", "Auto-Installed"))
        if block.get("Auto-Installed") == "1"
    }
    return {
        block.get("Package", ""): {"state": block.get("Status", "").rpartition(" ")[2]}
        for block in _read_blocks(status, ("Package", "Status"))
        if block.get("Package") not in automatic and block.get("Status", "").endswith(" installed")
    }


def read_mounts(paths: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return what the kernel has mounted at the paths of shares, with all options."""
    table = mountinfo.read_mounts()
    mounts: dict[str, dict[str, str]] = {}
    for path in paths:
        mount = mount_options.effective_mount(table, path)
        if mount:
            options = ",".join(f"{name}={value}" if value else name for name, value in sorted(mount.options.items()))
            mounts[f"mount {path}"] = {"type": mount.fstype, "source": mount.source, "options": options}
            ahead = state.read_text(f"/sys/class/bdi/{mount.device}/read_ahead_kb").strip()
            if ahead:
                mounts[f"mount {path}"]["read-ahead"] = ahead
    return mounts


def read_nfs_server() -> dict[str, dict[str, str]]:
    """Return what the kernel exports, and its NFS server; nothing where none runs."""
    entries: dict[str, dict[str, str]] = {}
    for path, clients in exports.parse_exportfs(state.run_program("exportfs", "-s")).items():
        for client, options in clients.items():
            entries[f"export {path} to {client}"] = {"options": ",".join(sorted(options))}
    nfsd = {name: state.read_text(f"/proc/fs/nfsd/{name}") for name in ("threads", "versions", "portlist")}
    if any(nfsd.values()):
        entries["nfsd"] = {name: " ".join(sorted(text.split())) for name, text in nfsd.items()}
    return entries


def read_shares(
    shares: Iterable[Mapping[str, Any]], owners: Mapping[str, Account], key: bytes, bound_s: float
) -> dict[str, dict[str, str]]:
    """Return the directories of shares on this host's own disks, and the custom nodes that only this host writes.

    Of a share that cannot be read, or does not answer, this is returned in place of all else.
    """
    paths = {share["name"]: share["path"] for share in shares}
    works: dict[str, Callable[[], Any]] = {
        share["name"]: functools.partial(_read_share, share["name"], share["path"], share["writers"], key)
        for share in shares
    }
    outcomes = run_all(works, {name: owners[name] for name in works} if os.geteuid() == 0 else None, bound_s)
    entries: dict[str, dict[str, str]] = {}
    for name, outcome in outcomes.items():
        entries.update(outcome.value if not outcome.error else {paths[name]: {"error": outcome.error}})
    return entries


def _read_share(name: str, path: str, writers: str, key: bytes) -> dict[str, dict[str, str]]:
    marker = os.path.join(path, studio.MARKER)
    entries = {path: files.read_entry(path, key), marker: files.read_entry(marker, key)}
    if name == "comfyui_custom_nodes" and writers == "server":
        nodes = [os.path.join(path, node) for node in sorted(os.listdir(path)) if not node.startswith((".", "__"))]
        entries.update({node: files.read_tree(node, key) for node in nodes})
        # A node of the studio's list is a link to one of its revisions, which lie in a hidden directory of the share.
        targets = {os.path.realpath(node) for node in nodes if os.path.islink(node)}
        below = [target for target in sorted(targets) if target.startswith(os.path.realpath(path) + os.sep)]
        entries.update({target: files.read_tree(target, key) for target in below})
    # Those that a deployment makes. What else lies there comes and goes.
    made = studio.MODEL_FOLDERS if name == "comfyui_models" else _OLLAMA_FOLDERS if name == "ollama_models" else ()
    entries.update({os.path.join(path, one): files.read_entry(os.path.join(path, one), key) for one in made})
    return {entry: properties for entry, properties in entries.items() if properties}


def read_system() -> dict[str, dict[str, str]]:
    """Return what of the system and the hardware decides what the roles install."""
    release = state.parse_os_release(state.read_text("/etc/os-release"))
    cards = [f"{card.slot} {card.vendor} {card.name} ({card.driver})" for card in gpu.read_pci("/")]
    return {
        "system": {
            "version": f"{release.get('ID', '')} {release.get('VERSION_ID', '')}",
            "machine": os.uname().machine,
        },
        "graphics cards": {"cards": "; ".join(cards)},
    }


def _read_blocks(path: str, names: tuple[str, ...]) -> list[dict[str, str]]:
    """Return some fields of each paragraph of a file in the form of deb822(5)."""
    blocks: list[dict[str, str]] = [{}]
    for line in state.read_text(path).splitlines():
        name, colon, value = line.partition(": ")
        if not line:
            blocks.append({})
        elif colon and name in names:
            blocks[-1][name] = value
    return blocks
