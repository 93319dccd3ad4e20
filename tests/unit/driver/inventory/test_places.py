# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from noslop_driver.inventory import places

FILES = {
    "hosts.yml": "all: {vars: {noslop_uid: 1}, children: {ollama: {hosts: {one: {noslop_gid: 2}}}}}\n",
    "more.yml": "all: {hosts: {two: {}}}\n",
    "broken.yml": "{one",
    "group_vars/all/studio.yml": "noslop_uid: 3\nsecret: !vault x\n",
    "group_vars/all.yml": "noslop_users: []\n",
    "group_vars/ollama.yml": "noslop_gid: 4\n",
    "host_vars/one/more.yml": "noslop_gid: 5\n",
    "host_vars/one/text": "noslop_gid: 5\n",
}


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(("host", "file"), [("one", "hosts.yml"), ("two", "more.yml"), ("three", None)])
def test_file_of_a_host_is_the_one_with_its_entry(inventory: Path, host: str, file: str | None) -> None:
    assert places.find_host(inventory, host) == file


@pytest.mark.parametrize(
    ("variable", "files"),
    [
        ("noslop_uid", ["group_vars/all/studio.yml", "hosts.yml"]),
        ("noslop_gid", ["group_vars/ollama.yml", "host_vars/one/more.yml", "hosts.yml"]),
        ("noslop_users", []),  # Ansible does not read group_vars/all.yml beside a directory of that name
        ("noslop", []),
    ],
)
def test_files_of_a_variable_are_those_that_set_it(inventory: Path, variable: str, files: list[str]) -> None:
    assert places.find_variable(inventory, variable) == files


def test_inventory_that_does_not_exist_has_nothing(tmp_path: Path) -> None:
    assert places.find_host(tmp_path / "no", "one") is None
    assert places.find_variable(tmp_path / "no", "noslop_uid") == []
