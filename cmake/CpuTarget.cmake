# MMREC_TARGET: the Halide target of the kernels. Default: this machine's, from the features that
# the operating system enables, not from the CPU model alone. A virtual machine may mask AVX-512,
# which Halide's own `host` target would not notice. Override: cmake --preset release
# -DMMREC_TARGET=x86-64-linux-avx2-fma-f16c-sse41-avx (or MMREC_TARGET in the environment of the
# first configuration). Several targets, separated by semicolons and best first, make programs that
# choose among them when they start: the preset dist.
#
# MMREC_CPU and MMREC_MICROARCHITECTURE select the tables of tuned schedules
# (registry/build_description.h). Default: this machine's. Set them too if the kernels are for
# another machine. MMREC_ISA is derived from the targets.

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
  list(POP_FRONT host cpu microarchitecture)
  set(targets "")
  set(isas "")
  while (host)
    list(POP_FRONT host target isa)
    if (isa IN_LIST isas)
      message(FATAL_ERROR "MMREC_TARGET has two targets whose widest vectors are ${isa}")
    endif ()
    list(APPEND targets ${target})
    list(APPEND isas ${isa})
  endwhile ()
  set_property(CACHE MMREC_TARGET PROPERTY VALUE "${targets}")
  set(MMREC_ISA "${isas}" CACHE INTERNAL "Widest vector instructions of each target")
  set(mmrec_isa_of "${targets}" CACHE INTERNAL "The targets that MMREC_ISA belongs to")
  set(MMREC_CPU "${cpu}" CACHE STRING "CPU whose tuned schedules the kernels get")
  set(MMREC_MICROARCHITECTURE "${microarchitecture}" CACHE STRING "Its microarchitecture")
endif ()
message(STATUS "Kernels are compiled for ${MMREC_TARGET}, schedules are those of ${MMREC_CPU} "
  "(${MMREC_MICROARCHITECTURE})")
