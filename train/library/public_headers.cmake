# cmake -D SOURCES=.. -D HEADERS=.. -D MADE=.. -P public_headers.cmake: fills the folder HEADERS with
# the headers of train/library/ and all that they include, and writes the file MADE, and MADE.d, what that
# depends on. An include "runtime/tensor.h" becomes <mmrec/runtime/tensor.h>, so that no header of a
# program is in the way of ours, or ours of a program's. Others' headers but the language's are
# refused: who builds on this project should not need them.
cmake_minimum_required(VERSION 3.28)

file(GLOB open RELATIVE ${SOURCES} ${SOURCES}/train/library/*.h)
set(known ${open})
file(REMOVE_RECURSE ${HEADERS})
while (open)
  list(POP_FRONT open header)
  file(READ ${SOURCES}/${header} text)
  string(REGEX MATCHALL "#include [^\n]+" includes "${text}")
  foreach (include IN LISTS includes)
    if (include MATCHES "\"(.+)\"")
      if (NOT CMAKE_MATCH_1 IN_LIST known)
        list(APPEND known ${CMAKE_MATCH_1})
        list(APPEND open ${CMAKE_MATCH_1})
      endif ()
    elseif (NOT include MATCHES "<([a-z_]+|std[a-z]+\\.h)>")
      message(FATAL_ERROR "${header}: a public header may not have ${include}")
    endif ()
  endforeach ()
  string(REGEX REPLACE "#include \"(train/library/)?([^\"]+)\"" "#include <mmrec/\\2>" text "${text}")
  string(REGEX REPLACE "^train/library/" "" place ${header})
  file(WRITE ${HEADERS}/${place} "${text}")
endwhile ()

list(TRANSFORM known PREPEND ${SOURCES}/)
list(JOIN known " " known)
file(WRITE ${MADE}.d "${MADE}: ${known} ${SOURCES}/train/library\n")
file(TOUCH ${MADE})
