# MMREC_TARGET: the Halide target that the kernels are compiled for. By default that of this machine, from what the
# operating system enables and not from the CPU's model alone: a virtual machine may mask AVX-512, and Halide's own `host`
# would not see it. Override: cmake --preset release -DMMREC_TARGET=x86-64-linux-avx2-fma-f16c-sse41-avx (or MMREC_TARGET in
# the environment at the first configuration).
#
# MMREC_CPU and MMREC_MICROARCHITECTURE: this machine's, by which the tables of tuned schedules are chosen (registry/build_description.h); set
# them too where the kernels are for another one. MMREC_ISA follows from the target.

if (NOT DEFINED CACHE{MMREC_TARGET})
  set(MMREC_TARGET "$ENV{MMREC_TARGET}" CACHE STRING "Halide target of the kernels")
endif ()
if (NOT MMREC_TARGET OR NOT DEFINED CACHE{MMREC_CPU} OR NOT mmrec_isa_of STREQUAL MMREC_TARGET)
  try_run(run_result compiled
    SOURCES ${CMAKE_CURRENT_LIST_DIR}/host_target.cpp ${PROJECT_SOURCE_DIR}/runtime/cpu_info.cpp
    CMAKE_FLAGS -DINCLUDE_DIRECTORIES=${PROJECT_SOURCE_DIR}
    CXX_STANDARD 20
    RUN_OUTPUT_STDOUT_VARIABLE host
    COMPILE_OUTPUT_VARIABLE compile_output
    ARGS ${MMREC_TARGET})
  if (NOT compiled OR NOT run_result EQUAL 0)
    message(FATAL_ERROR "Could not find out this CPU's features:\n${compile_output}")
  endif ()
  list(GET host 0 target)
  list(GET host 1 isa)
  list(GET host 2 cpu)
  list(GET host 3 microarchitecture)
  set_property(CACHE MMREC_TARGET PROPERTY VALUE "${target}")
  set(MMREC_ISA "${isa}" CACHE INTERNAL "Widest vector instructions of MMREC_TARGET")
  set(mmrec_isa_of "${target}" CACHE INTERNAL "The target that MMREC_ISA belongs to")
  set(MMREC_CPU "${cpu}" CACHE STRING "CPU whose tuned schedules the kernels get")
  set(MMREC_MICROARCHITECTURE "${microarchitecture}" CACHE STRING "Its microarchitecture")
endif ()
message(STATUS "Kernels are compiled for ${MMREC_TARGET}, schedules are those of ${MMREC_CPU} (${MMREC_MICROARCHITECTURE})")
