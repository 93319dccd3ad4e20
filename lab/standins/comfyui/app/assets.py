# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scan the directories of models, inputs and outputs, as --enable-assets does. Nothing is stored."""

from __future__ import annotations

import logging
import os

import folder_paths


def scan() -> None:
    """Look at every file below the three directories."""
    roots = {
        "models": folder_paths.models_dir,
        "input": folder_paths.input_directory,
        "output": folder_paths.output_directory,
    }
    paths = [
        os.path.join(directory, name)
        for root in roots.values()
        for directory, _, names in os.walk(root, followlinks=True)
        for name in names
    ]
    count = sum(os.path.exists(path) for path in paths)
    logging.info("Assets scan(roots=%s) completed (total=%d)", list(roots), count)
