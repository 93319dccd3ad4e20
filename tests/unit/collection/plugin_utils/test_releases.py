# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test versions as users write them, and what is known of each release."""

from __future__ import annotations

import re

import pytest
from ansible_collections.noslop.studio.plugins.plugin_utils import releases
from packaging.version import Version

COMMIT = "637221995f7424a561bd825de3e61ea117dfe1e3"


@pytest.mark.parametrize(
    ("program", "text", "version"),
    [
        ("comfyui", "", ""),
        ("comfyui", "0.33.0", "v0.33.0"),
        ("comfyui", " v0.33.0\n", "v0.33.0"),
        ("comfyui", COMMIT, COMMIT),
        ("ollama", "", ""),
        ("ollama", "0.32.7", "0.32.7"),
        ("ollama", "v0.33.0-rc1", "0.33.0-rc1"),
    ],
)
def test_version_is_read_as_users_write_it(program: str, text: str, version: str) -> None:
    assert releases.parse_setting(program, text) == version


@pytest.mark.parametrize(
    ("program", "value"),
    [
        *(("comfyui", value) for value in ("master", "0.33", 0.33, COMMIT[:12], COMMIT.upper(), "v0.33.0;id")),
        *(("ollama", value) for value in ("latest", 0.32, COMMIT, "../0.32.7")),
    ],
)
def test_other_version_is_refused_with_its_variable(program: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"noslop_{program}_version: {re.escape(repr(str(value)))} is no version"):
        releases.parse_setting(program, value)


@pytest.mark.parametrize("program", ["comfyui", "ollama"])
def test_newest_release_is_the_default_and_is_pinned(program: str) -> None:
    listed = releases.list_releases(program)
    numbers = [Version(release.version) for release in listed]

    assert numbers == sorted(numbers, reverse=True)
    assert releases.find_release(program, "") == releases.find_release(program, listed[0].version)
    for release in listed:
        assert releases.PARSERS[program](release.version) == release.version
        checksums = [release.commit] if program == "comfyui" else list(release.sha256.values())
        assert all(re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text) for text in checksums)
        assert checksums


@pytest.mark.parametrize(
    ("version", "facts"),
    [
        ("v0.33.0", ("2f35f4a08176d993cded35dac3332be4f7287f41", "3.10", "2.7")),
        ("v0.33.4", ("", "3.10", "2.7")),
        ("v0.32.9", ("", "3.9", "")),
        (COMMIT, (COMMIT, "3.9", "")),
        ("9" * 40, ("", "", "")),
        ("tag-of-a-fork", ("", "", "")),
    ],
)
def test_release_that_is_not_listed_needs_what_the_one_before_it_does(version: str, facts: tuple[str, ...]) -> None:
    release = releases.find_release("comfyui", version)

    assert release.version == version
    assert (release.commit, release.python, release.torch) == facts


@pytest.mark.parametrize(
    ("version", "vulnerabilities"),
    [
        ("0.17.0", ["CVE-2026-7482", "CVE-2026-7020"]),
        ("0.17.1", ["CVE-2026-7020"]),
        ("0.20.2", ["CVE-2026-7020"]),
        ("0.20.3", []),
        ("", []),
    ],
)
def test_vulnerabilities_of_a_release(version: str, vulnerabilities: list[str]) -> None:
    assert [one.id for one in releases.find_release("ollama", version).vulnerabilities] == vulnerabilities
