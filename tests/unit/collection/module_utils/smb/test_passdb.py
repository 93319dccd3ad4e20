# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what is changed in Samba's database of users."""

from __future__ import annotations

from ansible_collections.noslop.studio.plugins.module_utils.smb import passdb

LINES = """\
anna:990:XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX:A4F49C406510BDCAB6824EE7C30FD852:[U          ]:LCT-6B0CFE92:
bert:991:XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX:A4F49C406510BDCAB6824EE7C30FD852:[DU         ]:LCT-6B0CFE92:
carl:992:XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX:31D6CFE0D16AE931B73C59D7E0C089C0:[U          ]:LCT-6B0CFE92:
Unknown parameter encountered: "x"
"""


def test_users_are_added_renewed_and_removed() -> None:
    entries = passdb.parse_entries(LINES)
    wanted = {"anna": "Password", "bert": "Password", "dora": "Password"}
    assert passdb.compare(entries, wanted) == passdb.Changes(added=("dora",), renewed=("bert",), removed=("carl",))
    assert passdb.compare(entries, {"anna": "password"}).renewed == ("anna",)
    assert passdb.compare({}, {}) == passdb.Changes((), (), ())


def test_hash_is_in_no_representation() -> None:
    assert "A4F49C40" not in repr(passdb.parse_entries(LINES))
