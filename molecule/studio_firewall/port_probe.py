"""Print which ports of a host accept a connection from which local addresses: one line a pair, `source port yes|no`.

Arguments: the host, the local addresses and the ports, both separated by commas.
"""

import socket
import sys

host = sys.argv[1]
for source in sys.argv[2].split(","):
    for port in sys.argv[3].split(","):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as client:
            client.settimeout(2)
            try:
                client.bind((source, 0))
                client.connect((host, int(port)))
                print(source, port, "yes")
            except OSError:
                print(source, port, "no")
