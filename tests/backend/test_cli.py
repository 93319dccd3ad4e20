# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: its exit codes, what it prints where, and the service as a process of its own."""

from __future__ import annotations

import io
import json
import os
import pwd
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from noslop_backend.cli import main
from noslop_backend.cli.uvicorn_config import listening
from noslop_backend.journal import audit
from noslop_backend.journal.audit import Actor, ActorKind
from noslop_backend.share.layout import FileKind

from tests.backend.postgresql import Cluster
from tests.backend.studio import STUDIO, Studio, make_studio, png


@dataclass
class Commands:
    """Runs commands on a studio, as the account that runs the tests."""

    env_file: Path
    more: tuple[str, ...] = ("--account", "root")

    def words(self, *words: str) -> list[str]:
        """All words of a command."""
        return ["--env-file", str(self.env_file), *self.more, *words]

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command as a process of its own."""
        # What this host's environment says of a studio is not this studio.
        plain = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
        return subprocess.Popen(
            [sys.executable, "-m", "noslop_backend.cli", *self.words(*words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=plain,
        )

    def run(self, *words: str, code: int = 0) -> tuple[str, str]:
        """Run a command in this process; gives its output and its errors."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            ended = main(self.words(*words))
        assert ended == code, (words, ended, out.getvalue(), err.getvalue())
        assert "Traceback" not in err.getvalue()
        assert code == 0 or err.getvalue().strip()
        return out.getvalue(), err.getvalue()

    def json(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Run a command with --json."""
        out, _ = self.run(*words, "--json", code=code)
        answer: dict[str, Any] = json.loads(out)
        assert (answer["ok"], answer["exit_code"]) == (code == 0, code)
        return answer


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """One kind of database is enough for most of what is said here; the other one has a test of its own."""
    path = tmp_path / "backend.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{path}"


@pytest.fixture
def commands(studio: Studio, tmp_path: Path) -> Commands:
    return commands_of(studio, tmp_path / "backend.env")


def commands_of(studio: Studio, path: Path) -> Commands:
    """Write the settings of a studio; gives the command line with them."""
    path.write_text(
        f"NOSLOP_STUDIO_ID={STUDIO}\nNOSLOP_DATABASE_URL={studio.url}\nPROJECT_STORAGE_DIR={studio.root}\n"
        f"NOSLOP_DISK_LIMIT_S=20\nNOSLOP_BACKUP_DIR={studio.root.parent}/backups\n"
        f"NOSLOP_BACKUP_KEY_FILE={studio.root.parent}/backup.key\n"
    )
    return Commands(path)


@contextmanager
def _service(commands: Commands, *words: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = commands.start("serve", "--port", "0", *words)
    assert process.stderr is not None
    try:
        said = ""
        for line in process.stderr:
            said += line
            if found := re.search(r"listening on (http://\S+)/api/v1", line):
                yield found[1], process
                break
        else:
            raise AssertionError(said)
    finally:
        process.kill()
        process.communicate()


def test_a_service_is_made_used_and_stopped(commands: Commands, studio: Studio) -> None:
    token, said = commands.run("token", "create", "me", "--scope", "write")
    assert "shown this once" in said
    headers = {"Authorization": f"Bearer {token.strip()}"}
    with _service(commands) as (url, process), httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
        project = client.post("/api/v1/projects", json={"name": "Over HTTP"}).json()["id"]
        answer = client.post(f"/api/v1/projects/{project}/media", params={"name": "x"}, content=png(1))
        assert answer.status_code == 201
        commands.run("token", "revoke", "me")
        assert client.get("/api/v1/projects").status_code == 401
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
        assert (process.returncode, "Traceback" in err) == (0, False), err
    assert [one["id"] for one in commands.json("project", "list")["projects"]] == [project]
    studio.check(project)


def test_the_same_on_postgresql(cluster: Cluster, tmp_path: Path) -> None:
    studio = make_studio(tmp_path, cluster.new_database())
    test_a_service_is_made_used_and_stopped(commands_of(studio, tmp_path / "backend.env"), studio)
    studio.close()


def test_without_tokens_only_on_loopback(commands: Commands) -> None:
    with _service(commands, "--no-auth") as (url, _):
        assert httpx.get(f"{url}/api/v1/projects", trust_env=False, timeout=httpx.Timeout(None)).status_code == 200
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.invalid"):
        _, err = commands.run("serve", "--no-auth", "--host", host, code=2)
        assert "token create" in err


def test_serve_says_what_is_wrong(commands: Commands, tmp_path: Path) -> None:
    with _service(commands, "--no-auth") as (url, _):
        _, err = commands.run("serve", "--port", url.rsplit(":", 1)[1], code=3)
        assert "another port" in err
    _, err = commands.run("serve", "--host", "192.0.2.1", "--port", "0", code=3)
    assert "--host" in err
    good = commands.env_file.read_text()
    for line, names in (
        ("NOSLOP_DISK_THREADS=0", "NOSLOP_DISK_THREADS"),
        ("NOSLOP_DISK_LIMIT_S=60", "NOSLOP_DISK_LIMIT_S"),
        ("PROJECT_STORAGE_DIR=relative", "PROJECT_STORAGE_DIR"),
        ("NOSLOP_DATABASE_URL=sqlite:///relative", "NOSLOP_DATABASE_URL"),
        ("NOSLOP_DATABASE_URL=mysql://x", "NOSLOP_DATABASE_URL"),
        (f"NOSLOP_DATABASE_URL=sqlite:///{tmp_path}/new.sqlite3", "noslop-backend migrate"),
        ("NOSLOP_STUDIO_ID=", "NOSLOP_STUDIO_ID"),
    ):
        commands.env_file.write_text(f"{good}{line}\n")
        _, err = commands.run("serve", "--port", "0", code=3)
        assert names in err, line


def test_a_share_that_is_away_is_served_for_readers(commands: Commands, studio: Studio) -> None:
    commands.run("project", "create", "Before")
    (studio.root / ".noslop-share").unlink()
    with _service(commands, "--no-auth") as (url, _):
        assert (
            len(httpx.get(f"{url}/api/v1/projects", trust_env=False, timeout=httpx.Timeout(None)).json()["items"]) == 1
        )
        assert (
            httpx.post(
                f"{url}/api/v1/projects", json={"name": "x"}, trust_env=False, timeout=httpx.Timeout(None)
            ).status_code
            == 503
        )
    assert commands.json("project", "create", "No", code=4)["error"].startswith(str(studio.root))


def test_migrate(commands: Commands, tmp_path: Path) -> None:
    commands.env_file.write_text(f"NOSLOP_STUDIO_ID=x\nNOSLOP_DATABASE_URL=sqlite:///{tmp_path}/new.sqlite3\n")
    assert "noslop-backend migrate" in commands.json("stats", code=3)["error"]
    first = commands.json("migrate")
    assert first["before"] is None
    assert commands.json("migrate") == {**first, "before": first["after"]}
    assert commands.json("stats")["stats"]["projects_count"] == 0


def test_migrate_says_what_it_would_do_and_refuses_what_it_does_not_know(commands: Commands, tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite3"
    commands.env_file.write_text(f"NOSLOP_STUDIO_ID=x\nNOSLOP_DATABASE_URL=sqlite:///{path}\n")
    would = commands.json("migrate", "--dry-run")
    assert would["before"] is None
    assert commands.json("stats", code=3)["error_code"] == "configuration"
    assert commands.json("migrate")["after"] == would["after"]
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'later'")
    for words in (("migrate",), ("migrate", "--dry-run"), ("stats",)):
        refused = commands.json(*words, code=3)
        assert refused["error_code"] == "newer_database", words
        assert "backup restore FILE" in refused["error"]


def test_a_new_database_is_closed_to_others_whatever_the_umask(commands: Commands, tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o755)
    with commands.env_file.open("a") as stream:
        stream.write(f"NOSLOP_DATABASE_URL=sqlite:///{directory}/new.sqlite3\n")
    before = os.umask(0o000)
    try:
        commands.run("migrate")
    finally:
        os.umask(before)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "new.sqlite3").stat().st_mode & 0o777 == 0o600
    (directory / "new.sqlite3").chmod(0o644)
    commands.run("token", "list")
    assert (directory / "new.sqlite3").stat().st_mode & 0o777 == 0o600


def test_tokens(commands: Commands) -> None:
    made = commands.json("token", "create", "a worker", "--days", "3")["token"]
    assert (made["scope"], "secret_hash" in made) == ("read", False)
    commands.json("token", "create", "an admin", "--scope", "admin", "--never-expires")
    assert "another name" in commands.json("token", "create", "a worker", code=1)["error"]
    listed = commands.json("token", "list")["tokens"]
    assert [(one["name"], one["expires_at"] is None) for one in listed] == [("a worker", False), ("an admin", True)]
    out, _ = commands.run("token", "list")
    assert made["text"].rsplit("_", 1)[1] not in out + json.dumps(listed)
    assert commands.json("token", "revoke", made["id"])["token"]["revoked_at"]
    commands.json("token", "revoke", "nobody", code=1)


def test_tokens_for_a_project(commands: Commands) -> None:
    film, other = (commands.json("project", "create", name)["project"]["id"] for name in ("Film", "Other"))
    made = commands.json("token", "create", "both", "--project", "Film", "--project", other)["token"]
    assert made["projects"] == sorted([film, other])
    assert commands.json("token", "create", "all")["token"]["projects"] is None
    out, _ = commands.run("token", "list")
    assert f"{film}, {other}" in out or f"{other}, {film}" in out
    assert "no project 'Nothing'" in commands.json("token", "create", "n", "--project", "Nothing", code=1)["error"]


def test_the_audit_log_is_read_by_project_token_and_time(commands: Commands, studio: Studio) -> None:
    film, other = (commands.json("project", "create", name)["project"]["id"] for name in ("Film", "Other"))
    made = commands.json("token", "create", "a worker")["token"]
    with audit.acting(Actor(ActorKind.TOKEN, made["id"], "a worker", "192.0.2.7")):
        studio.storage.save_workflow(film, "w", {})
    commands.run("project", "trash", other)

    def read(*words: str) -> list[tuple[str, str]]:
        return [(row["operation"], row["origin"]) for row in commands.json("audit", *words)["audit"]]

    assert read() == [
        *[("create_project", "noslop-backend project create")] * 2,
        ("create_token", "noslop-backend token create"),
        ("save_workflow", "192.0.2.7"),
        ("trash_project", "noslop-backend project trash"),
    ]
    assert read("--limit", "1") == read()[-1:]
    assert read("--project", film) == [read()[0], ("save_workflow", "192.0.2.7")]
    assert read("--token", "a worker") == read("--token", made["id"]) == [("save_workflow", "192.0.2.7")]
    assert read("--since", "1h") == read("--since", "2020-01-01") == read()
    assert read("--since", "2999-01-01T00:00+01:00") == []
    assert "no time" in commands.run("audit", "--since", "yesterday", code=2)[1]
    out, _ = commands.run("audit")
    assert f"a worker ({made['id']})" in out
    assert made["text"].rsplit("_", 1)[1] not in out
    commands.run("audit", "--help")


def test_the_author_of_a_command_is_who_logged_in(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel knows no login, as in a container, sudo says who it was."""
    monkeypatch.setenv("SUDO_USER", "anna")
    commands.run("project", "create", "Film")
    (row,) = commands.json("audit")["audit"]
    login = int(Path("/proc/self/loginuid").read_text())
    assert (row["actor_kind"], row["actor_name"]) == (
        "user",
        "anna" if login == 2**32 - 1 else pwd.getpwuid(login).pw_name,
    )


def test_projects(commands: Commands, studio: Studio) -> None:
    project = commands.json("project", "create", "Käse", "--quota-bytes", "100000")["project"]["id"]
    out, _ = commands.run("project", "show", project)
    assert "Käse" in out
    assert "97.7 KiB" in out
    studio.storage.save_generated_media(project, "x", png(1))
    assert commands.json("project", "trash", project)["project"]["state"] == "trashed"
    assert commands.json("project", "list")["projects"] == []
    assert commands.json("project", "restore", project)["project"]["state"] == "present"
    commands.json("project", "purge", project, "--yes-really", code=1)
    commands.run("project", "trash", project)
    assert "--yes-really" in commands.json("project", "purge", project, code=2)["error"]
    gone = commands.json("project", "purge", project, "--yes-really")
    assert (gone["files_count"], gone["freed_bytes"] > 0) == (1, True)
    commands.json("project", "show", project, code=1)
    commands.json("project", "create", "", code=2)


def test_cleanup_removes_nothing_unless_told(commands: Commands, studio: Studio) -> None:
    project = commands.json("project", "create", "x")["project"]["id"]
    for number in range(25):
        studio.storage.save_intermediate(project, FileKind.LATENT, f"{number}.latent", bytes(number + 1))
    before = studio.tree(project)
    out, _ = commands.run("cleanup", project)
    assert "25 intermediates would go" in out
    assert "and 5 more" in out
    assert "--apply" in out
    assert studio.tree(project) == before
    assert commands.json("cleanup", project, "--kind", "mask")["report"]["files_count"] == 0
    assert commands.json("cleanup", project, "--older-than-days", "1")["report"]["files_count"] == 0
    out, _ = commands.run("cleanup", project, "--keep-bytes", "25", "--apply")
    assert "24 intermediates are gone" in out
    assert commands.json("stats", project)["stats"]["intermediate_count"] == 1
    studio.check(project)


def test_statistics_and_recovery(commands: Commands, studio: Studio) -> None:
    project = commands.json("project", "create", "x")["project"]["id"]
    out, _ = commands.run("stats", "--with-disk")
    assert "disk_free_bytes" in out
    assert commands.json("stats")["stats"]["projects_count"] == 1
    dying = studio.another(lease_s=0)
    upload = dying.begin_generated_media(project, "x", length=len(png(1)))
    upload.write(png(1))
    report = commands.json("recover")["report"]
    assert len(report["released"]) == 1
    out, _ = commands.run("recover", "--project", project)
    assert out.startswith("0 finished, 0 released")
    studio.check(project)
    unread = studio.storage.save_generated_media(project, "unread", png(7), inspect=False)
    assert commands.json("inspect", project)["report"]["recorded_count"] == 1
    facts = studio.storage.get_file(project, unread.id).facts
    assert facts is not None
    assert facts.width == 4
    assert "0 files were inspected" in commands.run("inspect")[0]


@pytest.mark.parametrize(
    "words",
    [(), ("nothing",), ("serve", "--port", "x"), ("token",), ("token", "create"), ("cleanup",), ("stats", "a", "b")],
)
def test_words_that_mean_nothing(commands: Commands, words: tuple[str, ...]) -> None:
    commands.run(*words, code=2)


@pytest.mark.parametrize("words", [(), ("serve",), ("token", "create"), ("project", "purge"), ("cleanup",)])
def test_help_needs_no_settings(commands: Commands, words: tuple[str, ...]) -> None:
    commands.env_file.unlink()
    out, _ = commands.run(*words, "--help")
    assert "Usage: noslop-backend" in out


def test_settings_that_are_no_file_are_named(commands: Commands) -> None:
    commands.env_file.unlink()
    commands.env_file.mkdir()
    _, err = commands.run("stats", code=2)
    assert str(commands.env_file) in err


def test_root_becomes_the_account_of_the_service(commands: Commands) -> None:
    """Who is not root stays who it is: both are asked by the same code, in a process of its own."""
    script = (
        "import os, sys; from noslop_backend.cli.context import become; become(sys.argv[1]);"
        "print(os.getresuid(), os.getresgid(), os.getgroups())"
    )
    said = subprocess.run([sys.executable, "-c", script, "nobody"], capture_output=True, text=True, check=True).stdout
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        groups = os.getgrouplist("nobody", nobody.pw_gid)
        assert said.strip() == f"{(nobody.pw_uid,) * 3} {(nobody.pw_gid,) * 3} {groups}"
        commands.more = ("--account", "no-such-account")
        assert "no account 'no-such-account'" in commands.json("stats", code=3)["error"]
    else:
        assert said.strip() == f"{os.getresuid()} {os.getresgid()} {os.getgroups()}"


def test_answers_wait_for_nobody_to_confirm_their_heads() -> None:
    with (
        listening("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as one,
    ):
        assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_what_names_a_model_is_listed(commands: Commands, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    film = commands.json("project", "create", "Film")["project"]["id"]
    studio.storage.save_workflow(film, "night", {"1": {"inputs": {"lora_name": "style.safetensors"}}})

    (uses,) = commands.json("model-uses", "loras/style.safetensors")["models"]
    assert [(one["project"], one["name"], one["versions"]) for one in uses["documents"]] == [("Film", "night", [1])]
    assert "Film" in commands.run("model-uses", "loras/style.safetensors")[0]
    assert commands.run("model-uses", "loras/other.safetensors")[0] == "Nothing names it.\n"
    assert "Name a model" in commands.run("model-uses", code=2)[1]
    for text, expected in (("loras/style.safetensors\n\n", ["loras/style.safetensors"]), ("\n", [])):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        answer = commands.json("model-uses", "--names-on-stdin")
        assert [one["name"] for one in answer["models"]] == expected
