# The programs as they are installed, under the name mmrec-train and so on, with manual pages and
# completion in bash, and the packages that `make package` makes of all that is installed: a .deb and a
# .tar.gz (docs/library.md). Both are for CPUs that have what MMREC_TARGET says.
include(GNUInstallDirs)

# Manual pages are what the programs print, which only their own architecture runs.
if (NOT CMAKE_CROSSCOMPILING)
  find_program(MMREC_HELP2MAN help2man REQUIRED)
endif ()
set(pages "")
foreach (program IN ITEMS evaluate generate prepare report search train upscale)
  set(name mmrec-${program})
  install(PROGRAMS $<TARGET_FILE:${program}> DESTINATION ${CMAKE_INSTALL_BINDIR} RENAME ${name})
  install(FILES ${PROJECT_SOURCE_DIR}/cmake/completion.bash
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME ${name})
  if (CMAKE_CROSSCOMPILING)
    continue()
  endif ()
  set(page ${PROJECT_BINARY_DIR}/man/${name}.1.gz)
  # the program under its installed name, which the page shows
  set(called ${PROJECT_BINARY_DIR}/man/${name})
  add_custom_command(OUTPUT ${page}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/man
    COMMAND ${CMAKE_COMMAND} -E create_symlink $<TARGET_FILE:${program}> ${called}
    COMMAND ${PROJECT_SOURCE_DIR}/cmake/man_page.sh ${called} ${page}
    DEPENDS ${program} ${PROJECT_SOURCE_DIR}/cmake/man_page.sh
    COMMENT "Writing the manual page of ${name}" VERBATIM)
  list(APPEND pages ${page})
endforeach ()
add_custom_target(mmrec_man_pages ALL DEPENDS ${pages})
install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)

install(FILES ${PROJECT_SOURCE_DIR}/data/tiny_shakespeare/input.txt
  DESTINATION ${CMAKE_INSTALL_DATADIR}/mmrec/tiny_shakespeare)
install(FILES ${PROJECT_SOURCE_DIR}/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)

set(CPACK_GENERATOR DEB TGZ)
set(CPACK_PACKAGE_VENDOR MM-Rec)
set(CPACK_PACKAGE_CONTACT "MM-Rec <mmrec@localhost>")
set(CPACK_PACKAGE_DESCRIPTION "Programs that train the MM-Rec recurrent language model and write \
text with it, and libraries for C and C++. The kernels are compiled for ${MMREC_TARGET}; a CPU that \
lacks some of that is refused with a message.")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR}/lib)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/SharedLibraryNames.cmake)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "openmpi-bin, g++, cmake, pkgconf")
include(CPack)
