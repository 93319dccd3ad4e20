# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find calls in the collection that change files by path, where a link could redirect root.

Root opens, makes and changes nothing by path below a directory that an account owns: module_utils/host/safe_paths.py
does it by descriptor. Every other function that makes such a call is listed here, with the reason why no account can
redirect the path. A function that is listed and makes no such call is an error too.

    python tests/lint/root_paths.py
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PLUGINS = Path(__file__).parents[2] / "collections/ansible_collections/noslop/studio/plugins"
#: The module that works by descriptor.
EXEMPT = {"module_utils/host/safe_paths.py"}

CALLS = {
    "os": {
        "chown",
        "lchown",
        "chmod",
        "makedirs",
        "mkdir",
        "rename",
        "renames",
        "replace",
        "link",
        "truncate",
        "utime",
    },
    "shutil": {"rmtree", "copy", "copy2", "copyfile", "copytree", "copymode", "copystat", "move", "chown"},
    "Path": {"write_text", "write_bytes", "touch", "chmod", "lchmod", "mkdir", "rename", "replace", "hardlink_to"},
}

_AS_THE_ACCOUNT = "done as the account that owns the directory, in acting_as or in a worker process"
_ROOTS = "below /opt/noslop, which belongs to root"
_CONTROLLER = "runs on the controller, as the user"
ALLOWED: dict[tuple[str, str], str] = {
    ("action/package_lock.py", "write_lock"): _CONTROLLER,
    ("action/check_report.py", "write"): _CONTROLLER,
    ("action/nfs_certificate.py", "_locked"): _CONTROLLER,
    ("plugin_utils/certificate_authority.py", "_write_new"): _CONTROLLER,
    ("module_utils/adopt/file_copy.py", "copy"): _AS_THE_ACCOUNT,
    ("module_utils/adopt/file_copy.py", "copy_directory"): _AS_THE_ACCOUNT,
    ("module_utils/adopt/file_copy.py", "_copy_file"): "by a descriptor that was opened with O_NOFOLLOW",
    ("module_utils/adopt/file_copy.py", "_link"): _AS_THE_ACCOUNT,
    ("module_utils/adopt/file_copy.py", "_publish"): _AS_THE_ACCOUNT,
    ("module_utils/adopt/replacement.py", "swap"): _AS_THE_ACCOUNT,
    ("module_utils/adopt/replacement.py", "swap_back"): _AS_THE_ACCOUNT,
    ("module_utils/adopt/replacement.py", "restore"): _AS_THE_ACCOUNT,
    ("module_utils/share/inspection.py", "*"): _AS_THE_ACCOUNT,
    ("module_utils/probe/features.py", "*"): _AS_THE_ACCOUNT,
    ("module_utils/services/copies.py", "*"): _AS_THE_ACCOUNT,
    ("module_utils/host/lease.py", "_locked"): "in /run, which is root's",
    ("module_utils/host/lease.py", "_write"): "by a descriptor in /run/noslop-lease, which was opened with O_NOFOLLOW",
    ("module_utils/nfs/client.py", "_read_ahead"): "in /sys",
    ("module_utils/install/release_dir.py", "replace_link"): _ROOTS,
    (
        "module_utils/install/builds.py",
        "transfer_to_root",
    ): "from the build account's directory, which root took from it before",
    (
        "module_utils/install/builds.py",
        "_set_root_owner",
    ): "in the build account's directory, which root took from it before",
    ("module_utils/install/builds.py", "install_tree"): _ROOTS,
    ("modules/comfyui_tree.py", "_build"): "in root's part of the directory to build in",
    ("modules/nfs_exports.py", "_set_threads"): "in /proc",
    ("modules/release_tree.py", "_link_command"): "the directory of a command, such as /usr/local/bin, which is root's",
    ("modules/managed_files.py", "_write"): "units, settings and commands in /etc and /usr/local/bin, which are root's",
    ("module_utils/services/web_unit.py", "record_restart"): "in /run/noslop, which is root's",
    ("modules/custom_nodes.py", "_unpack_archive"): "in root's part of the directory to build in",
    ("module_utils/install/downloads.py", "_download_once"): "in root's part of the directory to build in",
    ("module_utils/install/import_watch.py", "wait_for_program"): "as the build account, in the sandbox of a trial",
    ("module_utils/install/node_store.py", "*"): _AS_THE_ACCOUNT,
    ("action/model_files.py", "_write"): _CONTROLLER,
    ("module_utils/models/part_file.py", "*"): _AS_THE_ACCOUNT,
    ("module_utils/models/trash.py", "*"): _AS_THE_ACCOUNT,
    ("module_utils/model_cache/copying.py", "copy"): _AS_THE_ACCOUNT,
    ("module_utils/model_cache/follower.py", "*"): _AS_THE_ACCOUNT,
    ("module_utils/model_cache/view.py", "*"): _AS_THE_ACCOUNT,
    ("module_utils/model_cache/program.py", "_write_caches"): "in /var/lib/noslop/model-cache, which is root's",
    ("module_utils/models/progress.py", "*"): "in /run/noslop-models, which is root's",
    (
        "module_utils/models/whole_file.py",
        "write_json",
    ): "in the directories of the two above and below, or as the account that owns the share",
    ("module_utils/storage_move/channel.py", "*"): "in /run/noslop-storage-move, which is root's",
    ("module_utils/storage_move/tree_listing.py", "write_listing"): "in /var/lib/noslop/storage-move, which is root's",
    ("module_utils/models/record.py", "write"): "in /var/lib/noslop/models, which is root's",
}


def findings(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, function and call for each call that changes something by path."""
    tree = ast.parse(path.read_text("utf-8"), str(path))
    yield from _below(tree, "(module)")


def _below(node: ast.AST, function: str) -> Iterator[tuple[int, str, str]]:
    for inner in ast.iter_child_nodes(node):
        inside = inner.name if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
        if isinstance(inner, ast.Call):
            called = _name_of(inner)
            if called:
                yield inner.lineno, function, called
        yield from _below(inner, inside)


def _name_of(call: ast.Call) -> str:
    """Return the name of a call that changes something by path, or an empty string."""
    function = call.func
    if isinstance(function, ast.Name) and function.id == "open":
        first = call.args[0] if call.args else None
        mode = call.args[1] if len(call.args) > 1 else next((k.value for k in call.keywords if k.arg == "mode"), None)
        by_descriptor = isinstance(first, ast.Name) and first.id.endswith(("descriptor", "_end", "_fd"))
        text = str(mode.value) if isinstance(mode, ast.Constant) else ""
        writes = set(text) & set("wax+")
        return f'open(..., "{text}")' if writes and not by_descriptor else ""
    if not isinstance(function, ast.Attribute):
        return ""
    owner = function.value.id if isinstance(function.value, ast.Name) else ""
    if any(keyword.arg in ("dir_fd", "dst_dir_fd") for keyword in call.keywords):
        return ""
    if owner in ("os", "shutil"):
        return f"{owner}.{function.attr}" if function.attr in CALLS[owner] else ""
    # `str.replace` has two arguments, `Path.replace` one.
    is_path_method = function.attr in CALLS["Path"] and not (function.attr == "replace" and len(call.args) != 1)
    return f"Path.{function.attr}" if is_path_method else ""


def problems(plugins: Path = PLUGINS, allowed: dict[tuple[str, str], str] | None = None) -> list[str]:
    """Return one sentence for each call that is not listed, and for each listed function without a call."""
    listed = ALLOWED if allowed is None else allowed
    used: set[tuple[str, str]] = set()
    sentences = []
    for path in sorted(plugins.rglob("*.py")):
        name = path.relative_to(plugins).as_posix()
        if name in EXEMPT:
            continue
        for line, function, called in findings(path):
            match = next((key for key in ((name, function), (name, "*")) if key in listed), None)
            if match is not None:
                used.add(match)
                continue
            sentences.append(
                f"{path}:{line}: {function} calls {called} by path. Use module_utils/host/safe_paths.py, act as the "
                "account, or list it in tests/lint/root_paths.py with the reason why only root can change the path."
            )
    sentences += [
        f"{name}: {function} is listed in tests/lint/root_paths.py and needs it no more."
        for name, function in sorted(set(listed) - used)
    ]
    return sentences


if __name__ == "__main__":
    answer = problems()
    print(*answer, sep="\n")
    sys.exit(bool(answer))
