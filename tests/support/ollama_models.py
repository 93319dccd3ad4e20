# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write models as Ollama stores them: blobs that are named by their SHA-256, and a manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ansible_collections.noslop.studio.plugins.module_utils.models import ollama_store

from tests.support.page_cache import write_cold


def write_model(store: Path, name: str, content: bytes) -> int:
    """Write a model of two blobs, of which nothing is in memory. Return the size of both."""
    config = json.dumps({"name": name}).encode()
    parts = []
    for part in (config, content):
        digest = hashlib.sha256(part).hexdigest()
        write_cold(store / "blobs" / f"sha256-{digest}", part)
        parts.append({"digest": f"sha256:{digest}", "size": len(part)})
    manifest = store / ollama_store.make_manifest_path(name)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"config": parts[0], "layers": parts[1:]}))
    return len(config) + len(content)
