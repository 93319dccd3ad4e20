#!/usr/bin/env bash
# Deploy a studio on the lab's machines with the driver, as a user would: from a network, an account, the known host keys
# (which the lab generated) and a password file. Ollama, ComfyUI and torch are the lab's stand-ins (lab/standins/README.md),
# set with the same variables as a mirror behind a firewall. REAL=1 uses the vendors' downloads.
set -eu
cd "$(dirname "$0")/../.."

network=10.77.42.0/24
inventory=inventories/demo
options=(--studio demo --network "$network" --user artist --ssh-key .lab/id_ed25519
  --host-keys .lab/machines/known_hosts --become-pass-file .lab/sudo_password --min-free-gb 1 --yes)

if [ -z "${REAL:-}" ]; then
  mirror=http://10.77.42.1:8042
  options+=(--artifact-mirror "$mirror")
  python lab/studio/pins.py .lab/artifacts/manifest.json "$mirror" "$inventory/group_vars/all/mirror.yml"
fi

noslop-driver deploy "${options[@]}" "$@"

# Create a first project, as a user would.
ansible-playbook --inventory "$inventory" --private-key .lab/id_ed25519 --become-password-file .lab/sudo_password \
  lab/studio/first_project.yml

cat <<END

The demo runs. Verify it again with:
  $(command -v noslop-driver) verify --studio demo --become-pass-file .lab/sudo_password
Log in with \`ssh -i .lab/id_ed25519 artist@10.77.42.11\` (server), .12 and .13 (workers); \`make lab-down\` removes all of it.
END
