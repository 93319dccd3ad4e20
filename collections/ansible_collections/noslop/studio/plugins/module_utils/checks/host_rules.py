# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge what a host must be, by facts of it. Pure.

Preflight judges what it reads on the host, the driver's plan what Ansible gathered there: by these rules, so that both
have one severity and one text. Rules of the studio as a whole are in ``plugin_utils.validation``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import (
    Checks,
    enumerate_words,
    format_gigabytes,
)
from ansible_collections.noslop.studio.plugins.module_utils.host import gpu_support
from ansible_collections.noslop.studio.plugins.module_utils.host.version_numbers import is_older
from ansible_collections.noslop.studio.plugins.module_utils.share import own_file_system, path_rules

#: Oldest supported version of each distribution, by the ``ID`` of os-release(5).
SYSTEMS = {"debian": (12,), "ubuntu": (22, 4)}
#: Architectures of Ollama's releases and PyTorch's wheels, as the kernel names them.
ARCHITECTURES = ("x86_64", "aarch64")

#: Oldest system of each distribution on which NFS over TLS works. Debian 12 has no tlshd, and that of Ubuntu 24.04
#: (0.9) compares a server's certificate with what the name service says of its address.
TLS_SYSTEMS = {"debian": (13,), "ubuntu": (25, 10)}
#: The first kernel whose NFS client makes TLS connections (``xprtsec=`` of nfs(5)); its server does since 6.4.
TLS_KERNEL = "6.5"

#: Below both of these a file system runs out of inodes before long.
LEAST_FREE_INODES = 100_000
LEAST_FREE_INODES_SHARE = 0.05


def judge_system(checks: Checks, name: str, version: str) -> bool:
    """Check the distribution. One without a version in numbers, such as Debian's testing, is not supported.

    Args:
        checks: where the result goes.
        name: the distribution, in any case: ``ID`` of os-release(5), or Ansible's name.
        version: its version, such as ``12``, ``12.5`` or ``22.04``.
    """
    return checks.add(
        "host.system",
        _is_new_enough(name, version, SYSTEMS),
        seen=_describe_system(name, version),
        expected=f"{_enumerate_systems(SYSTEMS)}, or newer",
        todo="install one of these systems, or leave this host out of the studio",
    )


def judge_transport(checks: Checks, transport: str, name: str, version: str, kernel: str) -> bool:
    """Check that a host can have NFS over TLS, where the studio chose it. An unknown kernel counts as new enough.

    Args:
        checks: where the result goes.
        transport: ``plain``, ``tls`` or ``mtls`` (``noslop_nfs_transport``).
        name: the distribution, in any case.
        version: its version.
        kernel: the version of its kernel, such as ``6.12.48-amd64``.
    """
    if transport == "plain":
        return True
    return checks.add(
        "host.nfs_transport",
        _is_new_enough(name, version, TLS_SYSTEMS) and not is_older(kernel, TLS_KERNEL),
        seen=_describe_system(name, version) + (f" with kernel {kernel}" if kernel else ""),
        expected=(
            f"{_enumerate_systems(TLS_SYSTEMS)}, or newer, with kernel {TLS_KERNEL} or newer, for NFS over TLS "
            f"(noslop_nfs_transport: {transport})"
        ),
        todo=(
            "install one of these systems on this host and boot its own kernel, leave the host out of the studio, or "
            "set noslop_nfs_transport to plain"
        ),
    )


def _is_new_enough(name: str, version: str, oldest: Mapping[str, tuple[int, ...]]) -> bool:
    least = oldest.get(name.lower())
    if least is None or not version.replace(".", "").isdigit():
        return False
    return tuple(map(int, filter(None, version.split(".")))) >= least


def _describe_system(name: str, version: str) -> str:
    number = version if version.replace(".", "").isdigit() else "without a version number"
    return f"{name.capitalize()} {number}" if name else "unknown"


def _enumerate_systems(oldest: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(
        f"{system.capitalize()} {'.'.join(map('{:02d}'.format, least))}" for system, least in oldest.items()
    )


def judge_service_manager(checks: Checks, name: str) -> bool:
    """Check that systemd is the first process: services and mounts of a studio are its units."""
    return checks.add(
        "host.systemd",
        name == "systemd",
        seen=f"process 1 is {name}",
        expected="systemd runs the host's services",
        todo="boot this host with systemd, or leave it out of the studio",
    )


def judge_architecture(checks: Checks, machine: str, services: Sequence[str]) -> None:
    """Check that there are Ollama and PyTorch for a host that runs ``services``; for another host it is a note."""
    expected = f"{enumerate_words(ARCHITECTURES)}, for which there are Ollama and PyTorch"
    if machine not in ARCHITECTURES and not services:
        observed = f"{machine}, on which neither Ollama nor ComfyUI can run; the host can store and share files"
        checks.note("host.architecture", seen=observed, expected=expected)
        return
    checks.add(
        "host.architecture",
        machine in ARCHITECTURES,
        seen=machine,
        expected=expected,
        todo=f"remove this host from {enumerate_words(services)}",
    )


def judge_python(checks: Checks, service: str, program: str, version: str, oldest: str) -> bool:
    """Check that a service's Python is new enough.

    Args:
        checks: where the result goes.
        service: the group of the hosts that run it.
        program: the interpreter, by name or path.
        version: its version, such as ``3.11``; empty where it is not installed.
        oldest: the oldest version that the service runs with.
    """
    other = {
        "comfyui": "choose an older release with noslop_comfyui_version",
        "backend": "name a newer one in studio_backend_python",
    }
    return checks.add(
        "host.service_python",
        bool(version) and not is_older(version, oldest),
        seen=f"{program} is Python {version}" if version else f"{program} is not installed or does not run",
        expected=f"Python {oldest} or newer for {service}",
        todo=f"{other[service]}, install a newer system, or remove this host from the group {service}",
    )


def judge_gpus(checks: Checks, cards: Sequence[gpu_support.Card], index: str = "") -> None:
    """Check that there is a build of PyTorch for the usable cards of a host that runs ComfyUI, and drivers for it.

    Args:
        checks: where the results go.
        cards: the usable cards.
        index: the build that the user chose (``comfyui_torch_index``), if any.
    """
    if not cards:
        return
    expected = "a build of PyTorch that has code for the cards, and a driver for it"
    add_problems(checks, "host.gpu", gpu_support.find_problems(cards, index), expected=expected)
    for note in gpu_support.list_notes(cards, index):
        checks.note("host.gpu", seen=note, expected=expected)


def judge_paths(checks: Checks, root: str, shares: Sequence[Mapping[str, str]]) -> bool:
    """Check the storage root and the paths of the shares. Returns whether all of them can be shared."""
    problems = path_rules.find_path_problems(root, shares)
    return add_problems(checks, "storage.paths", problems, expected="absolute, plain paths beside each other")


def is_enough_space(free_bytes: float, min_free_gb: float) -> bool:
    """Return whether a file system has the minimum of free space; the minimum is in decimal gigabytes."""
    return free_bytes >= min_free_gb * 1e9


def judge_free_space(
    checks: Checks, paths: Sequence[str], free_bytes: float, min_free_gb: float, *, check: str, share: str = ""
) -> bool:
    """Check the free space of the file system on which ``paths`` lie; the minimum is in decimal gigabytes."""
    return checks.add(
        check,
        is_enough_space(free_bytes, min_free_gb),
        share=share,
        seen=f"the file system of {enumerate_words(paths)} has {format_gigabytes(free_bytes)} free",
        expected=f"at least {min_free_gb:g} GB (noslop_min_free_gb)",
        todo="make room there, choose a path on a larger disk, or lower noslop_min_free_gb",
    )


def judge_inodes(checks: Checks, path: str, inodes: int, free_inodes: int, share: str = "") -> None:
    """Check that a file system has free inodes. One that allocates inodes on demand reports none."""
    checks.add(
        "storage.inodes",
        inodes == 0 or free_inodes >= LEAST_FREE_INODES or free_inodes >= inodes * LEAST_FREE_INODES_SHARE,
        share=share,
        seen=f"{free_inodes:,} of {inodes:,} inodes are free for {path}" if inodes else f"{path} has no fixed number",
        expected=f"at least {LEAST_FREE_INODES:,}, or {LEAST_FREE_INODES_SHARE:.0%} of them",
        todo=(
            f"remove files that are not needed on {checks.host}: `du --inodes --one-file-system --max-depth=3 {path} | "
            "sort --numeric-sort` shows where they are"
        ),
    )


def judge_own_file_systems(checks: Checks, root: str, inside: Sequence[str], *, required: bool, check: str) -> None:
    """Check that exports lie on file systems of their own: forged file handles lead out of others (exports(5)).

    Args:
        checks: where the result goes.
        root: the storage root.
        inside: paths of the shares that lie among other files.
        required: whether that is a failure (``noslop_require_own_file_system``), and no note.
        check: name of the check.
    """
    expected = "each share lies on a file system that holds nothing but shares"
    observed = own_file_system.exposure(checks.host, root, inside) if inside else expected
    if inside and not required:
        checks.note(check, seen=observed, expected=expected)
        return
    checks.add(
        check,
        not inside,
        seen=observed,
        expected=f"{expected} (noslop_require_own_file_system)",
        todo=f"{own_file_system.todo(root)} Or set noslop_require_own_file_system to false",
    )


def add_problems(checks: Checks, check: str, problems: Sequence[str], *, expected: str, share: str = "") -> bool:
    """Add one failed check for each problem: its first sentence is what was observed, the rest what to do.

    Returns whether there is none.
    """
    for problem in problems:
        observed, __, todo = problem.partition(". ")
        checks.add(check, False, share=share, seen=observed, expected=expected, todo=todo or "mend that")
    if not problems:
        checks.add(check, True, share=share, seen="as expected", expected=expected, todo="")
    return not problems
