#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage the lab's containers: the image, the network, and systemd hosts for the tests of single roles."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_containers
short_description: Containers of the test lab
version_added: 0.1.0
author: NoSlop contributors (@noslop)
description:
  - Imports the image, creates a podman network and starts containers that run systemd and sshd.
options:
  state:
    description: Whether the containers and their network exist. The image is kept.
    type: str
    choices: [present, absent]
    default: present
  fresh:
    description: With V(present), replace the containers by new ones.
    type: bool
    default: false
  directory:
    description: Directory of the hosts' directories, which C(lab_seeds) creates.
    type: path
    required: true
  hosts:
    description: Names and addresses.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Host and container name.
        type: str
        required: true
      address:
        description: IPv4 address.
        type: str
        required: true
  network:
    description: Name of the podman network.
    type: str
    required: true
  subnet:
    description: The network's subnet.
    type: str
    required: true
  gateway:
    description: The controller's address in it.
    type: str
    required: true
  tag:
    description: Name of the image.
    type: str
    default: localhost/noslop-test:bookworm
  image:
    description: Directory with C(rootfs.tar). Needed for V(present).
    type: path
attributes:
  check_mode:
    description: Reports what would change.
    support: full
"""

EXAMPLES = r"""
- name: Start the containers
  lab_containers:
    directory: .lab/containers
    hosts:
      - {name: role-server, address: 10.77.43.11}
    network: noslop-roles
    subnet: 10.77.43.0/24
    gateway: 10.77.43.1
    image: /var/cache/noslop-lab/container-0123456789abcdef
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode.
  type: list
  elements: str
  returned: always
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

LABEL = "noslop.recipe"


class Containers:
    """All containers of one lab; each method checks the state first, then records and makes the missing changes."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.actions: list[str] = []

    def act(self, change: str) -> bool:
        """Record a change, and return whether to make it (not in check mode)."""
        self.actions.append(change)
        return not self.module.check_mode

    def podman(self, *arguments: str) -> str:
        """Run podman and return its output."""
        _rc, out, _err = self.module.run_command(["podman", *arguments], check_rc=True)
        return str(out).strip()

    def has(self, kind: str, name: str) -> bool:
        """Return whether podman has a container, network or image of that name."""
        rc, _out, _err = self.module.run_command(["podman", kind, "exists", name])
        return bool(rc == 0)

    def import_image(self) -> None:
        """Import the image unless the one that podman has was made from the same recipe."""
        image, tag = Path(self.params["image"]), self.params["tag"]
        old = ""
        if self.has("image", tag):
            template = f'{{{{index .Labels "{LABEL}"}}}} {{{{.Id}}}}'
            recipe, _space, old = self.podman("image", "inspect", "--format", template, tag).rpartition(" ")
            if recipe == image.name:
                return
        if self.act("import image"):
            changes = ("--change", 'CMD ["/sbin/init"]', "--change", f"LABEL {LABEL}={image.name}")
            self.podman("import", "--quiet", *changes, str(image / "rootfs.tar"), tag)
            if old:
                # Fails, and keeps the image, where containers of an earlier run still use it.
                self.module.run_command(["podman", "image", "rm", old])

    def make_network(self) -> None:
        """Create the network unless it exists."""
        network = self.params["network"]
        if not self.has("network", network) and self.act(f"make network {network}"):
            self.podman(
                *("network", "create", "--disable-dns", "--subnet", self.params["subnet"]),
                *("--gateway", self.params["gateway"], network),
            )

    def is_running(self, name: str) -> bool:
        """Return whether the container runs."""
        return (
            self.has("container", name)
            and self.podman("container", "inspect", "--format", "{{.State.Running}}", name) == "true"
        )

    def remove(self, name: str) -> None:
        """Remove the container if it exists."""
        if self.has("container", name) and self.act(f"remove {name}"):
            # systemd has no state to save in the container.
            self.podman("rm", "--force", "--time", "0", name)

    def start(self, name: str, address: str) -> None:
        """Start the container unless it runs, or replace it where `fresh` is set."""
        if self.is_running(name) and not self.params["fresh"]:
            return
        self.remove(name)
        if not self.act(f"start {name}"):
            return
        seed = Path(self.params["directory"]).absolute() / name / "seed.tar"
        self.podman(
            *("run", "--detach", "--name", name, "--hostname", name, "--pull", "never"),
            *("--systemd", "always", "--privileged", "--network", self.params["network"], "--ip", address),
            *("--volume", f"{seed}:/etc/lab-seed.tar:ro", self.params["tag"]),
        )

    def present(self) -> None:
        """Create the image, the network and the containers."""
        self.import_image()
        self.make_network()
        for host in self.params["hosts"]:
            self.start(host["name"], host["address"])

    def absent(self) -> None:
        """Remove the containers and the network, and keep the image. Without podman there are none."""
        if not self.module.get_bin_path("podman"):
            return
        for host in self.params["hosts"]:
            self.remove(host["name"])
        network = self.params["network"]
        if self.has("network", network) and self.act(f"remove network {network}"):
            self.podman("network", "rm", "--force", network)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "fresh": {"type": "bool", "default": False},
            "directory": {"type": "path", "required": True},
            "hosts": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {"name": {"type": "str", "required": True}, "address": {"type": "str", "required": True}},
            },
            "network": {"type": "str", "required": True},
            "subnet": {"type": "str", "required": True},
            "gateway": {"type": "str", "required": True},
            "tag": {"type": "str", "default": "localhost/noslop-test:bookworm"},
            "image": {"type": "path"},
        },
        required_if=[("state", "present", ("image",))],
        supports_check_mode=True,
    )
    containers = Containers(module)
    if module.params["state"] == "present":
        containers.present()
    else:
        containers.absent()
    module.exit_json(changed=bool(containers.actions), actions=containers.actions)


if __name__ == "__main__":
    main()
