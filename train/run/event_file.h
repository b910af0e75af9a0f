#pragma once

#include <cstdint>
#include <string>

#include "support/atomic_file.h"
#include "train/run/metrics.h"

namespace mmrec {

/// Whether a file is one of these by its name.
bool is_event_file(const std::string& name);

/// The figures of a run as TensorBoard reads them: https://www.tensorflow.org/tensorboard, records of TFRecord's framing, each an
/// Event message of protocol buffers. A run's folder has a file for each time that the run was started or taken up; TensorBoard
/// reads them in the order of their names, which is that of their making.
class EventFile {
 public:
  /// Begins a new file in the folder. What earlier ones have from first_step on is no longer of the run.
  EventFile(const PathAt& folder, int64_t first_step);

  /// loss/train, lr, grad_norm and so on, or loss/val: what the row has, as floats. In the file when this returns.
  void append(const MetricsRow& row);
  /// Waits until the rows are on the disk.
  void flush() { file_.flush(); }

 private:
  AppendFile file_;
};

}  // namespace mmrec
