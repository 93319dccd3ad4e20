# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the collection's tarball passes what Galaxy and Automation Hub ask, and works where nothing else is."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

from tests.support.tarball import COLLECTION, Installation

PLAYBOOKS = sorted(path.stem for path in (COLLECTION / "playbooks").glob("*.yml"))


def test_galaxy_imports_the_tarball_without_an_error_or_a_warning(installation: Installation, tarball: Path) -> None:
    """Test metadata, tags, documentation, changelog and the READMEs of roles."""
    done = installation.run("python", "-m", "galaxy_importer.main", str(tarball), cwd=installation.directory)
    assert done.returncode == 0, done.stdout
    assert "Importer processing completed successfully" in done.stdout
    assert re.findall(r"^(?:WARNING|ERROR|CRITICAL).*", done.stdout, re.MULTILINE) == []


def test_documentation_of_every_plugin_is_correct(installation: Installation) -> None:
    done = installation.run("antsibull-docs", "lint-collection-docs", "--plugin-docs", ".")
    assert (done.returncode, done.stdout) == (0, "")


def test_tarball_has_no_file_that_a_build_or_a_test_made(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = [member.name for member in archive if member.isfile()]
    assert "galaxy.yml" not in names
    assert "roles/ollama/tasks/main.yml" in names
    assert [name for name in names if re.search(r"(^|/)\.|\.pyc$|^tests/output|^plugins/.*\.md$|\.whl$", name)] == []


def test_ansible_reads_every_playbook_by_its_full_name(installation: Installation) -> None:
    names = [f"noslop.studio.{playbook}" for playbook in PLAYBOOKS]
    done = installation.run("ansible-playbook", "-i", "localhost,", "--syntax-check", *names)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("playbook: ") == len(PLAYBOOKS) > 5


def test_role_runs_in_check_mode(installation: Installation) -> None:
    variables = "noslop_studio_id=test noslop_storage_root=/mnt/noslop"
    done = installation.run(
        *("ansible", "localhost", "--connection", "local", "--check", "--extra-vars", variables),
        *("--module-name", "ansible.builtin.include_role", "--args", "name=noslop.studio.node_env"),
    )
    assert done.returncode == 0, done.stdout
