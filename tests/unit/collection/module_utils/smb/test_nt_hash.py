# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the NT hash with the vectors of RFC 1320 and of MS-NLMP."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.smb.nt_hash import make_nt_hash, md4


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        (b"a", "bde52cb31de33e46245e05fbdbd6fb24"),
        (b"abc", "a448017aaf21d8525fc10ae87aa6729d"),
        (b"message digest", "d9130a8164549fe818874806e1c7014b"),
        (b"abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
        (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_md4_of_rfc_1320(text: bytes, digest: str) -> None:
    assert md4(text).hex() == digest


def test_nt_hash_is_that_of_windows() -> None:
    # MS-NLMP, section 4.2.2.1.2: NTOWFv1("Password").
    assert make_nt_hash("Password") == "A4F49C406510BDCAB6824EE7C30FD852"
    assert make_nt_hash("") == "31D6CFE0D16AE931B73C59D7E0C089C0"
