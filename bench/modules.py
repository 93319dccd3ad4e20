"""Measure writing configuration files over SSH: `noslop.studio.managed_files` against `ansible.builtin.template`.

Both sides write the same small templates to one host, a real sshd on loopback, with the settings of ansible.cfg
(pipelining, kept connections). Each round runs both plays, first to write the files, then again to find them unchanged;
the median of the rounds' ratios counts.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from tests.support import sshd

ROOT = Path(__file__).resolve().parent.parent
FILES = 8
ROUNDS = 3

TEMPLATE = "# {{ ansible_managed | default('NoSlop') }}\n[Service]\nEnvironment=NUMBER={{ number }}\n"
MANAGED_FILES = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Write all files
      noslop.studio.managed_files:
        files: "{{ files }}"
"""
BUILTIN = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Create the directory
      ansible.builtin.file:
        path: "{{ directory }}"
        state: directory
        mode: "0755"
    - name: Write one file after the other
      ansible.builtin.template:
        src: unit.j2
        dest: "{{ item.dest }}"
        mode: "0644"
      loop: "{{ files }}"
      vars:
        number: "{{ item.vars.number }}"
"""


def write_plays(directory: Path, server: sshd.SshServer) -> None:
    """Write the inventory, the template and both playbooks."""
    (directory / "templates").mkdir()
    (directory / "templates" / "unit.j2").write_text(TEMPLATE, encoding="utf-8")
    options = f"-o UserKnownHostsFile={directory}/known_hosts -o StrictHostKeyChecking=yes"
    (directory / "known_hosts").write_text(f"[{server.address}]:{server.port} {server.public_key}\n", encoding="ascii")
    (directory / "hosts").write_text(
        f"host ansible_host={server.address} ansible_port={server.port} ansible_user={server.user} "
        f"ansible_ssh_private_key_file={server.client_key} ansible_ssh_common_args='{options}' "
        "ansible_python_interpreter=python3\n",
        encoding="utf-8",
    )
    for name, text in (("managed_files", MANAGED_FILES), ("builtin", BUILTIN)):
        (directory / f"{name}.yml").write_text(text, encoding="utf-8")


def measure_play_s(directory: Path, name: str, target: Path) -> float:
    """Return the seconds of one run of a playbook that writes the files to `target`."""
    files = [
        {"src": "unit.j2", "dest": f"{target}/{number}.conf", "vars": {"number": number}} for number in range(FILES)
    ]
    command = ["ansible-playbook", "-i", f"{directory}/hosts", f"{directory}/{name}.yml"]
    variables = str({"files": files, "directory": str(target)}).replace("'", '"')
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    started = time.monotonic()
    done = subprocess.run(
        [*command, "-e", variables], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(target.glob("*.conf"))) == FILES
    return seconds


def main() -> None:
    """Run both sides in turn, and print seconds and ratios."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        server = sshd.start(directory / "sshd", sshd.make_key(directory / "client_key"))
        try:
            write_plays(directory, server)
            measure_play_s(directory, "managed_files", directory / "first")  # opens the connection that both keep
            for title in ("files that are missing", "files that are unchanged"):
                ratios = []
                for number in range(ROUNDS):
                    seconds = {
                        side: measure_play_s(directory, side, directory / f"{side}{number}")
                        for side in ("builtin", "managed_files")
                    }
                    ratios.append(seconds["builtin"] / seconds["managed_files"])
                    print(
                        f"{title}: template {seconds['builtin']:.2f} s, managed_files {seconds['managed_files']:.2f} s"
                    )
                print(f"{title}: {FILES} templates take {statistics.median(ratios):.1f} times as long as managed_files")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
