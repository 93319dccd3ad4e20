# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a real smbd that is started from the configuration of the role smb_server.

Files that the tests change by themselves, as the account of the share, stand for NFS: nfsd on the server does the
same, with the account to which the export squashes.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.smb import negotiation, samba_settings
from ansible_collections.noslop.studio.plugins.module_utils.smb.smb_share import SmbShare

from tests.support import samba
from tests.support.samba import render_template as render

PASSWORDS = {"anna": "Grüße, 8 Stück!", "bert": "other-secret-11"}
SHARES = {
    "projects": SmbShare("projects", "projects", "noslop", True),
    "comfyui_models": SmbShare("comfyui_models", "comfyui/models", "noslop-models", True),
    "ollama_models": SmbShare("ollama_models", "ollama/models", "noslop-ollama", False),
}
pytestmark = samba.MARKS


@dataclass(frozen=True)
class Studio:
    """A server that runs, with the directory of the shares and the users' files of credentials."""

    server: samba.Samba
    root: Path
    logins: dict[str, Path]

    def do(self, share: str, commands: str, user: str = "anna", *options: str) -> str:
        """Run commands of smbclient as a user."""
        return self.server.client(self.logins[user], share, commands, options)

    def path(self, share: str, name: str = "") -> Path:
        """Return the path of a file of a share."""
        return self.root / SHARES[share].path / name

    def act(self, share: str, program: str) -> None:
        """Run a program as the account of the share, as nfsd does."""
        number = samba.ACCOUNTS[SHARES[share].owner]
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([samba.ACCOUNTS["noslop"]])
                os.setgid(number)
                os.setuid(number)
                os.umask(0o002)
                os.chdir(self.path(share))
                exec(program, {"Path": Path, "os": os})  # noqa: S102 - a line of this test, in a process of its own
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    """Return a server that runs with the role's defaults, but for models that people may write to."""
    with serving() as server:
        yield server


@contextmanager
def serving(**settings: object) -> Iterator[Studio]:
    """Start a server from the role's templates, with three shares and these variables of the role."""
    # Not below pytest's directory, which each further run of pytest closes to other accounts again.
    with tempfile.TemporaryDirectory(prefix="noslop-smb-") as place:
        base = Path(place)
        base.chmod(0o755)
        make_shares(base / "root")
        config, state = base / "smb.conf", base / "state"
        (state / "private").mkdir(parents=True, mode=0o700)
        variables: dict[str, Any] = {
            "smb_server_shares": [{**vars(one), "path": str(base / "root" / one.path)} for one in SHARES.values()],
            "smb_server_users": [{"name": "anna"}],
            "smb_server_networks": ["192.0.2.0/24"],
            **settings,
            "__smb_server_conf_file": str(config),
            "__smb_server_state_dir": str(state),
        }
        config.write_text(render("smb.conf.j2", **variables))
        (base / "smb-users.conf").write_text(render("smb-users.conf.j2", **variables))
        with samba.PrivateHost(base) as host:
            for name, password in PASSWORDS.items():
                host.run("smbpasswd", "-c", config, "-s", "-a", name, text=f"{password}\n{password}\n")
            with samba.Samba(host, config, base / "smbd.log") as server:
                yield Studio(server, base / "root", write_logins(base))


def make_shares(root: Path) -> None:
    """Make the directories of the shares as the storage server does, each with its marker."""
    root.mkdir()
    for share in SHARES.values():
        number = samba.ACCOUNTS[share.owner]
        path = root / share.path
        path.mkdir(parents=True)
        (path / ".noslop-share").write_text("{}")
        (path / ".noslop-share").chmod(0o444)
        for one in (path, path / ".noslop-share"):
            os.chown(one, number, number)
        path.chmod(0o2775)
    os.chown(root, 0, samba.ACCOUNTS["noslop"])
    root.chmod(0o750)


def write_logins(base: Path) -> dict[str, Path]:
    """Write a file of credentials for each user, for an unknown user, and for anna with a wrong password."""
    logins = {}
    for name, password in {**PASSWORDS, "nobody-here": "whatever12", "wrong": "wrong-secret"}.items():
        user = "anna" if name == "wrong" else name
        logins[name] = base / f"login-{name}"
        logins[name].write_text(f"username = {user}\npassword = {password}\n")
    return logins


def owners(path: Path) -> set[tuple[int, int]]:
    """Return owner and group of everything below a path."""
    found = [path, *path.rglob("*")]
    return {(one.lstat().st_uid, one.lstat().st_gid) for one in found}


def test_testparm_accepts_the_configuration_and_it_is_what_verification_expects(studio: Studio) -> None:
    done = studio.server.host.run("testparm", "--suppress-prompt", "--verbose", studio.server.config)
    settings = samba_settings.parse_testparm(done.stdout)
    shares = [SmbShare(one.name, str(studio.path(one.name)), one.owner, one.writable) for one in SHARES.values()]

    assert done.returncode == 0
    for word in ("Unknown parameter", "Ignoring", "ERROR", "WARNING", "not find include"):
        assert word not in done.stdout, done.stdout
    assert samba_settings.find_problems(settings, shares, ["anna"], "offered") == []
    wrong = samba_settings.find_problems(settings, shares[:2], ["anna", "bert"], "required")
    assert "[global] server smb encrypt is desired, not required" in wrong
    assert "[projects] is for anna" in wrong
    assert "another share ollama_models" in wrong


def test_files_belong_to_the_account_of_the_share_as_over_nfs(studio: Studio, tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(b"picture")
    for share, number in (("projects", 2600), ("comfyui_models", 2601)):
        printed = studio.do(
            share, f"mkdir new; mkdir new/deep; put {source} new/deep/a.png; rename new/deep/a.png new/b.png"
        )
        made = studio.path(share, "new")

        assert (made / "b.png").read_bytes() == b"picture", printed
        assert owners(made) == {(number, number)}
        assert made.stat().st_mode & 0o7777 == 0o2775
        assert (made / "deep").stat().st_mode & 0o7777 == 0o2775
        assert (made / "b.png").stat().st_mode & 0o7777 == 0o664


def test_each_side_reads_what_the_other_wrote_and_renamed(studio: Studio, tmp_path: Path) -> None:
    target = tmp_path / "read"
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("one")
    second.write_text("two, longer")
    studio.act("projects", "Path('turns').mkdir(); Path('turns/f').write_text('nfs')")
    assert studio.do("projects", f"get turns/f {target}")
    assert target.read_text() == "nfs"
    studio.do("projects", f"put {first} turns/f")
    studio.act("projects", "assert Path('turns/f').read_text() == 'one'; os.rename('turns/f', 'turns/g')")
    studio.do("projects", f"put {second} turns/g; rename turns/g turns/h")
    studio.act("projects", "assert Path('turns/h').read_text() == 'two, longer'; Path('turns/h').write_text('x')")
    studio.do("projects", f"get turns/h {target}")

    assert target.read_text() == "x"
    assert [one.name for one in studio.path("projects", "turns").iterdir()] == ["h"]


def test_connection_reads_what_nfs_writes_meanwhile(studio: Studio, tmp_path: Path) -> None:
    """Read, let NFS rewrite the file, and read again over one connection: no lease lets a client keep the content."""
    one, two = tmp_path / "one", tmp_path / "two"
    studio.act("projects", "Path('live').write_text('before')")
    with studio.server.open_client(studio.logins["anna"], "projects") as client:
        client.do(f"get live {one}", until="getting file")
        studio.act("projects", "Path('live').write_text('after!')")
        client.do(f"get live {two}", until="getting file")

    assert (one.read_text(), two.read_text()) == ("before", "after!")


def test_read_only_share_is_read_only(studio: Studio, tmp_path: Path) -> None:
    source = tmp_path / "blob"
    source.write_text("x")
    studio.act("ollama_models", "Path('blob').write_text('weights')")
    printed = studio.do(
        "ollama_models", f"put {source} blob; put {source} new; rm blob; mkdir d; rename blob other; ls"
    )

    assert "blob" in printed
    assert sorted(one.name for one in studio.path("ollama_models").iterdir()) == [".noslop-share", "blob"]
    assert studio.path("ollama_models", "blob").read_text() == "weights"


@pytest.mark.parametrize("name", [".noslop-share", ".NOSLOP-SHARE", ".noslop-verify/x", "p1/.staging/a", "p1/.trash/b"])
def test_what_the_backend_relies_on_cannot_be_made_replaced_or_removed(
    studio: Studio, tmp_path: Path, name: str
) -> None:
    source = tmp_path / "forged"
    source.write_text("forged")
    studio.act(
        "projects",
        "[Path(one).mkdir(parents=True, exist_ok=True) for one in ('p1/.staging', 'p1/.trash', '.noslop-verify')];"
        "[Path(one).write_text('kept') for one in ('p1/.staging/a', 'p1/.trash/b', '.noslop-verify/x', 'p1/plain')]",
    )
    before = {path: path.read_bytes() for path in studio.path("projects").rglob("*") if path.is_file()}
    printed = studio.do(
        "projects",
        f"put {source} {name}; rm {name}; rename {name} stolen; rename p1/plain {name}; mkdir {name}; rmdir {name}; "
        f"get {name} {tmp_path}/got; deltree .noslop-verify; deltree p1/.trash; rename p1/.trash p1/t; ls; ls p1/*",
    )
    after = {path: path.read_bytes() for path in studio.path("projects").rglob("*") if path.is_file()}

    assert after == before, printed
    assert not (tmp_path / "got").exists()
    assert ".noslop" not in printed.partition("  D  ")[2]


def test_directory_with_files_of_the_backend_is_not_removed(studio: Studio) -> None:
    studio.act(
        "projects",
        "[Path(one).mkdir(parents=True) for one in ('p2/.staging', 'p2/final')];"
        "Path('p2/.staging/a').write_text('kept')",
    )
    printed = studio.do("projects", "deltree p2")

    assert "NT_STATUS_DIRECTORY_NOT_EMPTY" in printed
    assert studio.path("projects", "p2/.staging/a").read_text() == "kept"


def test_published_file_is_not_written_to(studio: Studio, tmp_path: Path) -> None:
    source = tmp_path / "other"
    source.write_text("other")
    studio.act("projects", "Path('final.png').write_text('published'); os.chmod('final.png', 0o444)")
    printed = studio.do("projects", f"put {source} final.png; setmode final.png -r; put {source} final.png")

    assert "NT_STATUS_ACCESS_DENIED" in printed
    assert studio.path("projects", "final.png").read_text() == "published"
    assert studio.path("projects", "final.png").stat().st_mode & 0o777 == 0o444


def test_no_link_leads_anywhere(studio: Studio, tmp_path: Path) -> None:
    studio.act(
        "projects",
        "os.symlink('/etc', 'etc'); os.symlink('/etc/shadow', 'shadow'); os.symlink('../comfyui', 'beside');"
        "Path('real').write_text('x'); os.symlink('real', 'link')",
    )
    for name in ("etc/hostname", "shadow", "beside/models/.noslop-share", "link"):
        printed = studio.do("projects", f"get {name} {tmp_path}/got")
        assert "NT_STATUS_OBJECT" in printed
        assert not (tmp_path / "got").exists()
    source = tmp_path / "s"
    source.write_text("x")
    studio.do("projects", f"put {source} beside/models/planted")
    assert not studio.path("comfyui_models", "planted").exists()


def test_names_that_windows_cannot_have_stay_as_they_are(studio: Studio, tmp_path: Path) -> None:
    names = ["a:b", 'q?"*<>|', "ends.", "CON", "Grüße", "e\u0301"]
    for number, name in enumerate(names):
        studio.act("projects", f"Path('names').mkdir(exist_ok=True); Path('names', {name!r}).write_text('{number}')")
    studio.do("projects", f"lcd {tmp_path}; cd names; prompt off; mget *")

    assert sorted(one.read_text() for one in tmp_path.iterdir()) == [str(number) for number in range(len(names))]
    assert sorted(one.name for one in studio.path("projects", "names").iterdir()) == sorted(names)


def test_metadata_of_macos_is_kept_beside_the_content(studio: Studio, tmp_path: Path) -> None:
    """Finder's information is the stream AFP_AfpInfo of 60 bytes (vfs_fruit(8)); it is no file that NFS would list."""
    info = tmp_path / "info"
    info.write_bytes(b"AFP\0" + bytes([0, 0, 1, 0]) + bytes(8) + b"TEXTttxt" + bytes(36))
    source = tmp_path / "note.txt"
    source.write_text("words")
    printed = studio.do(
        "projects", f"mkdir mac; put {source} mac/note.txt; put {info} mac/note.txt:AFP_AfpInfo; allinfo mac/note.txt"
    )
    studio.do("projects", f"rename mac/note.txt mac/moved.txt; get mac/moved.txt:AFP_AfpInfo {tmp_path}/got")

    assert "AFP_AfpInfo" in printed
    assert (tmp_path / "got").read_bytes() == info.read_bytes()
    assert [one.name for one in studio.path("projects", "mac").iterdir()] == ["moved.txt"]
    assert studio.path("projects", "mac/moved.txt").read_text() == "words"
    assert any("AFP_AfpInfo" in name for name in os.listxattr(studio.path("projects", "mac/moved.txt")))


def test_a_thousand_small_files_arrive_whole(studio: Studio, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.mkdir()
    back.mkdir()
    for number in range(1000):
        (source / f"{number:04}.bin").write_bytes(hashlib.sha256(str(number).encode()).digest() * (1 + number % 64))
    wanted = checksums(source)
    studio.do("projects", f"mkdir many; cd many; lcd {source}; prompt off; mput *")
    studio.do("projects", f"cd many; lcd {back}; prompt off; mget *")

    assert checksums(studio.path("projects", "many")) == wanted
    assert checksums(back) == wanted
    assert owners(studio.path("projects", "many")) == {(2600, 2600)}


def test_unknown_users_and_wrong_passwords_are_refused(studio: Studio) -> None:
    assert "NT_STATUS_LOGON_FAILURE" in studio.do("projects", "ls", "wrong")
    assert "NT_STATUS_LOGON_FAILURE" in studio.do("projects", "ls", "nobody-here")
    # bert is in the database and not among the users of the shares.
    assert "NT_STATUS_ACCESS_DENIED" in studio.do("projects", "ls", "bert")
    assert "NT_STATUS_ACCESS_DENIED" in studio.server.client(None, "projects", "ls")
    assert "NT_STATUS_ACCESS_DENIED" in studio.server.client(None, "IPC$", "ls")
    failures = [
        line
        for line in studio.server.log.read_text(errors="replace").splitlines()
        if "LOGON_FAILURE" in line or "NO_SUCH_USER" in line
    ]
    assert failures, "attempts to log in are not logged"


@pytest.mark.parametrize("name", ["custom_nodes", "comfyui_custom_nodes", "homes", "anna", "print$"])
def test_nothing_else_is_served(studio: Studio, name: str) -> None:
    assert "NT_STATUS_BAD_NETWORK_NAME" in studio.do(name, "ls")


def test_old_dialects_are_refused_and_sessions_are_encrypted(studio: Studio) -> None:
    assert "NT_STATUS" in studio.do("projects", "ls", "anna", "--max-protocol=SMB2_10")
    smb1 = ("--max-protocol=NT1", "--option=client min protocol=NT1")
    assert "NT_STATUS" in studio.do("projects", "ls", "anna", *smb1)
    program = (
        "from ansible_collections.noslop.studio.plugins.module_utils.smb import negotiation as n\n"
        "print(repr(n.negotiate('127.0.0.1', 445, n.OLD, 5)))\n"
        "print(n.negotiate('127.0.0.1', 445, n.NEW, 5), n.offers_smb1('127.0.0.1', 445, 5))"
    )
    done = studio.server.host.run("env", f"PYTHONPATH={samba.REPOSITORY}/collections", samba.PYTHON, "-c", program)
    assert done.stdout.split() == ["''", "3.0.2", "False"], done.stdout
    assert negotiation.DIALECTS[negotiation.NEW[-1]] == "3.0.2"
    with studio.server.open_client(studio.logins["anna"], "projects") as client:
        client.do("ls", until="blocks available")
        status = studio.server.host.run("smbstatus", f"--configfile={studio.server.config}", "--processes").stdout
    assert "SMB3_11" in status
    assert "AES-128-GCM" in status
    assert "NT_STATUS" not in studio.do("projects", "ls", "anna", "--client-protection=encrypt")


@pytest.mark.parametrize("encryption", ["offered", "required"])
def test_session_is_encrypted_although_the_client_did_not_ask(encryption: str) -> None:
    """Connect with a client that can encrypt, as smbclient always can, and that was configured not to."""
    with serving(smb_server_encryption=encryption) as own:
        unasked = ("--client-protection=off",)
        with own.server.open_client(own.logins["anna"], "projects", unasked) as client:
            client.do("ls", until="blocks available")
            status = own.server.host.run("smbstatus", f"--configfile={own.server.config}", "--processes").stdout
    assert "AES-128-GCM" in status


def test_only_the_port_of_smb_is_open(studio: Studio) -> None:
    listening = studio.server.host.run("ss", "--no-header", "--listening", "--tcp", "--udp", "--numeric").stdout
    assert {line.split()[4].rpartition(":")[2] for line in listening.splitlines()} == {"445"}


def test_share_without_its_marker_lets_nobody_in(studio: Studio) -> None:
    marker = studio.path("comfyui_models", ".noslop-share")
    marker.rename(marker.with_name("aside"))
    try:
        assert "NT_STATUS_ACCESS_DENIED" in studio.do("comfyui_models", "ls")
    finally:
        marker.with_name("aside").rename(marker)
    assert "NT_STATUS" not in studio.do("comfyui_models", "ls")


def test_no_password_is_in_the_log_the_state_or_the_processes(studio: Studio) -> None:
    files = [one for one in studio.server.config.parent.rglob("*") if one.is_file() and "login-" not in one.name]
    for password in PASSWORDS.values():
        needles = (password.encode(), password.encode("utf-16-le"))
        assert [one for one in files if any(needle in one.read_bytes() for needle in needles)] == []
    assert (studio.server.config.parent / "state/private").stat().st_mode & 0o777 == 0o700


def checksums(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a directory, by name."""
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in directory.iterdir()}
