# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a host after a teardown with what it was before: files, units, ports, mounts, rules of the firewall.

What a teardown keeps on purpose is not compared: data, packages with their files, and the accounts. Nor are
directories of units and programs that may stay, empty.
"""

from __future__ import annotations

from tests.support.lab.machines import Machine

#: Directories of units and programs that an administrator adds.
MAY_STAY = ("/opt/noslop", "/usr/local/lib/systemd", "/usr/local/lib/systemd/system")
#: One line for each thing. `ls` of a share may hang, so only the kernel's tables of mounts are read.
READ = r"""
set -u
find /etc /usr/local /opt -xdev -not -path '/etc/ssl/*' -not -path '/etc/alternatives/*' -not -name '*.pyc' \
    -not -name __pycache__ -not -name 'passwd*' -not -name 'shadow*' -not -name 'group*' -not -name 'gshadow*' \
    -not -name .pwd.lock -not -name 'sub?id*' -not -name ld.so.cache -printf 'file %p %m %u:%g %l\n'
systemctl list-unit-files --no-legend --no-pager --plain | awk '{ print "unit", $1, $2 }'
systemctl list-units --all --failed --no-legend --no-pager --plain | awk '{ print "failed", $1 }'
ss -Hlntu | awk '$5 !~ /:(22|68)$/ { print "port", $1, $5 }'
awk '$3 ~ /^(nfs4?|autofs)$/ { print "mount", $2, $3 }' /proc/mounts
{ nft list tables 2>/dev/null || true; } | sed 's/^/firewall /'
"""
#: Prints the lines that a package explains: its files, and the units that it brought.
OF_PACKAGES = r"""
while read -r kind name rest; do
    case $kind in
        file) dpkg -S "$name" >/dev/null 2>&1 || {
            target=$(readlink -f "$name"); [ "$target" != "$name" ] && dpkg -S "$target" >/dev/null 2>&1; } ;;
        unit) dpkg -S "/lib/systemd/system/$name" "/usr/lib/systemd/system/$name" 2>/dev/null | grep -q . ;;
        *) false ;;
    esac && printf '%s %s%s\n' "$kind" "$name" "${rest:+ $rest}"
done; true
"""


def read_state(machine: Machine) -> frozenset[str]:
    """Return the state of a host, a line for each thing."""
    return frozenset(machine.check_output(READ, root=True, timeout_s=600).splitlines())


def find_remains(machine: Machine, before: frozenset[str]) -> list[str]:
    """Return what differs on a host from before, without what packages brought: `+` is new, and `-` is gone."""
    after = read_state(machine)
    different = sorted(
        line for line in after - before if not line.startswith(tuple(f"file {path} " for path in MAY_STAY))
    )
    done = machine.sudo(OF_PACKAGES, stdin="".join(f"{line}\n" for line in different), timeout_s=600)
    explained = {line.strip() for line in done.stdout.splitlines()}
    return [f"+ {line}" for line in different if line.strip() not in explained] + [
        f"- {line}" for line in sorted(before - after)
    ]
