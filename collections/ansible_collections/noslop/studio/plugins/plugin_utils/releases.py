# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the versions of ComfyUI and Ollama as users write them, and what each release needs.

The data is in ``roles/<program>/vars/releases.yml``. A release that is not listed there can be installed too: it needs
what the newest listed release before it needs, and nothing is pinned for it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

with contextlib.suppress(ImportError):  # ansible-core depends on it; the import check of ansible-test does without
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

ROLES = Path(__file__).parents[2] / "roles"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TORCH_PIN = re.compile(r"torch\s*==\s*([\d.]*\d)")
_RELEASE = re.compile(r"v?(\d+\.\d+\.\d+(-\w+)?)")


@dataclass(frozen=True)
class Vulnerability:
    """A published defect of some versions; ``effect`` follows "lets every host that reaches it"."""

    id: str
    effect: str


@dataclass(frozen=True)
class Release:
    """One version of a program. What is not known is empty."""

    version: str
    """A tag or commit of ComfyUI, the number of a release of Ollama."""
    commit: str = ""
    sha256: dict[str, str] = field(default_factory=dict)
    """The checksum of each architecture's archive."""
    python: str = ""
    """The oldest Python."""
    torch: str = ""
    """The oldest PyTorch."""
    vulnerabilities: tuple[Vulnerability, ...] = ()


@dataclass(frozen=True)
class Problem:
    """A reason why a release may not be installed, as a sentence without its end, and what to do."""

    text: str
    todo: str


def parse_comfyui_version(text: object) -> str:
    """Return the tag or commit for a version of ComfyUI as users write it; ``0.33.0`` becomes ``v0.33.0``.

    Raises:
        ValueError: it is neither a release nor a commit. Branches change, and are refused.
    """
    value = str(text).strip()
    release = _RELEASE.fullmatch(value)
    if release:
        return f"v{release[1]}"
    if value and not _COMMIT.fullmatch(value):
        raise ValueError(
            f"{value!r} is no version of ComfyUI. Write a release, like 0.33.0, or the 40 hexadecimal digits of a "
            "commit; empty is the release that this NoSlop is tested with."
        )
    return value


def parse_ollama_version(text: object) -> str:
    """Return a version of Ollama as users write it, without the ``v`` of its tag.

    Raises:
        ValueError: it is no release.
    """
    value = str(text).strip()
    release = _RELEASE.fullmatch(value)
    if value and not release:
        raise ValueError(
            f"{value!r} is no version of Ollama. Write a release, like 0.32.7; empty is the release that this NoSlop "
            "is tested with."
        )
    return release[1] if release else ""


#: Program to the reader of its version, and to the variable of the studio.
PARSERS: dict[str, Callable[[object], str]] = {"comfyui": parse_comfyui_version, "ollama": parse_ollama_version}
TITLES = {"comfyui": "ComfyUI", "ollama": "Ollama"}
VARIABLES = {program: f"noslop_{program}_version" for program in PARSERS}


def parse_setting(program: str, value: object) -> str:
    """Return the studio's version of a program. Raises ValueError, which names the variable."""
    try:
        return PARSERS[program](value)
    except ValueError as error:
        raise ValueError(f"{VARIABLES[program]}: {error}") from error


def list_releases(program: str) -> list[Release]:
    """Return the releases that NoSlop is tested with, the newest first; the first one is the default."""
    return [Release(**entry) for entry in _read(program)[f"{program}_releases"]]


def find_release(program: str, version: str) -> Release:
    """Return what is known of a version.

    Args:
        program: ``comfyui`` or ``ollama``.
        version: a tag, a commit or a number; empty is the default.
    """
    listed = list_releases(program)
    if not version:
        match = listed[0]
    else:
        match = next((release for release in listed if version in (release.version, release.commit)), None) or (
            _derive(version, listed)
        )
    vulnerabilities = tuple(
        Vulnerability(entry["id"], entry["effect"])
        for entry in _read(program).get(f"{program}_vulnerabilities", [])
        if _as_version(match.version) in SpecifierSet(entry["versions"], prereleases=True)
    )
    return replace(match, version=version or match.version, vulnerabilities=vulnerabilities)


def find_problems(
    program: str, release: Release, *, torch_packages: Sequence[str] = (), allow_vulnerable: bool = False
) -> list[Problem]:
    """Return why a release may not be installed.

    Args:
        program: ``comfyui`` or ``ollama``.
        release: what is known of it.
        torch_packages: requirements that may pin PyTorch.
        allow_vulnerable: whether its vulnerabilities are accepted.
    """
    problems = []
    title, variable = TITLES[program], VARIABLES[program]
    if release.vulnerabilities and not allow_vulnerable:
        effects = " and ".join(one.effect for one in release.vulnerabilities)
        ids = ", ".join(one.id for one in release.vulnerabilities)
        problems.append(
            Problem(
                f"{title} {release.version} lets every host that reaches it {effects} ({ids})",
                f"set {variable} to a newer release, like {list_releases(program)[0].version}. To install this one all "
                f"the same, set {program}_allow_vulnerable",
            )
        )
    pins = [match[1] for package in torch_packages if (match := _TORCH_PIN.match(package))]
    problems += [
        Problem(
            f"{title} {release.version} needs PyTorch {release.torch}, and {program}_torch_packages pins {pin}",
            f"pin a newer PyTorch or none, or choose an older release with {variable}",
        )
        for pin in pins
        if release.torch and Version(pin) < Version(release.torch)
    ]
    return problems


def _derive(version: str, listed: list[Release]) -> Release:
    """Return a release that is not listed, with the needs of the newest listed one before it."""
    number = _as_version(version)
    older = [release for release in listed if _as_version(release.version) <= number]
    return Release(version, python=older[0].python, torch=older[0].torch) if older else Release(version)


def _as_version(text: str) -> Version:
    """Return a number to compare; a commit, or the tag of a fork, is older than every release."""
    return Version(text if _RELEASE.fullmatch(text) else "0.dev0")


def _read(program: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROLES / program / "vars" / "releases.yml").read_text(encoding="utf-8"))
    return content
