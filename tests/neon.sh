#!/usr/bin/env bash
# tests/neon.sh FOLDER: cross-compiles base_test and kernel_test for 64-bit Arm into FOLDER and runs them under qemu. ctest runs it
# (label neon) on machines of other kinds. Exit code 77, with the reason, where the cross compiler or the emulator is missing.
# Proves results, not speed: qemu's time says nothing about a real Arm CPU.
set -euo pipefail
folder=$1
cd "$(dirname "$0")/.."
skip() { printf 'NEON: Skipped\nthe NEON kernels were not tested: %s; on Debian 12: apt-get install g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user\n' "$*"; exit 77; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

command -v aarch64-linux-gnu-g++ > /dev/null || skip 'no cross compiler (aarch64-linux-gnu-g++)'
qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static) || skip 'no emulator (qemu-aarch64)'
echo 'int main() {}' | aarch64-linux-gnu-g++ -x c++ -static -o /dev/null - || skip 'the cross compiler has no C library (libc6-dev-arm64-cross)'
[ -f /usr/src/googletest/CMakeLists.txt ] || skip 'no sources of GoogleTest (/usr/src/googletest)'

cmake --preset neon -B "$folder" > /dev/null
cmake --build "$folder" --parallel 2 --target base_test kernel_test

"$qemu" "$folder/bin/base_test" --gtest_brief=1
"$qemu" -cpu max "$folder/bin/kernel_test" | tee "$folder/kernel_test.txt"
grep -qF '[ kernels  ] neon' "$folder/kernel_test.txt" || fail 'the sweeps ran without the NEON table'

# An Armv8.0 CPU has no dot products: the scalar table, and no instruction it does not know.
"$qemu" -cpu cortex-a53 "$folder/bin/kernel_test" --gtest_filter='Isa.*:VectorOps.*:Matmul.LargestSumsAreExact' > "$folder/plain.txt" ||
  { cat "$folder/plain.txt"; fail 'failed on an Arm CPU without dot products'; }
if grep -qF '[ kernels  ] neon' "$folder/plain.txt"; then fail 'the NEON table ran on an Arm CPU without dot products'; fi
echo "all of $(grep -c '^\[       OK' "$folder/kernel_test.txt") kernel tests passed for NEON"
