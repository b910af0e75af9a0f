# mmrec_own_folder(): a copied or moved build folder builds nothing. Its files contain the paths of
# the sources and of the original build folder: it would compile the original's sources and write
# into the original. Call it after all targets are defined.
function(mmrec_own_folder)
  # Ninja runs each command in its target's folder. Ninja's own working directory is where it was
  # started.
  add_custom_target(own_folder
    COMMAND test "/proc/$$PPID/cwd" -ef . ||
      (echo "This build folder was made for ${PROJECT_BINARY_DIR}." &&
       echo "make build configures it for this place." && false)
    COMMENT "Is this the folder that was configured?")
  mmrec_build_first(own_folder ${PROJECT_SOURCE_DIR})
endfunction()

# mmrec_build_first(<target> <folder>): all other targets that are defined in the folder and below
# it wait for this one.
function(mmrec_build_first first folder)
  get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
  list(REMOVE_ITEM targets ${first})
  foreach (target IN LISTS targets)
    add_dependencies(${target} ${first})
  endforeach ()
  get_property(folders DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
  foreach (below IN LISTS folders)
    mmrec_build_first(${first} ${below})
  endforeach ()
endfunction()
