# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write small wheels and a static index for pip (PEP 427, PEP 503), always with the same bytes."""

from __future__ import annotations

import base64
import hashlib
import html
import urllib.parse
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

SUMMARY = "NoSlop's stand-in for its lab: not the package of that name"


@dataclass(frozen=True)
class Wheel:
    """A pure Python package: `files` maps a path in the package tree to its content."""

    name: str
    version: str
    files: dict[str, str]
    requires: list[str] = field(default_factory=list)

    @property
    def filename(self) -> str:
        """Return the file name; a local version keeps its plus sign."""
        return f"{self.name.replace('-', '_')}-{self.version}-py3-none-any.whl"

    def write(self, directory: Path) -> str:
        """Write the wheel into `directory`, and return its sha256."""
        about = f"{self.name.replace('-', '_')}-{self.version}.dist-info"
        metadata = ["Metadata-Version: 2.1", f"Name: {self.name}", f"Version: {self.version}", f"Summary: {SUMMARY}"]
        metadata += [f"Requires-Dist: {need}" for need in self.requires]
        tags = ["Wheel-Version: 1.0", "Generator: noslop-standins", "Root-Is-Purelib: true", "Tag: py3-none-any"]
        files = {
            **self.files,
            f"{about}/METADATA": "\n".join(metadata) + "\n",
            f"{about}/WHEEL": "\n".join(tags) + "\n",
        }
        record = [f"{name},{record_hash(content)},{len(content.encode())}\n" for name, content in files.items()]
        files[f"{about}/RECORD"] = "".join([*record, f"{about}/RECORD,,\n"])
        path = directory / self.filename
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, content in files.items():
                info = zipfile.ZipInfo(name)  # its date is 1980-01-01
                info.external_attr = 0o100644 << 16
                archive.writestr(info, content)
        return hashlib.sha256(path.read_bytes()).hexdigest()


def record_hash(content: str) -> str:
    """Return a hash in the format of RECORD."""
    digest = hashlib.sha256(content.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def page(links: dict[str, str]) -> str:
    """Return an HTML page of links, from a map of texts to URLs."""
    anchors = "".join(f'<a href="{html.escape(url)}">{html.escape(text)}</a><br>\n' for text, url in links.items())
    return f"<!DOCTYPE html>\n<html><body>\n{anchors}</body></html>\n"


def write_index(root: Path, wheels: list[Wheel]) -> None:
    """Write a whole index: a page of projects, and a directory with a page and the files of all versions for each."""
    root.mkdir(parents=True)
    links: dict[str, dict[str, str]] = {}
    for wheel in wheels:
        directory = root / wheel.name
        directory.mkdir(exist_ok=True)
        url = f"{urllib.parse.quote(wheel.filename)}#sha256={wheel.write(directory)}"
        links.setdefault(wheel.name, {})[wheel.filename] = url
    for name, files in links.items():
        (root / name / "index.html").write_text(page(files), "utf-8")
    (root / "index.html").write_text(page({name: f"{name}/" for name in links}), "utf-8")
