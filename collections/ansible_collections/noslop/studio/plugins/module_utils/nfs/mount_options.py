# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose the options of an NFS mount, and compare a mount of the kernel with them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import Mount, mount_at, split_options

#: Defaults that the kernel omits from /proc/self/mountinfo (nfs(5); fs/nfs/super.c).
_DEFAULTS = {
    "acregmin": "3",
    "acregmax": "60",
    "acdirmin": "30",
    "acdirmax": "60",
    "nconnect": "1",
    "xprtsec": "none",
}
#: A flag that may be requested, and the flags that are its opposite.
_FLAGS = {"hard": ("soft", "softerr"), "ro": (), "nosuid": (), "nodev": (), "noexec": (), "nocto": (), "noac": ()}
#: The server may grant less: nfsd allows at most a 4096th of its memory for one request.
_GRANTED = ("rsize", "wsize")
#: All mounts of a server share one set of connections, so the first mount after the last unmount decides.
_SHARED = ("nconnect",)
#: Shares whose files may be executed: custom nodes bring libraries (.so), and mmap(2) with PROT_EXEC needs exec.
EXEC_SHARES = ("comfyui_custom_nodes",)


def compose(share: Mapping[str, str], options: str, models_options: str, transport: str = "plain") -> str:
    """Return the options with which the role ``nfs_client`` mounts a share.

    Args:
        share: a share as the lookup ``noslop.studio.studio`` returns it.
        options: the role's options of every share, ``nfs_client_options``.
        models_options: its further options of shares with models, ``nfs_client_models_options``.
        transport: ``plain``, ``tls`` or ``mtls``, its ``nfs_client_transport``.
    """
    words = [options, models_options if share["kind"] == "models" else ""]
    words += [] if share["name"] in EXEC_SHARES else ["noexec"]
    words += ["ro"] if share.get("writers") == "server" else []
    words += [] if transport == "plain" else [f"xprtsec={transport}"]
    words += [share.get("options") or ""]
    return ",".join(word for word in words if word)


def directory_cache_s(options: str) -> float:
    """Return how long a client may show an old listing of a directory (``acdirmax`` of nfs(5))."""
    value = split_options(options).get("acdirmax", "")
    return float(value if value.isdigit() else _DEFAULTS["acdirmax"])


def source_of(server: str, path: str) -> str:
    """Return the source of a mount, as mount(8) and /proc/self/mountinfo write it."""
    return f"[{server}]:{path}" if ":" in server else f"{server}:{path}"


def server_of(source: str) -> str:
    """Return the server's address of a source; the reverse of :func:`source_of`."""
    return source.partition(":/")[0].strip("[]")


def effective_mount(mounts: list[Mount], path: str) -> Mount | None:
    """Return the mount that a program sees at ``path``; ``None`` where there is only the automount's own."""
    mount = mount_at(mounts, path)
    return None if mount is None or mount.fstype == "autofs" else mount


def waits_for_access(mounts: list[Mount], path: str) -> bool:
    """Return whether there is an automount at ``path``, mounted over or not."""
    return any(mount.point == path and mount.fstype == "autofs" for mount in mounts)


def find_reasons_to_remount(mount: Mount, source: str, options: str) -> list[str]:
    """Return the differences between a mount and the requested one that a new mount would remove."""
    if mount.fstype != "nfs4":
        return [f"it is {mount.fstype}, not nfs4"]
    reasons = [] if mount.source == source else [f"it comes from {mount.source}, not {source}"]
    requested = split_options(options)
    for name in (*_DEFAULTS, "vers"):
        if name in _SHARED:
            continue
        wanted = requested.get(name, _DEFAULTS.get(name, ""))
        current = mount.options.get(name, _DEFAULTS.get(name, ""))
        if wanted and wanted != current:
            reasons.append(f"{name} is {current or 'not set'}, not {wanted}")
    for name, opposites in _FLAGS.items():
        # nfs(5): a mount is hard unless one of the other flags is requested.
        wanted_on = name in requested or (name == "hard" and not set(opposites) & set(requested))
        is_on = name in mount.options
        if wanted_on != is_on:
            reasons.append(f"{name} is {'off' if wanted_on else 'on'}")
    for name in _GRANTED:
        if name in requested and int(mount.options.get(name, "0")) > int(requested[name]):
            reasons.append(f"{name} is {mount.options[name]}, not {requested[name]}")
    return reasons


def find_notes(mount: Mount, options: str) -> list[str]:
    """Return the options of which the server granted less than was requested. The mount works, only slower."""
    wanted = split_options(options)
    notes = [
        f"{name} is {mount.options.get(name)} where {wanted[name]} was asked: the limit of {server_of(mount.source)}, "
        "by its memory"
        for name in _GRANTED
        if name in wanted and int(mount.options.get(name, "0")) < int(wanted[name])
    ]
    for name in _SHARED:
        current = mount.options.get(name, _DEFAULTS[name])
        if name in wanted and wanted[name] != current:
            notes.append(
                f"{name} is {current} where {wanted[name]} was asked: another mount of that server decided it; "
                "it changes when none is left, at the latest with the next start of the host"
            )
    return notes
