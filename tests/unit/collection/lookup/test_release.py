# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the lookup of releases in real plays."""

from __future__ import annotations

from pathlib import Path

from tests.unit.collection.lookup.test_studio import debug, run_tasks


def test_release_follows_the_setting_of_the_studio_unless_one_is_named(tmp_path: Path) -> None:
    expressions = [
        "lookup('noslop.studio.release', 'comfyui').version",
        "lookup('noslop.studio.release', 'comfyui', 'v0.33.0').python",
        "lookup('noslop.studio.release', 'ollama').version",
        "lookup('noslop.studio.release', 'ollama', '0.20.2').vulnerabilities",
        "lookup('noslop.studio.release', 'ollama', ollama_named).sha256.amd64[:8]",
    ]
    variables = {"chosen": "0.3.64", "noslop_comfyui_version": "{{ chosen }}", "ollama_named": "0.32.7"}
    assert run_tasks(tmp_path, [debug(expression) for expression in expressions], **variables) == [
        "v0.3.64",
        "3.10",
        "0.32.7",
        [{"id": "CVE-2026-7020", "effect": "write files"}],
        "ed1e39fe",
    ]


def test_version_that_is_none_fails_with_its_variable(tmp_path: Path) -> None:
    (message,) = run_tasks(
        tmp_path, [debug("lookup('noslop.studio.release', 'comfyui').version")], noslop_comfyui_version="master"
    )
    assert "noslop_comfyui_version: 'master' is no version of ComfyUI. Write a release, like 0.33.0" in message
