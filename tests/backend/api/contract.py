# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The OpenAPI description against what the server does: requests that follow it, and requests that do not."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition
from noslop_backend.api.app import operation_ids
from noslop_backend.api.paths import PREFIX
from noslop_backend.core.enums import ProjectState
from noslop_backend.repositories import ProjectRepository
from schemathesis import Case, Response
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from tests.backend.api.serving import Served
from tests.backend.studio import png

#: How many requests an operation gets. `make test-backend-long` sets 500.
EXAMPLES = int(os.environ.get("NOSLOP_EXAMPLES", "8"))
#: Errors of the server that are part of what it promises; others are mistakes.
_PROMISED = {503, 507}
_SETTINGS: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.explicit, Phase.generate],
}
#: These are checked below, in the terms of this API.
_NOT_THEIRS = [
    # 507 and 503 are documented answers.
    not_a_server_error,
    # A schema cannot say which cursors, keys, contents and revisions exist.
    positive_data_acceptance,
    # It asks again without the token, which `test_access` does for every operation.
    ignored_auth,
]


@dataclass
class Contract:
    """One server, its description, and what it holds for requests to be about."""

    served: Served
    known: dict[str, list[str]] = field(default_factory=dict)
    #: What some operations need more than others do, by operation.
    fitting: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.schema = schemathesis.openapi.from_url(
            f"{self.served.url}{PREFIX}/openapi.json",
            headers={"Authorization": self.served.client.headers["Authorization"]},
        )
        # Every request gets the token. One that is wrong only for lack of it would then be right.
        self.schema.config.generation.update(with_security_parameters=False)
        self.headers = {"Authorization": self.served.client.headers["Authorization"]}

    def check_operation(self, operation_id: str) -> None:
        """Send requests of one operation, some of them about things that exist."""
        operation = self.schema.find_operation_by_id(operation_id)
        if not self.known:
            self._fill()

        @settings(max_examples=EXAMPLES, **_SETTINGS)
        @given(case=operation.as_strategy(), data=st.data())
        def hold(case: Case[Any], data: st.DataObject) -> None:
            if data.draw(st.integers(0, 3)):
                self._aim(case, data)
            _end(case)
            self.check(case, case.call(headers=self.headers))

        hold()
        if operation.method.upper() not in {"GET", "HEAD"}:
            self.known = {}

    def check_sequences(self, steps: int) -> None:
        """Send sequences of requests, each about what the answers before have named."""
        machine: Any = self.schema.as_state_machine()
        contract, failures, count = self, list[Exception](), 0

        class Machine(machine):  # type: ignore[misc]  # made at run time
            def setup(self) -> None:
                nonlocal count
                count += 1
                contract.empty()
                super().setup()

            def before_call(self, case: Case[Any]) -> None:
                _end(case)

            def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:
                return {"headers": contract.headers}

            def validate_response(self, response: Response, case: Case[Any], *_: object, **__: object) -> None:
                try:
                    contract.check(case, response)
                except Exception as error:
                    failures.append(error)
                    raise

        declared = _SETTINGS | {"derandomize": False, "stateful_step_count": steps}
        # Hypothesis begins some sequences like earlier ones, and gives up when they go on otherwise; the ids that the
        # server makes are others each time. Then the next seed has its turn, as in Schemathesis' own runs.
        for number in itertools.count():
            if count >= EXAMPLES:
                break
            try:
                seed(number)(Machine).run(settings=settings(max_examples=EXAMPLES - count, **declared))
                break
            except FlakyStrategyDefinition:
                if failures:
                    raise failures[0] from None

    def check(self, case: Case[Any], response: Response | requests.Response) -> None:
        """Hold an answer against the description."""
        operation_id = case.operation.definition.raw["operationId"]
        self.answers[operation_id, response.status_code] += 1
        kind = response.headers["content-type"]
        declared = kind[0] if isinstance(kind, list) else kind
        if response.status_code >= 400 and case.method != "HEAD" and operation_id != "getReadiness":
            assert declared == "application/problem+json", response.status_code
            problem = response.json()
            assert problem["status"] == response.status_code
            assert problem["detail"]
            assert problem["code"]
            well_formed = case.meta is None or case.meta.generation.mode.is_positive
            by_schema = [
                one for one in problem.get("errors") or [] if one.get("parameter") or one.get("pointer", "#") != "#"
            ]
            assert not (well_formed and by_schema), f"valid by the description, yet refused: {problem}"
        assert response.status_code < 500 or response.status_code in _PROMISED, response.status_code
        case.validate_response(response, excluded_checks=_NOT_THEIRS, headers=self.headers)

    def empty(self) -> None:
        """Forget all projects and keys, so that the same requests get the same answers in every sequence."""
        storage = self.served.storage
        storage.set_store_quota(None)
        with storage.database.write() as session:
            projects = ProjectRepository(session)
            for project_id in projects.ids(*ProjectState):
                projects.delete(project_id)
        self.known = {}

    def _fill(self) -> None:
        """Make a project with something of everything. Earlier requests may have changed or removed what was there."""
        storage, client = self.served.storage, self.served.client
        storage.set_store_quota(None)
        project = self.served.project("For requests")
        at = f"{PREFIX}/projects/{project}"
        image, other, gone = (self.served.upload(project, number) for number in range(3))
        latent = client.post(
            f"{at}/intermediate", params={"kind": "latent", "name": "l.latent"}, content=b"latent"
        ).json()
        workflow = client.post(f"{at}/workflows", params={"name": "0"}, json={"input": image["path"]}).json()
        prompt = client.post(f"{at}/prompts", params={"name": "0"}, content="a cat").json()
        client.delete(f"{at}/files/{gone['id']}").raise_for_status()
        ticket = client.post(f"{at}/adoptions", json={"name": "a.png", "size_bytes": len(png(9))}).json()
        with open(ticket["staging_path"], "wb") as stream:
            stream.write(png(9))
        trashed = self.served.project("For requests about the trash")
        receiving = self.served.project("For requests about moves")
        client.delete(f"{PREFIX}/projects/{trashed}").raise_for_status()
        self.known = {
            "project_id": [project],
            "to_project_id": [receiving],
            "file_id": [str(one["id"]) for one in (image, other, latent, workflow, gone)],
            "document_id": [workflow["document_id"], prompt["document_id"]],
            "ticket_id": [ticket["ticket_id"]],
        }
        in_trash, removed = {"project_id": [trashed]}, {"file_id": [str(gone["id"])]}
        self.fitting = {
            **dict.fromkeys(("restoreProject", "purgeProject"), in_trash),
            **dict.fromkeys(("restoreFiles", "purgeFiles"), removed),
            **{
                operation_id: {"document_id": [document["document_id"]]}
                for operation_id in operation_ids()
                for name, document in (("Workflow", workflow), ("Prompt", prompt))
                if name in operation_id
            },
        }

    def _aim(self, case: Case[Any], data: st.DataObject) -> None:
        """Make a request about things that exist."""
        known = self.known | self.fitting.get(case.operation.definition.raw["operationId"], {})
        for name in case.path_parameters or {}:
            case.path_parameters[name] = data.draw(st.sampled_from(known[name])) if name in known else 1
        if case.query and "name" in case.query and data.draw(st.booleans()):
            case.query["name"] = "0"
            case.query.pop("version", None)
        named = case.body.get("file_ids") if isinstance(case.body, dict) else None
        for wanted in (named, (case.query or {}).get("file_id")):
            if isinstance(wanted, list):
                wanted[:] = [data.draw(st.sampled_from(known["file_id"])) for _ in wanted]
        if isinstance(case.body, dict) and isinstance(case.body.get("to_project_id"), str):
            case.body["to_project_id"] = data.draw(st.sampled_from(known["to_project_id"]))


def _end(case: Case[Any]) -> None:
    """Let a stream of events end after those that there are, unless the request is refused anyway."""
    is_stream = case.operation.definition.raw["operationId"] == "followEvents"
    if is_stream and isinstance(case.query, dict) and case.query.get("follow", True) in {True, "true"}:
        case.query["follow"] = False
