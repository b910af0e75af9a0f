# Compile and link options of sanitizers and libFuzzer, for all folders added later.
# mmrec_uninstrumented() removes them in the calling folder: the generators' programs would take ten
# times as long.
get_property(mmrec_plain_compile_options DIRECTORY PROPERTY COMPILE_OPTIONS)
get_property(mmrec_plain_link_options DIRECTORY PROPERTY LINK_OPTIONS)
macro(mmrec_uninstrumented)
  set_property(DIRECTORY PROPERTY COMPILE_OPTIONS ${mmrec_plain_compile_options})
  set_property(DIRECTORY PROPERTY LINK_OPTIONS ${mmrec_plain_link_options})
endmacro()

if (MMREC_SANITIZE)
  add_compile_options(-fsanitize=${MMREC_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  # false positives in instrumented standard headers
  add_compile_options($<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  add_link_options(-fsanitize=${MMREC_SANITIZE})
endif ()

if (MMREC_LIBFUZZER)
  add_compile_options(-fsanitize=fuzzer-no-link)  # reports the code paths that an input takes
  include(CheckCXXSourceCompiles)
  set(CMAKE_REQUIRED_FLAGS -fsanitize=fuzzer)
  check_cxx_source_compiles(
    "extern \"C\" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }"
    MMREC_HAS_LIBFUZZER)
  unset(CMAKE_REQUIRED_FLAGS)
  if (NOT MMREC_HAS_LIBFUZZER)
    message(FATAL_ERROR
      "${CMAKE_CXX_COMPILER} has no libFuzzer: apt-get install clang-16 libclang-rt-16-dev")
  endif ()
endif ()
