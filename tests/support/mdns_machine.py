# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answer questions of multicast DNS in a network namespace of a test, until standard input ends.

mdns_machine.py responder ADDRESS SERVICES      announces services with the library zeroconf
mdns_machine.py sender ADDRESS FILE             answers with the datagrams of a file, by the type of the question
"""

from __future__ import annotations

import base64
import json
import select
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import zeroconf
from zeroconf._protocol.incoming import DNSIncoming

GROUP, PORT = "224.0.0.251", 5353


def run_responder(address: str, services: list[dict[str, Any]]) -> None:
    """Announce services until standard input ends."""
    responder = zeroconf.Zeroconf(interfaces=[address])
    for service in services:
        info = zeroconf.ServiceInfo(
            service["type"],
            f"{service['name']}.{service['type']}",
            port=service["port"],
            server=service["server"],
            parsed_addresses=service["addresses"],
        )
        responder.register_service(info, cooperating_responders=True)
    print("ready", flush=True)
    sys.stdin.read()
    responder.close()


def run_sender(address: str, datagrams: dict[int, list[bytes]]) -> None:
    """Send datagrams to the group, for each message with questions of their type, until standard input ends."""
    with socket.socket(type=socket.SOCK_DGRAM) as questions, socket.socket(type=socket.SOCK_DGRAM) as answers:
        questions.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        questions.bind((GROUP, PORT))
        membership = struct.pack("=4s4s", socket.inet_aton(GROUP), socket.inet_aton(address))
        questions.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        answers.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
        answers.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        answers.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        answers.bind((address, PORT))
        print("ready", flush=True)
        while True:
            ready = select.select([questions, sys.stdin], [], [])[0]
            if sys.stdin in ready:
                return
            message = DNSIncoming(questions.recv(65536))
            for kind in {question.type for question in message.questions} if message.is_query() else ():
                for datagram in datagrams.get(kind, ()):
                    answers.sendto(datagram, (GROUP, PORT))


if __name__ == "__main__":
    if sys.argv[1] == "responder":
        run_responder(sys.argv[2], json.loads(sys.argv[3]))
    else:
        encoded = json.loads(Path(sys.argv[3]).read_text(encoding="ascii"))
        run_sender(sys.argv[2], {int(kind): [base64.b64decode(one) for one in encoded[kind]] for kind in encoded})
