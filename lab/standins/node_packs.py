# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the repositories of custom nodes: two that work, and one for each kind of failure.

Each repository has two commits, so that an update exists. The first commit of each works; the second one of a node
that fails does what the node's name says. A node's class is an output node without inputs that returns its version.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from repositories import Commit, write_repository

OUTSIDE_FILE = "/etc/noslop-node"

SOURCE = '''"""A custom node of NoSlop's lab: {name} {version}."""
{at_import}

class {class_name}:
    """Return the version of this pack as text."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "noslop"

    @classmethod
    def INPUT_TYPES(cls):
        """Describe the inputs: there are none."""
        return {{"required": {{}}}}

    def run(self):
        """Return the version."""
        return {{"ui": {{"text": ["{name} {version}"]}}}}


NODE_CLASS_MAPPINGS = {{"{class_name}": {class_name}}}
'''

# What ComfyUI-Manager runs once after it installed a pack: the account's number is written beside the script.
INSTALL_SCRIPT = '''"""Write which account ran this script."""
import os
import pathlib

pathlib.Path(__file__).with_name("installed-by.txt").write_text(f"{os.getuid()}\\n", "ascii")
'''

WRITE_OUTSIDE = f"""
try:
    with open("{OUTSIDE_FILE}", "w", encoding="ascii") as stream:
        stream.write("written by a custom node at its import\\n")
except OSError:
    pass
"""


@dataclass(frozen=True)
class Version:
    """One commit of a pack: statements that run at its import, and lines of its requirements.txt."""

    version: str
    at_import: str = ""
    requirements: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pack:
    """One custom node: the name of its repository, of its class, and its versions."""

    name: str
    class_name: str
    versions: tuple[Version, Version]
    has_install_script: bool = False


FIRST = Version("1.0.0")
_IMPORT_OWN_PACKAGE = "import noslop_standin_node_requirement\n"

PACKS = (
    Pack("good", "StandinGood", (FIRST, Version("1.1.0"))),
    Pack(
        "good-with-packages",
        "StandinGoodWithPackages",
        (
            Version("1.0.0", _IMPORT_OWN_PACKAGE, ("noslop-standin-node-requirement==2.0.0",)),
            Version("1.1.0", _IMPORT_OWN_PACKAGE, ("noslop-standin-node-requirement>=2.1",)),
        ),
        has_install_script=True,
    ),
    # ComfyUI's own requirements.txt wants 2.0 or newer.
    Pack(
        "contradicting",
        "StandinContradicting",
        (
            Version("1.0.0", requirements=("noslop-standin-requirement>=1.0",)),
            Version("1.1.0", requirements=("noslop-standin-requirement==1.0.0",)),
        ),
    ),
    Pack(
        "raises",
        "StandinRaises",
        (FIRST, Version("1.1.0", 'raise RuntimeError("this custom node fails at its import")\n')),
    ),
    Pack("crashes", "StandinCrashes", (FIRST, Version("1.1.0", "import os\n\nos.abort()\n"))),
    Pack("hangs", "StandinHangs", (FIRST, Version("1.1.0", "import threading\n\nthreading.Event().wait()\n"))),
    Pack("writes-outside", "StandinWritesOutside", (FIRST, Version("1.1.0", WRITE_OUTSIDE))),
)


def pyproject(pack: Pack, version: Version) -> str:
    """Return a pack's pyproject.toml, with the table that ComfyUI's registry reads."""
    needs = ", ".join(f'"{line}"' for line in version.requirements)
    return (
        f'[project]\nname = "noslop-standin-{pack.name}"\nversion = "{version.version}"\ndependencies = [{needs}]\n'
        f'\n[tool.comfy]\nPublisherId = "noslop"\nDisplayName = "NoSlop stand-in: {pack.name}"\n'
    )


def pack_files(pack: Pack, version: Version) -> dict[str, str]:
    """Return the files of one version of a pack."""
    source = SOURCE.format(
        name=pack.name, version=version.version, at_import=version.at_import, class_name=pack.class_name
    )
    files = {"__init__.py": source, "pyproject.toml": pyproject(pack, version)}
    if version.requirements:
        files["requirements.txt"] = "".join(f"{line}\n" for line in version.requirements)
    if pack.has_install_script:
        files["install.py"] = INSTALL_SCRIPT
    return files


def build_nodes(out: Path) -> dict[str, list[str]]:
    """Write `nodes/<name>.git` for each pack, and return the two commits of each, older one first."""
    return {
        pack.name: write_repository(
            out / "nodes" / f"{pack.name}.git",
            [Commit(f"{pack.name} {version.version}", pack_files(pack, version)) for version in pack.versions],
        )
        for pack in PACKS
    }
