# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define a tracked custom node, as in the original. It saves no image."""

from __future__ import annotations

from typing import Any


class SaveImageWebsocket:
    """A node that accepts images and saves none."""

    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True
    CATEGORY = "api/image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Describe the inputs."""
        return {"required": {"images": ("IMAGE", {})}}

    def save_images(self, images: list[Any]) -> dict[str, Any]:
        """Do nothing."""
        return {}


NODE_CLASS_MAPPINGS = {"SaveImageWebsocket": SaveImageWebsocket}
