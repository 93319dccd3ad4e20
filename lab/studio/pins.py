"""Write the variables that pin checksums and commits of what a mirror serves.

Run as ``pins.py MANIFEST MIRROR_URL OUT_FILE``; build.py writes the manifest of the stand-ins. The versions themselves
stay those of the studio: every version that the mirror has is pinned.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml


def pinned_variables(manifest: dict[str, object], mirror: str) -> dict[str, str]:
    """Return the role variables for a mirror."""
    commits, releases = json.dumps(manifest["comfyui_commits"]), json.dumps(manifest["ollama_releases"])
    return {
        "comfyui_commit": f"{{{{ ({commits})[comfyui_revision] | default('') }}}}",
        "ollama_sha256": f"{{{{ ({releases})[ollama_version] | default({{}}) }}}}",
        "comfyui_pip_index": f"{mirror}/pypi/simple/",
    }


def main() -> None:
    """Write the file and create its directory."""
    manifest, mirror, target = sys.argv[1:]
    out = Path(target)
    out.parent.mkdir(parents=True, exist_ok=True)
    variables = pinned_variables(json.loads(Path(manifest).read_text()), mirror)
    text = yaml.safe_dump(variables, explicit_start=True, width=10**6)
    out.write_text("# What the lab's mirror serves in place of the vendors' downloads.\n" + text)


if __name__ == "__main__":
    main()
