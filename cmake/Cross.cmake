# Toolchain of the presets aarch64 and riscv64: Debian's compiler for another architecture, the
# libraries that sysroot.sh puts into MMREC_SYSROOT, and qemu, which runs the tests here.
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES MMREC_ARCHITECTURE MMREC_SYSROOT MMREC_QEMU_CPU)

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR ${MMREC_ARCHITECTURE})
set(CMAKE_SYSROOT ${MMREC_SYSROOT})
set(CMAKE_CXX_COMPILER ${MMREC_ARCHITECTURE}-linux-gnu-g++)
set(CMAKE_CXX_COMPILER_TARGET ${MMREC_ARCHITECTURE}-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-${MMREC_ARCHITECTURE} -cpu ${MMREC_QEMU_CPU}
  -L ${MMREC_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
foreach (kind IN ITEMS LIBRARY INCLUDE PACKAGE)
  set(CMAKE_FIND_ROOT_PATH_MODE_${kind} ONLY)
endforeach ()
# The libraries may be of a later Debian, and then need a later C library than the compiler brings.
# They have it where they run.
set(CMAKE_EXE_LINKER_FLAGS_INIT -Wl,--unresolved-symbols=ignore-in-shared-libs)
