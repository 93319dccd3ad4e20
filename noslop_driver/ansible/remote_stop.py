# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends what an interrupted run left on a host.

When an SSH connection is cut, the server ends nothing that was started without a terminal, and Ansible's modules
are (ansible#87327). The next connection goes through the same multiplexed one, so the session process of the SSH
server is the ancestor of what was left behind: its other descendants are ended, and nothing else on the host is
touched. Background jobs (`async`) left that tree; they run from a directory whose name has the process id of the
worker that sent them (`_generate_tmp_path`, ansible/plugins/shell/__init__.py). A package manager that is at work is
waited for: cutting it off leaves packages half configured.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

WAIT_FOR_PACKAGES_S = 300
"""How long a package manager may take to finish what it has begun."""

SCRIPT = r"""
children_of() {  # prints the processes below those named in $1, but for the branch $branch that we are
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
        *) exit 0;;  # no SSH session: nothing was left
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
    for pid in $(children_of "$session $jobs"); do
        case "$(cat "/proc/$pid/comm" 2>/dev/null)" in dpkg|rpm|rpmdb|dnf|yum|zypper|pacman) packages=$pid;; esac
    done
    [ "$packages" ] || break
    sleep 1; waited=$((waited + 1))
done
for signal in TERM TERM TERM TERM TERM KILL KILL; do
    alive=
    for pid in $(children_of "$session $jobs"); do
        case "$(sed -n 's/^State:[^A-Z]*\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null)" in
            ''|Z|X) ;;
            *) alive=yes; kill "-$signal" "$pid" 2>/dev/null;;
        esac
    done
    [ "$alive" ] || exit 0
    sleep 1
done
exit 1  # something stayed alive
"""
"""For any POSIX shell on Linux: a host may have no `ps`, and which Python it has is not known here."""


def playbook(workers: Sequence[int]) -> str:
    """A playbook (JSON is YAML) that ends what was left on each host it is limited to.

    `workers` are the process ids that Ansible's workers had on this computer.
    """
    command = f"NOSLOP_WAIT={WAIT_FOR_PACKAGES_S} NOSLOP_WORKERS='{'|'.join(map(str, workers))}'\n{SCRIPT}"
    end: dict[str, object] = {"ansible.builtin.raw": command, "changed_when": False}
    # Who may not become root could not start anything as root either.
    task = {
        "name": "stop | End what the interrupted run left on the host",
        "block": [{"name": "stop | End it as root", "become": True, **end}],
        "rescue": [{"name": "stop | End it as the account that logs in", **end}],
    }
    play = {
        "name": "End what the interrupted run left",
        "hosts": "all",
        "gather_facts": False,
        "tasks": [task],
    }
    return json.dumps([play])
