# A folder is a library. It links the folders whose headers it may include, and no others.
#
#   mmrec_folder(<library> SOURCES <file>.. [USES <library>..] [PROGRAMS_USE <library>..])
#     Makes the calling folder a static library. Its files may include the folders of USES and what
#     those may include. The folder's programs may also include those of PROGRAMS_USE.
#   mmrec_folder_rule(<library> [USES ..] [PROGRAMS_USE ..])
#     Declares the same rule for a library that is made in another way.
#   mmrec_write_folder_rules()
#     Writes folders.txt to the build folder, with lines "<folder> <folder it may include>..", for
#     tests/cmake/include_rule.sh to check.

# Returns the folders of the given libraries and the folders these may include.
function(mmrec_folders_of result)
  set(folders "")
  foreach (library IN LISTS ARGN)
    get_property(more GLOBAL PROPERTY mmrec_may_include_${library})
    list(APPEND folders ${more})
  endforeach ()
  list(REMOVE_DUPLICATES folders)
  set(${result} ${folders} PARENT_SCOPE)
endfunction()

function(mmrec_folder_rule library)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "USES;PROGRAMS_USE")
  cmake_path(RELATIVE_PATH CMAKE_CURRENT_SOURCE_DIR BASE_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE folder)
  mmrec_folders_of(folders ${ARG_USES})
  mmrec_folders_of(more ${ARG_PROGRAMS_USE})
  set_property(GLOBAL PROPERTY mmrec_may_include_${library} ${folder} ${folders})
  list(JOIN folders " " folders)
  list(JOIN more " " more)
  set_property(GLOBAL APPEND_STRING PROPERTY mmrec_folder_rules "${folder} ${folders} ${more}\n")
endfunction()

function(mmrec_folder library)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "SOURCES;USES;PROGRAMS_USE")
  add_library(${library} STATIC ${ARG_SOURCES})
  target_include_directories(${library} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${library} PUBLIC ${ARG_USES})
  mmrec_folder_rule(${library} USES ${ARG_USES} PROGRAMS_USE ${ARG_PROGRAMS_USE})
endfunction()

function(mmrec_write_folder_rules)
  get_property(rules GLOBAL PROPERTY mmrec_folder_rules)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/folders.txt CONTENT "@rules@" @ONLY)
endfunction()
