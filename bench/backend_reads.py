"""GET of a project, with its token, against an endpoint that reads the same row and asks nobody who they are.

So many connections ask at once, each one request after another; both servers are processes of their own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from noslop_backend.core.enums import TokenScope
from noslop_backend.schemas import ProjectCreate

from bench.backend_common import Client, Rounds, Server, parser, seconds, serving, serving_bare, studio, tell


def rate(server: Server, path: str, requests: int, connections: int) -> float:
    """Requests a second."""
    each = requests // connections
    with ExitStack() as stack, ThreadPoolExecutor(connections) as pool:
        clients = [stack.enter_context(Client(server)) for _ in range(connections)]
        ready = threading.Barrier(connections + 1)

        def ask(client: Client) -> None:
            client.send("GET", path)
            ready.wait()
            for _ in range(each):
                client.send("GET", path)

        asking = [pool.submit(ask, client) for client in clients]
        ready.wait()
        return each * connections / seconds(lambda: [ended.result() for ended in asking])


def main() -> int:
    """Measure, and print one JSON object."""
    takes = parser(__doc__, rounds=9)
    takes.add_argument("--requests", type=int, default=1000, help="a turn (%(default)s; with --full 5000)")
    takes.add_argument("--connections", type=int, default=8, help="that ask at once (%(default)s)")
    given = takes.parse_args()
    requests = 5000 if given.full else given.requests
    with ExitStack() as stack:
        made = stack.enter_context(studio(given.directory))
        project_id = made.storage.create_project_structure(ProjectCreate(name="Bench")).id
        ours = stack.enter_context(serving(made, TokenScope.READ))
        bare = stack.enter_context(serving_bare(made))
        asked = {"get_project": (ours, f"/api/v1/projects/{project_id}"), "bare": (bare, f"/projects/{project_id}")}
        answers = [json.loads(_once(server, path)) for server, path in asked.values()]
        assert answers[0] == answers[1], answers

        def side(name: str) -> Callable[[], float]:
            return lambda: rate(*asked[name], requests, given.connections)

        busy = {name: server.cpu_seconds() for name, (server, _) in asked.items()}
        rounds = Rounds.of({name: side(name) for name in asked}, given.rounds)
        # Each connection asks once before the clock runs.
        done = given.rounds * (requests // given.connections + 1) * given.connections
        return tell(
            "backend_reads",
            requests=requests,
            connections=given.connections,
            rounds=given.rounds,
            requests_per_second={name: rounds.median(name, 1) for name in asked},
            get_project_over_bare=rounds.ratio("get_project", "bare"),
            server_cpu_ms_per_request={
                name: round(1000 * (server.cpu_seconds() - busy[name]) / done, 3) for name, (server, _) in asked.items()
            },
        )


def _once(server: Server, path: str) -> bytes:
    with Client(server) as client:
        return client.send("GET", path)


if __name__ == "__main__":
    raise SystemExit(main())
