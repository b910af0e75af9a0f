# MMREC_TARGET: the Halide target that the kernels are compiled for. By default that of this machine, from what the
# operating system enables and not from the CPU's model alone: a virtual machine may mask AVX-512, and Halide's own `host`
# would not see it. Override: cmake --preset release -DMMREC_TARGET=x86-64-linux-avx2-fma-f16c-sse41-avx (or MMREC_TARGET in
# the environment at the first configuration).

if (NOT DEFINED CACHE{MMREC_TARGET})
  set(target "$ENV{MMREC_TARGET}")
  if (NOT target)
    try_run(run_result compiled
      SOURCES ${CMAKE_CURRENT_LIST_DIR}/host_target.cpp ${PROJECT_SOURCE_DIR}/runtime/cpu_info.cpp
      CMAKE_FLAGS -DINCLUDE_DIRECTORIES=${PROJECT_SOURCE_DIR}
      CXX_STANDARD 20
      RUN_OUTPUT_STDOUT_VARIABLE target
      COMPILE_OUTPUT_VARIABLE compile_output)
    if (NOT compiled OR NOT run_result EQUAL 0)
      message(FATAL_ERROR "Could not find out this CPU's features; set -DMMREC_TARGET=<Halide target>.\n${compile_output}")
    endif ()
    string(STRIP "${target}" target)
  endif ()
  set(MMREC_TARGET "${target}" CACHE STRING "Halide target of the kernels")
endif ()
message(STATUS "Kernels are compiled for ${MMREC_TARGET}")
