# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the backend's wheel into NoSlop's own, where the role studio_backend finds it.

A studio's hosts install the backend from this file, so that driver, roles and backend are always of one version and no
index has to have it. It is built from the source beside it: nothing binary is committed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.wheel import WheelBuilder, WheelBuilderConfig

FILES = "ansible_collections/noslop/studio/roles/studio_backend/files"


class BackendWheel(BuildHookInterface[WheelBuilderConfig]):
    """Builds one wheel for the other."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build it, unless this is an editable installation, which reads the checkout as it is."""
        if version == "editable":
            return
        # As long as the builder lives: the archive is written after this returns.
        self._directory = tempfile.TemporaryDirectory(prefix="noslop-backend-")
        builder = WheelBuilder(str(Path(self.root, "backend")))
        for wheel in builder.build(directory=self._directory.name, versions=["standard"]):
            build_data["force_include"][wheel] = f"{FILES}/{Path(wheel).name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Take the first one away again."""
        if version != "editable":
            self._directory.cleanup()
