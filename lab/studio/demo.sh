#!/usr/bin/env bash
# A studio on the lab's machines, made the way a person makes one: the driver is told a network, an account, which host
# keys are the machines' own (the lab made them) and where the password is. What Ollama, ComfyUI and torch are comes from
# the lab's stand-ins (lab/standins/README.md), through the variables that a studio behind a firewall would set too;
# REAL=1 leaves those out and takes the vendors' own.
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

# The first thing that a person does with it.
ansible-playbook --inventory "$inventory" --private-key .lab/id_ed25519 --become-password-file .lab/sudo_password \
  lab/studio/first_project.yml

cat <<END

The demo runs. Verify it again with:
  $(command -v noslop-driver) verify --studio demo --become-pass-file .lab/sudo_password
Log in with \`ssh -i .lab/id_ed25519 artist@10.77.42.11\` (server), .12 and .13 (workers); \`make lab-down\` removes all of it.
END
