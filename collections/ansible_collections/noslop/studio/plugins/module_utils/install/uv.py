# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve and install Python packages with uv, as the build account, each file compared with its hash.

uv is one program. The pip that is part of Python (``ensurepip``) downloads its wheel from the index that the host's pip
uses, and compares it with a hash in this module. It is installed below the programs' directory, as root's.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths
from ansible_collections.noslop.studio.plugins.module_utils.install import builds

VERSION = "0.13.9"
#: Wheels for x86_64 and aarch64 (glibc), as the index names them.
SHA256 = (
    "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    "ecb6028d79dc96fbeafffe5c8af62a7099487ebc05a701e76714eebcffd06375",
)
LOCK_LIMIT_BYTES = 16 * 1024 * 1024
#: Directory of the build tools, below the directory of all programs.
TOOLS = "tools"
#: Prints Python's version, and the path of the pip that ensurepip would install. Like ensurepip, it searches the
#: directory that Python was configured with (configure --with-wheel-pkg-dir, as Debian's is), or its own package.
_INSPECT_SCRIPT = """
import glob, importlib.util, json, os, platform, sys, sysconfig
spec = importlib.util.find_spec("ensurepip")
own = os.path.join(os.path.dirname(spec.origin), "_bundled") if spec else ""
places = [place for place in (sysconfig.get_config_var("WHEEL_PKG_DIR"), own) if place]
wheels = [path for place in places for path in sorted(glob.glob(os.path.join(glob.escape(place), "pip-*.whl")))]
print(json.dumps(["%d.%d" % sys.version_info[:2], platform.machine(), os.path.abspath(sys.executable), wheels[:1]]))
"""
#: pip's settings for a whole host; later ones override earlier ones (pip's documentation, "Configuration").
_PIP_FILES = ("/etc/xdg/pip/pip.conf", "/etc/pip.conf")
_PIP_NAMES = ("index-url", "extra-index-url", "find-links", "trusted-host", "cert")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class Step:
    """The requirements that are installed from one index."""

    requirements: tuple[str, ...]
    index_url: str = ""
    #: What wants each requirement, such as a custom node, for the message where they contradict each other.
    wanted_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Interpreter:
    """A Python on this host."""

    version: str
    architecture: str
    path: str
    pip_wheel: str


def inspect_interpreter(program: str) -> Interpreter:
    """Return version, architecture and pip of a Python on this host. Raises BuildError when it cannot be run."""
    try:
        done = subprocess.run(
            [program, "-I", "-c", _INSPECT_SCRIPT], stdin=subprocess.DEVNULL, capture_output=True, check=True
        )
    except OSError as error:
        raise builds.BuildError(f"{program} cannot be run: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise builds.BuildError(f"{program} cannot be run: {error.stderr.decode(errors='replace').strip()}") from error
    version, architecture, path, wheels = json.loads(done.stdout)
    return Interpreter(version, architecture, path, wheels[0] if wheels else "")


def read_pip_settings(environment: Mapping[str, str], files: Sequence[str] = _PIP_FILES) -> dict[str, str]:
    """Return the host's settings of pip for package sources, by pip's own names."""
    own = environment.get("PIP_CONFIG_FILE", "")
    read = [] if own == os.devnull else [*files, *([own] if own else [])]
    settings: dict[str, str] = {}
    for path in read:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            for name in _PIP_NAMES:
                if parser.has_option(section, name):
                    settings[name] = parser.get(section, name)
    for name in _PIP_NAMES:
        value = environment.get("PIP_" + name.upper().replace("-", "_"))
        if value:
            settings[name] = value
    return settings


def make_uv_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return uv's environment for the host's settings of pip."""
    variables = {
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        "UV_SYSTEM_CERTS": "1",
        # pip treats all its indexes as equal. Hashes decide what is installed, not the index.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    for name, variable, separator in (
        ("index-url", "UV_DEFAULT_INDEX", " "),
        ("extra-index-url", "UV_INDEX", " "),
        ("find-links", "UV_FIND_LINKS", ","),
        ("trusted-host", "UV_INSECURE_HOST", " "),
        ("cert", "SSL_CERT_FILE", " "),
    ):
        if settings.get(name):
            variables[variable] = separator.join(settings[name].split())
    return variables


class Uv:
    """The program uv in one build."""

    def __init__(self, build: builds.Build, program: str, python: Interpreter, allow_source: Sequence[str]) -> None:
        self.build, self.program, self.python = build, program, python
        self.allow_source = tuple(allow_source)
        self.environment = {
            **make_uv_environment(read_pip_settings(os.environ)),
            "UV_CACHE_DIR": os.path.join(build.directory, "cache"),
        }

    def resolve(self, steps: Sequence[Step]) -> str:
        """Return the packages of all steps with their hashes, as one text with a part for each step.

        A package that an earlier step resolved comes from that step's index in later steps too: a build of torch for
        one kind of GPU is not replaced by another's. Only a dependency of an earlier step that a later step requests
        by name (such as numpy) is resolved by the later one.

        Raises:
            BuildError: they cannot be resolved. Where they contradict each other, the message names what wants them.
        """
        parts: list[dict[str, str]] = []
        named: set[str] = set()
        for number, step in enumerate(steps):
            requested = {_normalized(parse_project_name(wanted)) for wanted in step.requirements}
            fixed = {
                name: (block.split()[0], position)
                for position, part in enumerate(parts)
                for name, block in part.items()
                if name in named or name not in requested
            }
            text = self._resolve_step(steps, number, fixed) if step.requirements else ""
            blocks = {_normalized(block.split("==")[0]): block for block in _blocks(text)}
            own = {name: block for name, block in blocks.items() if name not in fixed}
            parts = [{name: block for name, block in part.items() if name not in own} for part in parts]
            parts.append(own)
            named |= requested
        return "".join(f"# step {number + 1}\n{''.join(part.values())}" for number, part in enumerate(parts))

    def _resolve_step(self, steps: Sequence[Step], number: int, fixed: Mapping[str, tuple[str, int]]) -> str:
        step = steps[number]
        wanted = [pin for pin, __ in fixed.values()] + list(step.requirements)
        sources = {name: f"step-{position + 1}" for name, (__, position) in fixed.items() if steps[position].index_url}
        project = [
            "[project]",
            'name = "noslop-resolved"',
            'version = "0"',
            f'requires-python = ">={self.python.version}"',
            f"dependencies = {json.dumps(wanted, ensure_ascii=False)}",
        ]
        for position in sorted({position for __, position in fixed.values() if steps[position].index_url}):
            url = json.dumps(steps[position].index_url, ensure_ascii=False)
            project += ["[[tool.uv.index]]", f'name = "step-{position + 1}"', f"url = {url}", "explicit = true"]
        project.append("[tool.uv.sources]")
        project += [f'{json.dumps(name)} = {{ index = "{index}" }}' for name, index in sources.items()]
        path = self.build.write("pyproject.toml", ("\n".join(project) + "\n").encode())
        out = os.path.join(self.build.directory, f"resolved-{number}.txt")
        words = [
            *("pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"),
            *("--python", self.python.path, "--output-file", out),
            *self._formats(),
            *_index(step.index_url),
            path,
        ]
        code, output = self.build.run([self.program, *words], self.environment, accept_failure=True)
        if code != 0:
            raise builds.BuildError(explain_failure(output, steps[: number + 1]))
        return safe_paths.read_file(out, LOCK_LIMIT_BYTES).decode()

    def make_environment(self, name: str) -> str:
        """Make an empty, relocatable environment in the build account's directory, and return its path."""
        path = os.path.join(self.build.directory, name)
        self._run(["venv", "--quiet", "--no-project", "--relocatable", "--python", self.python.path, path])
        return path

    def install(self, environment: str, requirements: str, index_url: str = "") -> None:
        """Install exactly the packages in ``requirements``, each file by its hash, and no others."""
        path = self.build.write("requirements.txt", requirements.encode())
        words = ["--require-hashes", "--no-deps", "--compile-bytecode", *self._formats(), *_index(index_url)]
        self._run(["pip", "install", "--quiet", "--python", environment, *words, "--requirement", path])

    def _formats(self) -> list[str]:
        # As in pip, a name in --no-binary is an exception from --only-binary :all:.
        words = ["--only-binary", ":all:"]
        for name in self.allow_source:
            words += ["--no-binary", name]
        return words

    def _run(self, words: list[str]) -> None:
        self.build.run([self.program, *words], self.environment)


def install_uv(
    build: builds.Build, programs: str, python: Interpreter, index_url: str = "", pinned: Sequence[str] = SHA256
) -> str:
    """Install uv below ``programs`` where it is missing, and return its path.

    Raises:
        BuildError: no index has the wheel with one of the ``pinned`` hashes.
    """
    directory = os.path.join(programs, TOOLS, f"uv-{VERSION}")
    program = os.path.join(directory, "uv")
    if os.path.exists(program):
        return program
    if not python.pip_wheel:
        raise builds.BuildError(f"{python.path} brings no pip along. On Debian: apt install python3-venv")
    hashes = " ".join(f"--hash=sha256:{sha256}" for sha256 in pinned)
    wanted = build.write("uv.txt", f"uv=={VERSION} {hashes}\n".encode())
    # pip supports this call: "python pip-*.whl/pip download" (pip/__main__.py).
    pip = [python.path, os.path.join(python.pip_wheel, "pip"), "download", "--no-input", "--quiet", "--no-cache-dir"]
    words = ["--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", wanted]
    downloads = os.path.join(build.directory, "uv-wheel")
    code, output = build.run([*pip, *words, "--dest", downloads], accept_failure=True)
    if code != 0 and index_url:
        host = urllib.parse.urlsplit(index_url).hostname or ""
        build.run([*pip, *words, "--dest", downloads, "--index-url", index_url, "--trusted-host", host])
    elif code != 0:
        raise builds.BuildError(
            f"uv {VERSION}, which installs Python packages, cannot be had:\n{output.strip()}\nIt comes from the index "
            "that pip uses on this host (index-url in /etc/pip.conf, or PyPI)."
        )
    unpack = (
        "import glob, os, shutil, sys, zipfile\n"
        "wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + '/*.whl')[0])\n"
        "name = next(name for name in wheel.namelist() if name.endswith('.data/scripts/uv'))\n"
        "os.mkdir(sys.argv[2])\n"
        "shutil.copyfileobj(wheel.open(name), open(sys.argv[2] + '/uv', 'wb'))\n"
        "os.chmod(sys.argv[2] + '/uv', 0o755)\n"
    )
    build.run([python.path, "-c", unpack, downloads, os.path.join(build.directory, "uv")])
    builds.install_tree(build.transfer_to_root("uv"), directory)
    return program


def parse_requirements(text: str, where: str) -> list[str]:
    """Return the requirements in a requirements file, without comments.

    Raises:
        BuildError: a line is an option, such as another index, which only the inventory may set.
    """
    requirements = []
    for line in text.replace("\\\n", " ").splitlines():
        wanted = re.sub(r"(^|\s)#.*$", "", line).strip()
        if wanted.startswith("-") or " --" in wanted:
            raise builds.BuildError(
                f"{where} holds an option of pip's, which is not taken from there: {wanted}. Set the index or the "
                "package in the inventory."
            )
        if "://" in wanted or " @ " in wanted:
            raise builds.BuildError(
                f"{where} names an address instead of a package of an index: {wanted}. What it holds tomorrow is "
                "not known. Name the package and its version in comfyui_pip_packages, or take the node out."
            )
        if wanted:
            requirements.append(wanted)
    return requirements


def explain_failure(output: str, steps: Sequence[Step]) -> str:
    """Return the message for packages that uv cannot resolve: its own words, and what wants the packages in them."""
    end = "\n".join(output.strip().splitlines()[-builds.ERROR_LINES :])
    mentioned = {_normalized(word) for word in _NAME.findall(output)}
    wanted = [
        f"{origin} wants {requirement}"
        for step in steps
        for requirement, origin in zip(step.requirements, step.wanted_by)
        if _normalized(parse_project_name(requirement)) in mentioned
    ]
    if "No solution found" not in output or not wanted:
        return f"The Python packages cannot be resolved, and nothing was installed:\n{end}"
    listed = "\n".join(wanted)
    return (
        "The Python packages contradict each other, and nothing was installed. Take one of these out, or choose "
        f"another version of it:\n{listed}\n{end}"
    )


def split_lock(text: str) -> list[str]:
    """Return the parts of a lock, one for each step."""
    return re.split(r"(?m)^# step \d+\n", text)[1:]


def parse_project_name(requirement: str) -> str:
    """Return the name of the package in a requirement."""
    match = _NAME.match(requirement)
    return match[0] if match else requirement


def warn_about_plain_http(index_urls: Sequence[str], warn: Callable[[str], None]) -> None:
    """Warn of indexes that are read without TLS."""
    for url in dict.fromkeys(index_urls):
        if urllib.parse.urlsplit(url).scheme == "http":
            warn(f"{url} is read without encryption: anyone on the network path can change what is resolved.")


def _index(url: str) -> list[str]:
    return ["--default-index", url] if url else []


def _normalized(name: str) -> str:
    """Return the normalized form of a name, in which names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _blocks(text: str) -> list[str]:
    """Split a list of requirements into the packages, each with its hashes."""
    return re.findall(r"(?m)^[^\s#].*\n(?:[ \t].*\n)*", text)
