#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import custom nodes in a sandbox before the service does, and return those that fail.

``ansible.builtin.command`` would run them as root or as the service, with its shares and its network. It also cannot
tell which of many nodes crashed, hung, or wrote to a directory that is not its own.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_trial
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Import custom nodes in a sandbox before ComfyUI does
description:
  - Starts ComfyUI's own program with C(--quick-test-for-ci), which imports the custom nodes and ends. It runs as
    O(account) in a transient unit without network, shares and devices; of the share it sees the nodes of O(nodes) only.
  - Tries all nodes at once. Where that fails, tries each alone, and returns those that raise, crash, do not end, or
    write outside their own directory, even where they ignore that the write fails.
  - The result is written down with the revisions of ComfyUI, of its packages and of the nodes. While these are the
    same, nothing runs.
extends_documentation_fragment:
  - noslop.studio.attributes
  - noslop.studio.builds
  - noslop.studio.builds.account
attributes:
  check_mode:
    description: Returns the result that is written down, and whether the nodes would be tried.
    support: full
options:
  source:
    description: Directory of ComfyUI's source.
    type: path
    required: true
  venv:
    description: Its virtual environment.
    type: path
    required: true
  share:
    description: Path of the share of custom nodes.
    type: path
    required: true
  nodes:
    description: The path below O(share) of each node's files, by the name of the node.
    type: dict
    required: true
  owner:
    description: Account that owns the share. The nodes are read with its group.
    type: str
    required: true
  writable:
    description: Nodes that may write into their own directory. Each gets a copy of it that the trial may change.
    type: list
    elements: str
    default: []
  hidden:
    description: Directories that the nodes do not see, such as the storage root and the state of the services.
    type: list
    elements: path
    default: []
  result:
    description: File of the result.
    type: path
    default: /var/lib/noslop/comfyui-nodes.json
  timeout_s:
    description: How long one import of all nodes may take, in seconds.
    type: int
    default: 300
  memory_max:
    description: Limit of memory, as in C(MemoryMax=) of systemd.
    type: str
    default: 90%
"""

EXAMPLES = r"""
- name: Import the custom nodes in a sandbox
  noslop.studio.node_trial:
    source: /opt/noslop/comfyui/v0.3.64
    venv: /opt/noslop/comfyui/venvs/v0.3.64-cpu
    share: /mnt/noslop/comfyui/custom_nodes
    owner: noslop-nodes
    hidden: [/mnt/noslop, /var/lib/noslop]
    nodes:
      painter: .noslop-nodes.disabled/painter/8f14e45fceea167a5a36dedd4bea2543c1a2b3d4
"""

RETURN = r"""
failed_nodes:
  description: The nodes that fail, each with the reason.
  type: dict
  returned: success
"""

import hashlib
import inspect
import os
import secrets
from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.adopt import file_copy
from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths
from ansible_collections.noslop.studio.plugins.module_utils.install import (
    builds,
    import_watch,
    node_trials,
    release_dir,
)
from ansible_collections.noslop.studio.plugins.module_utils.share import access

#: Directory of the copies of nodes that may write into their own, below the build account's.
WRITABLE = "writable"
#: What the unit may take longer than the program: its start, and the end of a child that is killed.
UNIT_EXTRA_S = 60
#: As in the unit of the service, and harder: no network, no devices, nothing of the storage but the nodes themselves.
SANDBOX = (
    "CapabilityBoundingSet=",
    "KillMode=control-group",
    "LimitCORE=0",
    "LockPersonality=yes",
    "NoNewPrivileges=yes",
    "OOMPolicy=continue",
    "PrivateDevices=yes",
    "PrivateNetwork=yes",
    "PrivateTmp=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHome=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "ProtectSystem=strict",
    "RemoveIPC=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallErrorNumber=EPERM",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
    "TasksMax=4096",
    "UMask=0077",
)


def main() -> None:
    """Try the custom nodes, or return the result of the last trial."""
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path", "required": True},
            "venv": {"type": "path", "required": True},
            "share": {"type": "path", "required": True},
            "nodes": {"type": "dict", "required": True},
            "owner": {"type": "str", "required": True},
            "writable": {"type": "list", "elements": "str", "default": []},
            "hidden": {"type": "list", "elements": "path", "default": []},
            "result": {"type": "path", "default": studio.NODE_TRIAL_FILE},
            "timeout_s": {"type": "int", "default": 300},
            "memory_max": {"type": "str", "default": "90%"},
            "account": {"type": "str", "default": studio.BUILD_ACCOUNT},
            "programs": {"type": "path", "default": studio.PROGRAMS_DIR},
        },
        supports_check_mode=True,
    )
    try:
        result = _try(module)
    except (node_trials.TrialError, builds.BuildError, file_copy.CopyError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or module.params['result']}: {error.strerror or error}")
    module.exit_json(**result)


def _try(module: AnsibleModule) -> dict[str, Any]:
    path: str = module.params["result"]
    directory, name = os.path.split(path)
    written = release_dir.read_stamp(directory, name)
    tried = describe_inputs(module.params)
    failed_nodes: dict[str, str] = written.get("failed", {}) if written else {}
    if written is not None and written.get("tried") == tried:
        return {"changed": False, "failed_nodes": failed_nodes}
    if not module.params["nodes"] and written is None:
        return {"changed": False, "failed_nodes": {}}
    if module.check_mode:
        left = {node: reason for node, reason in failed_nodes.items() if node in module.params["nodes"]}
        return {"changed": True, "failed_nodes": left}
    failed_nodes = _find_failing(module) if module.params["nodes"] else {}
    safe_paths.make_directory(directory, os.geteuid(), os.getegid(), 0o755)
    release_dir.write_stamp(directory, {"tried": tried, "failed": failed_nodes}, name)
    return {"changed": True, "failed_nodes": failed_nodes}


def describe_inputs(params: dict[str, Any]) -> dict[str, Any]:
    """Return what the result depends on. A source or an environment that is missing has no revision."""
    source = release_dir.read_stamp(params["source"]) or {}
    venv = release_dir.read_stamp(params["venv"], release_dir.VENV_STAMP) or {}
    return {
        "comfyui": source.get("commit", ""),
        "packages": venv.get("digest", ""),
        "nodes": params["nodes"],
        "writable": sorted(set(params["writable"]) & set(params["nodes"])),
        "watch": hashlib.sha256(inspect.getsource(import_watch).encode()).hexdigest(),
    }


def _find_failing(module: AnsibleModule) -> dict[str, str]:
    params = module.params
    account = builds.find_account(params["account"])
    if account is None:
        raise builds.BuildError(f"There is no account {params['account']} here. Run the playbook storage first.")
    trial = node_trials.Trial(
        program=os.path.join(params["source"], "main.py"),
        python=os.path.join(params["venv"], "bin", "python"),
        nodes=params["share"],
        timeout_s=params["timeout_s"],
    )
    with builds.building(params["programs"], account) as build:

        def start(command: list[str], names: Sequence[str]) -> None:
            _copy_writable_nodes(params, build, names)
            words = [f"--property={line}" for line in make_properties(params, build.directory, names)]
            # A name of its own for each run: systemd may remove the unit of the one before a little later.
            unit = f"noslop-node-trial-{secrets.token_hex(8)}"
            environment = [f"--setenv=HOME={build.directory}", "--setenv=PYTHONDONTWRITEBYTECODE=1"]
            code, __, errors = module.run_command(
                ["systemd-run", "--quiet", "--wait", "--collect", f"--unit={unit}", *environment, *words, *command]
            )
            # The program's own exit code is in its result; without one, this is what is known.
            if code != 0 and not os.path.exists(os.path.join(build.directory, import_watch.RESULT)):
                raise node_trials.TrialError(
                    f"The trial of the custom nodes could not run: {errors.strip() or f'systemd-run returned {code}'}. "
                    f"See journalctl --unit {unit} on this host."
                )

        return node_trials.find_failing_nodes(trial, sorted(params["nodes"]), build, start)


def _copy_writable_nodes(params: dict[str, Any], build: builds.Build, names: Sequence[str]) -> None:
    reader = access.share_owner(params["owner"])
    base = os.path.join(build.directory, WRITABLE)
    safe_paths.remove_tree(base)
    safe_paths.make_directory(base, build.account.uid, build.account.gid, 0o700)
    for name in set(names) & set(params["writable"]):
        accounts = file_copy.Accounts(reader=reader, writer=build.account)
        file_copy.copy_directory(f"{params['share']}/{params['nodes'][name]}", os.path.join(base, name), accounts)


def make_properties(params: dict[str, Any], directory: str, names: Sequence[str]) -> list[str]:
    """Return the properties of the transient unit: a bare share, and the named nodes in it.

    Args:
        params: the module's parameters.
        directory: the only directory that the unit may write to.
        names: the nodes that it sees.
    """
    share, hidden = params["share"], [*params["hidden"], params["share"], "/run"]
    return [
        *SANDBOX,
        f"User={params['account']}",
        f"Group={params['account']}",
        f"SupplementaryGroups={params['owner']}",
        f"WorkingDirectory={directory}",
        f"ReadWritePaths={directory}",
        f"TemporaryFileSystem={' '.join(f'{path}:ro' for path in dict.fromkeys(hidden))}",
        *(
            f"BindPaths={directory}/{WRITABLE}/{name}:{share}/{name}"
            if name in params["writable"]
            else f"BindReadOnlyPaths={share}/{params['nodes'][name]}:{share}/{name}"
            for name in names
        ),
        f"InaccessiblePaths=-{studio.SETTINGS_DIR}",
        f"MemoryMax={params['memory_max']}",
        f"RuntimeMaxSec={params['timeout_s'] + UNIT_EXTRA_S}",
    ]


if __name__ == "__main__":
    main()
