# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the wheel of a newer version of the backend: the same source with a higher version and one more migration.

Run as ``build_newer_wheel.py SOURCE DIRECTORY``. DIRECTORY then holds the wheel and no other file.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from alembic.script import ScriptDirectory

VERSION = "99.0.0"
#: A migration that changes rows, which shows that it ran, and the schema, which older versions must not use.
MIGRATION = '''"""A schema of a later version."""

import sqlalchemy as sa
from alembic import op

revision = "later"
down_revision = "%s"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("project", sa.Column("mood", sa.String(), nullable=False, server_default="calm"))
    op.execute("UPDATE project SET description = 'migrated: ' || name")


def downgrade() -> None:
    op.drop_column("project", "mood")
'''


def main(source: Path, directory: Path) -> None:
    """Copy the source, change the copy, and build its wheel."""
    shutil.rmtree(directory, ignore_errors=True)
    copy = directory / "source"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    version_file = copy / "noslop_backend" / "__init__.py"
    source_text = version_file.read_text("utf-8")
    version_file.write_text(re.sub(r"(?m)^__version__ = .*$", f'__version__ = "{VERSION}"', source_text), "utf-8")
    migrations = copy / "noslop_backend" / "migrations"
    head = ScriptDirectory(str(migrations)).get_current_head()
    (migrations / "versions" / "later.py").write_text(MIGRATION % head, "utf-8")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(copy)]
    subprocess.run(build, check=True)
    shutil.rmtree(copy)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
