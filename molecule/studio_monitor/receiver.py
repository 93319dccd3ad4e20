"""Write what a webhook gets to a file, one request a line: receiver.py PORT FILE."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """Accept every message."""

    def do_POST(self) -> None:
        """Write the message, and answer that it was accepted."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with Path(sys.argv[2]).open("ab") as stream:
            stream.write(body + b"\n")
        self.send_response(204)
        self.end_headers()


HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
