#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replace directories by links to shares, without loss of data.

Ordinary modules do not compare two trees by content, act as the account that owns each side, and undo a half-made
change.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: adopt_directory
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Replace directories by links to shares, without loss of data
description:
  - Copies the content of a directory to a share, renames the directory to C(<path>.pre-noslop-<timestamp>) and makes
    a link to the share in its place. Nothing is deleted and nothing on the share is replaced.
  - Checks everything before it changes anything - mount points, free space on the share, and files that differ on both
    sides, which are listed and refused.
  - Stops the programs that run from the directory, and returns their names. Units are disabled and stay on disk.
  - Each file gets its name on the share only after its content was read back and is equal.
  - After a failure, directories get their names back and the stopped programs are started again. The next run
    completes one that was killed.
  - Links that lead out of the directory are followed, since their targets are missing on other hosts. The directory is
    read and renamed as the account that owns the first directory above it that is not root's, so that a link can
    neither publish a file that this account may not read, nor redirect the rename.
  - Where a share is read-only on this host and lacks something that the directory has, the directory stays as it is and
    is listed in C(not_adopted).
  - Two hosts must not adopt directories into one share at the same time, so use C(throttle=1).
extends_documentation_fragment:
  - noslop.studio.attributes
attributes:
  check_mode:
    description: Makes the same checks, and changes nothing.
    support: full
options:
  pairs:
    description: Directories and the shares that replace them.
    type: list
    elements: dict
    required: true
    suboptions:
      src:
        description: The directory. Where only its parent exists, the link is made too.
        type: path
        required: true
      dest:
        description: The share.
        type: path
        required: true
      share:
        description: Name of the share in its marker.
        type: str
        required: true
      account:
        description: Account that owns the share, and writes to it. Empty stands for the account below.
        type: str
        default: ""
      contains:
        description: Directories that the directory must have. Without them it is not what was meant, and is skipped.
        type: list
        elements: str
        default: []
      exclude:
        description: Patterns of files that are not copied and stay in the renamed directory.
        type: list
        elements: str
        default: []
      prefer_share:
        description: Patterns of files of which the share's version is kept when both differ.
        type: list
        elements: str
        default: []
      rename:
        description: Patterns of files that are copied under another name when both versions differ.
        type: list
        elements: str
        default: []
      suffix:
        description: Suffix of such names.
        type: str
        default: ""
  only_existing:
    description: Whether a directory that does not exist is skipped, instead of being made a link.
    type: bool
    default: false
  running_from:
    description: Directory of programs that are stopped before anything is copied.
    type: path
  units:
    description: Service units that are stopped and disabled, where they exist.
    type: list
    elements: str
    default: []
  account:
    description: Account that writes to the shares whose pair names none.
    type: str
    default: noslop
  studio_id:
    description: Id of the studio in the shares' markers. Required with C(present).
    type: str
  state:
    description:
      - C(present) copies and makes the links. C(absent) removes the links, and renames the newest renamed directories
        back; shares and units stay as they are.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Copy the models of the user's ComfyUI to the share
  noslop.studio.adopt_directory:
    pairs:
      - src: /home/artist/ComfyUI/models
        dest: /mnt/noslop/comfyui/models
        share: comfyui_models
    running_from: /home/artist/ComfyUI
    studio_id: "{{ noslop_studio_id }}"
  throttle: 1
"""

RETURN = r"""
carried:
  description: Result of each pair that was not a link yet.
  type: list
  elements: dict
  returned: success
  sample:
    - src: /home/artist/ComfyUI/models
      dest: /mnt/noslop/comfyui/models
      renamed_to: /home/artist/ComfyUI/models.pre-noslop-20261123T101112Z
      copied_files: 3
      copied_bytes: 6938040682
      followed: []
      dangling: []
      left: []
      kept_on_share: []
      renamed_on_share: []
not_adopted:
  description: Directories that stay as they are, because their share is read-only on this host and lacks C(names).
  type: list
  elements: dict
  returned: success
  sample:
    - src: /home/artist/ComfyUI/custom_nodes
      dest: /mnt/noslop/comfyui/custom_nodes
      names: [ComfyUI-Manager, my_node.py]
stopped:
  description: Units and processes that were stopped, or would be.
  type: list
  elements: str
  returned: success
absent:
  description: Directories that were skipped, since they do not exist on this host or lack what C(contains) names.
  type: list
  elements: str
  returned: success
kept:
  description: With C(state=absent), renamed directories that remain.
  type: list
  elements: str
  returned: success
"""

import functools
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.adopt import file_copy, replacement, service_stop
from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo, processes, worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.share import access

PAIR_SPEC: dict[str, Any] = {
    "src": {"type": "path", "required": True},
    "dest": {"type": "path", "required": True},
    "share": {"type": "str", "required": True},
    "account": {"type": "str", "default": ""},
    "contains": {"type": "list", "elements": "str", "default": []},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "prefer_share": {"type": "list", "elements": "str", "default": []},
    "rename": {"type": "list", "elements": "str", "default": []},
    "suffix": {"type": "str", "default": ""},
}


def main() -> None:
    """Replace the directories by links, or remove the links."""
    module = AnsibleModule(
        argument_spec={
            "pairs": {"type": "list", "elements": "dict", "required": True, "options": PAIR_SPEC},
            "only_existing": {"type": "bool", "default": False},
            "running_from": {"type": "path"},
            "units": {"type": "list", "elements": "str", "default": []},
            "account": {"type": "str", "default": "noslop"},
            "studio_id": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("studio_id",))],
        supports_check_mode=True,
    )
    try:
        result = _remove(module) if module.params["state"] == "absent" else _adopt(module)
    except (file_copy.CopyError, access.ShareError, service_stop.StopError, OSError) as error:
        module.fail_json(msg=_explain(error))
    module.exit_json(**result)


def _explain(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return (
            f"{error.filename or 'reading or writing'}: {error.strerror}. The directory is read as the account "
            "that owns it: give that account read access, then run again. Nothing was replaced."
        )
    if isinstance(error, OSError):
        return f"{error.filename or 'reading or writing'}: {error.strerror or error}. Nothing was replaced."
    return str(error)


def _adopt(module: AnsibleModule) -> dict[str, Any]:
    names = [options["account"] or module.params["account"] for options in module.params["pairs"]]
    accounts = [access.share_owner(name) for name in names]
    missing_names = [name for name, account in zip(names, accounts) if account is None]
    if missing_names and not module.check_mode:
        module.fail_json(msg=f"There is no account {missing_names[0]} here. Run the playbook storage first.")
    pairs = [_pair(options, account) for options, account in zip(module.params["pairs"], accounts)]
    missing = [pair for pair in pairs if not os.path.lexists(pair.src)]
    other = [
        pair
        for pair, options in zip(pairs, module.params["pairs"])
        if pair.has_content and not all(os.path.isdir(os.path.join(pair.src, name)) for name in options["contains"])
    ]
    unlinked = [pair for pair in pairs if pair.has_content and pair not in other]
    if not module.params["only_existing"]:
        unlinked += [pair for pair in missing if os.path.isdir(os.path.dirname(pair.src))]
    comparable, unadoptable = _compare(module, unlinked)
    unlinked = [pair for pair in unlinked if pair not in unadoptable]
    # Programs have to be stopped only where there is something to copy.
    root = module.params["running_from"] if any(pair.has_content for pair in unlinked + unadoptable) else None
    stopper = service_stop.Stopper(functools.partial(_run, module))
    if module.check_mode:
        stopped = stopper.plan_stop(module.params["units"], root)
        for pair in comparable:
            pair.copied_files = sum(entry.kind == "file" for entry, __ in pair.comparison.missing)
            pair.copied_bytes = pair.comparison.missing_bytes
    else:
        stopped = _stop_and_swap(stopper, module.params["units"], root, unlinked)
    return {
        "changed": bool(unlinked or stopped),
        "carried": [pair.as_result() for pair in unlinked],
        "not_adopted": [{"src": pair.src, "dest": pair.dest, "names": pair.lacking} for pair in unadoptable],
        "stopped": stopped,
        "kept": [],
        "absent": [pair.src for pair in missing + other if pair not in unlinked],
    }


def _run(module: AnsibleModule, words: list[str], environment: dict[str, str] | None) -> tuple[int, str, str]:
    try:
        code, out, err = module.run_command(words, environ_update=environment, handle_exceptions=False)
    except OSError as error:  # a host without systemd has no units
        return 127, "", str(error)
    return int(code), str(out), str(err)


def _pair(options: dict[str, Any], writer: worker_processes.Account | None = None) -> replacement.Pair:
    rules = file_copy.Rules(options["exclude"], options["prefer_share"], options["rename"], options["suffix"])
    src = os.path.normpath(options["src"])
    accounts = file_copy.Accounts(replacement.first_owner(src), writer)
    rename_account = replacement.first_owner(os.path.dirname(src))
    return replacement.Pair(src, os.path.normpath(options["dest"]), rules, accounts, rename_account)


def _compare(
    module: AnsibleModule, pairs: list[replacement.Pair]
) -> tuple[list[replacement.Pair], list[replacement.Pair]]:
    """Refuse pairs that must be mended first.

    Returns:
        The pairs that could be compared, and those that a read-only share keeps from being adopted.
    """
    names = {os.path.normpath(options["dest"]): options["share"] for options in module.params["pairs"]}
    mounted = mountinfo.read_mounts()
    comparable = []
    for pair in pairs:
        replacement.refuse_mounts(pair, mounted)
        owner = pair.accounts.writer
        if module.check_mode and (owner is None or not os.path.isdir(pair.dest)):
            continue
        access.check_marker(pair.dest, names[pair.dest], module.params["studio_id"], owner)
        if pair.has_content:
            replacement.scan_and_compare(pair)
            comparable.append(pair)
    unadoptable = replacement.find_unadoptable(comparable)
    comparable = [pair for pair in comparable if pair not in unadoptable]
    replacement.refuse_conflicts(comparable)
    replacement.require_free_space(comparable)
    return comparable, unadoptable


def _stop_and_swap(
    stopper: service_stop.Stopper,
    units: list[str],
    running_from: str | None,
    pairs: list[replacement.Pair],
) -> list[str]:
    full = [pair for pair in pairs if pair.has_content]
    try:
        stopped = stopper.stop(units, running_from)
        writers = processes.find_writers_below([pair.src for pair in full]) if full else []
        if writers:
            raise file_copy.CopyError(
                "Programs are writing to what is to be copied. Let them finish or stop them, then run again:\n  "
                + "\n  ".join(writers)
            )
        for pair in full:
            replacement.copy_until_equal(pair)
        with replacement.swap_back_on_failure(pairs):
            for pair in pairs:
                replacement.swap(pair)
                if not pair.is_done:
                    raise file_copy.CopyError(f"{pair.src} was made a link and does not lead to {pair.dest}.")
    except BaseException as error:
        failed = stopper.start_again()
        if failed:
            raise file_copy.CopyError(
                f"{_explain_any(error)} What was stopped did not start again: {', '.join(failed)}."
            ) from error
        raise
    return stopped


def _explain_any(error: BaseException) -> str:
    return _explain(error) if isinstance(error, Exception) else type(error).__name__


def _remove(module: AnsibleModule) -> dict[str, Any]:
    restored, kept = [], []
    for pair in (_pair(options) for options in module.params["pairs"]):
        has_link, remaining = replacement.plan_restore(pair)
        kept += remaining
        if has_link:
            restored.append(pair.as_result())
            if not module.check_mode:
                replacement.restore(pair)
    return {
        "changed": bool(restored),
        "carried": restored,
        "not_adopted": [],
        "stopped": [],
        "kept": kept,
        "absent": [],
    }


if __name__ == "__main__":
    main()
