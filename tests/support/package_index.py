"""Make package indexes of small packages, as directories (PEP 503)."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path


def wheel(index: Path, name: str, version: str, needs: str = "", more: dict[str, str] | None = None) -> Path:
    """Add a package to a PEP 503 index."""
    place = index / name
    place.mkdir(parents=True, exist_ok=True)
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    files = {
        **(more or {}),
        f"{module}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + (f"Requires-Dist: {needs}\n" if needs else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text)}\n"
        for path, text in files.items()
    )
    wheel_path = place / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel_path, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    links = "".join(f'<a href="{file.name}">{file.name}</a>\n' for file in place.glob("*.whl"))
    (place / "index.html").write_text(links)
    return wheel_path


def sdist(index: Path, name: str, version: str, runs: str = "") -> None:
    """Add a package to an index that has to be built before it can be installed."""
    wheel(index, name, version)
    place = index / name
    (built,) = place.glob("*.whl")
    top = f"{name.replace('-', '_')}-{version}"
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        "pyproject.toml": b'[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n',
        "own.py": f"""import shutil
def get_requires_for_build_wheel(config_settings=None):
    return []
def build_wheel(directory, config_settings=None, metadata_directory=None):
    exec({runs!r})
    shutil.copy({built.name!r}, directory)
    return {built.name!r}
""".encode(),
        built.name: built.read_bytes(),
    }
    with tarfile.open(place / f"{top}.tar.gz", "w:gz") as archive:
        for path, content in files.items():
            about = tarfile.TarInfo(f"{top}/{path}")
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    built.unlink()
    (place / "index.html").write_text(f'<a href="{top}.tar.gz">{top}.tar.gz</a>\n')
