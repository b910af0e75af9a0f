#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>

#include "bench/harness/mca.h"
#include "bench/harness/report.h"
#include "bench/reference/gemm.h"
#include "bench/rivals/rivals.h"
#include "runtime/cpu_info.h"
#include "tests/common/expect_error.h"
#include "tests/common/kernel_test.h"

namespace mmrec::bench {
namespace {

using test::expect_error;

bool cannot_run(const Rival& rival) {
  return rival.precision == Precision::kBf16 && !why_no_bf16().empty();
}

std::string name(const Rival& rival) {
  return fmt::format("{}{}", rival.variant, rival.precision == Precision::kBf16 ? " bf16" : "");
}

TEST(BenchRivals, MatchTheReference) {
  struct Size {
    int m, n, k;
  };
  Random random;
  for (const Size& size : {Size{1, 1, 1}, Size{1, 33, 16}, Size{17, 19, 33}, Size{64, 50, 128}})
    for (const auto& [a_transposed, b_transposed] :
         {std::pair(false, false), std::pair(false, true), std::pair(true, false)}) {
      const GuardedTensor a = random.input({size.m, size.k}), b = random.input({size.k, size.n});
      const GuardedTensor first = input(a_transposed ? reference::transposed(a) : a.array());
      const GuardedTensor second = input(b_transposed ? reference::transposed(b) : b.array());
      for (const Rival& rival : rivals()) {
        if (rival.packed_b && !b_transposed) continue;
        if (cannot_run(rival)) continue;
        SCOPED_TRACE(fmt::format("{} {}x{}x{}", name(rival), size.m, size.n, size.k));
        const GuardedTensor c = output({size.m, size.n});
        const auto product =
            rival.prepare({a_transposed, b_transposed, size.m, size.n, size.k, Tensor(first).data(),
                           Tensor(second).data(), Tensor(c).data()},
                          2);
        product();
        rival.rest();
        product();  // this call starts its threads again
        rival.rest();
        const ScopedPrecision scoped(rival.precision);
        expect_close("C", c, reference::gemm_nn(a, b, Array(), Array(), 0));
      }
    }
}

TEST(BenchRivals, RoundFactorsAsOurKernelsDo) {
  // Numbers midway between two of bfloat16, and the even one of these.
  const std::vector<float> a = {1 + 0x1p-8f, 1 + 3 * 0x1p-8f, -1 - 0x1p-8f, 1 + 5 * 0x1p-8f};
  const std::vector<float> even = {1, 1 + 4 * 0x1p-8f, -1, 1 + 4 * 0x1p-8f};
  const auto count = static_cast<int>(a.size());
  for (const Rival& rival : rivals()) {
    if (cannot_run(rival)) continue;
    SCOPED_TRACE(name(rival));
    const float one = 1;
    std::vector<float> c(a.size());
    rival.prepare({false, true, count, 1, 1, a.data(), &one, c.data()}, 1)();
    rival.rest();
    EXPECT_EQ(c, rival.precision == Precision::kBf16 ? even : a);
  }
}

TEST(BenchRate, UsesTheBindingLimit) {
  const Peak peak{.flops = 100e9, .bytes = 10e9, .plain_bytes = 5e9};
  Workload work{
      .op = "gemm", .pass = kForward, .sizes = {1}, .flops = 50e9, .bytes = 1e9, .prepare = {}};
  const Rate computes(work, 1, peak);
  EXPECT_TRUE(computes.arithmetic);
  EXPECT_DOUBLE_EQ(computes.part_of_peak, 0.5);
  EXPECT_EQ(computes.string(), "50.0 GFLOP/s");
  work.bytes = 8e9;
  const Rate copies(work, 2, peak);
  EXPECT_FALSE(copies.arithmetic);
  EXPECT_DOUBLE_EQ(copies.part_of_peak, 0.4);
  EXPECT_EQ(copies.string().substr(0, 8), "4.0 GB/s");
}

TEST(BenchRate, HasThePeakOfThePrecision) {
  const Peak peak{.flops = 100e9, .bf16_flops = 200e9, .bytes = 10e9};
  Workload work{
      .op = "gemm", .pass = kForward, .sizes = {1}, .flops = 50e9, .bytes = 4e9, .prepare = {}};
  EXPECT_DOUBLE_EQ(Rate(work, 1, peak).part_of_peak, 0.5);
  work.precision = Precision::kBf16;
  const Rate bf16(work, 1, peak);
  EXPECT_FALSE(bf16.arithmetic) << "at this peak it is bound by copying";
  EXPECT_DOUBLE_EQ(bf16.part_of_peak, 0.4);
  work.bytes = 0;
  EXPECT_DOUBLE_EQ(Rate(work, 1, peak).part_of_peak, 0.25);
  const Peak without_instruction{.flops = 100e9, .bytes = 10e9};
  EXPECT_DOUBLE_EQ(Rate(work, 1, without_instruction).part_of_peak, 0.5);
}

TEST(BenchPeak, IsOfEachPrecision) {
  const MachinePeak peak = measure_machine_peak();
  for (const Peak& one : {peak.one_thread, peak.all_threads}) {
    EXPECT_GT(one.flops, 0);
    if (offers_avx512_bf16() && why_no_bf16().empty())
      EXPECT_GT(one.bf16_flops, 0);
    else
      EXPECT_EQ(one.bf16_flops, 0);
  }
}

TEST(BenchPeak, FallsShortWithEitherPrecision) {
  MachinePeak peak = {.all_threads = {.flops = 200e9, .bf16_flops = 390e9},
                      .one_thread = {.flops = 100e9, .bf16_flops = 200e9},
                      .vectors = "avx512",
                      .threads = 2};
  EXPECT_FALSE(peak.falls_short());
  peak.all_threads.bf16_flops = 300e9;
  EXPECT_TRUE(peak.falls_short());
  EXPECT_NE(peak.disturbance().find("1.5 times"), std::string::npos);
  peak.all_threads.bf16_flops = 400e9, peak.all_threads.flops = 100e9;
  EXPECT_TRUE(peak.falls_short());
}

MachinePeak machine() {
  const Peak peak{.flops = 200e9, .bytes = 50e9, .plain_bytes = 30e9};
  return {.all_threads = peak, .one_thread = peak, .vectors = "avx2", .threads = 1};
}

/// One group: the default variant, a faster variant and a rival.
Groups groups() {
  const auto work = std::make_shared<const Workload>(Workload{.op = "gemm",
                                                              .pass = {"nt", "fwd", "nt_"},
                                                              .sizes = {4, 5, 6},
                                                              .flops = 240,
                                                              .bytes = 296,
                                                              .prepare = {}});
  return {{{{work, "plain", true},
            {.best = 4e-9, .median = 5e-9},
            true,
            0.25,
            "tile_rows=6",
            "cpu some"},
           {{work, "fast", true}, {.best = 2e-9, .median = 3e-9}, false, 0.25},
           {{work, "other<library>", false}, {.best = 8e-9, .median = 8e-9}, false, 0.25}}};
}

TEST(BenchReport, Json) {
  const nlohmann::json report = report_json({"suite gemm", groups(), machine()});
  EXPECT_EQ(report.at("machine").at("peak").at("gflops"), 200);
  EXPECT_EQ(report.at("machine").at("kernel_target"), kernel_target());
  const nlohmann::json& rows = report.at("rows");
  ASSERT_EQ(rows.size(), 3);
  EXPECT_EQ(rows[0].at("name"), "gemm/nt_plain/fwd/4x5x6");
  EXPECT_EQ(rows[0].at("sizes"), (std::vector<int>{4, 5, 6}));
  EXPECT_EQ(rows[0].at("dispatched"), true);
  EXPECT_EQ(rows[0].at("params"), "tile_rows=6");
  EXPECT_EQ(rows[0].at("level"), "cpu some");
  EXPECT_EQ(rows[0].at("fastest"), false);
  EXPECT_EQ(rows[0].at("other_load"), 0.25);
  EXPECT_NEAR(rows[0].at("gflops").get<double>(), 60, 1e-9);
  EXPECT_NEAR(rows[0].at("gbytes").get<double>(), 74, 1e-9);
  EXPECT_EQ(rows[0].at("limit"), "copy");
  EXPECT_NEAR(rows[0].at("percent_of_peak").get<double>(), 148, 1e-9);
  EXPECT_EQ(rows[1].at("variant"), "nt_fast");
  EXPECT_EQ(rows[1].at("fastest"), true);
  EXPECT_NEAR(rows[1].at("speed_up").get<double>(), 2, 1e-9);
  EXPECT_NEAR(rows[2].at("speed_up").get<double>(), 0.5, 1e-9);
}

TEST(BenchReport, LimitRowsAreNotRivals) {
  Groups with_limit = groups();
  const auto work = with_limit[0][0].row.work;
  with_limit[0].push_back(
      {{work, "weights", false, true}, {.best = 1e-9, .median = 1e-9}, false, 0});
  EXPECT_EQ(winner(with_limit[0]), 1) << "faster than anything, but no variant";
  EXPECT_EQ(marks(with_limit[0], 0), "default disturbed");
  EXPECT_EQ(marks(with_limit[0], 1), "fastest disturbed");
  EXPECT_EQ(marks(with_limit[0], 3), "limit");
  const nlohmann::json rows = report_json({"suite recurrence", with_limit, machine()}).at("rows");
  EXPECT_EQ(rows[1].at("fastest"), true);
  EXPECT_EQ(rows[1].at("is_limit"), false);
  EXPECT_EQ(rows[3].at("fastest"), false);
  EXPECT_EQ(rows[3].at("is_limit"), true);
  EXPECT_NEAR(rows[3].at("speed_up").get<double>(), 4, 1e-9);

  testing::internal::CaptureStdout();
  print_rivals(with_limit);
  const std::string table = testing::internal::GetCapturedStdout();
  EXPECT_NE(table.find("other<library>"), table.npos);
  EXPECT_EQ(table.find("weights"), table.npos);

  const std::vector<Result> alone = {with_limit[0][0], with_limit[0][3]};
  EXPECT_EQ(marks(alone, 0), "disturbed")
      << "a variant alone is neither the fastest nor the default one";
}

size_t occurrences(const std::string& text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

MachinePeak bf16_machine() {
  MachinePeak peak = machine();
  peak.all_threads.bf16_flops = 400e9;
  return peak;
}

/// The groups above, and one of the same call with bfloat16 factors: ours and another library's.
Groups groups_of_both_precisions() {
  Groups both = groups();
  Workload work = *both[0][0].row.work;
  work.precision = Precision::kBf16;
  work.bytes = 1;
  const auto bf16 = std::make_shared<const Workload>(work);
  both.push_back({{{bf16, "packed", true}, {.best = 1e-9, .median = 1e-9}, true, 0},
                  {{bf16, "other", false}, {.best = 3e-9, .median = 3e-9}, false, 0}});
  return both;
}

TEST(BenchReport, PrecisionsAreGroupsOfTheirOwn) {
  const Groups both = groups_of_both_precisions();
  std::vector<Case> rows;
  for (const std::vector<Result>& group : both)
    for (const Result& result : group) rows.push_back(result.row);
  EXPECT_EQ(rows[3].name(), "gemm/nt_packed_bf16/fwd/4x5x6");
  const std::vector<std::vector<Case>> grouping = grouped(rows);
  ASSERT_EQ(grouping.size(), 2);
  EXPECT_EQ(grouping[0].size(), 3);
  EXPECT_EQ(grouping[1].size(), 2);
  EXPECT_EQ(rows[3].group(Precision::kFloat32), rows[0].group());

  const nlohmann::json report = report_json({"suite gemm", both, bf16_machine()});
  EXPECT_EQ(report.at("machine").at("peak").at("gflops_bf16"), 400);
  const nlohmann::json& bf16 = report.at("rows")[3];
  EXPECT_EQ(bf16.at("variant"), "nt_packed_bf16");
  EXPECT_EQ(bf16.at("precision"), "bf16");
  EXPECT_EQ(bf16.at("limit"), "bf16");
  EXPECT_EQ(bf16.at("fastest"), true);
  EXPECT_NEAR(bf16.at("percent_of_peak").get<double>(), 60, 1e-9);
  EXPECT_EQ(report.at("rows")[0].at("precision"), "f32");
  EXPECT_FALSE(report_json({"", groups(), machine()})["machine"]["peak"].contains("gflops_bf16"));
}

TEST(BenchReport, ComparesRivalsWithinAPrecisionAndOursAcross) {
  const auto printed = [](void (*print)(const Groups&), const Groups& groups) {
    testing::internal::CaptureStdout();
    print(groups);
    return testing::internal::GetCapturedStdout();
  };
  const Groups both = groups_of_both_precisions();
  const std::string rivals = printed(print_rivals, both);
  EXPECT_TRUE(std::regex_search(rivals, std::regex("other<library> +1 +2.00x"))) << rivals;
  EXPECT_TRUE(std::regex_search(rivals, std::regex("other_bf16 +1 +3.00x"))) << rivals;
  const std::string precisions = printed(print_precisions, both);
  EXPECT_TRUE(std::regex_search(precisions, std::regex("gemm bf16 +1 +4.00x"))) << precisions;
  EXPECT_EQ(printed(print_precisions, groups()), "");
  EXPECT_EQ(printed(print_precisions, {both[1]}), "");
  EXPECT_EQ(printed(print_precisions, {{both[0][2]}, {both[1][1]}}), "") << "no row of ours";
}

TEST(BenchReport, ThePlotHasTheRoofOfEachPrecision) {
  const std::string page = report_html({"suite gemm", groups_of_both_precisions(), bf16_machine()});
  for (const char* part : {">multiply-adds: 200 GFLOP/s<", ">bf16 multiply-adds: 400 GFLOP/s<"})
    EXPECT_EQ(occurrences(page, part), 2) << part;
  EXPECT_NE(page.find("60 % of the bf16 peak"), page.npos);
  EXPECT_NE(page.find("packed_bf16</li>"), page.npos);
  EXPECT_EQ(report_html({"suite gemm", groups(), machine()}).find("bf16"), std::string::npos)
      << "no second line without its peak";
}

TEST(BenchReport, ReportsADisturbedPeak) {
  MachinePeak peak = machine();
  const auto facts = [&] { return report_html({"suite gemm", groups(), peak}); };
  EXPECT_EQ(report_json({"suite gemm", groups(), peak}).at("machine").at("peak_disturbed"), false);
  EXPECT_EQ(facts().find("peak is disturbed"), std::string::npos);
  peak.other_load = 0.75;
  const nlohmann::json machine = report_json({"suite gemm", groups(), peak}).at("machine");
  EXPECT_EQ(machine.at("peak_disturbed"), true);
  EXPECT_EQ(machine.at("peak_other_load"), 0.75);
  EXPECT_NE(facts().find("other programs took 0.75 cores"), std::string::npos);
  peak.other_load = 0, peak.threads = 2;  // two threads reach no more than one thread
  EXPECT_NE(facts().find("2 threads together do only 1.0 times"), std::string::npos);
}

TEST(BenchReport, TokensPerSecondUseTheBestTime) {
  Workload step = *groups()[0][0].row.work;
  step.tokens = 8;
  const Groups one = {
      {{{std::make_shared<const Workload>(step), "", false}, {.best = 2, .median = 4}, false, 0}}};
  EXPECT_EQ(report_json({"suite train", one, machine()}).at("rows")[0].at("tokens_per_second"), 4);
}

TEST(BenchReport, PageIsSelfContained) {
  const std::string page = report_html({"suite gemm", groups(), machine()});
  EXPECT_EQ(occurrences(page, "<svg class='plot"), 2) << "for wide and narrow windows";
  EXPECT_EQ(occurrences(page, "<title>gemm/"), 2 * 3);
  EXPECT_EQ(occurrences(page, "<tr class=\"fastest\"><td>gemm/nt_fast/"), 1);
  EXPECT_EQ(occurrences(page, "other&lt;library>"), 2 * 1 + 1 + 1) << "points, legend, table";
  for (const char* part : {"http", "src=", "href=", "<script", "nan", "inf"})
    EXPECT_EQ(occurrences(page, part), 0) << part;
}

TEST(BenchReport, NoPlotWithoutArithmetic) {
  const auto work = std::make_shared<const Workload>(Workload{
      .op = "embedding", .pass = kForward, .sizes = {4}, .flops = 0, .bytes = 64, .prepare = {}});
  const std::string page =
      report_html({"operation embedding",
                   {{{{work, "plain", true}, {.best = 1e-9, .median = 1e-9}, true, 0}}},
                   machine()});
  EXPECT_EQ(page.find("<svg"), page.npos);
  EXPECT_NE(page.find("embedding/plain/fwd/4"), page.npos);
}

/// Function 1: a nest of two loops. Function 2: a loop with a forward jump.
constexpr const char* kAssembly = R"(
	.section	.rodata,"a",@progbits
.LCPI0_0:
	.long	1
	.globl	first
first:                                  # @first
# %bb.0:
	pushq	%rbp
.LBB0_1:                                # %for_outer
	addq	$1, %rax
	.p2align	4
.LBB0_2:                                # %"7_for_product.s1.k$x"
                                        # =>  This Inner Loop Header: Depth=2
	vbroadcastss	(%rcx,%rsi), %zmm4
	vmovups	64(%rdx), %zmm5
	vfmadd231ps	%zmm5, %zmm4, %zmm0     # zmm0 = (zmm4 * zmm5) + zmm0
	vfmadd231ps	(%rdx){1to16}, %zmm4, %zmm1
	vmulps	%zmm1, %zmm0, %zmm2
	vmovups	%zmm2, (%rdi,%rax,4) {%k1}
	leaq	8(%rdx), %rdx
	cmpq	%rsi, %rdi
	jne	.LBB0_2
# %bb.3:
	vmulps	%zmm1, %zmm0, %zmm2
	jne	.LBB0_1
	retq
second:
.LBB1_1:
	je	.LBB1_2
	vfmadd231ss	%xmm5, %xmm4, %xmm0
.LBB1_2:
	vfmadd231ss	%xmm5, %xmm4, %xmm0
	jne	.LBB1_1
	retq
)";

TEST(BenchMca, FindsInnermostLoops) {
  const std::vector<Loop> loops = innermost_loops(kAssembly);
  ASSERT_EQ(loops.size(), 2);
  EXPECT_EQ(loops[0].function, "first");
  EXPECT_EQ(loops[0].label, ".LBB0_2");
  EXPECT_EQ(loops[0].name, "for_product.s1.k$x");
  ASSERT_EQ(loops[0].instructions.size(), 9);
  EXPECT_EQ(loops[0].instructions[2], "vfmadd231ps\t%zmm5, %zmm4, %zmm0");
  EXPECT_EQ(loops[1].function, "second");
  EXPECT_EQ(loops[1].instructions.size(), 4);
  EXPECT_EQ(hottest_loop(kAssembly).label, ".LBB0_2")
      << "two of 16 lanes count more than two of one";
  const char* const edges =
      "f:\n.LBB0_1:\n\tjle\t.LBB0_9\n\tvfmadd231ps\t%zmm0, %zmm1, "
      "%zmm2\n\tjne\t.LBB0_1\n.LBB0_2:\n\tdecl\t%eax\n\tjne\t.LBB0_2\n";
  EXPECT_EQ(hottest_loop(edges).label, ".LBB0_2") << "what branches is at the edges";
  const char* const epilogue =
      "f:\n.LBB0_1:\t# %\"3_for_sums.s1.k$x\"\n\tvfmadd231ps\t%zmm0, %zmm1, %zmm2\n\tjne\t.LBB0_1\n"
      ".LBB0_2:\t# %\"4_for_y.s0.d\"\n\tvfmadd231ps\t%zmm0, %zmm1, %zmm2\n\tvfmadd231ps\t%zmm0, "
      "%zmm1, %zmm3\n\tjne\t.LBB0_2\n"
      ".LBB0_3:\t# %\"5_for_largest.s1.v$x\"\n\tvmaxps\t%zmm0, %zmm1, %zmm2\n\tjne\t.LBB0_3\n";
  EXPECT_EQ(hottest_loop(epilogue).label, ".LBB0_1")
      << "sums of products before the polynomials of what is done with them";
  expect_error([] { hottest_loop("f:\n\tretq\n"); }, {"no loop"});
}

TEST(BenchMca, CountsInstructionKinds) {
  const InstructionMix mix = instruction_mix(hottest_loop(kAssembly));
  EXPECT_EQ(mix.multiply_adds, 2);
  EXPECT_EQ(mix.multiply_adds_of_memory, 1);
  EXPECT_EQ(mix.lanes, 16);
  EXPECT_EQ(mix.arithmetic, 1);
  EXPECT_EQ(mix.broadcasts, 1);
  EXPECT_EQ(mix.loads, 1);
  EXPECT_EQ(mix.stores, 1);
  EXPECT_EQ(mix.others, 3);
  EXPECT_EQ(instruction_mix(innermost_loops(kAssembly)[1]).lanes, 1);
}

TEST(BenchMca, ReadsThePrediction) {
  const std::string output =
      "Iterations:        100\nInstructions:      400\nTotal Cycles:      250\nTotal uOps:        "
      "500\n\nDispatch Width:    6\nuOps Per Cycle:    "
      "2.00\n"
      "IPC:               1.60\nBlock RThroughput: 2.0\n\n\nResources:\n[0]   - ALU\n[1.0] - "
      "Load\n[1.1] - Load\n[2]   - FP0\n[3]   - FP1\n\n\n"
      "Resource pressure per iteration:\n[0]    [1.0]  [1.1]  [2]    [3]    \n0.25   0.50   0.75   "
      " -     2.00   \n";
  const Prediction prediction = parse_prediction(output);
  EXPECT_DOUBLE_EQ(prediction.cycles, 2.5);
  EXPECT_DOUBLE_EQ(prediction.throughput, 2);
  EXPECT_DOUBLE_EQ(prediction.instructions_a_cycle, 1.6);
  EXPECT_EQ(prediction.pressure, (std::vector<std::pair<std::string, double>>{
                                     {"ALU", 0.25}, {"Load", 0.75}, {"FP1", 2}}));
  expect_error([] { parse_prediction("error: unknown CPU"); }, {"Total Cycles", "unknown CPU"});
}

}  // namespace
}  // namespace mmrec::bench
