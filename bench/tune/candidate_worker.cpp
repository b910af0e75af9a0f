#include <Halide.h>
#include <fmt/ranges.h>

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "bench/tune/builds.h"
#include "bench/tune/candidate.h"
#include "bench/tune/check.h"
#include "generators/program/lowering.h"
#include "runtime/threads.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/run_commands.h"

namespace mmrec::tune {

namespace {

/// Compiles exactly as a build does. Returns the fingerprint.
std::string compile(const Recipe& recipe, const std::filesystem::path& object) {
  Halide::AutoschedulerParams autoscheduler;
  if (!recipe.autoscheduler.empty()) {
    std::string name = recipe.autoscheduler;
    name[0] = static_cast<char>(std::tolower(name[0]));
    Halide::load_plugin(fmt::format("{}/libautoschedule_{}.so", MMREC_HALIDE_LIBRARIES, name));
    autoscheduler = {recipe.autoscheduler, {{"parallelism", std::to_string(recipe.threads)}}};
  }
  // The fingerprint is reproducible: this is the first module of the process.
  const Halide::Module module =
      generators::make_generator(recipe.generator,
                                 generators::target_of(recipe.dtype, build_target()),
                                 {recipe.params}, autoscheduler)
          ->build_module(kCandidateFunction);
  try {
    module.compile({{Halide::OutputFileType::object, object}});
  } catch (const Halide::Error& error) {  // such as a full disk; not the parameters' fault
    fail("{}", error.what());
  }
  return generators::fingerprint(module);
}

void link(const std::filesystem::path& object, const std::filesystem::path& library) {
  // -Bsymbolic: the candidate uses its own functions, and Halide's runtime from the loading
  // program.
  const Ending ending =
      run_command({{MMREC_CXX, "-shared", "-Wl,-Bsymbolic", "-o", library, object}, {}});
  if (ending.code != 0) fail("{} could not link: {}", MMREC_CXX, ending.describe());
}

std::string find_any_fault(const Recipe& recipe, const std::filesystem::path& library) {
  const Candidate candidate(recipe, library, "");
  // A tuned kernel that is wrong must not make correct candidates look wrong.
  const KernelEntry& trusted = default_kernel(recipe.call());
  for (const std::vector<int>& given : recipe.shapes)
    for (const std::vector<int>& sizes :
         recipe.exactly ? std::vector<std::vector<int>>{given} : shapes_to_check(given))
      if (std::string fault = find_fault(trusted, candidate.entry(), sizes, recipe.seed);
          !fault.empty())
        return fault;
  return "";
}

}  // namespace

int candidate_main(const std::filesystem::path& file) {
  ::setenv("TMPDIR", file.parent_path().c_str(),
           // The compilers' temporary files: they stay behind if the worker is killed, and the
           // workshop removes its folder.
           1);
  nlohmann::json result = {
      {"status", status_name(Status::kFailed)}, {"message", ""}, {"lowered", ""}};
  try {
    const Recipe recipe = read_recipe(file.string() + ".json");
    const std::filesystem::path object = file.string() + ".o", library = file.string() + ".so";
    result["lowered"] = compile(recipe, object);
    set_num_threads(recipe.threads);
    link(object, library);
    std::filesystem::remove(object);
    const std::string fault = find_any_fault(recipe, library);
    result["status"] = status_name(fault.empty() ? Status::kOk : Status::kWrong);
    result["message"] = fault;
  } catch (const Halide::Error& error) {  // not derived from std::exception
    result["status"] = status_name(Status::kRefused);
    result["message"] = error.what();
  } catch (const std::exception& error) {
    result["message"] = error.what();
  }
  write_file_atomically(file.string() + ".result.json",
                        result.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  return 0;
}

}  // namespace mmrec::tune
