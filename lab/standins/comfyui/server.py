# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve the HTTP interface. Every path also answers below /api. There is no web socket and no user interface."""

from __future__ import annotations

import http.server
import importlib
import itertools
import json
import logging
import mimetypes
import os
import shutil
import socket
import sys
import time
import urllib.parse
import uuid
from typing import Any, Callable

import folder_paths
from app.assets import scan
from app.behaviour import behaviour
from app.jobs import find_job, list_jobs, parse_job_id
from comfy.cli_args import args
from comfyui_version import __version__
from execution import Job, PromptError, Queue, validate
from nodes import NODE_CLASS_MAPPINGS, node_info

PAGE = "<!DOCTYPE html><title>ComfyUI stand-in</title><p>This is NoSlop's stand-in for ComfyUI. It runs no model.</p>"
SAFE_TYPE = "application/octet-stream"  # a browser downloads active content in place of running it
UNSAFE_TYPES = {"text/html", "text/javascript", "text/css", "application/xhtml+xml"}


class RefusedError(Exception):
    """A rejected request, which gets a status and an empty answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def viewable(query: dict[str, str]) -> str:
    """Return the path of a file for /view. Raises RefusedError for a path that resolves outside its directory."""
    name, root = folder_paths.annotated_filepath(query.get("filename", ""))
    if root is None:
        root = folder_paths.get_directory_by_type(query.get("type", "output"))
    if not name or name.startswith("/") or ".." in name or root is None:
        raise RefusedError(400)
    directory = os.path.abspath(os.path.join(root, query.get("subfolder", "")))
    if os.path.commonpath([directory, root]) != root:
        raise RefusedError(403)
    path = os.path.join(directory, os.path.basename(name))
    if not os.path.isfile(path):
        raise RefusedError(404)
    real_root = os.path.realpath(root)
    if os.path.commonpath([os.path.realpath(path), real_root]) != real_root:
        raise RefusedError(403)
    return path


def memory() -> tuple[int, int]:
    """Return the total and the free memory in bytes."""
    page = os.sysconf("SC_PAGE_SIZE")
    return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")


class Handler(http.server.BaseHTTPRequestHandler):
    """A handler of one connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def send(self, status: int, body: bytes = b"", kind: str = SAFE_TYPE, **headers: str) -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: object, status: int = 200) -> None:
        """Send JSON."""
        self.send(status, json.dumps(value).encode(), "application/json; charset=utf-8")

    def answer(self) -> None:
        """Call the function of the path and send its result."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        if path.startswith("/api/jobs") and behaviour.is_recent:
            path = path[4:].replace("/jobs", "/api-jobs", 1)
        else:
            path = path[4:] if path.startswith("/api/") else path
        head, _, rest = path[1:].partition("/")
        method = "GET" if self.command == "HEAD" else self.command
        call = ROUTES.get((method, f"/{head}" + ("/" if rest else "")))
        try:
            if call is None:
                raise RefusedError(404)
            if method == "POST" and not rest:
                call(self, json.loads(body) if body else {})
            else:
                call(self, rest or dict(urllib.parse.parse_qsl(url.query)))
        except RefusedError as refused:
            self.send(refused.status)
        except ValueError as error:
            self.json({"error": str(error)}, 400)
        except ConnectionError:
            self.close_connection = True
        except Exception:
            logging.exception("Error handling request %s", self.path)
            self.send(500, b"500 Internal Server Error", "text/plain")

    do_GET = do_HEAD = do_POST = answer

    def log_message(self, format: str, *args: object) -> None:
        """Log requests at debug level only, as the original does."""
        logging.debug(format, *args)

    def page(self, _: dict[str, str]) -> None:
        """Answer /."""
        self.send(200, PAGE.encode(), "text/html; charset=utf-8")

    def system_stats(self, _: dict[str, str]) -> None:
        """Answer /system_stats."""
        total, free = memory()
        system = {
            "os": os.name,
            "ram_total": total,
            "ram_free": free,
            "comfyui_version": __version__,
            "python_version": sys.version,
            "pytorch_version": importlib.import_module("torch").__version__,
            "embedded_python": False,
            "argv": sys.argv,
        }
        amounts = {"vram_total": total, "vram_free": free, "torch_vram_total": total, "torch_vram_free": free}
        self.json({"system": system, "devices": [{"name": "cpu", "type": "cpu", "index": None, **amounts}]})

    def folders(self, _: dict[str, str]) -> None:
        """Answer /models."""
        self.json(list(folder_paths.folder_names_and_paths))

    def files(self, folder: str) -> None:
        """Answer /models/{folder}."""
        if folder not in folder_paths.folder_names_and_paths:
            raise RefusedError(404)
        self.json(folder_paths.get_filename_list(folder))

    def embeddings(self, _: dict[str, str]) -> None:
        """Answer /embeddings."""
        self.json([os.path.splitext(name)[0] for name in folder_paths.get_filename_list("embeddings")])

    def object_info(self, _: dict[str, str]) -> None:
        """Answer /object_info; a node that fails to describe itself is left out."""
        if args.enable_assets:
            scan()
        infos = {}
        for name in NODE_CLASS_MAPPINGS:
            try:
                infos[name] = node_info(name)
            except Exception:
                logging.exception("[ERROR] An error occurred while retrieving information for the '%s' node.", name)
        self.json(infos)

    def one_object_info(self, name: str) -> None:
        """Answer /object_info/{node}."""
        self.json({name: node_info(name)} if name in NODE_CLASS_MAPPINGS else {})

    def history(self, query: dict[str, str]) -> None:
        """Answer /history: all prompts, or so many from an offset on, by default the newest."""
        entries = list(self.server.queue.history().items())
        most, offset = int(query.get("max_items", len(entries))), int(query.get("offset", -1))
        if offset < 0:
            offset = max(0, len(entries) - most)
        self.json(dict(entries[offset : offset + most]))

    def one_history(self, prompt_id: str) -> None:
        """Answer /history/{id}."""
        self.json(self.server.queue.history(prompt_id))

    def queue(self, _: dict[str, str]) -> None:
        """Answer /queue."""
        self.json(self.server.queue.rows())

    def change_queue(self, request: dict[str, Any]) -> None:
        """Answer POST /queue."""
        if request.get("clear"):
            self.server.queue.clear()
        self.server.queue.clear(request.get("delete", []))
        self.send(200)

    def remaining(self, _: dict[str, str]) -> None:
        """Answer /prompt."""
        self.json({"exec_info": {"queue_remaining": self.server.queue.remaining()}})

    def prompt(self, request: dict[str, Any]) -> None:
        """Answer POST /prompt."""
        logging.info("got prompt")
        try:
            prompt_id = self.requested_id(request)
            if "prompt" not in request:
                raise PromptError("no_prompt", "No prompt provided", "No prompt provided")
            outputs = validate(request["prompt"])
        except PromptError as error:
            logging.warning("invalid prompt: %s", error.error)
            self.json({"error": error.error, "node_errors": error.node_errors}, 400)
            return
        number = float(request["number"]) if "number" in request else next(self.server.numbers)
        number = -number if request.get("front") else number
        extra = {**request.get("extra_data", {}), **{key: request[key] for key in ("client_id",) if key in request}}
        if behaviour.is_recent:
            extra["create_time"] = int(time.time() * 1000)
        job = Job(number, prompt_id, request["prompt"], extra, outputs)
        self.server.queue.put(job)
        self.json({"prompt_id": job.prompt_id, "number": number, "node_errors": {}})

    def requested_id(self, request: dict[str, Any]) -> str:
        """Return the id of a prompt, the client's or a new one. Raises PromptError for one that is no UUID."""
        value = request.get("prompt_id")
        if value is None:
            return str(uuid.uuid4())
        try:
            return parse_job_id(value) if behaviour.is_recent else str(value)
        except ValueError as error:
            raise PromptError("invalid_prompt_id", "prompt_id must be a valid UUID", str(error)) from error

    def jobs(self, query: dict[str, str]) -> None:
        """Answer /api/jobs. Raises ValueError for a parameter that is none."""
        self.json(list_jobs(self.server.queue, query))

    def one_job(self, job_id: str) -> None:
        """Answer /api/jobs/{id}."""
        job = find_job(self.server.queue, job_id)
        self.json({"error": "Job not found"} if job is None else job, 404 if job is None else 200)

    def cancel_job(self, rest: str) -> None:
        """Answer POST /api/jobs/{id}/cancel."""
        job_id, _, action = rest.partition("/")
        if action != "cancel":
            raise RefusedError(404)
        self.json({"cancelled": self.server.queue.cancel(job_id)})

    def nothing(self, _: dict[str, Any]) -> None:
        """Answer a request that has no effect here (/interrupt, /free)."""
        self.send(200)

    def view(self, query: dict[str, str]) -> None:
        """Answer /view."""
        path = viewable(query)
        kind = mimetypes.guess_type(path)[0] or SAFE_TYPE
        with open(path, "rb") as stream:
            self.send_response(200)
            self.send_header("Content-Type", SAFE_TYPE if kind in UNSAFE_TYPES else kind)
            self.send_header("Content-Length", str(os.fstat(stream.fileno()).st_size))
            self.send_header("Content-Disposition", f'filename="{os.path.basename(path)}"')
            self.end_headers()
            if self.command != "HEAD":
                shutil.copyfileobj(stream, self.wfile)

    def no_socket(self, _: dict[str, str]) -> None:
        """Answer /ws, which the stand-in does not support."""
        self.send(501, b"The NoSlop stand-in for ComfyUI has no web socket.\n", "text/plain")


ROUTES: dict[tuple[str, str], Callable[[Handler, Any], None]] = {
    ("GET", "/"): Handler.page,
    ("GET", "/system_stats"): Handler.system_stats,
    ("GET", "/models"): Handler.folders,
    ("GET", "/models/"): Handler.files,
    ("GET", "/embeddings"): Handler.embeddings,
    ("GET", "/object_info"): Handler.object_info,
    ("GET", "/object_info/"): Handler.one_object_info,
    ("GET", "/history"): Handler.history,
    ("GET", "/history/"): Handler.one_history,
    ("GET", "/queue"): Handler.queue,
    ("POST", "/queue"): Handler.change_queue,
    ("GET", "/prompt"): Handler.remaining,
    ("POST", "/prompt"): Handler.prompt,
    ("POST", "/interrupt"): Handler.nothing,
    ("POST", "/free"): Handler.nothing,
    ("GET", "/view"): Handler.view,
    ("GET", "/ws"): Handler.no_socket,
    ("GET", "/api-jobs"): Handler.jobs,
    ("GET", "/api-jobs/"): Handler.one_job,
    ("POST", "/api-jobs/"): Handler.cancel_job,
}


class Server(http.server.ThreadingHTTPServer):
    """A server on one address."""

    daemon_threads = True

    def __init__(self, host: str, port: int, queue: Queue) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.queue = queue
        self.numbers = itertools.count()
        super().__init__((host, port), Handler)

    def server_bind(self) -> None:
        """Bind to IPv6 only, so that a listener on 0.0.0.0 can serve IPv4."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()
