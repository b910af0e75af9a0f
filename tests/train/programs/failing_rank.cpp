// To be loaded before a program of MPI: as soon as there is a file of the name $MMREC_FAILS, with
// the rank's number after it, memory runs out on that rank where ranks gather, as in a step.
#include <mpi.h>

#include <cstdlib>
#include <filesystem>
#include <new>
#include <string>

extern "C" int MPI_Iallgather(const void* from, int from_count, MPI_Datatype from_type, void* to,
                              int to_count, MPI_Datatype to_type, MPI_Comm ranks,
                              MPI_Request* request) {
  static const std::string file =
      std::string(std::getenv("MMREC_FAILS")) + std::getenv("OMPI_COMM_WORLD_RANK");
  if (std::filesystem::exists(file)) throw std::bad_alloc();
  return PMPI_Iallgather(from, from_count, from_type, to, to_count, to_type, ranks, request);
}
