// main() of every <op>_generator, the program that contains the generators of generators/<op>/:
//   --describe                       prints its kernels and their parameters as JSON
//   --emit BUILD FOLDER              compiles the instances that the schedule tables use;
//                                    writes FOLDER/kernels.a and FOLDER/kernels.inc
//   --inspect BUILD FOLDER INSTANCE  writes FOLDER/INSTANCE.stmt, .s and .ll
//   --runtime BUILD FILE             compiles Halide's runtime for the target into an object file
// BUILD is CMake's description of the build (registry/build_description.h).
#include <fmt/ranges.h>
#include <sched.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "generators/common/riscv.h"
#include "generators/program/child.h"
#include "generators/program/lowering.h"
#include "generators/registry/build_description.h"
#include "support/atomic_file.h"
#include "support/exceptions.h"

namespace mmrec::generators {
namespace {

namespace fs = std::filesystem;
using registry::BuildDescription;
using registry::ScheduleTable;
using registry::TunableParameter;
using registry::UsedRow;

/// Kernels with bfloat16 factors are built for the tier whose CPUs may have instructions for them;
/// in software for all with fused multiply-adds.
bool is_built(const registry::Variant& variant, const BuildDescription& build) {
  using Halide::Target;
  const Target target(build.target);
  return variant.dtype != std::string_view(registry::kBf16) || may_have_bf16(target) ||
         (build.software_bf16 && (target.arch != Target::X86 || target.has_feature(Target::FMA)));
}

void warn(const std::string& text) { fmt::print(stderr, "warning: {}\n", text); }

/// A row that serves the CPUs of a microarchitecture, or, if that is "", those without rows of
/// their own.
struct ServingRow {
  UsedRow used;
  std::string microarchitecture;
};

/// A kernel to compile. `params` are set in addition to the variant's own parameters.
struct Compilation {
  const VariantPass* kernel;
  registry::Params params;
  std::vector<ServingRow> rows = {};

  /// Base name of the instance's files, and, after "mmrec_" and the ISA tier, of its function:
  /// gemm_packed_nt_tile_rows4.
  std::string name() const {
    const registry::Variant& variant = *kernel->variant;
    std::string text = fmt::format("{}_{}_{}", variant.op, variant.name, kernel->pass);
    if (std::string_view(variant.dtype) != registry::kFloat32)
      text += fmt::format("_{}", variant.dtype);
    for (const auto& [param, value] : params)
      text += fmt::format("_{}{}", param, value[0] == '-' ? "_" + value.substr(1) : value);
    return text;
  }
  Halide::Module lower(const BuildDescription& build) const {
    return make_generator(kernel->generator(), target_of(kernel->variant->dtype, build.target),
                          {params, fixed_params(*kernel->variant)})
        ->build_module(fmt::format("mmrec_{}_{}", build.isa, name()));
  }
};

/// Returns this program's kernels and the parameters that each generator declares. Runs in a child,
/// because creating a generator uses up Halide names, which changes the fingerprints of later
/// modules.
nlohmann::json describe(const std::vector<VariantPass>& kernels) {
  return nlohmann::json::parse(in_child([&] {
    nlohmann::json all = nlohmann::json::array();
    for (const VariantPass& kernel : kernels) {
      const auto generator = make_generator(kernel.generator(), Halide::get_host_target(), {});
      nlohmann::json parameters = nlohmann::json::array();
      if (const auto* tunables = dynamic_cast<const Tunables*>(generator.get()))
        for (const TunableParameter& one : tunables->tunables())
          parameters.push_back(
              {{"name", one.name}, {"default", one.standard}, {"values", one.values}});
      const registry::Variant& variant = *kernel.variant;
      all.push_back({{"op", variant.op},
                     {"pass", kernel.pass},
                     {"variant", variant.name},
                     {"dtype", variant.dtype},
                     {"generator", kernel.generator()},
                     {"params", variant.params},
                     {"parameters", parameters}});
    }
    return all.dump(1);
  }));
}

std::vector<TunableParameter> parameters_of(const nlohmann::json& kernel) {
  std::vector<TunableParameter> parameters;
  for (const nlohmann::json& one : kernel.at("parameters"))
    parameters.push_back({one.at("name"), one.at("default"), one.at("values")});
  return parameters;
}

/// Throws an Error if the registry lines and the generators of this program's operations do not
/// match.
void check_lines(const std::vector<VariantPass>& kernels) {
  std::set<std::string> used;
  for (const VariantPass& kernel : kernels) used.insert(kernel.generator());
  for (const std::string& generator : Halide::Internal::GeneratorRegistry::enumerate())
    if (!used.contains(generator))
      fail("no line of generators/kernels.def names the generator {}", generator);
  std::set<std::string_view> ops;
  for (const VariantPass& kernel : kernels) ops.insert(kernel.variant->op);
  for (const registry::Variant& variant : registry::variants())
    if (ops.contains(variant.op) && std::ranges::none_of(kernels, [&](const VariantPass& kernel) {
          return kernel.variant == &variant;
        }))
      fail(
          "generators/kernels.def, MMREC_KERNEL({}, {}, ..): no file generators/{}/*_generator.cpp "
          "registers a generator {}_<pass>",
          variant.op, variant.name, variant.op, variant.generator);
}

bool serves(const VariantPass& kernel, const registry::TableRow& row) {
  return kernel.variant->op == row.call.op && kernel.pass == row.call.pass &&
         kernel.variant->name == row.instance.variant && kernel.variant->dtype == row.call.dtype;
}

/// Returns why the variant of a row may not serve calls of its sizes: it would leave other bits
/// than the variant whose condition holds for them. "" if it may.
std::string why_other_bits(const std::vector<VariantPass>& kernels, const VariantPass& named,
                           const registry::TableRow& row) {
  const std::vector<int> sizes = registry::sizes_of(row.call);
  const registry::Variant* by_condition = nullptr;
  for (const VariantPass& kernel : kernels)
    if (kernel.variant->op == row.call.op && kernel.pass == row.call.pass &&
        kernel.variant->dtype == row.call.dtype &&
        (!by_condition || kernel.variant->serves(sizes.data())))
      by_condition = kernel.variant;
  return by_condition->same_bits(*named.variant)
             ? ""
             : fmt::format("{} adds in another order than {}, which serves these sizes",
                           named.variant->name, by_condition->name);
}

/// Reads the tables' rows of this program's kernels. Leaves out invalid rows with a warning. The
/// program of the registry's first operation also warns of rows with an unknown operation.
std::vector<ScheduleTable> read_tables(const BuildDescription& build,
                                       const std::vector<VariantPass>& kernels,
                                       const nlohmann::json& described) {
  const bool first =
      std::string_view(kernels.front().variant->op) == registry::operations().front().name;
  std::vector<ScheduleTable> tables;
  for (const fs::path& path : build.tables) try {
      ScheduleTable table = registry::read_schedule_table(
          path, path.stem(), first ? warn : registry::Warn([](const std::string&) {}));
      std::erase_if(table.rows, [&](registry::TableRow& row) {
        const auto ours = [&](const VariantPass& kernel) {
          return kernel.variant->op == row.call.op;
        };
        const bool of_ours = std::ranges::any_of(kernels, ours);
        if (row.isa != build.isa || (!of_ours && (!first || registry::find_operation(row.call.op))))
          return true;
        std::string wrong = registry::why_unknown(row);
        if (wrong.empty()) {
          const auto kernel = std::ranges::find_if(
              kernels, [&](const VariantPass& one) { return serves(one, row); });
          if (kernel == kernels.end())
            wrong = fmt::format("{} has no pass {}", row.instance.variant, row.call.pass);
          else
            wrong = why_other_bits(kernels, *kernel, row);
          if (wrong.empty())
            wrong = registry::why_wrong(row.instance,
                                        parameters_of(described[kernel - kernels.begin()]));
        }
        if (!wrong.empty())
          warn(fmt::format("{}: a row is left out, {}: {}", path.string(), wrong,
                           registry::row_line(row)));
        return !wrong.empty();
      });
      tables.push_back(std::move(table));
    } catch (const Error& error) {
      if (first) warn(fmt::format("{} is ignored: {}", path.string(), error.what()));
    }
  return tables;
}

/// Returns the instances to compile: for each variant of a pass the generator's defaults, and one
/// instance per other set of parameters in the used rows.
std::vector<Compilation> instances(const BuildDescription& build,
                                   const std::vector<VariantPass>& kernels) {
  const std::vector<ScheduleTable> tables = read_tables(build, kernels, describe(kernels));
  cpu_set_t cpus;
  const int threads = ::sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
  std::vector<Compilation> all;
  for (const VariantPass& kernel : kernels) {
    if (!is_built(*kernel.variant, build)) continue;
    const size_t defaults = all.size();
    all.push_back({&kernel, {}});
    const auto add_rows = [&](const BuildDescription& cpus, const std::string& microarchitecture) {
      for (const UsedRow& used : registry::used_rows(cpus, tables, kernel.variant->op, kernel.pass,
                                                     kernel.variant->dtype, threads)) {
        if (!serves(kernel, used.row)) continue;
        size_t i = defaults;
        while (i < all.size() && all[i].params != used.row.instance.params) ++i;
        if (i == all.size()) all.push_back({&kernel, used.row.instance.params});
        all[i].rows.push_back({used, microarchitecture});
      }
    };
    add_rows(build, "");
    for (const std::string& own : registry::own_rows(build, tables)) {
      BuildDescription cpus = build;
      cpus.microarchitecture = own;
      add_rows(cpus, own);
    }
  }
  return all;
}

/// Writes the file only if its content changes, so that the build does not remake dependent files.
void update(const fs::path& path, const std::string& content) {
  if (!fs::exists(path) || read_file(path) != content) write_file_atomically(path, content);
}

/// Compiles an instance in a child, unless code, target and Halide version are those of the last
/// time. Returns its fingerprint.
std::string compile(const Compilation& instance, const BuildDescription& build,
                    const fs::path& folder) {
  const fs::path object = folder / (instance.name() + ".o"),
                 key_file = folder / (instance.name() + ".key");
  return in_child([&] {
    const Halide::Module module = instance.lower(build);
    // LLVM says of each function that it does not know the width of with_fixed_vectors().
    if (module.target().arch == Halide::Target::RISCV && !std::freopen("/dev/null", "w", stderr))
      fail("/dev/null can not be opened: {}", std::strerror(errno));
    const std::string lowered = fingerprint(module),
                      key = fmt::format("{} {} {}\n", lowered, build.target, build.halide);
    if (fs::exists(object) && fs::exists(key_file) && read_file(key_file) == key) return lowered;
    fs::remove(key_file);
    module.compile({{Halide::OutputFileType::object, object}});
    write_file_atomically(key_file, key);
    return lowered;
  });
}

/// Returns a text of everything the outputs depend on: this program, the build, and the used rows.
std::string emission_key(const BuildDescription& build, const std::vector<Compilation>& instances) {
  std::string key =
      fmt::format("{} {} {}\n", hash_of(read_file("/proc/self/exe")), build.target, build.halide);
  for (const Compilation& instance : instances) {
    key += instance.name() + "\n";
    for (const auto& [used, microarchitecture] : instance.rows)
      key +=
          fmt::format("{} '{}' {}\n", used.level, microarchitecture, registry::row_line(used.row));
  }
  return key;
}

/// Returns the content of a static library. Of no objects, as for an operation that has kernels for
/// other CPUs only, Halide makes none.
std::string library_of(const std::vector<std::string>& objects, const BuildDescription& build,
                       const fs::path& partial) {
  if (objects.empty()) return "!<arch>\n";
  Halide::create_static_library(objects, Halide::Target(build.target), partial);
  std::string content = read_file(partial);
  fs::remove(partial);
  return content;
}

void emit(const BuildDescription& build, const fs::path& folder,
          const std::vector<VariantPass>& kernels) {
  fs::create_directories(folder);
  const std::vector<Compilation> all = instances(build, kernels);
  // A table of many operations may have changed only in rows of other operations. Then return at
  // once: lowering takes seconds.
  const fs::path key_file = folder / "kernels.key";
  const std::string key = emission_key(build, all);
  if (fs::exists(key_file) && fs::exists(folder / "kernels.a") &&
      fs::exists(folder / "kernels.inc") && read_file(key_file) == key)
    return;
  std::string lines =
                  "// What the registry and the schedule tables ask for, with the fingerprints of "
                  "the code.\n",
              rows;
  std::vector<std::string> objects;
  // The tables' fingerprints are those of code without assertions.
  const bool without_assertions =
      Halide::Target(build.target).has_feature(Halide::Target::NoAsserts);
  for (const Compilation& instance : all) {
    const registry::Variant& variant = *instance.kernel->variant;
    const std::string name = instance.name();
    std::string lowered;
    try {
      lowered = compile(instance, build, folder);
    } catch (const Error& error) {
      fail("{}: {}", name, error.what());
    }
    const auto is_old = [&](const UsedRow& used) {
      return (without_assertions && used.row.lowered != lowered) || used.row.halide != build.halide;
    };
    lines += fmt::format("MMREC_INSTANCE({}, {}, {}, {}, {}, \"{}\", \"{}\")\n", name, variant.op,
                         instance.kernel->pass, variant.name, variant.dtype,
                         registry::params_string(instance.params), lowered);
    for (const auto& [used, microarchitecture] : instance.rows)
      rows += fmt::format("MMREC_SCHEDULE_ROW({}, \"{}\", \"{}{}\", {})\n", name, microarchitecture,
                          used.level, is_old(used) ? " (measured with other code)" : "",
                          fmt::join(registry::sizes_of(used.row.call), ", "));
    objects.push_back(folder / (name + ".o"));
  }
  update(folder / "kernels.a", library_of(objects, build, folder / "kernels.a.partial"));
  update(folder / "kernels.inc", lines + rows);
  update(key_file, key);
}

void inspect(const BuildDescription& build, const fs::path& folder, const std::string& name,
             const std::vector<VariantPass>& kernels) {
  const std::vector<Compilation> all = instances(build, kernels);
  const auto instance =
      std::ranges::find_if(all, [&](const Compilation& one) { return one.name() == name; });
  if (instance == all.end()) fail("there is no instance {}", name);
  using Halide::OutputFileType;
  const std::string path = folder / name;
  instance->lower(build).compile({{OutputFileType::stmt, path + ".stmt"},
                                  {OutputFileType::assembly, path + ".s"},
                                  {OutputFileType::llvm_assembly, path + ".ll"}});
}

int run(const std::vector<std::string>& words) {
  const std::vector<VariantPass> all = kernels();
  check_lines(all);
  if (words.size() == 1 && words[0] == "--describe")
    fmt::print("{}\n", describe(all).dump(1));
  else if (words.size() == 3 && words[0] == "--emit")
    emit(registry::read_build_description(words[1]), words[2], all);
  else if (words.size() == 4 && words[0] == "--inspect")
    inspect(registry::read_build_description(words[1]), words[2], words[3], all);
  else if (words.size() == 3 && words[0] == "--runtime")
    Halide::compile_standalone_runtime(
        words[2],
        with_fixed_vectors(Halide::Target(registry::read_build_description(words[1]).target))
            .without_feature(Halide::Target::StrictFloat));  // which Halide refuses here
  else
    fail(
        "usage: --describe | --emit BUILD FOLDER | --inspect BUILD FOLDER INSTANCE | --runtime "
        "BUILD FILE");
  return 0;
}

}  // namespace
}  // namespace mmrec::generators

int main(int argc, char** argv) try {
  return mmrec::generators::run({argv + 1, argv + argc});
} catch (const Halide::Error& error) {
  fmt::print(stderr, "error: {}\n", error.what());
  return 1;
} catch (const std::exception& error) {
  fmt::print(stderr, "error: {}\n", mmrec::in_words(error));
  return 1;
}
