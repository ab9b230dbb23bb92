#!/bin/sh
# A directory with an ARM Python and ONNX Runtime, for `pocketlens compare --emulate arm64` on a
# Debian or Ubuntu PC. Usage: examples/arm64_root.sh DIR [--executorch]
# Needs: apt-get install qemu-user-static, and dpkg --add-architecture arm64; apt-get update.
set -eu
root=${1:?"say where: examples/arm64_root.sh DIR [--executorch]"}
packages="onnxruntime numpy"
[ "${2:-}" = --executorch ] && packages="$packages torch"
mkdir -p "$root/debs" "$root/site" "$root/proc"
root=$(cd "$root" && pwd)

version=$(apt-cache depends python3:arm64 | sed -n 's/.*Depends: python\(3\.[0-9]*\).*/\1/p' | head -n 1)
[ -n "$version" ] || { echo "apt knows no arm64: dpkg --add-architecture arm64 && apt-get update" >&2; exit 2; }
cd "$root/debs"
names=""
for name in "python$version-minimal" "libpython$version-minimal" "libpython$version-stdlib" \
    libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libffi8 libbz2-1.0 liblzma5 libuuid1 libcrypt1 \
    libssl3 libssl3t64; do
  if apt-cache show "$name:arm64" > /dev/null 2>&1; then names="$names $name:arm64"; fi
done
# shellcheck disable=SC2086
apt-get download -q $names
for deb in ./*.deb; do dpkg -x "$deb" "$root"; done
ln -sf "python$version" "$root/usr/bin/python3"

install() {
  "${PYTHON:-python3}" -m pip install -q --target "$root/site" --upgrade --only-binary=:all: \
    --implementation cp --python-version "$version" --platform manylinux_2_28_aarch64 \
    --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 \
    --platform manylinux2014_aarch64 "$@"
}
# shellcheck disable=SC2086
install $packages
# pip asks for what ExecuTorch needs on this PC, such as coremltools, which has no wheel for ARM.
if [ "${2:-}" = --executorch ]; then install --no-deps executorch; fi

# Libraries ask this file what the processor can do; this PC's would make some of them crash.
: > "$root/proc/cpuinfo"
for i in 0 1; do
  printf 'processor\t: %s\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\nCPU revision\t: 1\n\n' "$i" >> "$root/proc/cpuinfo"
done
qemu-aarch64-static -cpu neoverse-n1 -L "$root" "$root/usr/bin/python3" -I -c "
import sys; sys.path.insert(0, '$root/site')
import numpy, onnxruntime, platform
print(platform.machine(), 'onnxruntime', onnxruntime.__version__, 'numpy', numpy.__version__)"
