# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configure Ansible: its make_environment, and an ansible.cfg where the current directory has none."""

from __future__ import annotations

import configparser
import locale
import os
import sys
import sysconfig
from pathlib import Path

from ansible.config.manager import find_ini_config_file
from ansible_collections.noslop.studio.plugins.module_utils import studio

from noslop_driver.ansible.watchdog import start_time

ANSIBLE_DEFAULTS: dict[str, dict[str, str]] = {
    "defaults": {
        "forks": "25",
        "gathering": "smart",
        "inject_facts_as_vars": "False",
        "fact_caching": "jsonfile",
        "fact_caching_timeout": "7200",
        "host_key_checking": "True",
        "interpreter_python": "auto_silent",
        "retry_files_enabled": "False",
        "nocows": "True",
        "display_skipped_hosts": "False",
        "callback_result_format": "yaml",
    },
    "ssh_connection": {
        "pipelining": "True",
        "ssh_args": ("-o ControlMaster=auto -o ControlPersist=10m -o ServerAliveInterval=15 -o ServerAliveCountMax=4"),
    },
}
"""The values of the checkout's ansible.cfg, for a driver that was installed without one. A test compares them."""


def find_collections_path() -> Path:
    """Return the directory above `ansible_collections` from which the driver imports the collection."""
    return Path(studio.__file__).resolve().parents[5]


def make_environment(inventory: Path, private: Path) -> dict[str, str]:
    """Return the variables to add to the user's environment for Ansible."""
    cache = inventory / ".noslop" / "cache" / "facts"
    if not (inventory / ".noslop").is_dir():
        cache = private / "facts"
    script_directories = [str(Path(sys.executable).parent), sysconfig.get_path("scripts")]
    other_collections = (
        os.environ.get("ANSIBLE_COLLECTIONS_PATH") or "~/.ansible/collections:/usr/share/ansible/collections"
    )
    variables = {
        "PATH": os.pathsep.join(dict.fromkeys([*script_directories, os.environ.get("PATH", os.defpath)])),
        "ANSIBLE_COLLECTIONS_PATH": f"{find_collections_path()}:{other_collections}",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(cache),
        # Files that Ansible renders before it sends them may hold secrets: they go with the private directory.
        "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
        # The lease on the storage server belongs to the whole command, not to one of its playbooks.
        "NOSLOP_DRIVER": f"{os.getpid()} {start_time(os.getpid())}",
        # Without this, ansible-runner turns the check off.
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_NOCOLOR": "1",
        # ansible-runner empties larger results; the verification of many hosts is one.
        "MAX_EVENT_RES": str(64 * 2**20),
        # There is no terminal to answer a prompt: passwords come from files.
        "ANSIBLE_ASK_PASS": "False",
        "ANSIBLE_BECOME_ASK_PASS": "False",
    }
    if "utf" not in locale.getpreferredencoding(do_setlocale=False).lower():
        variables["LC_ALL"] = "C.UTF-8"  # Ansible refuses any other encoding
    if not _has_ansible_cfg():
        variables["ANSIBLE_CONFIG"] = str(_write_ansible_cfg(private))
    return variables


def _has_ansible_cfg() -> bool:
    """Return whether Ansible would read an ansible.cfg of the current directory, or one that ANSIBLE_CONFIG names."""
    path = find_ini_config_file(set())
    return path is not None and ("ANSIBLE_CONFIG" in os.environ or Path(path).resolve().parent == Path.cwd().resolve())


def _write_ansible_cfg(private: Path) -> Path:
    """Write ANSIBLE_DEFAULTS as an ansible.cfg and return its path."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read_dict(ANSIBLE_DEFAULTS)
    path = private / "ansible.cfg"
    with path.open("w", encoding="utf-8") as file:
        settings.write(file)
    return path
