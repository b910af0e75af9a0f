#include "bench/tune/candidate.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "bench/tune/builds.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/run_commands.h"

namespace mmrec::tune {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Recipe, op, pass, dtype, variant, generator, params, shapes,
                                   seed, threads, autoscheduler, exactly)

namespace {

template <class Function>
Function* symbol(void* library, const std::string& name) {
  void* address = ::dlsym(library, name.c_str());
  if (!address) fail("a candidate lacks {}: {}", name, ::dlerror());
  return reinterpret_cast<Function*>(address);
}

/// Creates a folder for this process, and removes folders left by killed processes.
DirectoryLock make_workshop(const std::filesystem::path& folder) {
  remove_abandoned(folder);
  make_directory(folder.parent_path());
  return make_locked_directory(partial_name(folder));
}

}  // namespace

Candidate::Candidate(const Recipe& recipe, const std::filesystem::path& library,
                     std::string lowered)
    : op_(recipe.op),
      pass_(recipe.pass),
      variant_(recipe.variant),
      params_(params_string(recipe.params)),
      lowered_(std::move(lowered)),
      library_(::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (!library_) fail("cannot load a candidate: {}", ::dlerror());
  const KernelEntry* registered = built_kernel(recipe.call(), {recipe.variant, {}});
  const KernelEntry& like = registered ? *registered : default_kernel(recipe.call());
  entry_ = {.name = "candidate",
            .op = op_.c_str(),
            .pass = pass_.c_str(),
            .variant = variant_.c_str(),
            .dtype = like.dtype,
            .params = params_.c_str(),
            .level = "candidate",
            .lowered = lowered_.c_str(),
            .line = like.line,
            .call = symbol<int(void**)>(library_, fmt::format("{}_argv", kCandidateFunction)),
            .metadata = symbol<const halide_filter_metadata_t*()>(
                library_, fmt::format("{}_metadata", kCandidateFunction))};
}

Candidate::~Candidate() { ::dlclose(library_); }

Workshop::Workshop(Settings settings)
    : settings_(std::move(settings)), lock_(make_workshop(settings_.folder)) {
  settings_.folder = lock_.path().shown();
}

Workshop::~Workshop() {
  std::error_code ignored;
  std::filesystem::remove_all(settings_.folder, ignored);
}

Recipe read_recipe(const std::filesystem::path& file) {
  return nlohmann::json::parse(read_file(file)).get<Recipe>();
}

std::vector<Compiled> Workshop::make(const std::vector<Recipe>& recipes, double seconds,
                                     const std::function<void()>& wait) {
  std::vector<std::filesystem::path> files;
  std::vector<Command> commands;
  for (const Recipe& recipe : recipes) {
    files.push_back(settings_.folder / fmt::format("candidate{:06}", made_++));
    write_file_atomically(files.back().string() + ".json", nlohmann::json(recipe).dump());
    commands.push_back(
        {{settings_.program, kCandidateCommand, files.back()}, files.back().string() + ".out"});
  }
  const std::vector<Ending> endings =
      run_commands(commands, settings_.workers, settings_.limit, seconds, wait);
  std::vector<Compiled> made(recipes.size());
  for (size_t i = 0; i < recipes.size(); ++i) {
    Compiled& compiled = made[i];
    if (endings[i].too_late) {
      compiled.status = Status::kSlowCompile;
      compiled.message =
          fmt::format("not ready after {:g} seconds", std::min(settings_.limit, seconds));
    } else if (endings[i].code != 0) {
      // A crashing program's last output is the most useful.
      const std::string said = read_file(files[i].string() + ".out");
      compiled.message = fmt::format("{}: {}", endings[i].describe(),
                                     said.substr(said.size() - std::min<size_t>(said.size(), 300)));
    } else {
      const nlohmann::json result =
          nlohmann::json::parse(read_file(files[i].string() + ".result.json"));
      compiled.status = status_from_name(result.at("status"));
      compiled.message = result.at("message");
      compiled.lowered = result.at("lowered");
      if (compiled.status == Status::kOk)
        compiled.candidate = std::make_shared<const Candidate>(
            recipes[i], files[i].string() + ".so", compiled.lowered);
    }
    for (const char* suffix : {".json", ".result.json", ".out", ".o", ".so"})
      std::filesystem::remove(files[i].string() + suffix);
  }
  return made;
}

}  // namespace mmrec::tune
