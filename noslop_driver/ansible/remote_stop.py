# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the playbook that ends the processes that an interrupted run left on hosts.

When an SSH connection is cut, the server does not end processes that were started without a terminal, and Ansible
starts its modules without one (ansible#87327). The next connection goes through the same multiplexed one, so the
session process of the SSH server is the ancestor of the processes that were left: its other descendants are ended, and
nothing else on the host is touched. Background jobs (`async`) are no longer descendants of it; they run from a
directory whose name has the process id of the worker that sent them (`_generate_tmp_path`,
ansible/plugins/shell/__init__.py). The script waits for a running package manager: ending it would leave packages half
configured.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

WAIT_FOR_PACKAGES_S = 300
"""The time that a running package manager gets to finish."""

SCRIPT = r"""
list_descendants() {  # prints the processes below those named in $1, except the branch $branch of this script
    wanted=" $1 "; grown=yes
    while [ "$grown" ]; do
        grown=
        while read -r line; do
            pid=${line#/proc/}; pid=${pid%%/*}; parent=${line##*[!0-9]}
            case "$wanted" in *" $pid "*) continue;; esac
            case "$wanted" in *" $parent "*) [ "$pid" = "$branch" ] || { wanted="$wanted$pid "; grown=yes; };; esac
        done <<TABLE
$(grep -s ^PPid: /proc/[0-9]*/status)
TABLE
    done
    for pid in $wanted; do [ "$pid" = "$session" ] || echo "$pid"; done
}
parent_of() { sed -n 's/^PPid:[^0-9]*//p' "/proc/$1/status"; }

session=; branch=$$
while [ -z "$session" ]; do
    parent=$(parent_of "$branch")
    name=$(cat "/proc/$parent/comm" 2>/dev/null)
    case "$name" in
        sshd|sshd-session|dropbear) session=$parent;;
        sh|dash|bash|ksh|zsh|fish|sudo|su|doas) branch=$parent;;
        *) exit 0;;  # no SSH session: no process was left
    esac
done

jobs=
if [ "$NOSLOP_WORKERS" ]; then
    for file in $(grep -lszE "ansible-tmp-[0-9.]+-($NOSLOP_WORKERS)-" /proc/[0-9]*/cmdline); do
        pid=${file#/proc/}; jobs="$jobs ${pid%%/*}"
    done
fi

waited=0
while [ "$waited" -lt "$NOSLOP_WAIT" ]; do
    packages=
    for pid in $(list_descendants "$session $jobs"); do
        case "$(cat "/proc/$pid/comm" 2>/dev/null)" in dpkg|rpm|rpmdb|dnf|yum|zypper|pacman) packages=$pid;; esac
    done
    [ "$packages" ] || break
    sleep 1; waited=$((waited + 1))
done
for signal in TERM TERM TERM TERM TERM KILL KILL; do
    alive=
    for pid in $(list_descendants "$session $jobs"); do
        case "$(sed -n 's/^State:[^A-Z]*\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null)" in
            ''|Z|X) ;;
            *) alive=yes; kill "-$signal" "$pid" 2>/dev/null;;
        esac
    done
    [ "$alive" ] || exit 0
    sleep 1
done
exit 1  # a process is still alive
"""
"""A script for any POSIX shell on Linux: a host may have no `ps`, and the path of its Python is not known here."""


def render_playbook(workers: Sequence[int]) -> str:
    """Return a playbook (JSON is YAML) that ends the remaining processes on each host it is limited to.

    `workers` are the process ids that Ansible's workers had on this computer.
    """
    command = f"NOSLOP_WAIT={WAIT_FOR_PACKAGES_S} NOSLOP_WORKERS='{'|'.join(map(str, workers))}'\n{SCRIPT}"
    end: dict[str, object] = {"ansible.builtin.raw": command, "changed_when": False}
    # An account that may not become root could not start a process as root either.
    task = {
        "name": "stop | End the processes of the interrupted run",
        "block": [{"name": "stop | End the processes as root", "become": True, **end}],
        "rescue": [{"name": "stop | End the processes as the account that logs in", **end}],
    }
    play = {
        "name": "End the processes of an interrupted run",
        "hosts": "all",
        "gather_facts": False,
        "tasks": [task],
    }
    return json.dumps([play])
