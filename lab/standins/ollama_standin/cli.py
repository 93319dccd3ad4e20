# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the command line: `serve` is the daemon, every other command sends HTTP requests to OLLAMA_HOST."""

from __future__ import annotations

import argparse
import datetime
import http.client
import json
import logging
import os
import re
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .api import Server
from .common import SILENT_VERSIONS, VERSION, OllamaError, home, listen_address, log, os_message, switched_on
from .models import Models

UNREACHABLE = "could not connect to ollama server, run 'ollama serve' to start it"


def ensure_key() -> None:
    """Create the key below HOME that signs pulls. The daemon does not start where it cannot write one."""
    path = home() / ".ollama" / "id_ed25519"
    if path.exists():
        return
    print(f"Couldn't find '{path}'. Generating new private key.", flush=True)
    try:
        path.parent.mkdir(0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise OllamaError("could not create directory " + os_message("mkdir", error)) from error
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
            stream.write(f"NoSlop stand-in, not a key: {secrets.token_hex(32)}\n")
        path.with_name("id_ed25519.pub").write_text("NoSlop stand-in, not a key\n", "ascii")
    except OSError as error:
        raise OllamaError(os_message("open", error)) from error


def serve() -> None:
    """Run the daemon until SIGTERM or SIGINT. Raises OllamaError when it cannot start."""
    os.umask(0o022)  # the models directory is the daemon's own: 0755 and 0644, a group never writes there
    ensure_key()
    host, port = listen_address(os.environ.get("OLLAMA_HOST", ""))
    try:
        server = Server(host, port)
    except OSError as error:
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise OllamaError(f"listen tcp {shown}: bind: {(error.strerror or str(error)).lower()}") from error
    with server:
        server.models = Models(Path(os.environ.get("OLLAMA_MODELS") or home() / ".ollama" / "models"))
        server.models.prepare()
        if not switched_on("OLLAMA_NOPRUNE"):
            server.models.prune()
        # Blocked in all threads, and waited for: a handler that sets an event can run while the event's lock is held.
        endings = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, endings)
        if VERSION not in SILENT_VERSIONS:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        address, port = server.server_address[:2]
        shown = f"[{address!s}]" if ":" in str(address) else str(address)
        log.info("Listening on %s:%d (version %s, a stand-in)", shown, port, VERSION)
        signal.sigwait(endings)


class Client:
    """A client of the daemon, with the original's messages where the daemon does not answer."""

    def __init__(self) -> None:
        host, self.port = listen_address(os.environ.get("OLLAMA_HOST", ""))
        self.host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (a connection goes to loopback)

    def events(self, method: str, path: str, body: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Send a request, and yield the JSON lines of the answer. Raises OllamaError."""
        connection = http.client.HTTPConnection(self.host, self.port)
        try:
            connection.request(method, path, json.dumps(body) if body else None)
            answer = connection.getresponse()
            for line in answer:
                if not line.strip():
                    continue
                event = json.loads(line)
                if "error" in event:
                    raise OllamaError(event["error"])
                yield event
            if answer.status >= 400:
                raise OllamaError(f"{answer.status} {answer.reason}")
        except OSError as error:
            raise OllamaError(UNREACHABLE) from error
        finally:
            connection.close()

    def one(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request, and return the last line of the answer."""
        events = list(self.events(method, path, body))
        return events[-1] if events else {}


def human_size(size: int) -> str:
    """Return bytes as `ollama list` shows them."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}" if size < 10 * factor else f"{size / factor:.0f} {unit}"
    return f"{size} B"


def human_age(when: str) -> str:
    """Return the age of a time in words."""
    seconds = (datetime.datetime.now(datetime.timezone.utc) - parse_time(when)).total_seconds()
    for unit, factor in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= factor:
            count = int(seconds // factor)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "Less than a minute ago"


def parse_time(text: str) -> datetime.datetime:
    """Parse a time of the interface."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def table(rows: list[list[str]]) -> None:
    """Print rows in columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("    ".join(cell.ljust(width) for cell, width in zip(row, widths)))


def show_list(client: Client) -> None:
    """Print the models."""
    rows = [["NAME", "ID", "SIZE", "MODIFIED"]]
    for model in client.one("GET", "/api/tags")["models"]:
        age = human_age(model["modified_at"])
        rows.append([model["name"], model["digest"][:12], human_size(model["size"]), age])
    table(rows)


def show_progress(events: Iterator[dict[str, Any]]) -> None:
    """Print one line for each status; the original draws progress bars."""
    last = ""
    for event in events:
        if event["status"] != last:
            print(event["status"], file=sys.stderr, flush=True)
        last = event["status"]


def modelfile(path: Path) -> dict[str, str]:
    """Return `FROM` and `SYSTEM` of a Modelfile as the fields of a create request."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise OllamaError(os_message("open", error)) from error
    fields = {word.lower(): value.strip(' "') for word, value in re.findall(r"(?mi)^(FROM|SYSTEM)\s+(.+)$", text)}
    if "from" not in fields:
        raise OllamaError("no FROM line for the model was specified")
    return fields


def show_version(client: Client) -> None:
    """Print the daemon's version, and this program's where it differs."""
    try:
        running = client.one("GET", "/api/version")["version"]
        print(f"ollama version is {running}")
    except OllamaError:
        print("Warning: could not connect to a running Ollama instance")
        running = ""
    if running != VERSION:
        print(f"Warning: client version is {VERSION}")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="ollama", description="Large language model runner (NoSlop stand-in)")
    top.add_argument("-v", "--version", action="store_true", help="Show version information")
    commands = top.add_subparsers(dest="command")
    commands.add_parser("serve", aliases=["start"], help="Start Ollama")
    commands.add_parser("list", aliases=["ls"], help="List models")
    commands.add_parser("ps", help="List running models")
    for name, text in (("pull", "Pull a model"), ("show", "Show a model"), ("run", "Run a model")):
        commands.add_parser(name, help=text).add_argument("model")
    commands.choices["run"].add_argument("prompt", nargs="*")
    commands.add_parser("rm", help="Remove a model").add_argument("model", nargs="+")
    create = commands.add_parser("create", help="Create a model")
    create.add_argument("model")
    create.add_argument("-f", "--file", type=Path, default=Path("Modelfile"))
    return top


def run(arguments: argparse.Namespace) -> None:
    """Run the command of the command line. Raises OllamaError."""
    client = Client()
    command = arguments.command
    if command in ("serve", "start"):
        serve()
    elif command in ("list", "ls"):
        show_list(client)
    elif command == "ps":
        client.one("GET", "/api/ps")
        table([["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"]])
    elif command == "pull":
        show_progress(client.events("POST", "/api/pull", {"model": arguments.model}))
    elif command == "create":
        request = {"model": arguments.model, **modelfile(arguments.file)}
        show_progress(client.events("POST", "/api/create", request))
    elif command == "show":
        details = client.one("POST", "/api/show", {"model": arguments.model})["details"]
        table([["  " + key, str(value)] for key, value in sorted(details.items())])
    elif command == "run":
        request = {"model": arguments.model, "prompt": " ".join(arguments.prompt)}
        for event in client.events("POST", "/api/generate", request):
            print(event["response"], end="", flush=True)
        print()
    else:
        for model in arguments.model:
            client.one("DELETE", "/api/delete", {"model": model})
            print(f"deleted '{model}'")


def main(words: list[str]) -> int:
    """Run the program, and return the exit code."""
    logging.basicConfig(level=logging.INFO, format="time=%(asctime)s level=%(levelname)s msg=%(message)s")
    command_parser = parser()
    arguments = command_parser.parse_args(words)
    try:
        if arguments.version:
            show_version(Client())
        elif arguments.command is None:
            command_parser.print_help()
        else:
            run(arguments)
    except OllamaError as failure:
        print(f"Error: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
