# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server keeps to its OpenAPI description: no answer that is not in it, and no mistake of its own (500)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from noslop_backend.api.app import operation_ids
from noslop_backend.api.paths import PREFIX

from tests.backend.api.contract import Contract
from tests.backend.api.serving import serving
from tests.backend.memory import in_memory
from tests.backend.postgresql import Cluster
from tests.backend.studio import make_sqlite, make_studio


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def contract(request: pytest.FixtureRequest) -> Iterator[Contract]:
    """A server whose database and share all tests of this module share: what one leaves behind, the next one meets."""
    with in_memory() as directory:
        if request.param == "postgresql":
            cluster: Cluster = request.getfixturevalue("cluster")
            url = cluster.new_database()
        else:
            url = f"sqlite:///{make_sqlite(directory / 'backend.sqlite3')}"
        studio = make_studio(directory, url)
        with serving(studio.storage) as served:
            yield Contract(served)
        studio.close()


@pytest.mark.parametrize("operation_id", operation_ids())
def test_operation_is_as_described(contract: Contract, operation_id: str) -> None:
    contract.check_operation(operation_id)


def test_sequences_are_as_described(contract: Contract) -> None:
    contract.check_sequences(steps=12)


def test_most_operations_were_seen_to_succeed(contract: Contract) -> None:
    """Requests that only ever fail would prove little."""
    done = {operation_id for operation_id, status in contract.answers if status < 300}
    assert len(done) > 0.8 * len(operation_ids()), sorted(set(operation_ids()) - done)


def test_operation_ids_are_these(contract: Contract) -> None:
    """Programs are generated from them: one that goes or changes breaks those."""
    assert operation_ids() == sorted(set(operation_ids()))
    described = {
        operation["operationId"]
        for path in contract.served.client.get(f"{PREFIX}/openapi.json").json()["paths"].values()
        for operation in path.values()
    }
    assert described == set(operation_ids())


def test_every_operation_documents_the_errors_that_it_has_and_no_others(contract: Contract) -> None:
    description = contract.served.client.get(f"{PREFIX}/openapi.json").json()
    always, to_callers, to_bodies = {"422", "429", "500"}, {"401", "403", "503"}, {"400", "408", "413", "415"}
    for path in description["paths"].values():
        for method, operation in path.items():
            errors = {status for status in operation["responses"] if status >= "400"} - {"404", "409", "412"}
            expected = always | (to_callers if "security" in operation else set())
            expected |= to_bodies if "requestBody" in operation else set()
            own = {"downloadFile": {"416"}, "getReadiness": {"503"}, "ingestPrompt": {"502"}, "adopt": {"415"}}
            expected |= own.get(operation["operationId"], set())
            changes = method not in {"get", "head"}
            assert errors - {"507"} == expected, operation["operationId"]
            assert changes or "507" not in errors
            for status in errors:
                content = operation["responses"][status].get("content", {})
                assert "application/json" not in content or operation["operationId"] == "getReadiness"
    assert not [
        text for text in re.findall(r'"[^"]*"', json.dumps(description)) if re.search(r"Public\b|Page[_[]", text)
    ]
    tags = {tag["name"] for tag in description["tags"] if tag["description"]}
    assert tags == {
        tag for path in description["paths"].values() for operation in path.values() for tag in operation["tags"]
    }
