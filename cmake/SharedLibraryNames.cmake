# Run by cpack: Debian 13 has the library of Open MPI, with the same ABI, under another name.
# dpkg-shlibdeps reads the file, and cpack removes its folder.
if (CPACK_GENERATOR STREQUAL "DEB")
  file(WRITE ${CPACK_TEMPORARY_DIRECTORY}/debian/shlibs.local
    "libmpi 40 libopenmpi3 (>= 4.1.4) | libopenmpi40\n")
endif ()
