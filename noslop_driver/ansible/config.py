# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Ansible is set up where no ansible.cfg does it, and what it must never be left to guess."""

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
"""The settings of the checkout's ansible.cfg, for a driver that was installed without one. A test compares them."""


def collections_path() -> Path:
    """The directory above `ansible_collections` that the driver's own collection came from."""
    return Path(studio.__file__).resolve().parents[5]


def environment(inventory: Path, private: Path) -> dict[str, str]:
    """What Ansible's environment has beside the user's own."""
    cache = inventory / ".noslop" / "cache" / "facts"
    if not (inventory / ".noslop").is_dir():
        cache = private / "facts"
    scripts = [str(Path(sys.executable).parent), sysconfig.get_path("scripts")]
    others = os.environ.get("ANSIBLE_COLLECTIONS_PATH") or "~/.ansible/collections:/usr/share/ansible/collections"
    found = {
        "PATH": os.pathsep.join(dict.fromkeys([*scripts, os.environ.get("PATH", os.defpath)])),
        "ANSIBLE_COLLECTIONS_PATH": f"{collections_path()}:{others}",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(cache),
        # Files that Ansible renders before it sends them may hold secrets: they go with the private directory.
        "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
        # The lease on the storage server is the command's, not that of one playbook of it.
        "NOSLOP_DRIVER": f"{os.getpid()} {start_time(os.getpid())}",
        # Runner turns the check off unless it is told otherwise.
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_NOCOLOR": "1",
        # Runner empties larger results; a verification of many hosts is one.
        "MAX_EVENT_RES": str(64 * 2**20),
        # Nobody could answer: passwords come from files.
        "ANSIBLE_ASK_PASS": "False",
        "ANSIBLE_BECOME_ASK_PASS": "False",
    }
    if "utf" not in locale.getpreferredencoding(do_setlocale=False).lower():
        found["LC_ALL"] = "C.UTF-8"  # Ansible refuses any other encoding
    if not _has_settings():
        found["ANSIBLE_CONFIG"] = str(_write_settings(private))
    return found


def _has_settings() -> bool:
    """Whether Ansible would read an ansible.cfg that somebody meant for this directory."""
    path = find_ini_config_file(set())
    return path is not None and ("ANSIBLE_CONFIG" in os.environ or Path(path).resolve().parent == Path.cwd().resolve())


def _write_settings(private: Path) -> Path:
    settings = configparser.ConfigParser(interpolation=None)
    settings.read_dict(ANSIBLE_DEFAULTS)
    path = private / "ansible.cfg"
    with path.open("w", encoding="utf-8") as file:
        settings.write(file)
    return path
