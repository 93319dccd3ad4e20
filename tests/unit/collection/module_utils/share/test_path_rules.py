# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which paths may be shared, and the names of their units against systemd's own program."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.share import path_rules
from hypothesis import given, settings
from hypothesis import strategies as st

WORDS = st.text(st.characters(exclude_characters="/\0\n", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda word: word not in (".", "..")
)
PATHS = st.lists(WORDS, max_size=4).map(lambda words: "/" + "/".join(words))


@pytest.mark.skipif(not shutil.which("systemd-escape"), reason="systemd is not installed")
@settings(deadline=None, max_examples=20)
@given(st.lists(PATHS, min_size=20, max_size=60))
def test_unit_names_agree_with_systemd_escape(paths: list[str]) -> None:
    done = subprocess.run(
        ["systemd-escape", "--path", "--suffix=mount", "--", *paths], capture_output=True, check=True, text=True
    )

    assert [path_rules.make_unit_name(path, "mount") for path in paths] == done.stdout.split()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/mnt/noslop/media_cache", "mnt-noslop-media_cache.automount"),
        ("/mnt/my-disk/projects", "mnt-my\\x2ddisk-projects.automount"),
        ("/.hidden/.too", "\\x2ehidden-.too.automount"),
        ("/", "-.automount"),
    ],
)
def test_unit_names_of_example_paths(path: str, name: str) -> None:
    assert path_rules.make_unit_name(path, "automount") == name


def test_default_paths_are_accepted() -> None:
    assert path_rules.find_path_problems(studio.STORAGE_ROOT, studio.shares_as_dicts({})) == []


def test_share_outside_the_root_is_accepted() -> None:
    shares = studio.shares_as_dicts({"noslop_ollama_models_dir": "/data/models", "noslop_media_cache_dir": "/srv/p"})

    assert path_rules.find_path_problems("/mnt/noslop", shares) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/", "used by others"),
        ("/home", "used by others"),
        ("/home/anna", "used by others"),
        ("/mnt", "used by others"),
        ("/var/lib/noslop", "used by others"),
        ("/etc/noslop", "operating system"),
        ("/usr", "operating system"),
        ("/tmp/models", "operating system"),
        ("models", "cannot be shared"),
        ("/mnt/../etc", "cannot be shared"),
        ("/mnt/models/", "cannot be shared"),
        ("/mnt/my models", "cannot be shared"),
        ("/mnt/$HOME", "cannot be shared"),
        ("/mnt/a(rw)", "cannot be shared"),
        ("/mnt/%i", "cannot be shared"),
        ("/mnt/a\n/b", "cannot be shared"),
    ],
)
def test_refused_path_is_named(path: str, message: str) -> None:
    (problem,) = path_rules.find_path_problems("/mnt/noslop", [{"name": "projects", "path": path}])

    assert message in problem
    assert "projects" in problem


def test_share_inside_another_is_refused() -> None:
    shares = [{"name": "models", "path": "/data/m"}, {"name": "nodes", "path": "/data/m/nodes"}]

    (problem,) = path_rules.find_path_problems("/mnt/noslop", shares)

    assert "nodes" in problem
    assert "models (/data/m)" in problem


@pytest.mark.parametrize("path", ["/mnt/noslop", "/mnt/noslop/a"])
def test_share_that_contains_the_root_is_refused(path: str) -> None:
    (problem,) = path_rules.find_path_problems("/mnt/noslop/a/root", [{"name": "projects", "path": path}])

    assert "is or holds the storage root" in problem


def test_sibling_with_the_same_prefix_is_accepted() -> None:
    shares = [{"name": "one", "path": "/data/m"}, {"name": "two", "path": "/data/m2"}]

    assert path_rules.find_path_problems("/mnt/noslop", shares) == []


@given(PATHS)
def test_accepted_paths_are_plain(path: str) -> None:
    if not path_rules.find_path_problems("/mnt/noslop", [{"name": "s", "path": path}]):
        assert not set(path) & set(" \t\n\\\"'$%#*?[]{}()&;|<>`!,")
        assert "/../" not in path + "/"
