"""Write the variables that pin checksums and revisions of what a mirror serves.

Run as ``pins.py MANIFEST MIRROR_URL OUT_FILE``; build.py writes the manifest of the stand-ins.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml


def pinned_variables(manifest: dict[str, object], mirror: str) -> dict[str, object]:
    """Return the role variables for a mirror."""
    return {
        "ollama_version": manifest["ollama_version"],
        "ollama_sha256": manifest["ollama_sha256"],
        "comfyui_version": manifest["comfyui_version"],
        "comfyui_revision": manifest["comfyui_revision"],
        "comfyui_pip_index": f"{mirror}/pypi/simple/",
    }


def main() -> None:
    """Write the file and create its directory."""
    manifest, mirror, target = sys.argv[1:]
    out = Path(target)
    out.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(pinned_variables(json.loads(Path(manifest).read_text()), mirror), explicit_start=True)
    out.write_text("# What the lab's mirror serves in place of the vendors' downloads.\n" + text)


if __name__ == "__main__":
    main()
