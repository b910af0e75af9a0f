#include "model/optimizer.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "runtime/kernel_registry.h"
#include "runtime/ops/muon.h"
#include "runtime/ops/optimizer.h"
#include "runtime/threads.h"
#include "support/error.h"

namespace mmrec {

namespace {

void adamw_step(const Parameters& parameters, const ops::AdamW& adamw, int begin, int end) {
  const int first = parameters.moments_range().first;
  ops::adamw(adamw, parameters.gradients().rows(begin, end), parameters.weights().rows(begin, end),
             parameters.first_moments().rows(begin - first, end - first),
             parameters.second_moments().rows(begin - first, end - first));
}

/// Muon for the hidden matrices whose turn it is, each by one thread; AdamW for what lies between
/// them.
void muon_step(const Parameters& parameters, const ops::Muon& muon, int every,
               const ops::AdamW& adamw) {
  const std::vector<Parameters::HiddenMatrix>& matrices = parameters.hidden_matrices();
  const std::vector<Parameters::Range>& others = parameters.other_ranges();
  const int count = static_cast<int>(matrices.size());
  parallel_for(count + static_cast<int>(others.size()), [&](int i) {
    if (i < count) {
      const auto& [weight, gradient, moment, number] = matrices[i];
      if ((number + adamw.step) % every == 0)
        ops::muon(muon, gradient, weight, moment);
      else
        ops::muon_momentum(muon, gradient, moment);
    } else {
      const auto [begin, end] = others[i - count];
      adamw_step(parameters, adamw, begin, end);
    }
  });
}

/// What a step adds to the average: of few steps, each counts for about a tenth of all so far.
double average_share(const OptimizerSettings& settings, int64_t step) {
  return std::max(1. - settings.average, 9. / (10. + static_cast<double>(step)));
}

}  // namespace

double optimizer_flops(const std::vector<Parameter>& table, const OptimizerSettings& settings) {
  double flops = 0;
  for (const Parameter& parameter : table) {
    if (settings.algorithm != "muon" || !is_hidden_matrix(parameter)) continue;
    const HiddenParts parts = hidden_parts(parameter);
    flops += parts.count() * ops::muon_flops(parts.rows, parts.columns) / settings.muon_every;
  }
  return flops;
}

void check_algorithm(std::string_view algorithm) {
  if (algorithm != "adamw" && algorithm != "muon")
    fail_usage("there is no optimizer '{}'; there are adamw and muon", algorithm);
}

std::vector<int64_t> optimizer_shares(const std::vector<Parameter>& table,
                                      std::string_view algorithm, int count) {
  constexpr int64_t kAligned = 16;
  const int64_t n = flat_size(table);
  std::vector<int64_t> begins = {0};
  for (int i = 1; i < count; ++i) {
    int64_t begin = n * i / count / kAligned * kAligned;
    for (const Parameter& parameter : table) {
      const int64_t end = parameter.offset + parameter.count;
      if (algorithm != "muon" || !is_hidden_matrix(parameter) || begin <= parameter.offset ||
          end <= begin)
        continue;
      begin = begin - parameter.offset < end - begin ? parameter.offset : end;
    }
    begins.push_back(std::max(begin, begins.back()));
  }
  begins.push_back(n);
  return begins;
}

double optimizer_step(Parameters& parameters, const OptimizerSettings& settings,
                      double learning_rate, int64_t step,
                      const std::function<void()>& share_weights) {
  const ScopedPrecision precision(Precision::kFloat32);
  const double norm = std::sqrt(ops::sum_of_squares(parameters.gradients()));
  if (!std::isfinite(norm)) return norm;
  const float gradient_scale =
      settings.clip > 0 && norm > settings.clip ? static_cast<float>(settings.clip / norm) : 1.f;
  const ops::AdamW adamw{.learning_rate = static_cast<float>(learning_rate),
                         .beta1 = settings.beta1,
                         .beta2 = settings.beta2,
                         .epsilon = settings.epsilon,
                         .decay = settings.decay,
                         .gradient_scale = gradient_scale,
                         .step = step};
  if (settings.algorithm == "muon") {
    const double relative = learning_rate / settings.learning_rate;
    muon_step(parameters,
              {.learning_rate =
                   static_cast<float>(settings.muon_learning_rate * relative * settings.muon_every),
               .decay = settings.muon_decay,
               .gradient_scale = gradient_scale},
              settings.muon_every, adamw);
  } else {
    const auto [begin, end] = parameters.moments_range();
    if (begin < end) adamw_step(parameters, adamw, begin, end);
  }
  if (share_weights) share_weights();
  if (parameters.has_average())
    ops::move_average(static_cast<float>(average_share(settings, step)), parameters.weights(),
                      parameters.average());
  return norm;
}

std::string first_non_finite(const Parameters& parameters, const Tensor& flat) {
  for (const Parameter& parameter : parameters.table()) {
    const float* values = flat.data() + parameter.offset;
    if (!std::all_of(values, values + parameter.count,
                     [](float value) { return std::isfinite(value); }))
      return parameter.name;
  }
  return "";
}

}  // namespace mmrec
