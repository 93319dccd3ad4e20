#!/bin/bash
# Build the lab's image of a Debian for virtual machines or for containers, once for each state of its recipe.
#
#   build.sh machine|container [SUITE]     bookworm (Debian 12) or trixie (Debian 13)
#
# The last line of the output is the image's directory below ${NOSLOP_LAB_CACHE:-~/.cache/noslop-lab}. Its name
# carries a hash of everything the image is made from: this directory, the controller's Debian mirror and apt
# settings, and its extra certificates. An image that is there already is not built again.
#   machine:   base.img (ext4), vmlinuz, initrd.img
#   container: rootfs.tar
set -euo pipefail
export LC_ALL=C

kind=${1:?usage: build.sh machine|container [SUITE]}
suite=${2:-bookworm}
case $kind in machine | container) ;; *) echo "build.sh: no such image: $kind" >&2; exit 2 ;; esac
here=$(cd "$(dirname "$0")" && pwd)
cache=${NOSLOP_LAB_CACHE:-$HOME/.cache/noslop-lab}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The controller's own mirror, so that a site's mirror serves the lab too. Nothing here on a controller that is not
# Debian: mmdebstrap then takes its own default.
mirror_lines() {
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # shellcheck disable=SC2016  # apt's own placeholders
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null |
        while read -r uri release component; do
            case $release in "$codename" | "$codename"-updates | "$codename"-security) ;; *) continue ;; esac
            echo "deb [signed-by=$keyring] $uri ${release/#$codename/$suite} $component"
        done | sort -u
}

# What makes apt work from here: proxies, checks switched off. Only apt's own names, never credentials (auth.conf).
apt_settings() {
    apt-config dump | grep -E '^Acquire::(http|https|Check-[A-Za-z-]+|Languages|GzipIndexes|ForceIPv4)\b' |
        grep -v '://[^/]*@' || true
}

extra_certificates() {
    find /usr/local/share/ca-certificates -name '*.crt' -type f 2>/dev/null | sort
}

recipe_hash() {
    {
        echo "$kind"
        [ "$suite" = bookworm ] || echo "$suite"
        (cd "$here" && find . -type f | sort | xargs sha256sum)
        mirror_lines
        apt_settings
        extra_certificates | xargs -r cat
    } | sha256sum | cut -c1-16
}

image=$cache/$kind-$(recipe_hash)
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
if [ -d "$image" ]; then
    echo "cached"
    echo "$image"
    exit 0
fi
# Under the lock: what an interrupted build left.
rm -rf --one-file-system "$cache"/.build-*
work=$(mktemp -d "$cache/.build-XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir "$work/out" "$work/in"

mirror_lines >"$work/in/sources.list"
apt_settings >"$work/in/apt.conf"
mkdir "$work/in/certificates"
extra_certificates | xargs -r cp -t "$work/in/certificates"

lists=("$here/packages-common.txt")
[ "$kind" = container ] || lists+=("$here/packages-$kind.txt")
packages=$(sort -u "${lists[@]}" | paste -sd,)
sources=()
[ -s "$work/in/sources.list" ] && sources=("$work/in/sources.list")
# A variable, since mmdebstrap hands hooks to a shell.
export LAB_KIND=$kind LAB_RECIPE=$here LAB_INPUT=$work/in
mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" \
    --aptopt="$work/in/apt.conf" --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --skip=cleanup/apt/lists \
    --essential-hook='"$LAB_RECIPE/early.sh" "$1"' \
    --customize-hook='"$LAB_RECIPE/customize.sh" "$1"' \
    "$suite" "$work/root" "${sources[@]}" >&2

case $kind in
    machine)
        cp --dereference "$work/root/vmlinuz" "$work/root/initrd.img" "$work/out/"
        # Sparse; tables written now, so that the guest's kernel does not do it in the background.
        mkfs.ext4 -q -F -L lab-root -E lazy_itable_init=0,lazy_journal_init=0 -N 262144 -m 0 \
            -d "$work/root" "$work/out/base.img" 12G
        ;;
    container)
        tar --numeric-owner --xattrs --xattrs-include='*' -C "$work/root" --exclude='./dev/*' -cf "$work/out/rootfs.tar" .
        ;;
esac
mv "$work/out" "$image"
echo "built"
echo "$image"
