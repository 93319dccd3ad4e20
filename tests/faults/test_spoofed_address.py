# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a machine with the address of a worker that is off gets what docs/threat-model.md says, and no more."""

from __future__ import annotations

import shlex

from tests.faults.conftest import Takeover
from tests.support.lab.power import switch_power, wait_until_up

# `ip netns exec` makes a mount namespace too, so what mounts and what looks at the mount is one command.
ATTEMPT = """
ip netns add taken; trap 'ip netns del taken' EXIT
ip link add link eth0 name taken0 type macvlan mode bridge; ip link set taken0 netns taken
ip -n taken addr add {address}/24 dev taken0; ip -n taken link set taken0 up
mkdir -p /tmp/taken
ip netns exec taken bash -c {attempts}
"""
ATTEMPTS = """
set -u
shared() {{ timeout 60 mount -t nfs4 -o vers=4.2,soft,timeo=50,retrans=1,retry=0 {server}:$1 /tmp/taken; }}
shared /mnt/noslop/projects && {{
    mountpoint -q /tmp/taken && touch /tmp/taken/foreign && rm /tmp/taken/foreign && echo PROJECTS
    umount /tmp/taken
}}
shared /mnt/noslop/comfyui/custom_nodes && {{
    test -e /tmp/taken/.noslop-share && {{ touch /tmp/taken/foreign 2>/dev/null || echo NODES_READ_ONLY; }}
    umount /tmp/taken
}}
shared / && {{ test -d /tmp/taken/mnt && test ! -e /tmp/taken/etc && echo NO_ETC; umount /tmp/taken; }}
python3 -c {request}
"""
REQUEST = """
import urllib.error, urllib.request
try:
    urllib.request.urlopen("http://{server}:8765/api/v1/projects", timeout=20)
    print("BACKEND_OPEN")
except urllib.error.HTTPError as error:
    print("BACKEND", error.code)
"""


def test_spoofed_address_gets_the_exports_of_its_worker_and_no_token(takeover: Takeover) -> None:
    server, worker, absent = (takeover.machines[name] for name in ("server", "worker1", "worker2"))
    switch_power("worker2", "off")
    try:
        request = shlex.quote(REQUEST.format(server=server.address))
        attempts = shlex.quote(ATTEMPTS.format(server=server.address, request=request))
        output = worker.check_output(
            ATTEMPT.format(address=absent.address, attempts=attempts), root=True, timeout_s=600
        )
    finally:
        switch_power("worker2", "on")
        wait_until_up(absent, timeout_s=300)
    assert output.split() == ["PROJECTS", "NODES_READ_ONLY", "NO_ETC", "BACKEND", "401"]
