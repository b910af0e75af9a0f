# Tuned schedules: mmrec_schedule_params(<out> <op> <variant> <pass>) gives the GeneratorParams that the schedule database
# has for a kernel, as name=value pairs, or nothing where it has none (the generators' own defaults then hold).
# A table is generators/schedules/<name>.json: {"kernels": {"<op>/<variant>/<pass>": {"<param>": <value>, ..}, ..}}.

set(MMREC_SCHEDULE "" CACHE STRING "Name of the schedule table in generators/schedules (empty: generator defaults)")

set(mmrec_schedule_json "")
if (MMREC_SCHEDULE)
  set(table ${PROJECT_SOURCE_DIR}/generators/schedules/${MMREC_SCHEDULE}.json)
  if (NOT EXISTS ${table})
    message(FATAL_ERROR "MMREC_SCHEDULE=${MMREC_SCHEDULE}: there is no ${table}")
  endif ()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${table})
  file(READ ${table} mmrec_schedule_json)
endif ()

function(mmrec_schedule_params out op variant pass)
  set(params "")
  if (mmrec_schedule_json)
    string(JSON count ERROR_VARIABLE missing LENGTH "${mmrec_schedule_json}" kernels "${op}/${variant}/${pass}")
    if (NOT missing)
      math(EXPR last "${count} - 1")
      foreach (i RANGE ${last})
        string(JSON name MEMBER "${mmrec_schedule_json}" kernels "${op}/${variant}/${pass}" ${i})
        string(JSON value GET "${mmrec_schedule_json}" kernels "${op}/${variant}/${pass}" ${name})
        list(APPEND params "${name}=${value}")
      endforeach ()
    endif ()
  endif ()
  set(${out} "${params}" PARENT_SCOPE)
endfunction()
