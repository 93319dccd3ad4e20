#!/usr/bin/env python3
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the lab's artifact mirror, the tree that `noslop_artifact_mirror` points to, with stand-ins.

The layout is that of a studio behind a firewall that mirrors the vendors' downloads. The same sources give the same
bytes and the same commit on every host, so that checksums and revisions can be pinned; `manifest.json` lists them.
An up-to-date tree is not changed; an outdated one is replaced as a whole.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import struct
import sys
import tarfile
from pathlib import Path

from node_packs import build_nodes
from repositories import TIMESTAMP, BuildError, Commit, write_repository
from wheels import Wheel, write_index

HERE = Path(__file__).resolve().parent
# The one that NoSlop installs, a newer one, and one that never answers (ollama_standin/common.py).
OLLAMA_VERSIONS = ("0.32.7", "0.32.15", "0.32.16")
ARCHITECTURES = ("amd64", "arm64")
TORCH_VERSIONS = {"torch": "2.14.1", "torchvision": "0.29.1", "torchaudio": "2.11.0"}
TORCH_BUILDS = ("cpu", "cu130", "rocm7.2", "xpu")
BLOCK = 128 * 1024  # the largest block the format allows

# A file in each model directory, as the real repository tracks them: they make a linked `models` a dirty checkout.
MODEL_DIRECTORIES = (
    "audio_encoders background_removal checkpoints classifiers clip clip_vision controlnet detection diffusers "
    "diffusion_models embeddings frame_interpolation geometry_estimation gligen hypernetworks latent_upscale_models "
    "loras model_patches optical_flow photomaker style_models t2i_adapter text_encoders unet upscale_models vae "
    "vae_approx"
)
GENERATED_FILES = {
    ".gitignore": "__pycache__/\n/output/\n/input/\n/models/\n/temp/\n/custom_nodes/\n/user/\n/venv/\n",
    "models/configs/v1-inference.yaml": "# A stand-in: no model configuration here.\nmodel: {}\n",
    "models/configs/anything_v3.yaml": "# A stand-in: no model configuration here.\nmodel: {}\n",
    "input/.gitkeep": "",
    "output/_output_images_will_be_put_here": "",
    **{f"models/{name}/put_{name}_here": "" for name in MODEL_DIRECTORIES.split()},
}


def read_constant(path: Path, name: str) -> str:
    """Return the string that `name = "..."` assigns in a Python file."""
    match = re.search(rf'^{name} = "([^"]+)"', path.read_text("utf-8"), re.MULTILINE)
    if match is None:
        raise BuildError(f"{path} defines no {name}")
    return match[1]


def recipe_hash(architectures: list[str]) -> str:
    """Return a hash of everything that the content of the tree depends on."""
    digest = hashlib.sha256(" ".join(sorted(architectures)).encode())
    sources = [
        *(path for path in HERE.glob("*.py") if path.name != "serve.py"),
        *(HERE / "ollama_standin").glob("*.py"),
        *comfyui_sources(),
    ]
    for path in sorted(sources):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def comfyui_sources() -> list[Path]:
    """Return the files of the ComfyUI stand-in, without caches and hidden files of tools."""
    paths = (HERE / "comfyui").rglob("*")
    return [path for path in paths if path.suffix in (".py", ".txt", ".md", ".example") and path.is_file()]


def zstd_frame(content: bytes) -> bytes:
    """Wrap bytes as one Zstandard frame of stored blocks (RFC 8878, 3.1.1).

    The frame is written here, without compression, so that the checksum depends on no version of a compressor.
    """
    single_segment_with_4_byte_size = 0xA0
    frame = struct.pack("<IBI", 0xFD2FB528, single_segment_with_4_byte_size, len(content))
    for start in range(0, len(content), BLOCK):
        block = content[start : start + BLOCK]
        last = start + BLOCK >= len(content)
        frame += struct.pack("<I", len(block) << 3 | last)[:3] + block
    return frame


def ollama_archive(version: str) -> bytes:
    """Return the archive of a release with `bin/ollama` and `lib/ollama/`, always the same bytes.

    Like the vendor's it has no entries for directories.
    """
    source = HERE / "ollama_standin"
    readme = b"This is NoSlop's stand-in for Ollama, made for its lab. It runs no model.\n"
    members = {"bin/ollama": ((source / "program.py").read_bytes(), 0o755), "lib/ollama/README": (readme, 0o644)}
    for path in source.glob("*.py"):
        if path.name != "program.py":
            members[f"lib/ollama/ollama_standin/{path.name}"] = (path.read_bytes(), 0o644)
    common, mode = members["lib/ollama/ollama_standin/common.py"]
    pinned = read_constant(source / "common.py", "VERSION")
    content = common.replace(f'VERSION = "{pinned}"'.encode(), f'VERSION = "{version}"'.encode(), 1)
    members["lib/ollama/ollama_standin/common.py"] = (content, mode)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(members):
            info = tarfile.TarInfo(name)
            info.mtime = TIMESTAMP
            info.uname = info.gname = "root"
            content, info.mode = members[name]
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return zstd_frame(buffer.getvalue())


def build_ollama(out: Path, version: str, architectures: list[str]) -> dict[str, str]:
    """Write the release directory, and return the sha256 of each architecture's archive."""
    release = out / "ollama" / f"v{version}"
    release.mkdir(parents=True)
    content = ollama_archive(version)  # the program is no machine code, so all architectures have the same archive
    sums = {}
    for architecture in architectures:
        (release / f"ollama-linux-{architecture}.tar.zst").write_bytes(content)
        sums[architecture] = hashlib.sha256(content).hexdigest()
    lines = [f"{sums[name]}  ./ollama-linux-{name}.tar.zst\n" for name in architectures]
    (release / "sha256sum.txt").write_text("".join(lines), "utf-8")
    return sums


def build_comfyui(out: Path, default: str) -> dict[str, str]:
    """Write `ComfyUI.git`, one commit with a tag for each release, and return the commits by tag.

    The releases differ in the version that they name, and behave by it. `master` is at the version `default`.
    """
    contents = {str(path.relative_to(HERE / "comfyui")): path.read_text("utf-8") for path in comfyui_sources()}
    table = contents["app/behaviour.py"]
    versions = re.findall(r'^    "([\d.]+)": ', table, re.MULTILINE)
    releases = []
    for version in versions:
        name = contents["comfyui_version.py"].replace(f'"{default}"', f'"{version}"')
        files = {**contents, **GENERATED_FILES, "comfyui_version.py": name}
        releases.append(Commit(f"ComfyUI {version}: NoSlop's stand-in", files, tag=f"v{version}"))
    commits = write_repository(out / "ComfyUI.git", releases, default=f"v{default}")
    return dict(zip([release.tag for release in releases], commits, strict=True))


def build_hub(out: Path) -> dict[str, str]:
    """Write a repository of models as the hub serves it, with one file. Return its entry for a studio's catalogue."""
    header = b'{"weight":{"dtype":"U8","shape":[4096],"data_offsets":[0,4096]}}'
    content = len(header).to_bytes(8, "little") + header + bytes(4096)
    model = {"repo": "noslop/stand-in", "commit": hashlib.sha1(content, usedforsecurity=False).hexdigest()}
    model["file"] = "stand-in.safetensors"
    path = out / "hub" / model["repo"] / "resolve" / model["commit"] / model["file"]
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return {**model, "sha256": hashlib.sha256(content).hexdigest()}


def torch_wheels(build: str) -> list[Wheel]:
    """Return PyTorch's three packages for one kind of GPU. `import torch` works and detects no GPU."""
    cuda = '"13.0"' if build == "cu130" else "None"
    hip = '"7.2"' if build.startswith("rocm") else "None"
    no_devices = "def is_available():\n    return False\n\n\ndef device_count():\n    return 0\n"
    versions = {name: f"{version}+{build}" for name, version in TORCH_VERSIONS.items()}
    torch = {
        "torch/__init__.py": f'from . import cuda, version, xpu\n\n__version__ = "{versions["torch"]}"\n',
        "torch/version.py": f'__version__ = "{versions["torch"]}"\ncuda = {cuda}\nhip = {hip}\n',
        "torch/cuda.py": no_devices,
        "torch/xpu.py": no_devices,
    }
    needs = [f"torch (=={versions['torch']})"]
    others = [
        Wheel(name, versions[name], {f"{name}/__init__.py": f'__version__ = "{versions[name]}"\n'}, needs)
        for name in ("torchvision", "torchaudio")
    ]
    return [Wheel("torch", versions["torch"], torch), *others]


def plain_wheels() -> list[Wheel]:
    """Return the packages of the ComfyUI stand-in's requirements.txt, `requests`, and the packages of custom nodes.

    Older versions are there too, so that a requirement for one contradicts another and misses nothing.
    """
    versions = {
        "noslop-standin-requirement": ("1.0.0", "2.99.0"),
        "noslop-standin-node-requirement": ("2.0.0", "2.99.0"),
        "requests": ("2.99.0",),
    }
    return [
        Wheel(name, version, {f"{name.replace('-', '_')}/__init__.py": f'__version__ = "{version}"\n'})
        for name, releases in versions.items()
        for version in releases
    ]


def write_tree(out: Path, architectures: list[str]) -> None:
    """Write the whole tree into an empty directory, `manifest.json` last."""
    ollama_version = read_constant(HERE / "ollama_standin" / "common.py", "VERSION")
    comfyui_version = read_constant(HERE / "comfyui" / "comfyui_version.py", "__version__")
    releases = {version: build_ollama(out, version, architectures) for version in OLLAMA_VERSIONS}
    commits = build_comfyui(out, comfyui_version)
    for build in TORCH_BUILDS:
        write_index(out / "whl" / build, torch_wheels(build))
    write_index(out / "pypi" / "simple", plain_wheels())
    nodes = build_nodes(out)
    model = build_hub(out)
    manifest = {
        "comfyui_commits": commits,
        "comfyui_revision": commits[f"v{comfyui_version}"],
        "comfyui_version": f"v{comfyui_version}",
        "model": model,
        "nodes": nodes,
        "ollama_releases": releases,
        "ollama_sha256": releases[ollama_version],
        "ollama_version": ollama_version,
        "recipe": recipe_hash(architectures),
        "torch_versions": TORCH_VERSIONS,
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


def build(out: Path, architectures: list[str]) -> bool:
    """Build the mirror in `out`, and return whether anything was written. Raises BuildError."""
    manifest = out / "manifest.json"
    if manifest.is_file():
        if json.loads(manifest.read_text("utf-8")).get("recipe") == recipe_hash(architectures):
            return False
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BuildError(f"{out} exists and is no mirror of stand-ins (no manifest.json): name another directory")
    out.parent.mkdir(parents=True, exist_ok=True)
    new, old = (out.with_name(f".{out.name}.{word}-{os.getpid()}") for word in ("new", "old"))
    new.mkdir()
    try:
        write_tree(new, architectures)
        if out.exists():
            out.rename(old)
        new.rename(out)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return True


def main(words: list[str]) -> int:
    """Build the mirror, and return the exit code."""
    parser = argparse.ArgumentParser(description="Build the lab's artifact mirror with stand-ins.")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    parser.add_argument("--arch", choices=ARCHITECTURES, action="append", help="default: all of them")
    arguments = parser.parse_args(words)
    os.umask(0o022)
    out = arguments.out_dir.resolve()
    try:
        changed = build(out, sorted(set(arguments.arch or ARCHITECTURES)))
    except (BuildError, OSError) as error:
        print(f"The stand-ins were not built: {error}", file=sys.stderr)
        return 1
    print(f"{out}: {'built' if changed else 'nothing to do'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
