# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attack the server that lends a host's models: other clients, wrong secrets, paths, and files that are exchanged."""

from __future__ import annotations

import hashlib
import http.client
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.models import adoption, fetch, model_tree, one_shot_server
from ansible_collections.noslop.studio.plugins.module_utils.models.adoption import Offer

from tests.support.model_server import make_safetensors

SECRET = "of-the-test"  # noqa: S105
CONTENT = make_safetensors(300_000, "lent")
NAME = "loras/one.safetensors"


class Served:
    """A directory, of which one file is served."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root / "models"
        (self.root / "loras").mkdir(parents=True)
        (self.root / NAME).write_bytes(CONTENT)
        (root / "secret").write_bytes(b"secret")
        status = os.stat(self.root / NAME)
        version = adoption.make_version(status.st_ino, status.st_ctime_ns)
        offers = [Offer(NAME, len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), version)]
        self.listener = one_shot_server.listen("127.0.0.1")
        self.port = self.listener.getsockname()[1]
        self.top = model_tree.open_top(str(self.root))
        monkeypatch.setattr(one_shot_server, "_CHECK_S", 0.01)
        self.thread = threading.Thread(
            target=one_shot_server.serve, args=(self.listener, self.top, offers, ["127.0.0.1"], SECRET)
        )

    def ask(
        self, path: str = "/0", secret: str = SECRET, source: str = "127.0.0.1", **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, source_address=(source, 0))
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.putrequest("GET", path, skip_host=True)
            for name, value in {"Authorization": f"Bearer {secret}", **named}.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    one = Served(tmp_path, monkeypatch)
    one.thread.start()
    yield one
    monkeypatch.setattr(one_shot_server, "IDLE_S", -1.0)
    one.thread.join()
    os.close(one.top)


def test_client_with_the_secret_gets_the_file_and_the_rest_of_it(served: Served) -> None:
    status, body, headers = served.ask()
    assert (status, body) == (200, CONTENT)
    etag = headers["etag"]
    status, body, headers = served.ask(Range="bytes=1000-", If_Range=etag)
    assert (status, body) == (206, CONTENT[1000:])
    assert headers["content-range"] == f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert served.ask(Range="bytes=1000-", If_Range='"another"')[:2] == (200, CONTENT)
    assert served.ask(Range=f"bytes={len(CONTENT)}-")[0] == 416


def test_fetch_of_the_storage_server_goes_on_where_it_was_cut(served: Served, tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    url = f"http://127.0.0.1:{served.port}/0"
    wanted = fetch.Wanted("loras/copy.safetensors", url, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    transfer = fetch.Transfer({f"http://127.0.0.1:{served.port}": SECRET})
    assert fetch.fetch(wanted, str(share), transfer).received == len(CONTENT)
    assert (share / wanted.path).read_bytes() == CONTENT
    with pytest.raises(fetch.FetchError, match="404"):
        fetch.fetch(fetch.Wanted("loras/again.safetensors", url), str(share), fetch.Transfer())


@pytest.mark.parametrize("secret", ["", "x", SECRET + "x", SECRET[:-1], "\xff" * 3])
def test_wrong_secret_gets_nothing(served: Served, secret: str) -> None:
    assert served.ask(secret=secret)[:2] == (404, b"")


def test_other_host_gets_no_answer(served: Served) -> None:
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
        served.ask(source="127.0.0.2")
    assert served.ask()[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/1",
        "/-1",
        "/00000000000",
        "/0/",
        "/../secret",
        "/%2e%2e/secret",
        f"/{NAME}",
        "0",
        "/0?x",
    ],
)
def test_no_path_leads_anywhere_but_to_an_offered_file(served: Served, path: str) -> None:
    assert served.ask(path)[0] in (400, 404)


@pytest.mark.parametrize("place", [NAME, "loras"])
def test_link_that_is_put_in_the_way_is_not_followed(served: Served, tmp_path: Path, place: str) -> None:
    target = served.root / place
    target.rename(tmp_path / "moved")
    target.symlink_to(tmp_path / "moved")
    assert served.ask()[:2] == (404, b"")


def test_file_that_is_exchanged_or_changed_is_not_sent(served: Served, tmp_path: Path) -> None:
    os.link(tmp_path / "secret", served.root / "loras/new")
    os.rename(served.root / "loras/new", served.root / NAME)
    assert served.ask()[:2] == (410, b"")


def test_pipe_in_place_of_a_file_does_not_block(served: Served) -> None:
    (served.root / NAME).unlink()
    os.mkfifo(served.root / NAME)
    assert served.ask()[0] == 404
