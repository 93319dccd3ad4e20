# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what `noslop_extra_shares` may be, and which shares a studio has then."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.nfs import mount_options
from ansible_collections.noslop.studio.plugins.module_utils.share import extra_shares
from ansible_collections.noslop.studio.plugins.module_utils.share.extra_shares import ExtraShare

FULL = {
    "name": "reference",
    "path": "/data/reference",
    "writers": "server",
    "clients": ["w1", "w2", "w1"],
    "read_only": ["w2"],
    "options": "actimeo=600,nocto",
}


def test_share_has_what_its_entry_says() -> None:
    assert extra_shares.parse([FULL, {"name": "b"}]) == [
        ExtraShare("reference", "/data/reference", "server", ("w1", "w2"), ("w2",), "actimeo=600,nocto"),
        ExtraShare("b"),
    ]
    assert extra_shares.parse(None) == extra_shares.parse([]) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("reference", "is no list"),
        (["reference"], r"entry 1 is 'reference'\. Write it like \{name: reference\}"),
        ([{"path": "/data"}], "entry 1: name is ''"),
        ([{"name": "Reference"}], "name is 'Reference'"),
        ([{"name": "with space"}], "name is 'with space'"),
        ([{"name": "new\nline"}], "name is"),
        ([{"name": "a", "writer": "server"}], r"\(a\) has the key writer, which no share has"),
        ([{"name": "a", "writers": "all"}], "writers is 'all'"),
        ([{"name": "a", "clients": "w1"}], "clients is 'w1'. Write a list"),
        ([{"name": "a", "read_only": {"w1": 1}}], "read_only is"),
        ([{"name": "a", "options": "nocto, noac"}], "without spaces"),
        ([{"name": "a", "options": "soft"}], "has soft: it can lose what programs wrote. Leave it out"),
        ([{"name": "a", "options": "nocto,ro"}], "has ro: write writers: server, or read_only"),
        ([{"name": "a", "options": "vers=3"}], "has vers=3: it is the same for all shares"),
        ([{"name": "a", "options": "exec"}], "has exec"),
        ([{"name": "a"}, {"name": "a"}], "another share is called a too"),
        ([{"name": "projects"}], "another share is called projects too"),
    ],
)
def test_entry_that_is_no_share_is_refused_with_what_to_write(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        studio.shares({"noslop_extra_shares": value})


def test_studio_has_its_own_shares_first_and_each_path_once() -> None:
    listed = studio.shares({"noslop_storage_root": "/srv/studio", "noslop_extra_shares": [FULL, {"name": "scratch"}]})
    assert [share.name for share in listed[-2:]] == ["reference", "scratch"]
    assert (listed[-1].path, listed[-1].env, listed[-1].owner) == ("/srv/studio/scratch", "SHARE_SCRATCH_DIR", "noslop")
    with pytest.raises(ValueError, match="is the path of another share too"):
        studio.shares({"noslop_extra_shares": [{"name": "again", "path": "/mnt/noslop/projects"}]})
    with pytest.raises(ValueError, match=r"noslop_extra_shares \(odd\)"):
        studio.shares({"noslop_extra_shares": [{"name": "odd", "path": "relative"}]})


def test_options_of_a_share_come_behind_those_of_all() -> None:
    share = {"name": "reference", "kind": "work", "writers": "members", "options": "nocto"}
    assert mount_options.compose(share, "vers=4.2,hard", "acdirmax=3") == "vers=4.2,hard,noexec,nocto"
