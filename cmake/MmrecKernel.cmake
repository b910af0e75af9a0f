# The kernel registry's commands. generators/CMakeLists.txt is the registry itself.
#
#   mmrec_op(<op> PASSES <pass>.. [SIZES <name>..])
#     An operation, its entry points (forward backward, nn nt tn, ..) and the sizes of a call (M N K, ..), in the order in which
#     its typed function in runtime/ops passes them.
#   mmrec_kernel(<op> <variant> [GENERATOR <stem>] [PARAMS name=value ..] [WHEN "<condition>"])
#     A variant: <stem>_generator.cpp (by default <op>_<variant>_generator.cpp) registers one Halide generator
#     <stem>_<pass> for each pass it implements; PARAMS go to all of them, after what the schedule database has.
#     An operation's first variant is its default. A later one with a condition, a C++ expression of the operation's SIZES
#     (64-bit integers) such as WHEN "D < 32 && T >= 4096", serves the calls for which it holds; of several whose conditions
#     hold, the first.
#   mmrec_registry(<target>)
#     Ends the registry: <target> links every kernel and brings kernels.inc, the X-macro list from which the dispatch, the
#     tests and the benchmarks take their rows: MMREC_KERNEL(op, pass, variant, size names, condition or nullptr).

include(ScheduleDb)

set(MMREC_KERNEL_FEATURES "")
if (NOT MMREC_KERNEL_ASSERTS)
  # The typed functions in runtime/ops check shapes; what a kernel could add costs a tenth of a microsecond a call.
  set(MMREC_KERNEL_FEATURES FEATURES no_asserts no_bounds_query)
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
  cmake_parse_arguments(PARSE_ARGV 2 ARG "" "GENERATOR;WHEN" "PARAMS")
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
  get_property(sizes GLOBAL PROPERTY mmrec_sizes_${op})
  list(JOIN sizes " " sizes)
  set(when nullptr)
  if (DEFINED ARG_WHEN)
    mmrec_condition(when ${op} ${variant} "${ARG_WHEN}")
  endif ()

  # A variant may implement some passes only: those whose generator its file registers.
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
  file(STRINGS ${source} registrations REGEX "^HALIDE_REGISTER_GENERATOR")
  set(found FALSE)
  foreach (pass IN LISTS passes)
    if (registrations MATCHES ", *${ARG_GENERATOR}_${pass}\\)")
      set(found TRUE)
      get_property(has_default GLOBAL PROPERTY mmrec_default_${op}_${pass})
      if (DEFINED ARG_WHEN AND NOT has_default)
        message(FATAL_ERROR "mmrec_kernel(${op} ${variant}): a condition needs a default before it, a variant without one that implements ${pass}")
      endif ()
      set_property(GLOBAL PROPERTY mmrec_default_${op}_${pass} TRUE)
      set(kernel ${op}_${variant}_${pass})
      mmrec_schedule_params(tuned ${op} ${variant} ${pass})
      add_halide_library(${kernel} FROM ${ARG_GENERATOR}_generator
        GENERATOR ${ARG_GENERATOR}_${pass}
        FUNCTION_NAME mmrec_${kernel}
        TARGETS ${MMREC_TARGET} ${MMREC_KERNEL_FEATURES}
        USE_RUNTIME mmrec_halide_runtime
        PARAMS ${tuned} ${ARG_PARAMS}
        ASSEMBLY ${kernel}_assembly STMT ${kernel}_stmt LLVM_ASSEMBLY ${kernel}_llvm)
      set_property(GLOBAL APPEND PROPERTY mmrec_kernels ${kernel})
      set_property(GLOBAL APPEND_STRING PROPERTY mmrec_rows "MMREC_KERNEL(${op}, ${pass}, ${variant}, \"${sizes}\", ${when})\n")
    endif ()
  endforeach ()
  if (NOT found)
    message(FATAL_ERROR "mmrec_kernel(${op} ${variant}): ${source} registers none of ${ARG_GENERATOR}_{${passes}}")
  endif ()
endfunction()

function(mmrec_registry target)
  get_property(kernels GLOBAL PROPERTY mmrec_kernels)
  get_property(rows GLOBAL PROPERTY mmrec_rows)
  get_property(conditions GLOBAL PROPERTY mmrec_conditions)
  file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/include/kernels.inc @ONLY
       CONTENT "// Made from the registry lines in generators/CMakeLists.txt.\n@rows@")
  file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/include/kernel_conditions.inc @ONLY
       CONTENT "// Made from the registry lines in generators/CMakeLists.txt: the conditions that kernels.inc mentions.\n@conditions@")
  add_library(${target} INTERFACE)
  target_include_directories(${target} INTERFACE ${CMAKE_CURRENT_BINARY_DIR}/include)
  target_link_libraries(${target} INTERFACE ${kernels} mmrec_stream_store mmrec_halide_runtime Halide::Runtime)
endfunction()
