#include "train/programs/ranks_of_program.h"

#include <string>

namespace mmrec {

void begin_as_rank(Program& program, std::unique_ptr<Ranks>& ranks) {
  if (Ranks::launched_to_follow()) program.let_another_print();
  program.agree_on_problem([&ranks](const std::string& problem) {
    ranks = Ranks::of_launcher();
    return ranks->common_problem(problem);
  });
}

}  // namespace mmrec
