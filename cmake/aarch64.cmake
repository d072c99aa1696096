# Toolchain file: builds for 64-bit Arm Linux with Debian's cross compiler, and runs what was built (tests) under qemu's user emulation.
#   cmake --preset neon && cmake --build --preset neon --target kernel_test && ctest --preset neon
# Debian: g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user. Links statically, so the emulator needs no Arm root.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
find_program(HALFTONE_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
if(HALFTONE_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${HALFTONE_QEMU})
endif()
