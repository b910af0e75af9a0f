#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "support/byte_progress.h"
#include "support/console.h"

namespace mmrec {

/// Progress callback that also checks for a stop.
class ReadWatch {
 public:
  ReadWatch(Console& console, const std::function<void()>& check_stop, std::string what,
            int64_t total)
      : progress_(console, std::move(what), total), check_stop_(check_stop) {}
  void operator()(int64_t bytes) {
    check_stop_();
    progress_.update(bytes);
  }

 private:
  ByteProgress progress_;
  const std::function<void()>& check_stop_;
};

}  // namespace mmrec
