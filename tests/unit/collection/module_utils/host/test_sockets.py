# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the parser of ``/proc/net/tcp`` and its like, and find a process by its socket."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host import processes, sockets

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
REST = "00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0"


@pytest.mark.skipif(sys.byteorder != "little", reason="the text is that of a little-endian machine")
@pytest.mark.parametrize(
    ("protocol", "state", "address", "shown"),
    [
        ("tcp", "0A", "0100007F:0801", "tcp 127.0.0.1:2049"),
        ("tcp", "01", "0100007F:0801", ""),
        ("tcp6", "0A", "00000000000000000000000001000000:1FFC", "tcp [::1]:8188"),
        ("tcp6", "0A", "0000000000000000FFFF00000100007F:1FFC", "tcp 127.0.0.1:8188"),
        ("udp", "07", "00000000:006F", "udp 0.0.0.0:111"),
        ("udp", "01", "00000000:006F", ""),
    ],
)
def test_listening_sockets_are_parsed(protocol: str, state: str, address: str, shown: str) -> None:
    text = f"{HEADING}\n   0: {address} {REST.format(state=state)}\n"

    assert ", ".join(map(str, sockets.parse_listeners(protocol, text))) == shown


def test_find_listeners_returns_the_processes_of_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        holder = subprocess.Popen(["sleep", "600"], pass_fds=[server.fileno()])
    try:
        assert [process.pid for process in processes.find_listeners(port)] == [holder.pid]
    finally:
        holder.kill()
        holder.wait()

    assert processes.find_listeners(port) == []
