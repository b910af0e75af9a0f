# mmrec_own_folder(): a build folder that has been copied or moved builds nothing. Its files name the sources and, in their custom commands,
# the folder that it was made for: it would compile that one's sources and write into it. To be called when all targets are there.
function(mmrec_own_folder)
  # Ninja gives each command the folder of its target; its own is where it was called.
  add_custom_target(own_folder
    COMMAND test "/proc/$$PPID/cwd" -ef . ||
      (echo "This build folder was made for ${PROJECT_BINARY_DIR}. make build configures it for this place." && false)
    COMMENT "Is this the folder that was configured?")
  mmrec_after_own_folder(${PROJECT_SOURCE_DIR})
endfunction()

function(mmrec_after_own_folder folder)
  get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
  list(REMOVE_ITEM targets own_folder)
  foreach (target IN LISTS targets)
    add_dependencies(${target} own_folder)
  endforeach ()
  get_property(folders DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
  foreach (below IN LISTS folders)
    mmrec_after_own_folder(${below})
  endforeach ()
endfunction()
