# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the comparison of a server's exports with the requested ones."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.nfs import exports

OPTIONS = ["rw", "sync", "all_squash", "anonuid=2600", "anongid=2600", "no_subtree_check", "sec=sys"]
SHOWN_OPTIONS = "sync,wdelay,hide,no_subtree_check,anonuid=2600,anongid=2600,sec=sys,rw,secure,root_squash,all_squash"
# `exportfs -s` of nfs-utils 2.6.2; the last one as it shows an export that has the option mp.
SHOWN = f"""\
/mnt/noslop/ollama/models  10.77.42.12({SHOWN_OPTIONS})
/mnt/noslop/ollama/models  fd00::13({SHOWN_OPTIONS})
/mnt/noslop/projects  10.77.42.12({SHOWN_OPTIONS.replace("hide,", "hide,mountpoint,")})
"""
REQUESTED = exports.convert_requested(
    [
        {"path": "/mnt/noslop/ollama/models", "clients": ["10.77.42.12", "fd00::13"], "options": OPTIONS},
        {"path": "/mnt/noslop/projects", "clients": ["10.77.42.12"], "options": [*OPTIONS, "mp"]},
    ]
)


def test_equal_exports_have_no_difference() -> None:
    assert exports.compare(REQUESTED, exports.parse_exportfs(SHOWN), []) == []


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        ("", "is not exported to 10.77.42.12"),
        (SHOWN.replace("fd00::13", "fd00::14"), "is not exported to fd00::13"),
        (SHOWN.replace("fd00::13", "fd00::14"), "is exported to fd00::14 too"),
        (SHOWN.replace("sync,wdelay", "async,wdelay"), "without sync"),
        (SHOWN.replace(",all_squash", ",no_all_squash"), "without all_squash"),
        (SHOWN.replace("mountpoint,", ""), "without mountpoint"),
        (SHOWN.replace("no_subtree_check,", ""), "without no_subtree_check"),
        (SHOWN.replace("anonuid=2600", "anonuid=65534"), "without anonuid=2600"),
        (SHOWN.replace("rw,", "ro,"), "without rw"),
        (SHOWN + f"/mnt/noslop/projects  <world>({SHOWN_OPTIONS})\n", "is exported to <world> too"),
        (SHOWN + f"/mnt/noslop/old  10.77.42.12({SHOWN_OPTIONS})\n", "/mnt/noslop/old is still exported"),
    ],
)
def test_difference_is_described(shown: str, message: str) -> None:
    assert any(message in difference for difference in exports.compare(REQUESTED, exports.parse_exportfs(shown), []))


def test_export_of_the_previous_version_differs_by_account_and_mode() -> None:
    options = ["ro", "sync", "all_squash", "anonuid=2602", "anongid=2602", "no_subtree_check", "sec=sys"]
    wanted = exports.convert_requested([{"path": "/mnt/noslop/nodes", "clients": ["10.77.42.12"], "options": options}])
    shown = exports.parse_exportfs(f"/mnt/noslop/nodes  10.77.42.12({SHOWN_OPTIONS})\n")

    (difference,) = exports.compare(wanted, shown, [])
    assert difference.endswith("without anongid=2602, anonuid=2602, ro")


def test_administrators_exports_are_not_compared() -> None:
    shown = exports.parse_exportfs(SHOWN + f"/srv/photos  *({SHOWN_OPTIONS})\n")

    assert exports.compare(REQUESTED, shown, ["/srv/photos"]) == []


def test_share_without_clients_is_not_exported() -> None:
    wanted = exports.convert_requested([{"path": "/mnt/noslop/projects", "clients": [], "options": OPTIONS}])

    assert wanted == {}
    assert exports.compare(wanted, exports.parse_exportfs(SHOWN), [])


def test_clients_of_one_share_may_have_different_options() -> None:
    path = "/mnt/noslop/projects"
    requested = [
        {"path": path, "clients": ["10.77.42.12"], "options": OPTIONS},
        {"path": path, "clients": ["10.77.42.50"], "options": [*OPTIONS, "insecure"]},
    ]
    wanted = exports.convert_requested(requested)
    shown = f"{path}  10.77.42.12({SHOWN_OPTIONS})\n{path}  10.77.42.50({SHOWN_OPTIONS},insecure)\n"

    assert exports.compare(wanted, exports.parse_exportfs(shown), []) == []
    (difference,) = exports.compare(wanted, exports.parse_exportfs(shown.replace(",insecure", "")), [])
    assert difference.endswith("without insecure")


def test_exports_file_is_parsed_as_in_exports_5() -> None:
    text = (
        "# /commented *(rw)\n"
        "/srv/a *(ro) 10.0.0.0/8(rw)\n"
        '"/srv/with space" *(ro)\n'
        "/srv/with\\040octal \\\n    10.0.0.1(rw)\n"
        "\n"
    )

    assert exports.parse_exports_file(text) == ["/srv/a", "/srv/with space", "/srv/with octal"]


@pytest.mark.parametrize("other", ["/", "/mnt", "/mnt/noslop", "/mnt/noslop/projects", "/mnt/noslop/projects/a"])
def test_foreign_export_that_reaches_a_share_is_refused(other: str) -> None:
    (problem,) = exports.find_overlaps(["/mnt/noslop/projects"], {other: "/etc/exports"})

    assert problem.startswith(f"/etc/exports exports {other}, ")


def test_foreign_export_beside_a_share_is_accepted() -> None:
    assert exports.find_overlaps(["/mnt/noslop/projects"], {"/mnt/noslop/projects2": "/etc/exports"}) == []


def test_mount_point_that_an_export_waits_for_is_compared_by_its_path() -> None:
    wanted = exports.convert_requested(
        [{"path": "/mnt/noslop/projects", "clients": ["10.77.42.12"], "options": [*OPTIONS, "mp=/mnt/noslop"]}]
    )
    shown = f"/mnt/noslop/projects  10.77.42.12({SHOWN_OPTIONS.replace('hide,', 'hide,mountpoint=/mnt/noslop,')})\n"

    assert exports.compare(wanted, exports.parse_exportfs(shown), []) == []
    (difference,) = exports.compare(wanted, exports.parse_exportfs(shown.replace("=/mnt/noslop,", ",")), [])
    assert difference.endswith("without mountpoint=/mnt/noslop")


def test_mount_points_are_listed_from_the_file_and_from_the_server() -> None:
    file = (
        "# Managed\n\n/srv/a/one 10.0.0.2(rw,mp=/srv/a) 10.0.0.3(ro,mp=/srv/a)\n/srv/b 10.0.0.2(rw,mp)\n/srv/c h(rw)\n"
    )

    assert exports.list_mount_points(exports.parse_exportfs(file)) == ["/srv/a", "/srv/b"]
    assert exports.list_mount_points(exports.parse_exportfs(SHOWN)) == ["/mnt/noslop/projects"]


# `exportfs -s` of nfs-utils 2.8.3 (Debian 13), for exports with xprtsec=mtls and with xprtsec=tls:mtls.
TLS_SHOWN = f"/mnt/noslop/projects  10.77.42.12({SHOWN_OPTIONS},xprtsec=mtls)\n"
TLS_BOTH = TLS_SHOWN.replace("xprtsec=mtls", "xprtsec=tls:mtls")


def find_differences(options: list[str], shown: str) -> list[str]:
    export = {"path": "/mnt/noslop/projects", "clients": ["10.77.42.12"], "options": [*OPTIONS, *options]}
    return exports.compare(exports.convert_requested([export]), exports.parse_exportfs(shown), [])


@pytest.mark.parametrize(
    ("options", "shown", "difference"),
    [
        (["xprtsec=mtls"], TLS_SHOWN, ""),
        (["xprtsec=mtls:tls"], TLS_BOTH, ""),
        (["xprtsec=mtls"], TLS_BOTH, "without xprtsec=mtls"),
        (["xprtsec=mtls"], TLS_SHOWN.replace(",xprtsec=mtls", ""), "without xprtsec=mtls"),
        ([], TLS_SHOWN, "without xprtsec=none:tls:mtls"),
        ([], TLS_SHOWN.replace(",xprtsec=mtls", ""), ""),
    ],
)
def test_accepted_transports_are_compared(options: list[str], shown: str, difference: str) -> None:
    found = find_differences(options, shown)

    assert [one.partition("10.77.42.12 ")[2] for one in found] == ([difference] if difference else [])
