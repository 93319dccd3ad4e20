#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create the seeds that lab hosts read at first boot: host key, machine-id, name, password hash and public key."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_seeds
short_description: Identity and credentials of the test lab's hosts
version_added: 0.1.0
author: NoSlop contributors (@noslop)
description:
  - Creates for each host a directory with an SSH host key, a machine-id and C(seed.tar), which C(lab-seed.service) of
    the image unpacks at first boot, and one C(known_hosts) for all of them. The cached images hold no secret.
  - Keeps existing files, so that a host keeps its identity when it gets a new disk.
options:
  directory:
    description: Directory of the hosts' directories.
    type: path
    required: true
  hosts:
    description: Names and addresses.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Host name.
        type: str
        required: true
      address:
        description: IPv4 address.
        type: str
        required: true
      suite:
        description: The Debian that it runs, which its seed does not depend on.
        type: str
        default: bookworm
  public_key:
    description: Public key file of the user who logs in.
    type: path
    required: true
  password_file:
    description: File with that user's password. Only its hash leaves the controller.
    type: path
    required: true
  resolver:
    description: Whether the hosts get the controller's name servers. Containers get podman's.
    type: bool
    default: true
attributes:
  check_mode:
    description: Reports which hosts have no seed yet.
    support: full
"""

EXAMPLES = r"""
- name: Create the machines' seeds
  lab_seeds:
    directory: .lab/machines
    hosts:
      - {name: server, address: 10.77.42.11}
    public_key: .lab/id_ed25519.pub
    password_file: .lab/sudo_password
"""

RETURN = r"""
made:
  description: Hosts whose seed was created.
  type: list
  elements: str
  returned: always
"""

import io
import ipaddress
import tarfile
import uuid
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

HOST_KEY = "ssh_host_ed25519_key"
# systemd-resolved's own list of upstream servers, then the plain one.
RESOLVERS = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))


def resolver_lines() -> str:
    """Return the controller's name servers that a guest can reach, as resolv.conf lines."""
    for path in RESOLVERS:
        if not path.exists():
            continue
        words = [line.split() for line in path.read_text().splitlines()]
        servers = [w[1] for w in words if len(w) > 1 and w[0] == "nameserver"]
        outside = [s for s in servers if not ipaddress.ip_address(s.partition("%")[0]).is_loopback]
        if outside:
            return "".join(f"nameserver {server}\n" for server in outside)
    return ""


def pack(path: Path, files: dict[str, tuple[int, str]]) -> None:
    """Write a tar of {name: (mode, text)}, readable by root alone."""
    with path.open("wb") as raw:
        path.chmod(0o600)
        with tarfile.open(fileobj=raw, mode="w") as archive:
            for name, (mode, text) in files.items():
                data = text.encode()
                member = tarfile.TarInfo(name)
                member.mode, member.size = mode, len(data)
                archive.addfile(member, io.BytesIO(data))


def make_seed(module: AnsibleModule, directory: Path, host: dict[str, str], password_hash: str) -> None:
    """Create one host's key, machine-id and seed in its directory."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = directory / HOST_KEY
    if not key.exists():
        module.run_command(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host["name"], "-f", str(key)], check_rc=True
        )
    machine_id = directory / "machine-id"
    if not machine_id.exists():
        machine_id.write_text(uuid.uuid4().hex + "\n")
    name = host["name"]
    files = {
        "password-hash": (0o600, password_hash),
        f"files/etc/ssh/{HOST_KEY}": (0o600, key.read_text()),
        f"files/etc/ssh/{HOST_KEY}.pub": (0o644, key.with_suffix(".pub").read_text()),
        "files/home/artist/.ssh/authorized_keys": (0o600, Path(module.params["public_key"]).read_text()),
    }
    if module.params["resolver"]:
        files["files/etc/hostname"] = (0o644, f"{name}\n")
        files["files/etc/hosts"] = (0o644, f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost\n")
        files["files/etc/resolv.conf"] = (0o644, resolver_lines())
    pack(directory / "seed.tar", files)


def write_known_hosts(top: Path, hosts: list[dict[str, str]], *, dry: bool) -> bool:
    """Write every host's address and key, and return whether the file changed."""
    keys = {host["address"]: top / host["name"] / f"{HOST_KEY}.pub" for host in hosts}
    lines = [f"{address} {' '.join(key.read_text().split()[:2])}\n" for address, key in keys.items() if key.exists()]
    path = top / "known_hosts"
    if path.exists() and path.read_text() == "".join(lines):
        return False
    if not dry:
        path.write_text("".join(lines))
    return True


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "hosts": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "address": {"type": "str", "required": True},
                    "suite": {"type": "str", "default": "bookworm"},
                },
            },
            "public_key": {"type": "path", "required": True},
            "password_file": {"type": "path", "required": True, "no_log": False},
            "resolver": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    top = Path(module.params["directory"])
    missing = [h for h in module.params["hosts"] if not (top / h["name"] / "seed.tar").exists()]
    if missing and not module.check_mode:
        password = Path(module.params["password_file"]).read_text().strip()
        _rc, hashed, _err = module.run_command(["openssl", "passwd", "-6", "-stdin"], data=password, check_rc=True)
        for host in missing:
            make_seed(module, top / host["name"], host, hashed.strip())
    changed = write_known_hosts(top, module.params["hosts"], dry=module.check_mode)
    module.exit_json(changed=changed or bool(missing), made=[h["name"] for h in missing])


if __name__ == "__main__":
    main()
