"""Test that the wheel contains the collection, and that driver and Ansible work from it alone."""

from __future__ import annotations

import pytest

from tests.lint.man_pages import PAGES
from tests.support.lab.wheel import Installation, install

pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return install(tmp_path_factory.mktemp("wheel"))


@pytest.mark.long
def test_driver_starts(installation: Installation) -> None:
    done = installation.run("noslop-driver", "--help")
    assert done.returncode == 0, done.stderr
    for verb in ("discover", "plan", "deploy", "verify", "status", "teardown"):
        assert verb in done.stdout


def test_ansible_loads_every_playbook_and_role_of_the_collection(installation: Installation) -> None:
    done = installation.run("ansible-playbook", "-i", "localhost,", "noslop.studio.site", "--list-tasks")
    assert done.returncode == 0, done.stderr
    for role in ("service_account", "nfs_server", "studio_firewall", "ollama", "comfyui", "node_env", "studio_backend"):
        assert role in done.stdout
    done = installation.run("ansible-playbook", "-i", "localhost,", "noslop.studio.teardown", "--syntax-check")
    assert done.returncode == 0, done.stderr


def test_wheel_contains_the_wheel_of_the_backend(installation: Installation) -> None:
    wheel = "{{ lookup('noslop.studio.backend_wheel').path }}"
    done = installation.run("ansible", "localhost", "-m", "ansible.builtin.debug", "-a", f"msg={wheel}")
    assert done.returncode == 0, done.stderr
    (name,) = (word.strip('"') for word in done.stdout.split() if "noslop_backend-" in word)
    assert name.startswith(str(installation.bin.parent))
    contents = installation.run("python", "-m", "zipfile", "--list", name).stdout
    assert "noslop_backend/migrations/script.py.mako" in contents


def test_driver_imports_the_collection_of_the_wheel(installation: Installation) -> None:
    program = "import noslop_driver as d, ansible_collections.noslop.studio as c; print(d.__file__, *c.__path__)"
    done = installation.run("python", "-c", program)
    assert done.returncode == 0, done.stderr
    assert all(str(installation.bin.parent) in path for path in done.stdout.split())


def test_wheel_installs_the_manual_pages_beside_the_program(installation: Installation) -> None:
    pages = installation.bin.parent / "share/man/man1"
    assert {path.name for path in pages.glob("*.1")} == {path.name for path in PAGES.glob("*.1")}
