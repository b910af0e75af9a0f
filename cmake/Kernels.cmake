# Builds the kernels. Each folder generators/<op>/ with *_generator.cpp becomes a program, which
# emits the operation's kernels. generators/kernels.def is the registry, generators/schedules/ has
# the schedule tables; generators/program/main.cpp describes the programs.
#
# In a cross build the programs are those of a build for this machine, MMREC_HOST_BUILD.
#
#   mmrec_kernels(<target> <objects>)
#     <target>   links all kernels. For each target in MMREC_TARGET there is a folder, named by its
#                   ISA tier, with kernels.inc: X-macro lists of the instances and of the tables'
#                   rows, from which dispatch is built.
#     <objects>  has the object files of the generators, for programs that compile kernels; not
#                   in a cross build.

# The generators run where the build does: in a cross build they are those of a build for this
# machine.
if (CMAKE_CROSSCOMPILING)
  set(MMREC_HOST_BUILD ${PROJECT_SOURCE_DIR}/build CACHE PATH
    "Folder of a build for this machine, whose generators emit the kernels")
  if (NOT EXISTS ${MMREC_HOST_BUILD}/build.ninja)
    message(FATAL_ERROR "MMREC_HOST_BUILD: ${MMREC_HOST_BUILD} has no build for this machine, whose "
      "generators would emit the kernels; run `make build` first, or name another folder")
  endif ()
endif ()

set(MMREC_SCHEDULE "" CACHE STRING
  "The only schedule table to use: a name in generators/schedules, a path, or none (empty: by CPU)")
# The environment variable counts only at the first configuration. `make` starts a new build folder
# if it changes, and `tune apply` passes -DMMREC_SCHEDULE_DIR.
set(MMREC_SCHEDULE_DIR "$ENV{MMREC_SCHEDULE_DIR}" CACHE PATH
  "Folder of schedule tables that come before the project's")

# Writes the file that generators/registry/build_description.h reads: the target, and the tables in
# order of precedence.
function(mmrec_write_build_description file mmrec_target isa)
  set(schedules ${PROJECT_SOURCE_DIR}/generators/schedules)
  set(features no_runtime)
  # The bits do not depend on the schedule, nor on the CPU if it has fused multiply-adds
  # (generators/common/contract.h), with vectors of a fixed size: of others LLVM would take the lanes
  # one by one.
  if (mmrec_target MATCHES "^x86|^arm-64|^riscv" AND NOT mmrec_target MATCHES "-sve")
    list(PREPEND features strict_float)
  endif ()
  if (NOT MMREC_KERNEL_ASSERTS)
    # The typed functions in runtime/ops check shapes. Kernel assertions would add 0.1 us per call.
    list(PREPEND features no_asserts no_bounds_query)
  endif ()
  list(JOIN features - features)
  set(tables "")
  if (MMREC_SCHEDULE AND NOT MMREC_SCHEDULE STREQUAL "none")
    set(table ${schedules}/${MMREC_SCHEDULE}.json)
    if (NOT EXISTS ${table})
      get_filename_component(table ${MMREC_SCHEDULE} ABSOLUTE BASE_DIR ${PROJECT_SOURCE_DIR})
    endif ()
    if (NOT EXISTS ${table})
      message(FATAL_ERROR "MMREC_SCHEDULE=${MMREC_SCHEDULE}: there is no "
        "${schedules}/${MMREC_SCHEDULE}.json and no ${table}")
    endif ()
    set(tables ${table})
    set(kind only_table)
  elseif (NOT MMREC_SCHEDULE)
    set(kind table)
    foreach (folder IN LISTS MMREC_SCHEDULE_DIR schedules)
      file(GLOB found CONFIGURE_DEPENDS ${folder}/*.json)
      list(APPEND tables ${found})
    endforeach ()
  endif ()
  set(lines "target ${mmrec_target}-${features}\nhalide ${Halide_VERSION}\nisa ${isa}\n")
  string(APPEND lines "cpu ${MMREC_CPU}\nmicroarchitecture ${MMREC_MICROARCHITECTURE}\n")
  if (MMREC_SOFTWARE_BF16)
    string(APPEND lines "software_bf16 yes\n")
  endif ()
  foreach (table IN LISTS tables)
    string(APPEND lines "${kind} ${table}\n")
  endforeach ()
  file(CONFIGURE OUTPUT ${file} CONTENT "@lines@" @ONLY)
  set(mmrec_tables ${tables} PARENT_SCOPE)
  set(mmrec_kernel_target ${mmrec_target}-${features} PARENT_SCOPE)
endfunction()

# The program of each operation in `ops`, for a build where it runs.
function(mmrec_generator_programs ops sources generator_objects)
  # Code that all generator programs share. It compiles support/ and registry/ a second time,
  # because generators are built without sanitizers.
  set(support ${PROJECT_SOURCE_DIR}/support)
  add_library(mmrec_generator_program STATIC program/main.cpp registry/build_description.cpp
    registry/instance.cpp registry/registry.cpp registry/schedule_table.cpp
    ${support}/atomic_file.cpp ${support}/directory_lock.cpp ${support}/exceptions.cpp
    ${support}/file_descriptor.cpp ${support}/names.cpp ${support}/path_at.cpp
    ${support}/strict_json.cpp)
  target_include_directories(mmrec_generator_program PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(mmrec_generator_program PUBLIC Halide::Halide fmt::fmt
    nlohmann_json::nlohmann_json)
  target_compile_definitions(mmrec_generator_program PUBLIC
    MMREC_HALIDE_LIBRARIES="$<TARGET_FILE_DIR:Halide::Halide>")
  # parsing Halide.h takes longer than any file here
  target_precompile_headers(mmrec_generator_program PRIVATE <Halide.h>)

  set(objects "")
  add_custom_target(generators)
  foreach (op IN LISTS ops)
    set(files "${sources}")
    list(FILTER files INCLUDE REGEX "^${op}/")
    add_executable(${op}_generator ${files})
    target_link_libraries(${op}_generator PRIVATE mmrec_generator_program)
    target_precompile_headers(${op}_generator REUSE_FROM mmrec_generator_program)
    set(folder ${CMAKE_CURRENT_BINARY_DIR}/${op})
    set_target_properties(${op}_generator PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${folder})
    list(APPEND objects $<TARGET_OBJECTS:${op}_generator>)
    add_dependencies(generators ${op}_generator)
  endforeach ()
  add_library(${generator_objects} INTERFACE)
  target_sources(${generator_objects} INTERFACE ${objects})
  target_link_libraries(${generator_objects} INTERFACE Halide::Halide)
endfunction()

function(mmrec_kernels target generator_objects)
  file(GLOB sources CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} */*_generator.cpp)
  list(TRANSFORM sources REPLACE "/.*" "" OUTPUT_VARIABLE ops)
  list(REMOVE_DUPLICATES ops)
  if (CMAKE_CROSSCOMPILING)
    set(generators ${ops})
    list(TRANSFORM generators REPLACE "(.+)"
      "${MMREC_HOST_BUILD}/generators/\\1/\\1_generator")
    add_custom_target(host_generators BYPRODUCTS ${generators}
      COMMAND ${CMAKE_COMMAND} --build ${MMREC_HOST_BUILD} --target generators
      COMMENT "Building the generators for this machine" VERBATIM)
  else ()
    mmrec_generator_programs("${ops}" "${sources}" ${generator_objects})
    set(generators ${ops})
    list(TRANSFORM generators APPEND _generator)
  endif ()

  set(archives "")
  set(lists "")
  set(kernel_targets "")
  foreach (mmrec_target isa IN ZIP_LISTS MMREC_TARGET MMREC_ISA)
    set(description ${CMAKE_CURRENT_BINARY_DIR}/${isa}/build.txt)
    mmrec_write_build_description(${description} ${mmrec_target} ${isa})
    list(APPEND kernel_targets ${mmrec_kernel_target})
    set(includes "")
    foreach (op generator IN ZIP_LISTS ops generators)
      set(folder ${CMAKE_CURRENT_BINARY_DIR}/${isa}/${op})
      add_custom_command(OUTPUT ${folder}/kernels.a ${folder}/kernels.inc
        COMMAND ${generator} --emit ${description} ${folder}
        DEPENDS ${generator} ${description} ${mmrec_tables}
        COMMENT "Emitting the kernels of ${op} for ${isa}" VERBATIM)
      add_custom_target(${op}_kernels_${isa} DEPENDS ${folder}/kernels.a ${folder}/kernels.inc)
      list(APPEND archives ${folder}/kernels.a)
      list(APPEND lists ${folder}/kernels.inc)
      string(APPEND includes "#include \"${folder}/kernels.inc\"\n")
    endforeach ()
    file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/${isa}/kernels.inc CONTENT "@includes@" @ONLY)
  endforeach ()

  # the last target is the most modest one: `description` is its
  list(GET generators 0 any)
  set(halide_runtime ${CMAKE_CURRENT_BINARY_DIR}/halide_runtime.o)
  add_custom_command(OUTPUT ${halide_runtime}
    COMMAND ${any} --runtime ${description} ${halide_runtime}
    DEPENDS ${any} ${description} COMMENT "Compiling Halide's runtime" VERBATIM)
  add_library(mmrec_halide_runtime STATIC ${halide_runtime})
  set_target_properties(mmrec_halide_runtime PROPERTIES LINKER_LANGUAGE CXX)

  add_library(${target} INTERFACE)
  # the file that includes the lists depends on them
  set_property(TARGET ${target} PROPERTY kernel_lists ${lists})
  set_property(TARGET ${target} PROPERTY kernel_targets ${kernel_targets})  # with all features
  set_property(TARGET ${target} PROPERTY kernel_folder ${CMAKE_CURRENT_BINARY_DIR})
  target_link_libraries(${target} INTERFACE ${archives} mmrec_stream_store mmrec_halide_runtime
    Halide::Runtime)
endfunction()
