"""Serve the studio's shares over SMB, and use them with the kernel's own client beside NFS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import Takeover
from tests.support.lab.driver import INVENTORY, count_changes_by_phase, read_checks, run_driver_json
from tests.support.lab.smb_mount import CREDENTIALS, mount_smb

PASSWORD = "Grüße, 8 Stück!"  # noqa: S105 - a password of this test
MOUNTED = "/mnt/smb-projects"
NFS = "/mnt/noslop/projects"
SMALL_FILES = 10_000
LARGE_BYTES = 1 << 30


@pytest.fixture(scope="module")
def smb(takeover: Takeover, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Takeover]:
    """Deploy with SMB, and mount the projects on worker1 with the kernel's client; remove both at the end."""
    password = tmp_path_factory.mktemp("smb") / "anna"
    password.write_text(f"{PASSWORD}\n", encoding="utf-8")
    password.chmod(0o600)
    flags = ("deploy", "--yes", "--smb", "--smb-user", f"anna={password}")
    code, result = run_driver_json(*flags)
    assert code == 0, result
    code, result = run_driver_json(*flags, "--full")
    assert code == 0, result
    assert not any(count_changes_by_phase(result).values()), "a second run changes something"
    server, worker = takeover.machines["server"].address, takeover.machines["worker1"]
    mount_smb(worker, f"//{server}/projects", MOUNTED, user="anna", password=PASSWORD, options="seal")
    yield takeover
    worker.check_output(f"umount {MOUNTED}; rm {CREDENTIALS}", root=True)
    code, result = run_driver_json("deploy", "--yes", "--no-smb")
    assert code == 0, result


def test_addresses_are_returned_and_verified(smb: Takeover) -> None:
    code, result = run_driver_json("verify")
    assert code == 0, result
    checks = {check["check"] for check in read_checks(result)}
    assert {"storage.smb", "storage.smb_settings", "storage.smb_dialects", "storage.smb_ports"} <= checks


def test_kernel_client_and_nfs_see_each_others_files(smb: Takeover) -> None:
    one, two = smb.machines["worker1"], smb.machines["worker2"]
    one.check_output(f"mkdir -p {MOUNTED}/turns && echo smb > {MOUNTED}/turns/f", root=True)
    assert two.check_output(f"cat {NFS}/turns/f", root=True) == "smb\n"
    assert two.check_output(f"stat -c %u:%g {NFS}/turns {NFS}/turns/f", root=True).split() == ["2600:2600"] * 2
    two.check_output(f"cd {NFS}/turns && echo longer-by-nfs > f && mv f g && sync g", root=True)
    assert one.check_output(f"ls {MOUNTED}/turns && cat {MOUNTED}/turns/g", root=True) == "g\nlonger-by-nfs\n"
    one.check_output(f"mv {MOUNTED}/turns/g {MOUNTED}/turns/h && echo again > {MOUNTED}/turns/h", root=True)
    assert two.check_output(f"ls {NFS}/turns | cat && cat {NFS}/turns/h", root=True) == "h\nagain\n"


def test_many_small_files_arrive_whole(smb: Takeover) -> None:
    one, two = smb.machines["worker1"], smb.machines["worker2"]
    made = one.check_output(
        f"set -e; mkdir {MOUNTED}/many; cd {MOUNTED}/many; for n in $(seq {SMALL_FILES}); do echo $n-$n > $n; done;"
        " sync -f .; ls | sort -n | xargs sha256sum | sha256sum",
        root=True,
        timeout_s=3600,
    )
    seen = two.check_output(
        f"cd {NFS}/many && ls | sort -n | xargs sha256sum | sha256sum; ls | wc -l", root=True, timeout_s=3600
    )
    assert seen == f"{made}{SMALL_FILES}\n"


def test_large_file_arrives_whole(smb: Takeover) -> None:
    one, two = smb.machines["worker1"], smb.machines["worker2"]
    made = one.check_output(
        f"head -c {LARGE_BYTES} /dev/urandom | tee {MOUNTED}/large | sha256sum; sync -f {MOUNTED}/large",
        root=True,
        timeout_s=3600,
    )
    assert two.check_output(f"sha256sum < {NFS}/large; stat -c %s {NFS}/large", root=True, timeout_s=3600) == (
        f"{made}{LARGE_BYTES}\n"
    )
    two.check_output(f"rm -r {NFS}/large {NFS}/many", root=True, timeout_s=600)


def test_marker_is_out_of_reach(smb: Takeover) -> None:
    one = smb.machines["worker1"]
    done = one.sudo(f"cd {MOUNTED} && rm -f .noslop-share; echo forged > .noslop-share; mv turns .noslop-share")
    assert done.returncode != 0
    assert '"studio_id"' in smb.machines["server"].check_output(f"cat {NFS}/.noslop-share", root=True)


def test_password_is_in_no_file_and_no_log_of_the_server_and_the_studio(smb: Takeover) -> None:
    server = smb.machines["server"]
    found = server.sudo("grep -rl '8 St[ü]ck' /etc /var/lib/noslop /var/log; journalctl --boot | grep '8 St[ü]ck'")
    assert found.stdout == ""
    kept = [path for path in INVENTORY.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert kept == []
