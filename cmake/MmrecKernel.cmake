# The kernel registry's commands. generators/CMakeLists.txt is the registry itself.
#
#   mmrec_op(<op> PASSES <pass>.. [SIZES <name>..])
#     An operation, its entry points (forward backward, nn nt tn, ..) and the sizes of a call (M N K, ..), in the order in which
#     its typed function in runtime/ops passes them.
#   mmrec_kernel(<op> <variant> [GENERATOR <stem>] [PARAMS name=value ..] [WHOLE] [BASELINE] [WHEN "<condition>"])
#     A variant: <stem>_generator.cpp (by default <op>_<variant>_generator.cpp) registers one Halide generator
#     <stem>_<pass> for each pass it implements; PARAMS go to all of them, after what the schedule database has.
#     WHOLE: it takes in one call what the operation's function otherwise cuts into many.
#     BASELINE: others are compared with it; it serves no call unless it is asked for, as the tuner does not choose it.
#     An operation's first variant is its default. A later one with a condition, a C++ expression of the operation's SIZES
#     (64-bit integers) such as WHEN "D < 32 && T >= 4096", serves the calls for which it holds; of several whose conditions
#     hold, the first.
#   mmrec_registry(<target> <generators>)
#     Ends the registry. Each variant of a pass is compiled with its generator's defaults and once for every other choice of
#     parameters that the schedule database (ScheduleDb.cmake) has for it: instances <op>_<variant>_<pass>, with _<param><value>
#     behind it for each that is not the default. <target> links all of them and brings X-macro lists:
#       kernels.inc        MMREC_KERNEL(instance, op, pass, variant, params, level, whole, size names, condition or nullptr), from which
#                          the dispatch, the tests and the benchmarks take their rows; of each variant the defaults come first
#       schedule_rows.inc  MMREC_SCHEDULE_ROW(instance, sizes..): which one is best for calls of these sizes
#       kernel_build.inc   MMREC_KERNEL_BUILD(op, pass, variant, generator, PARAMS, baseline, source hash, tunables), from which the tuner
#                          makes instances as the build does, for the target MMREC_BUILD_TARGET
#     <generators> has the generators' objects, for programs that compile kernels themselves.

include(ScheduleDb)

set(MMREC_KERNEL_FEATURES "")
if (NOT MMREC_KERNEL_ASSERTS)
  # The typed functions in runtime/ops check shapes; what a kernel could add costs a tenth of a microsecond a call.
  set(MMREC_KERNEL_FEATURES no_asserts no_bounds_query)
endif ()

function(mmrec_op op)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "PASSES;SIZES")
  set_property(GLOBAL PROPERTY mmrec_passes_${op} ${ARG_PASSES})
  set_property(GLOBAL PROPERTY mmrec_sizes_${op} ${ARG_SIZES})
endfunction()

# Appends a variant's condition to the functions in kernel_conditions.inc, and returns that function's name in `result`.
function(mmrec_condition result op variant condition)
  set(line "mmrec_kernel(${op} ${variant} WHEN \"${condition}\")")
  get_property(sizes GLOBAL PROPERTY mmrec_sizes_${op})
  list(JOIN sizes " " listed)
  # With one character outside the alphabet of expressions the text could end the function it becomes.
  if (NOT condition MATCHES "^[A-Za-z0-9_ ()<>=!&|^~+*/%?:.'-]+$")
    message(FATAL_ERROR "${line}: the condition must be one C++ expression of the sizes '${listed}'")
  endif ()
  string(REGEX MATCHALL "[A-Za-z0-9_.']+" words "${condition}")
  foreach (name IN LISTS words)
    if (NOT name MATCHES "^[0-9]" AND NOT name IN_LIST sizes)
      message(FATAL_ERROR "${line}: '${name}' is none of the sizes that mmrec_op(${op} ..) declares: '${listed}'")
    endif ()
  endforeach ()
  set(function when_${op}_${variant})
  set(definitions "")
  foreach (name IN LISTS sizes)
    string(APPEND definitions "  [[maybe_unused]] const int64_t ${name} = *sizes++;\n")
  endforeach ()
  # The compiler's messages about the expression then point here.
  string(REPLACE "\"" "'" place "${line}")
  set_property(GLOBAL APPEND_STRING PROPERTY mmrec_conditions
    "static bool ${function}([[maybe_unused]] const int* sizes) {\n${definitions}#line 1 \"generators/CMakeLists.txt: ${place}\"\n  return ${condition};\n}\n")
  set(${result} ${function} PARENT_SCOPE)
endfunction()

# One executable a generator file; all share one precompiled Halide.h, which takes longer to parse than they do.
function(mmrec_generator stem)
  set(generator ${stem}_generator)
  if (TARGET ${generator})
    return()
  endif ()
  add_halide_generator(${generator} SOURCES ${generator}.cpp)
  set_property(GLOBAL APPEND PROPERTY mmrec_generators ${generator})
  target_include_directories(${generator} PRIVATE ${PROJECT_SOURCE_DIR})
  set_target_properties(${generator} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
  get_property(first GLOBAL PROPERTY mmrec_first_generator)
  if (first)
    target_precompile_headers(${generator} REUSE_FROM ${first})
  else ()
    target_precompile_headers(${generator} PRIVATE <Halide.h>)
    set_property(GLOBAL PROPERTY mmrec_first_generator ${generator})
  endif ()
endfunction()

function(mmrec_kernel op variant)
  cmake_parse_arguments(PARSE_ARGV 2 ARG "WHOLE;BASELINE" "GENERATOR;WHEN" "PARAMS")
  if (ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "mmrec_kernel(${op} ${variant}): what is '${ARG_UNPARSED_ARGUMENTS}'?")
  endif ()
  get_property(passes GLOBAL PROPERTY mmrec_passes_${op})
  if (NOT passes)
    message(FATAL_ERROR "mmrec_kernel(${op} ${variant}): declare the operation first: mmrec_op(${op} PASSES ..)")
  endif ()
  if (NOT ARG_GENERATOR)
    set(ARG_GENERATOR ${op}_${variant})
  endif ()
  set(source ${CMAKE_CURRENT_SOURCE_DIR}/${ARG_GENERATOR}_generator.cpp)
  if (NOT EXISTS ${source})
    message(FATAL_ERROR "mmrec_kernel(${op} ${variant}): there is no ${source}")
  endif ()
  mmrec_generator(${ARG_GENERATOR})
  set(when nullptr)
  if (DEFINED ARG_WHEN)
    mmrec_condition(when ${op} ${variant} "${ARG_WHEN}")
  endif ()
  mmrec_generator_text(text ${source})
  string(SHA256 hash "${text}")
  string(SUBSTRING ${hash} 0 16 hash)
  set(kernel ${op}_${variant})
  set_property(GLOBAL PROPERTY mmrec_generator_${kernel} ${ARG_GENERATOR})
  set_property(GLOBAL PROPERTY mmrec_fixed_${kernel} "${ARG_PARAMS}")
  string(TOLOWER ${ARG_WHOLE} whole)
  set_property(GLOBAL PROPERTY mmrec_whole_${kernel} ${whole})
  string(TOLOWER ${ARG_BASELINE} baseline)
  set_property(GLOBAL PROPERTY mmrec_baseline_${kernel} ${baseline})
  set_property(GLOBAL PROPERTY mmrec_when_${kernel} ${when})
  set_property(GLOBAL PROPERTY mmrec_source_hash_${kernel} ${hash})

  # A variant may implement some passes only: those whose generator its file registers.
  set(found FALSE)
  foreach (pass IN LISTS passes)
    if (text MATCHES "HALIDE_REGISTER_GENERATOR\\(([A-Za-z0-9_]+::)*([A-Za-z0-9_]+), *${ARG_GENERATOR}_${pass}\\)")
      set(found TRUE)
      mmrec_class_tunables(tunables "${text}" ${CMAKE_MATCH_2})
      set_property(GLOBAL PROPERTY mmrec_tunables_${kernel}_${pass} "${tunables}")
      get_property(has_default GLOBAL PROPERTY mmrec_default_${op}_${pass})
      if (DEFINED ARG_WHEN AND NOT has_default)
        message(FATAL_ERROR "mmrec_kernel(${op} ${variant}): a condition needs a default before it, a variant without one that implements ${pass}")
      endif ()
      set_property(GLOBAL PROPERTY mmrec_default_${op}_${pass} TRUE)
      set_property(GLOBAL APPEND PROPERTY mmrec_kernels "${op}|${variant}|${pass}")
    endif ()
  endforeach ()
  if (NOT found)
    message(FATAL_ERROR "mmrec_kernel(${op} ${variant}): ${source} registers none of ${ARG_GENERATOR}_{${passes}}")
  endif ()
endfunction()

# Compiles a kernel with the given parameters, "name=value name=value", and appends its row.
function(mmrec_instance result op variant pass params level)
  foreach (property generator fixed whole when)
    get_property(${property} GLOBAL PROPERTY mmrec_${property}_${op}_${variant})
  endforeach ()
  get_property(sizes GLOBAL PROPERTY mmrec_sizes_${op})
  list(JOIN sizes " " sizes)
  set(instance ${op}_${variant}_${pass})
  if (params)
    string(REPLACE "=" "" suffix "${params}")
    string(MAKE_C_IDENTIFIER "${suffix}" suffix)
    string(APPEND instance _${suffix})
  endif ()
  string(REPLACE " " ";" arguments "${params}")
  add_halide_library(${instance} FROM ${generator}_generator
    GENERATOR ${generator}_${pass}
    FUNCTION_NAME mmrec_${instance}
    TARGETS ${MMREC_TARGET} FEATURES ${MMREC_KERNEL_FEATURES}
    USE_RUNTIME mmrec_halide_runtime
    PARAMS ${arguments} ${fixed}
    ASSEMBLY ${instance}_assembly STMT ${instance}_stmt LLVM_ASSEMBLY ${instance}_llvm)
  set_property(GLOBAL APPEND PROPERTY mmrec_instances ${instance})
  set_property(GLOBAL APPEND PROPERTY mmrec_levels "${level}")
  set_property(GLOBAL APPEND_STRING PROPERTY mmrec_kernels_inc
    "MMREC_KERNEL(${instance}, ${op}, ${pass}, ${variant}, \"${params}\", \"${level}\", ${whole}, \"${sizes}\", ${when})\n")
  set(${result} ${instance} PARENT_SCOPE)
endfunction()

# All instances of a variant of a pass: that of the defaults, and one for every other choice of parameters in its rows.
function(mmrec_instances op variant pass)
  set(kernel ${op}_${variant}_${pass})
  get_property(rows GLOBAL PROPERTY mmrec_rows_${op}_${pass})
  list(FILTER rows INCLUDE REGEX "^${variant}\\|")
  set(defaults "${rows}")
  list(FILTER defaults INCLUDE REGEX "^[^|]*\\|\\|")
  set(default_level "generator default")
  if (defaults MATCHES "^[^|]*\\|\\|[^|]*\\|([^|]*)\\|")
    set(default_level "${CMAKE_MATCH_1}")
  endif ()
  string(MAKE_C_IDENTIFIER "instance " instance)
  mmrec_instance(${instance} ${op} ${variant} ${pass} "" "${default_level}")
  foreach (row IN LISTS rows)
    string(REGEX MATCH "^[^|]*\\|([^|]*)\\|([^|]*)\\|([^|]*)\\|[^|]*\\|(.*)$" row "${row}")
    set(params "${CMAKE_MATCH_1}")
    set(sizes "${CMAKE_MATCH_2}")
    set(level "${CMAKE_MATCH_3}")
    if (CMAKE_MATCH_4)
      set_property(GLOBAL APPEND PROPERTY mmrec_stale ${op})
    endif ()
    string(MAKE_C_IDENTIFIER "instance ${params}" instance)
    if (NOT DEFINED ${instance})
      mmrec_instance(${instance} ${op} ${variant} ${pass} "${params}" "${level}")
      add_dependencies(${kernel} ${${instance}})  # ninja scan_serial_forward makes all that there is of it
    endif ()
    set_property(GLOBAL APPEND_STRING PROPERTY mmrec_schedule_rows "MMREC_SCHEDULE_ROW(${${instance}}, ${sizes})\n")
  endforeach ()

  foreach (property generator fixed baseline source_hash)
    get_property(${property} GLOBAL PROPERTY mmrec_${property}_${op}_${variant})
  endforeach ()
  list(JOIN fixed " " fixed)
  get_property(tunables GLOBAL PROPERTY mmrec_tunables_${kernel})
  set_property(GLOBAL APPEND_STRING PROPERTY mmrec_kernel_build
    "MMREC_KERNEL_BUILD(${op}, ${pass}, ${variant}, \"${generator}_${pass}\", \"${fixed}\", ${baseline}, \"${source_hash}\", \"${tunables}\")\n")
endfunction()

function(mmrec_registry target generators)
  mmrec_read_schedules()
  get_property(kernels GLOBAL PROPERTY mmrec_kernels)
  foreach (kernel IN LISTS kernels)
    string(REPLACE "|" ";" kernel "${kernel}")
    mmrec_instances(${kernel})
  endforeach ()

  # Which levels serve how many kernels, in the order of the registry.
  get_property(all_levels GLOBAL PROPERTY mmrec_levels)
  set(levels "${all_levels}")
  list(REMOVE_DUPLICATES levels)
  list(LENGTH all_levels total)
  set(summary "")
  foreach (level IN LISTS levels)
    set(others "${all_levels}")
    list(REMOVE_ITEM others "${level}")
    list(LENGTH others others)
    math(EXPR count "${total} - ${others}")
    list(APPEND summary "${count} by ${level}")
  endforeach ()
  list(JOIN summary ", " summary)
  message(STATUS "Schedules: ${summary}")
  get_property(stale GLOBAL PROPERTY mmrec_stale)
  if (stale)
    list(LENGTH stale count)
    list(REMOVE_DUPLICATES stale)
    list(JOIN stale ", " stale)
    message(WARNING "${count} rows of the schedule tables were measured with another version of the generators or of Halide: ${stale}. They are used; `make tune` measures them anew.")
  endif ()

  get_property(instances GLOBAL PROPERTY mmrec_instances)
  foreach (list kernels_inc schedule_rows kernel_build conditions)
    get_property(${list} GLOBAL PROPERTY mmrec_${list})
  endforeach ()
  set(include ${CMAKE_CURRENT_BINARY_DIR}/include)
  set(origin "// Made from the registry lines in generators/CMakeLists.txt and the schedule tables.\n")
  file(CONFIGURE OUTPUT ${include}/kernels.inc @ONLY CONTENT "@origin@@kernels_inc@")
  file(CONFIGURE OUTPUT ${include}/schedule_rows.inc @ONLY CONTENT "@origin@@schedule_rows@")
  string(JOIN - build_target ${MMREC_TARGET} ${MMREC_KERNEL_FEATURES} no_runtime)
  file(CONFIGURE OUTPUT ${include}/kernel_build.inc @ONLY CONTENT "@origin@#define MMREC_BUILD_TARGET \"@build_target@\"
#define MMREC_BUILD_HALIDE \"@Halide_VERSION@\"
@kernel_build@")
  file(CONFIGURE OUTPUT ${include}/kernel_conditions.inc @ONLY CONTENT "@origin@@conditions@")
  add_library(${target} INTERFACE)
  target_include_directories(${target} INTERFACE ${include})
  target_link_libraries(${target} INTERFACE ${instances} mmrec_stream_store mmrec_halide_runtime Halide::Runtime)

  get_property(objects GLOBAL PROPERTY mmrec_generators)
  list(TRANSFORM objects REPLACE "^.+$" "$<TARGET_OBJECTS:\\0>")
  add_library(${generators} INTERFACE)
  target_sources(${generators} INTERFACE ${objects})
  target_link_libraries(${generators} INTERFACE Halide::Halide)
endfunction()
