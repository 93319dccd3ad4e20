# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which entries of ``noslop_custom_nodes`` are accepted, and what is said about the others."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import studio_rules, variable_rules
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.custom_nodes import (
    CustomNode,
    parse_custom_nodes,
)

GIT: dict[str, Any] = {"name": "Painter", "repo": "https://git.lan/painter.git", "commit": "a" * 40}
ARCHIVE: dict[str, Any] = {"name": "brush-2", "archive": "/srv/brush.tar.gz", "sha256": "b" * 64}


def test_accepted_entries_keep_their_values() -> None:
    more = {"hosts": ["a", "a"], "allow_install_script": True, "allow_source": ["insight.face"]}
    assert parse_custom_nodes([GIT, {**ARCHIVE, **more}]) == [
        CustomNode("Painter", repo="https://git.lan/painter.git", commit="a" * 40),
        CustomNode("brush-2", "", "", "/srv/brush.tar.gz", "b" * 64, ("a",), True, ("insight.face",)),
    ]


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("Painter", "is no list"),
        (["Painter"], "entry 1 is 'Painter'"),
        ([{**GIT, "commmit": "x"}], "has the key commmit"),
        ([GIT, {**GIT, "name": "painter"}], "two entries are called Painter"),
        *(
            ([{**GIT, "name": name}], "is no name of a directory")
            for name in ("", "..", ".hidden", "a/b", "-rf", "x.disabled", "__pycache__", "é")
        ),
        ([{**GIT, **ARCHIVE}], "either repo and commit, or archive"),
        ([{**GIT, "sha256": "b" * 64}], "sha256 belongs to archive"),
        *(
            ([{**GIT, "repo": address}], part)
            for address, part in {
                "git@git.lan:painter.git": "is no address",
                "--upload-pack=x": "is no address",
                "ext::sh -c x": "white space",
                "file:///srv/painter": "is no address",
                "https://me:token@git.lan/x": "name or password",
            }.items()
        ),
        *(
            ([{**GIT, "commit": commit}], "Write all 40 hexadecimal digits")
            for commit in ("", "main", "v1.0", "A" * 40, "a" * 39, 1234)
        ),
        ([{**ARCHIVE, "archive": "https://git.lan/x.7z"}], "is none that is unpacked"),
        ([{**ARCHIVE, "sha256": "b" * 40}], "Write all 64 hexadecimal digits"),
        ([{**GIT, "hosts": "one"}], "Write a list of names"),
        ([{**GIT, "allow_install_script": "yes"}], "Write true or false"),
        ([{**GIT, "allow_source": ["x==1"]}], "without a version"),
    ],
)
def test_unusable_entries_are_named(value: object, part: str) -> None:
    with pytest.raises(ValueError, match=r"^noslop_custom_nodes: ") as raised:
        parse_custom_nodes(value)
    assert part in str(raised.value)
    assert "token" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ([{**GIT, "hosts": ["render1"]}], "every custom node has a source with its checksum"),
        ([{**GIT, "hosts": ["nas"]}], "Painter is for nas, which is not in the group comfyui"),
        ("x", "'x' is no list"),
    ],
)
def test_preflight_judges_the_list(value: object, part: str) -> None:
    checks = Checks(studio_rules.STUDIO)
    variable_rules.judge_custom_nodes(checks, value, ["render1"])
    (check,) = checks.list
    assert part in check["seen"]
    assert check["ok"] == part.startswith("every")
