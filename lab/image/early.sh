#!/bin/bash
# Before the packages are installed: what their installation scripts read.
set -euo pipefail
root=$1
if [ "$LAB_KIND" = machine ]; then
    # A small initrd: under emulation, most of the boot is spent unpacking it and probing drivers.
    mkdir -p "$root/etc/initramfs-tools/conf.d"
    printf 'MODULES=list\nCOMPRESS=zstd\n' >"$root/etc/initramfs-tools/conf.d/lab"
    printf 'virtio_pci\nvirtio_blk\nvirtio_net\next4\n' >"$root/etc/initramfs-tools/modules"
fi
