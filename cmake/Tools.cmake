# Compiler cache and linker, if installed; warnings.

find_program(MMREC_CCACHE ccache)
if (MMREC_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Halide's header is precompiled. ccache caches users of a precompiled header only with this
  # setting.
  set(CMAKE_CXX_COMPILER_LAUNCHER
    ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${MMREC_CCACHE})
  add_compile_options($<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
endif ()

find_program(MMREC_MOLD mold)
if (MMREC_MOLD AND NOT MMREC_SANITIZE AND NOT CMAKE_CROSSCOMPILING)
  add_link_options(-fuse-ld=mold)
endif ()

# Where the CPU has fused multiply-adds, as on ARM, GCC would round differently than elsewhere.
add_compile_options(-ffp-contract=off)
# as on x86; elsewhere char has no sign
add_compile_options(-fsigned-char)

add_compile_options(-Wall -Wextra)
# false positives for std::string in GCC 12
add_compile_options($<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
if (MMREC_WARNINGS_AS_ERRORS)
  add_compile_options(-Werror)
endif ()
