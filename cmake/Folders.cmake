# A folder is a library. It links the folders whose headers it may include, and no others.
#
#   mmrec_folder(<library> SOURCES <file>.. [USES <library>..] [PROGRAMS_USE <library>..])
#     Makes the calling folder a static library. Its files may include the folders of USES and what
#     those may include. Its programs, *_main.cpp, may also include those of PROGRAMS_USE.
#   mmrec_folder_rule(<library> [USES ..] [PROGRAMS_USE ..])
#     Declares the same rule for a library that is made in another way.
#   mmrec_check_includes()
#     Every build then begins with include_rule.sh, which refuses what the rules do not allow. Call
#     it after all targets are defined.

# Returns the folders of the given libraries and the folders these may include.
function(mmrec_folders_of result)
  set(folders "")
  foreach (library IN LISTS ARGN)
    get_property(is_above GLOBAL PROPERTY mmrec_may_include_${library} SET)
    if (NOT is_above)
      message(FATAL_ERROR "${library} is no library of a folder above this one")
    endif ()
    get_property(more GLOBAL PROPERTY mmrec_may_include_${library})
    list(APPEND folders ${more})
  endforeach ()
  list(REMOVE_DUPLICATES folders)
  set(${result} ${folders} PARENT_SCOPE)
endfunction()

function(mmrec_folder_rule library)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "USES;PROGRAMS_USE")
  cmake_path(RELATIVE_PATH CMAKE_CURRENT_SOURCE_DIR BASE_DIRECTORY ${PROJECT_SOURCE_DIR}
    OUTPUT_VARIABLE folder)
  mmrec_folders_of(folders ${ARG_USES})
  set_property(GLOBAL PROPERTY mmrec_may_include_${library} ${folder} ${folders})
  list(JOIN folders " " folders)
  set_property(GLOBAL APPEND_STRING PROPERTY mmrec_folder_rules "${folder} ${folders}\n")
  if (ARG_PROGRAMS_USE)
    mmrec_folders_of(more ${ARG_PROGRAMS_USE})
    list(JOIN more " " more)
    set_property(GLOBAL APPEND_STRING PROPERTY mmrec_folder_rules
      "${folder}/*_main.cpp ${folder} ${folders} ${more}\n")
  endif ()
endfunction()

function(mmrec_folder library)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "SOURCES;USES;PROGRAMS_USE")
  add_library(${library} STATIC ${ARG_SOURCES})
  set_property(TARGET ${library} PROPERTY POSITION_INDEPENDENT_CODE ON)  # for train/library/
  target_include_directories(${library} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${library} PUBLIC ${ARG_USES})
  mmrec_folder_rule(${library} USES ${ARG_USES} PROGRAMS_USE ${ARG_PROGRAMS_USE})
endfunction()

function(mmrec_check_includes)
  get_property(rules GLOBAL PROPERTY mmrec_folder_rules)
  set(file ${PROJECT_BINARY_DIR}/folders.txt)
  file(CONFIGURE OUTPUT ${file} CONTENT "@rules@" @ONLY)
  add_custom_target(include_rule
    COMMAND ${PROJECT_SOURCE_DIR}/cmake/include_rule.sh ${PROJECT_SOURCE_DIR} ${file}
    COMMENT "Does each file include only its own folder and folders above it?" VERBATIM)
  mmrec_build_first(include_rule ${PROJECT_SOURCE_DIR})
endfunction()
