#include "bench/harness/mca.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <ranges>
#include <sstream>
#include <tuple>

#include "bench/harness/print.h"
#include "runtime/cpu_info.h"
#include "runtime/kernel_registry.h"
#include "support/atomic_file.h"
#include "support/child_process.h"
#include "support/error.h"

namespace mmrec::bench {

namespace {

namespace fs = std::filesystem;

std::string trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t"), end = text.find_last_not_of(" \t\r");
  return begin == text.npos ? "" : std::string(text.substr(begin, end - begin + 1));
}

/// Returns the label a jump goes to: "jne .LBB1_6" -> ".LBB1_6". Returns "" for other instructions.
std::string jump_target(const std::string& instruction) {
  const size_t space = instruction.find_first_of(" \t");
  if (instruction.front() != 'j' || space == instruction.npos) return "";
  const std::string target = trimmed(instruction.substr(space));
  return target.starts_with(".L") ? target : "";
}

/// Returns Halide's name of a loop, from the comment after its label:
/// # %"5_for_product_accumulator.s1.product_k$x"
std::string loop_name(std::string_view comment) {
  const size_t percent = comment.find('%');
  if (percent == comment.npos) return "";
  std::string name = trimmed(comment.substr(percent + 1));
  std::erase(name, '"');
  const size_t start = name.find("for_");
  return start == name.npos ? name : name.substr(start);
}

/// Whether Halide's loop name belongs to an update stage, such as a sum or a scan.
bool is_update(std::string_view name) {
  const size_t stage = name.find(".s");
  return stage != name.npos && stage + 2 < name.size() && name[stage + 2] >= '1' &&
         name[stage + 2] <= '9';
}

/// Returns the last operand, which is the destination.
std::string_view destination(std::string_view instruction) {
  int depth = 0;
  for (size_t i = instruction.size(); i-- > 0;) {
    depth += instruction[i] == ')' ? 1 : instruction[i] == '(' ? -1 : 0;
    if (instruction[i] == ',' && depth == 0) return instruction.substr(i + 1);
  }
  return "";
}

int lanes_of(const std::string& instruction) {
  const std::string mnemonic = instruction.substr(0, instruction.find_first_of(" \t"));
  if (mnemonic.ends_with("ss")) return 1;
  return instruction.find("%zmm") != instruction.npos   ? 16
         : instruction.find("%ymm") != instruction.npos ? 8
                                                        : 4;
}

/// Returns the newest llvm-mca on the PATH. Throws an Error if there is none.
fs::path find_llvm_mca() {
  const char* path = std::getenv("PATH");
  std::vector<std::string> names;
  for (int version = 30; version >= 14; --version)
    names.push_back(fmt::format("llvm-mca-{}", version));
  names.push_back("llvm-mca");
  for (const std::string& name : names) {
    std::istringstream folders(path ? path : "");
    for (std::string folder; std::getline(folders, folder, ':');)
      if (const fs::path program = fs::path(folder) / name; ::access(program.c_str(), X_OK) == 0)
        return program;
  }
  fail(
      "--mca needs the program llvm-mca, which is not on the PATH: run 'make setup', or install "
      "Debian's package llvm-19 (a release that knows your CPU)");
}

/// Returns llvm-mca's output for these instructions on this CPU.
std::string run_llvm_mca(const fs::path& program, const std::vector<std::string>& instructions) {
  std::string file = (fs::temp_directory_path() / "mmrec-mca-XXXXXX").string();
  const int descriptor = ::mkstemp(file.data());
  if (descriptor < 0)
    fail("cannot make a temporary file in {}", fs::temp_directory_path().string());
  ::close(descriptor);
  write_file_atomically(file, fmt::format("{}\n", fmt::join(instructions, "\n")));
  FILE* pipe =
      ::popen(fmt::format("'{}' -mcpu=native -iterations=1000 -instruction-info=false '{}' 2>&1",
                          program.string(), file)
                  .c_str(),
              "r");
  std::string output;
  std::array<char, 4096> buffer;
  for (size_t n; pipe && (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    output.append(buffer.data(), n);
  const int status = pipe ? ::pclose(pipe) : -1;
  fs::remove(file);
  if (status != 0)
    fail(
        "{} failed; a newer one may know this CPU's instructions (Debian has llvm-19). It "
        "says:\n{}",
        program.string(), output);
  return output;
}

/// Returns the number after a title such as "Total Cycles:".
double field(std::string_view output, std::string_view title) {
  const size_t at = output.find(title);
  double value = 0;
  if (at != output.npos) {
    const std::string text =
        trimmed(output.substr(at + title.size(), output.find('\n', at) - at - title.size()));
    if (std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc())
      return value;
  }
  fail("llvm-mca's output has no number behind '{}'; it begins with:\n{}", title,
       output.substr(0, 400));
}

/// Returns the peak operations per cycle of this CPU according to llvm-mca: only multiply-adds on
/// the widest vectors of the kernels' target.
double peak_flops_a_cycle(const fs::path& program) {
  constexpr int kSums = 12;  // more than latency times units
  const bool wide = std::string_view(kernel_target()).find("avx512") != std::string_view::npos;
  std::vector<std::string> instructions;
  for (int i = 0; i < kSums; ++i)
    instructions.push_back(
        fmt::format("vfmadd231ps %{0}mm14, %{0}mm15, %{0}mm{1}", wide ? 'z' : 'y', i));
  return 2. * kSums * (wide ? 16 : 8) /
         parse_prediction(run_llvm_mca(program, instructions)).throughput;
}

/// Runs the kernel's generator to write its assembly beside the object file (a build does not write
/// it). Returns the assembly file.
fs::path assembly_of(const KernelEntry& kernel) {
  const fs::path generators = MMREC_GENERATORS_DIR,
                 of_target = generators / isa_tier(kernel_target()), folder = of_target / kernel.op;
  ChildProcess generator({generators / kernel.op / fmt::format("{}_generator", kernel.op),
                          "--inspect", of_target / "build.txt", folder, kernel.name});
  if (const int code = generator.wait(); code != 0)
    fail("the generator of {} ended with code {}", kernel.name, code);
  return folder / fmt::format("{}.s", kernel.name);
}

void print_kernel(const KernelEntry& kernel, const fs::path& program) {
  const fs::path file = assembly_of(kernel);
  const Loop loop = hottest_loop(read_file(file));
  const InstructionMix mix = instruction_mix(loop);
  const Prediction prediction = parse_prediction(run_llvm_mca(program, loop.instructions));

  print_line("{}: the innermost loop with most work, of {}", kernel.name, file.string());
  print_line("{}  {}\n  in {}\n", loop.label, loop.name, loop.function);
  for (const std::string& instruction : loop.instructions) print_line("    {}", instruction);

  print_line("\n{:<20}{}", "instructions", loop.instructions.size());
  const auto count = [](const char* what, int number, const std::string& more = "") {
    if (number > 0) print_line("  {:<18}{}{}", what, number, more);
  };
  count("multiply-adds", mix.multiply_adds,
        fmt::format(" of {} lanes{}", mix.lanes,
                    mix.multiply_adds_of_memory
                        ? fmt::format(", {} of memory", mix.multiply_adds_of_memory)
                        : ""));
  count("other arithmetic", mix.arithmetic);
  count("broadcasts", mix.broadcasts);
  count("loads", mix.loads);
  count("stores", mix.stores);
  count("others", mix.others);

  print_line(
      "\n{:<20}{:.2f} cycles an iteration, {:.2f} instructions a cycle; by the units' throughput "
      "alone {:.2f} cycles",
      program.filename().string(), prediction.cycles, prediction.instructions_a_cycle,
      prediction.throughput);
  for (const auto& [unit, cycles] : prediction.pressure)
    print_line("  {:<16}{:>8.2f} {}", unit, cycles,
               std::string(
                   static_cast<size_t>(std::min(40., 40 * cycles / prediction.cycles) + 0.5), '#'));
  if (mix.multiply_adds > 0) {
    const double peak = peak_flops_a_cycle(program), flops = 2. * mix.multiply_adds * mix.lanes;
    print_line(
        "{:<20}{:.1f} operations a cycle of {:.0f}: {:.0f} %, by the units' throughput alone "
        "{:.0f} %",
        "of the FMA peak", flops / prediction.cycles, peak, 100 * flops / prediction.cycles / peak,
        100 * flops / prediction.throughput / peak);
  }
}

}  // namespace

std::vector<Loop> innermost_loops(std::string_view assembly) {
  struct Position {
    size_t instruction;
    std::string name;
  };
  std::vector<Loop> loops;
  std::map<std::string, Position> labels;  // seen so far in the function
  std::vector<std::string> instructions;   // seen so far in the function
  std::string function;
  size_t innermost_from = 0;  // a loop that begins before this one contains another loop
  std::istringstream lines{std::string(assembly)};
  for (std::string line; std::getline(lines, line);) {
    const size_t hash = line.find('#');
    const std::string comment = hash == line.npos ? "" : line.substr(hash),
                      text = trimmed(std::string_view(line).substr(0, hash));
    if (text.empty()) continue;
    if (text.ends_with(':')) {
      const std::string label = text.substr(0, text.size() - 1);
      if (label.starts_with(".L")) {
        labels[label] = {instructions.size(), loop_name(comment)};
      } else {
        function = label;
        labels.clear();
        instructions.clear();
        innermost_from = 0;
      }
      continue;
    }
    if (text.front() == '.') continue;  // directive
    instructions.push_back(text);
    const auto start = labels.find(jump_target(text));
    if (start == labels.end() || start->second.instruction < innermost_from) continue;
    innermost_from = instructions.size();
    loops.push_back({function,
                     start->first,
                     start->second.name,
                     {instructions.begin() + static_cast<std::ptrdiff_t>(start->second.instruction),
                      instructions.end()}});
  }
  return loops;
}

InstructionMix instruction_mix(const Loop& loop) {
  InstructionMix mix;
  for (const std::string& instruction : loop.instructions) {
    const std::string mnemonic = instruction.substr(0, instruction.find_first_of(" \t"));
    const bool memory = instruction.find('(') != instruction.npos && !mnemonic.starts_with("lea") &&
                        !mnemonic.starts_with("prefetch");
    const bool moves = mnemonic.find("mov") != mnemonic.npos;
    // Arithmetic on floats: vaddps, vmulss, ..
    const bool floats = mnemonic.front() == 'v' &&
                        (mnemonic.ends_with("ps") || mnemonic.ends_with("ss")) && !moves &&
                        !mnemonic.starts_with("vbroadcast") && !mnemonic.starts_with("vperm") &&
                        !mnemonic.starts_with("vunpck") && !mnemonic.starts_with("vcvt");
    if (mnemonic.starts_with("vfm") || mnemonic.starts_with("vfnm") || mnemonic == "vdpbf16ps") {
      ++mix.multiply_adds;
      mix.multiply_adds_of_memory += memory;
      mix.lanes = std::max(mix.lanes, lanes_of(instruction));
    } else if (mnemonic.starts_with("vbroadcast") || mnemonic.starts_with("vpbroadcast")) {
      ++mix.broadcasts;
    } else if (floats) {
      ++mix.arithmetic;
    } else if (memory && moves && destination(instruction).find('(') != std::string_view::npos) {
      ++mix.stores;
    } else if (memory) {
      ++mix.loads;
    } else {
      ++mix.others;
    }
  }
  return mix;
}

Loop hottest_loop(std::string_view assembly) {
  const std::vector<Loop> loops = innermost_loops(assembly);
  if (loops.empty()) fail("the assembly has no loop");
  return *std::ranges::max_element(loops, {}, [](const Loop& loop) {
    const InstructionMix mix = instruction_mix(loop);
    const auto jumps = std::ranges::count_if(loop.instructions, [](const std::string& instruction) {
      return instruction.front() == 'j';
    });
    return std::tuple(jumps == 1, mix.multiply_adds > 0 && is_update(loop.name),
                      mix.multiply_adds * mix.lanes, mix.arithmetic, loop.instructions.size());
  });
}

Prediction parse_prediction(std::string_view output) {
  Prediction prediction{field(output, "Total Cycles:") / field(output, "Iterations:"),
                        field(output, "Block RThroughput:"),
                        field(output, "IPC:"),
                        {}};

  // "[8]   - Zn4FP0" names a unit. Below "Resource pressure per iteration:" come one line with the
  // units' numbers and one with their cycles, or "-".
  std::vector<std::string> units;
  std::istringstream lines{std::string(output)};
  for (std::string line; std::getline(lines, line);) {
    const size_t dash = line.find("] ");
    if (line.starts_with('[') && dash != line.npos &&
        trimmed(line.substr(dash + 1)).starts_with("- "))
      units.push_back(trimmed(trimmed(line.substr(dash + 1)).substr(2)));
    if (!line.starts_with("Resource pressure per iteration:")) continue;
    std::getline(lines, line);
    std::getline(lines, line);
    std::istringstream cells(line);
    std::string cell;
    for (size_t i = 0; i < units.size() && cells >> cell; ++i) {
      if (cell == "-") continue;
      const bool first_of_unit =
          prediction.pressure.empty() || prediction.pressure.back().first != units[i];
      if (first_of_unit)
        prediction.pressure.emplace_back(units[i], std::stod(cell));
      else  // several units of one kind share the work
        prediction.pressure.back().second =
            std::max(prediction.pressure.back().second, std::stod(cell));
    }
  }
  return prediction;
}

void print_mca(const std::string& kernel) {
  std::vector<std::string> parts;
  std::istringstream text(kernel);
  for (std::string part; std::getline(text, part, ':');) parts.push_back(part);
  if (parts.size() < 2 || parts.size() > 3)
    fail_usage("--mca: expected op:variant or op:variant:pass, got '{}'", kernel);
  std::vector<KernelEntry> chosen;
  std::vector<std::string> known;
  for (const KernelEntry& entry : kernels()) {
    const std::string name = fmt::format("{}:{}:{}", entry.op, entry.variant, entry.pass);
    if (std::ranges::find(known, name) == known.end()) known.push_back(name);
    if (entry.op == parts[0] && entry.variant == parts[1] &&
        (parts.size() == 2 || entry.pass == parts[2]))
      chosen.push_back(entry);
  }
  if (chosen.empty())
    fail_usage("there is no kernel '{}'; there are: {}", kernel, fmt::join(known, ", "));
  const fs::path program = find_llvm_mca();
  for (const KernelEntry& entry : chosen) {
    if (&entry != &chosen.front()) print_line("");
    print_kernel(entry, program);
  }
}

}  // namespace mmrec::bench
