"""Change a running studio to NFS over TLS and back, and try to reach its shares without a certificate of its own.

The machines need Debian 13: `NOSLOP_LAB_SUITE=trixie make lab-up`, and the same for pytest. On Debian 12 the one test
is that preflight refuses them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from tests.support.lab.driver import count_changes_by_host
from tests.support.lab.machines import LAB, ROOT, Machine, list_machines, reset_machines, wait_for
from tests.support.lab.power import read_boot_id, switch_power

SUITE = os.environ.get("NOSLOP_LAB_SUITE", "bookworm")
INVENTORY = LAB / "tls"
WORKERS = ("worker1", "worker2")
PROJECTS = "/mnt/noslop/projects"
PROBE = "/mnt/probe"
TLS_DIR = "/etc/noslop/nfs-tls"
SECRET = "noslop-secret-on-the-wire"  # noqa: S105 - a text that a test looks for
AS_OWNER = "setpriv --reuid 2600 --regid 2600 --clear-groups"
LISTENER = ROOT / "tests/support/lab/nfs_listener.py"
#: Machines may be emulated. A restarted server lets its clients wait for 90 s.
WITHIN_S = 900.0
trixie = pytest.mark.skipif(SUITE == "bookworm", reason="Debian 12 has no NFS over TLS (NOSLOP_LAB_SUITE=trixie)")
bookworm = pytest.mark.skipif(SUITE != "bookworm", reason="the machines have NFS over TLS")


def write_inventory(transport: str) -> None:
    """Write the inventory of a studio without services, and its transport."""
    INVENTORY.mkdir(parents=True, exist_ok=True)
    shutil.copy(LAB / "machines/inventory.yml", INVENTORY / "machines.yml")
    groups = {
        "storage_server": {"hosts": {"server": {}}},
        "storage_clients": {"hosts": {name: {} for name in WORKERS}},
        "all": {"vars": {"noslop_studio_id": "tls", "noslop_min_free_gb": 1, "noslop_nfs_transport": transport}},
    }
    (INVENTORY / "studio.yml").write_text(yaml.safe_dump(groups), encoding="utf-8")


def run_playbook(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    password = f"--become-password-file={LAB / 'sudo_password'}"
    command = ["ansible-playbook", "-i", str(INVENTORY), password, f"playbooks/{name}.yml", *words]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    with (LAB / "tls.log").open("a", encoding="utf-8") as log:
        log.write(done.stdout + done.stderr)
    return done


def deploy(transport: str) -> subprocess.CompletedProcess[str]:
    write_inventory(transport)
    return run_playbook("storage")


def deploy_twice(transport: str) -> None:
    """Deploy the storage, which verifies it too, and again, which changes nothing."""
    done = deploy(transport)
    assert done.returncode == 0, done.stdout + done.stderr
    again = deploy(transport)
    assert again.returncode == 0, again.stdout + again.stderr
    assert not any(count_changes_by_host(again.stdout).values()), again.stdout


def read_transports(worker: Machine) -> set[str]:
    """Return the transports of the shares that are mounted on a worker."""
    lines = [line for line in worker.check_output("cat /proc/mounts").splitlines() if " nfs4 " in line]
    assert lines
    return {match[1] if (match := re.search(r"xprtsec=(\w+)", line)) else "plain" for line in lines}


def read_accepted(server: Machine) -> set[str]:
    """Return the values of `xprtsec` in the exports that the server has loaded; `all` where it is missing."""
    lines = server.check_output("exportfs -s", root=True).splitlines()
    assert lines
    return {match[1] if (match := re.search(r"xprtsec=([\w:]+)", line)) else "all" for line in lines}


def exchange(machines: dict[str, Machine], text: str) -> None:
    """Write a text many times to a file on one worker, and read it on the other."""
    one, two = (machines[name] for name in WORKERS)
    one.check_output(f"{AS_OWNER} sh -c 'yes {text} | head -n 20000 > {PROJECTS}/exchanged'", root=True)
    command = f"{AS_OWNER} sha256sum {PROJECTS}/exchanged"
    assert one.check_output(command, root=True) == two.check_output(command, root=True)


def hear(machines: dict[str, Machine]) -> dict[str, int | bool]:
    """Return what was heard at the server while a text went from one worker to the other."""
    server, ready, stop = machines["server"], "/run/nfs-listener.ready", "/run/nfs-listener.stop"
    server.check_output(f"rm -f {ready} {stop}", root=True)
    program = LISTENER.read_text(encoding="utf-8")
    with ThreadPoolExecutor(1) as pool:
        heard = pool.submit(server.sudo, f"exec python3 - {SECRET} {ready} {stop}", stdin=program, timeout_s=WITHIN_S)
        try:
            wait_for("the listener", lambda: server.run(f"test -e {ready}").returncode == 0, timeout_s=WITHIN_S)
            exchange(machines, SECRET)
        finally:
            server.check_output(f"touch {stop}", root=True)
        done = heard.result()
    assert done.returncode == 0, done.stderr
    parsed: dict[str, int | bool] = json.loads(done.stdout)
    return parsed


def try_mount(worker: Machine, options: str) -> str:
    """Mount the projects at another place of a worker that has no share mounted, and unmount them.

    Without another mount, because the kernel uses the connection of one for all mounts of a server. Return the error,
    empty where it was mounted.
    """
    units = "$(systemctl list-unit-files --no-legend 'mnt-noslop-*.automount' | cut -d' ' -f1)"
    server = list_machines()["server"].address
    done = worker.sudo(
        f"systemctl stop {units}; umount -a -t nfs4; mkdir -p {PROBE};"
        f" timeout 120 mount -t nfs4 -o vers=4.2,soft,retry=0{options} {server}:{PROJECTS} {PROBE}"
        f" && ls {PROBE}/.noslop-share; code=$?; umount {PROBE} 2>/dev/null; systemctl start {units}; exit $code",
        timeout_s=WITHIN_S,
    )
    return "" if done.returncode == 0 else done.stderr or f"it ended with {done.returncode}"


@pytest.fixture(scope="module")
def machines() -> dict[str, Machine]:
    """Reset the lab."""
    reset_machines()
    shutil.rmtree(INVENTORY, ignore_errors=True)
    (LAB / "tls.log").unlink(missing_ok=True)
    return list_machines()


@pytest.fixture(scope="module")
def plain(machines: dict[str, Machine]) -> dict[str, Machine]:
    """Deploy the storage without TLS."""
    done = deploy("plain")
    assert done.returncode == 0, done.stdout + done.stderr
    return machines


@pytest.fixture(scope="module")
def mtls(plain: dict[str, Machine]) -> dict[str, Machine]:
    """Change the running studio to NFS over TLS with certificates."""
    deploy_twice("mtls")
    return plain


@pytest.fixture(params=["worker1", "server"])
def foreign_certificate(request: pytest.FixtureRequest, mtls: dict[str, Machine]) -> Iterator[str]:
    """Replace the certificate of a machine by one of another authority, and put it back."""
    machine = mtls[request.param]
    files = f"{TLS_DIR}/certificate.pem {TLS_DIR}/key.pem"
    machine.check_output(
        f"set -e; umask 077; mkdir -p /root/kept; cp -p {files} /root/kept; cd $(mktemp -d);"
        " openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=other -keyout key.pem -out certificate.pem"
        f" -addext subjectAltName=IP:{machine.address}; cp key.pem certificate.pem {TLS_DIR};"
        f" chmod 644 {TLS_DIR}/certificate.pem",
        root=True,
        timeout_s=WITHIN_S,
    )
    yield machine.name
    machine.check_output(f"cp -p /root/kept/* {TLS_DIR}", root=True)


@bookworm
def test_debian_12_is_refused_before_anything_is_changed(machines: dict[str, Machine]) -> None:
    write_inventory("mtls")

    done = run_playbook("preflight")

    assert done.returncode != 0
    for name in machines:
        assert f"{name}" in done.stdout
    assert "Debian 12" in done.stdout
    assert "set noslop_nfs_transport to plain" in " ".join(done.stdout.split())
    for machine in machines.values():
        assert machine.run(f"test -e {TLS_DIR}").returncode != 0


@trixie
def test_without_tls_a_listener_reads_what_is_written(plain: dict[str, Machine]) -> None:
    heard = hear(plain)

    assert heard["segments"]
    assert heard["contains"]


@trixie
def test_client_whose_share_is_in_use_keeps_it_and_the_server_goes_on_accepting_it(plain: dict[str, Machine]) -> None:
    one, two = (plain[name] for name in WORKERS)
    one.check_output(
        f"systemd-run --quiet --unit=holds {AS_OWNER} sh -c 'exec 9>{PROJECTS}/held; sleep 36000'", root=True
    )
    wait_for("the open file", lambda: one.sudo(f"test -e {PROJECTS}/held").returncode == 0, timeout_s=WITHIN_S)
    try:
        done = deploy("mtls")
        assert done.returncode != 0
        assert "sleep" in done.stdout or "holds.service" in done.stdout, done.stdout
        assert read_transports(one) == {"plain"}
        assert read_transports(two) == {"mtls"}
        assert read_accepted(plain["server"]) == {"all"}
        exchange(plain, "in between")
    finally:
        one.check_output("systemctl stop holds", root=True)


@trixie
def test_running_studio_changes_to_certificates_and_accepts_nothing_else(mtls: dict[str, Machine]) -> None:
    for name in WORKERS:
        assert read_transports(mtls[name]) == {"mtls"}
    assert read_accepted(mtls["server"]) == {"mtls"}


@trixie
def test_with_tls_a_listener_reads_nothing_of_what_is_written(mtls: dict[str, Machine]) -> None:
    heard = hear(mtls)

    assert heard["segments"]
    assert not heard["contains"]


@trixie
def test_kernels_of_both_sides_encrypt(mtls: dict[str, Machine]) -> None:
    for machine in mtls.values():
        counters = dict(line.split() for line in machine.check_output("cat /proc/net/tls_stat").splitlines())
        opened = [int(counters[name]) for name in ("TlsTxSw", "TlsTxDevice", "TlsRxSw", "TlsRxDevice")]
        assert opened[0] + opened[1], counters
        assert opened[2] + opened[3], counters


@trixie
def test_client_without_tls_or_without_a_certificate_is_refused(mtls: dict[str, Machine]) -> None:
    worker = mtls["worker1"]

    assert try_mount(worker, "")
    assert try_mount(worker, ",xprtsec=tls")
    assert try_mount(worker, ",xprtsec=mtls") == ""


@trixie
def test_certificate_of_another_authority_is_refused_and_verification_names_it(
    foreign_certificate: str, mtls: dict[str, Machine]
) -> None:
    assert try_mount(mtls["worker1"], ",xprtsec=mtls")

    done = run_playbook("storage", "--tags", "studio_verify")

    assert done.returncode != 0
    assert "signed by the only authority" in " ".join(done.stdout.split())
    assert foreign_certificate in done.stdout


@trixie
def test_hosts_find_each_other_again_after_a_restart_of_all(mtls: dict[str, Machine]) -> None:
    before = {name: read_boot_id(machine) for name, machine in mtls.items()}
    switch_power("all", "reboot")

    def have_restarted() -> bool:
        return all(read_boot_id(machine) not in ("", before[name]) for name, machine in mtls.items())

    def read_markers() -> bool:
        command = f"{AS_OWNER} timeout 60 cat {PROJECTS}/.noslop-share"
        return all(mtls[name].sudo(command).returncode == 0 for name in WORKERS)

    wait_for("the machines after their restart", have_restarted, timeout_s=WITHIN_S)
    wait_for("the projects on both workers", read_markers, timeout_s=WITHIN_S)
    assert [read_transports(mtls[name]) for name in WORKERS] == [{"mtls"}] * 2


@trixie
def test_way_back_leaves_no_certificate_and_no_service(mtls: dict[str, Machine]) -> None:
    deploy_twice("plain")

    assert read_accepted(mtls["server"]) == {"all"}
    for name in WORKERS:
        assert read_transports(mtls[name]) == {"plain"}
    for machine in mtls.values():
        assert machine.sudo(f"test -e {TLS_DIR}").returncode != 0
        assert machine.run("systemctl is-active tlshd").stdout.strip() == "inactive"
    exchange(mtls, "in clear text")
