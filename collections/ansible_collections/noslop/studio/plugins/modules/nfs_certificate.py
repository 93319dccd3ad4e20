#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a certificate of the studio's own authority to a host.

The modules of ``community.crypto`` would need another collection, and to make the key on the host and sign on the
controller takes them some ten tasks. This one takes one, and compares first: a second run signs nothing.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: nfs_certificate
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Give a host a certificate of the studio's own authority
description:
  - Makes a key on the host, which never leaves it, and signs a certificate for it on the controller. The authority is
    made there too, with the first host.
  - Replaces the certificate where it has less than 60 days left, the host has other addresses or another key, or
    another authority signed it. Certificates are valid for 825 days, the authority for ten years. Replaces the key too
    where others than root may read it.
  - Refuses a host that trusts another authority than the controller has. Hosts would not trust each other.
  - Runs C(openssl) on the host, and on the controller the Python package C(cryptography), which Ansible requires.
attributes:
  check_mode:
    description: Makes no key, no authority and no certificate.
    support: full
  diff_mode:
    description: Not available. RV(reasons) says why a certificate is made.
    support: none
  action:
    description: The authority's key is read and used on the controller only.
    support: full
options:
  directory:
    description: Directory of the certificates on the host.
    type: path
    default: /etc/noslop/nfs-tls
  host:
    description: Name of the host in the inventory.
    type: str
    required: true
  addresses:
    description: Addresses with which the other hosts name it.
    type: list
    elements: str
    required: true
  authority_file:
    description: File of the controller with the authority's key and certificate. Only its owner may read it.
    type: str
    required: true
  studio_id:
    description: Identity of the studio, which a new authority is named after.
    type: str
    required: true
  signed:
    description: >-
      A signed certificate and that of its authority, by C(certificate) and C(authority). Set by the action plugin.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Make the certificate of this host
  noslop.studio.nfs_certificate:
    host: "{{ inventory_hostname }}"
    addresses: [192.168.1.20]
    authority_file: "{{ inventory_dir }}/.noslop/nfs-authority/authority.pem"
    studio_id: "{{ noslop_studio_id }}"
"""

RETURN = r"""
reasons:
  description: Why the host gets a certificate, or would; empty when it has the right one.
  type: list
  elements: str
  returned: success
authority_made:
  description: Whether the authority was made, or would be.
  type: bool
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.nfs import certificates


def main() -> None:
    """Return the certificate and a request, or write signed certificates."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "default": studio.TLS_DIR},
            "host": {"type": "str", "required": True},
            "addresses": {"type": "list", "elements": "str", "required": True},
            "authority_file": {"type": "str", "required": True},
            "studio_id": {"type": "str", "required": True},
            "signed": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    directory, signed = module.params["directory"], module.params["signed"]
    files = certificates.list_files(directory)
    try:
        if signed:
            if not module.check_mode:
                certificates.write_certificates(directory, signed["authority"], signed["certificate"])
            module.exit_json(changed=True)
        has_key = certificates.is_intact(files.key, certificates.KEY_MODE)
        if not has_key and not module.check_mode:
            certificates.make_key(directory)
        module.exit_json(
            changed=False,
            # In check mode no new key is made that would show that the certificate is another's.
            certificate=certificates.read(files.certificate) if has_key or not module.check_mode else "",
            authority=certificates.read(files.authority),
            request=certificates.make_request(files.key) if has_key or not module.check_mode else "",
        )
    except certificates.CertificateError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or directory}: {error.strerror or error}")


if __name__ == "__main__":
    main()
