#!/bin/bash
# After the packages are installed: the account, the certificates, the units that this lab needs or does not need.
set -euo pipefail
root=$1
enter() { chroot "$root" "$@"; }

for tree in common "$LAB_KIND"; do
    [ -d "$LAB_RECIPE/files/$tree" ] || continue
    tar -C "$LAB_RECIPE/files/$tree" --owner=0 --group=0 --mode='u=rwX,go=rX' -c . | tar -C "$root" -x --no-overwrite-dir
done

# An ordinary user, never root: privilege mistakes show. Password and key come with each machine's seed.
enter useradd --uid 1000 --user-group --create-home --shell /bin/bash --groups sudo artist

if ls "$LAB_INPUT"/certificates/*.crt >/dev/null 2>&1; then
    cp -t "$root/usr/local/share/ca-certificates" "$LAB_INPUT"/certificates/*.crt
    enter update-ca-certificates --fresh >/dev/null
    # pip carries a list of its own.
    printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$root/etc/pip.conf"
fi

# Each machine has its own; see the seed.
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/etc/hostname"
rm -f "$root"/etc/update-motd.d/*

# Nothing of its own accord: no downloads, no housekeeping in the middle of a test, no consoles.
enter systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    fstrim.timer getty@tty1.service getty-static.service serial-getty@ttyS0.service console-getty.service \
    systemd-update-utmp-runlevel.service systemd-pstore.service e2scrub_reap.service
# Under emulation each of these costs seconds of every boot, and nothing here uses them.
enter systemctl --quiet mask systemd-binfmt.service proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount \
    dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
    sys-fs-fuse-connections.mount systemd-update-utmp.service systemd-journal-flush.service \
    modprobe@.service systemd-ask-password-wall.path systemd-ask-password-console.path
enter systemctl --quiet set-default multi-user.target
enter systemctl --quiet enable lab-seed.service

case $LAB_KIND in
    machine)
        enter systemctl --quiet enable systemd-networkd.service systemd-network-generator.service
        enter systemctl --quiet disable systemd-networkd-wait-online.service
        # Installed to save minutes, off so that a role has to start it.
        enter systemctl --quiet disable nfs-server.service
        ;;
    container)
        # podman configures the network; devices are the host's.
        enter systemctl --quiet mask systemd-networkd.service systemd-udevd.service systemd-udev-trigger.service \
            systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-modules-load.service \
            systemd-logind.service
        ;;
esac
