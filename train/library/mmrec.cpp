#include "train/library/mmrec.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/parameters.h"
#include "runtime/context.h"
#include "runtime/threads.h"
#include "support/exceptions.h"
#include "train/infer/text_generator.h"
#include "train/infer/text_state.h"
#include "train/run/checkpoint.h"
#include "train/run/precision.h"

using namespace mmrec;

namespace {

thread_local std::string last_error;

/// Returns call(), or `failure` if it throws.
template <class Result, class Call>
Result without_exceptions(Result failure, const Call& call) noexcept {
  try {
    return call();
  } catch (const std::exception& error) {
    last_error = in_words(error);
  }
  return failure;
}

/// Copies what there is room for and returns how much there is.
template <class Element>
int64_t give(std::span<const Element> all, Element* to, size_t room) {
  std::copy_n(all.data(), std::min(all.size(), room), to);
  return std::ssize(all);
}

}  // namespace

struct mmrec_model {
  /// What handles of a model and its readers share.
  struct Open {
    Open(const char* path, Precision precision)
        : checkpoint(path),
          parameters(checkpoint.config, Parameters::Arrays::kWeights),
          precision(precision) {
      checkpoint.read_weights(parameters, precision);
    }

    const Checkpoint checkpoint;
    Parameters parameters;
    const Precision precision;
  };
  std::shared_ptr<Open> open;
};

struct mmrec_reader {
  mmrec_reader(std::shared_ptr<mmrec_model::Open> open, int threads) : model(std::move(open)) {
    const Context::Use use(context);
    if (threads != 0) set_num_threads(threads);
    const Checkpoint& checkpoint = model->checkpoint;
    generator.emplace(checkpoint.config, checkpoint.tokenizer.size(), model->parameters,
                      checkpoint.state.seed, Sampling{}, 1, checkpoint.trained_window(),
                      model->precision);
    before_last = generator->state();
  }

  /// Reads tokens, the last one with its logits.
  void read(std::span<const int32_t> ids) {
    logits = nullptr;
    generator->advance(ids.first(ids.size() - 1));
    TextState before = generator->state();
    before.unread = {ids.back()};
    logits = generator->read(ids.last(1)).data();
    before_last = std::move(before);
  }

  const std::shared_ptr<mmrec_model::Open> model;
  Context context;
  std::optional<TextGenerator> generator;
  /// As before the last token, which is unread in it: to read it again gives its logits.
  TextState before_last;
  const float* logits = nullptr;
};

const char* mmrec_error() { return last_error.c_str(); }

mmrec_model* mmrec_open(const char* path) { return mmrec_open_in(path, "float32"); }

mmrec_model* mmrec_open_in(const char* path, const char* precision) {
  return without_exceptions<mmrec_model*>(nullptr, [&] {
    return new mmrec_model{std::make_shared<mmrec_model::Open>(path, usable_precision(precision))};
  });
}

void mmrec_close(mmrec_model* model) { delete model; }

int32_t mmrec_vocabulary(const mmrec_model* model) {
  return model->open->checkpoint.tokenizer.size();
}

int64_t mmrec_encode(const mmrec_model* model, const char* text, size_t bytes, int32_t* ids,
                     size_t room) {
  return without_exceptions<int64_t>(-1, [&] {
    const std::vector<int32_t> all =
        model->open->checkpoint.tokenizer.encode(std::string_view(text, bytes), "the text");
    return give<int32_t>(all, ids, room);
  });
}

int64_t mmrec_decode(const mmrec_model* model, const int32_t* ids, size_t count, char* text,
                     size_t room) {
  return without_exceptions<int64_t>(-1, [&] {
    const std::string all = model->open->checkpoint.tokenizer.decode(std::span(ids, count));
    return give<char>(all, text, room);
  });
}

mmrec_reader* mmrec_begin(const mmrec_model* model, int threads) {
  return without_exceptions<mmrec_reader*>(nullptr,
                                           [&] { return new mmrec_reader(model->open, threads); });
}

void mmrec_end(mmrec_reader* reader) { delete reader; }

int mmrec_read(mmrec_reader* reader, const int32_t* ids, size_t count) {
  return without_exceptions(-1, [&] {
    reader->model->checkpoint.tokenizer.check({ids, count});
    if (count > 0) reader->read({ids, count});
    return 0;
  });
}

const float* mmrec_logits(const mmrec_reader* reader) { return reader->logits; }

int64_t mmrec_save_state(const mmrec_reader* reader, void* state, size_t room) {
  return without_exceptions<int64_t>(-1, [&] {
    const std::string all =
        text_state_content(reader->before_last, reader->model->checkpoint.describe_weights());
    return give<char>(all, static_cast<char*>(state), all.size() <= room ? room : 0);
  });
}

int mmrec_restore_state(mmrec_reader* reader, const void* state, size_t bytes) {
  return without_exceptions(-1, [&] {
    const TextState saved =
        parse_text_state(std::string(static_cast<const char*>(state), bytes), "this state",
                         reader->model->checkpoint.describe_weights());
    reader->model->checkpoint.tokenizer.check(saved.unread);
    reader->generator->go_on(saved);
    reader->before_last = saved;
    reader->logits = nullptr;
    if (!saved.unread.empty()) reader->read(saved.unread);
    return 0;
  });
}
