# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the backend's wheel into NoSlop's own wheel, where the role studio_backend finds it.

A studio's hosts install the backend from this file, so that driver, roles and backend always have the same version and
no index has to offer it. It is built from the source beside it: nothing binary is committed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.wheel import WheelBuilder, WheelBuilderConfig

FILES = "ansible_collections/noslop/studio/roles/studio_backend/files"


class BackendWheel(BuildHookInterface[WheelBuilderConfig]):
    """A build hook that adds the backend's wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the backend's wheel, but not for an editable installation, which reads the checkout."""
        if version == "editable":
            return
        # Kept until `finalize`: the archive is written after this returns.
        self._directory = tempfile.TemporaryDirectory(prefix="noslop-backend-")
        builder = WheelBuilder(str(Path(self.root, "backend")))
        for wheel in builder.build(directory=self._directory.name, versions=["standard"]):
            build_data["force_include"][wheel] = f"{FILES}/{Path(wheel).name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the backend's wheel from the temporary directory."""
        if version != "editable":
            self._directory.cleanup()
