#pragma once

#include <cstdint>
#include <string>

#include "support/atomic_file.h"
#include "train/run/metrics.h"

namespace mmrec {

/// Returns whether `name` is the name of an event file.
bool is_event_file(const std::string& name);

/// A run's figures in TensorBoard's format (https://www.tensorflow.org/tensorboard): TFRecord
/// records, each an Event message of protocol buffers. A run's folder gets one file per start or
/// resume. TensorBoard reads them in the order of their names, which is the order of their
/// creation.
class EventFile {
 public:
  /// Begins a new file in the folder. Tells TensorBoard to discard events from first_step on in
  /// earlier files.
  EventFile(const PathAt& folder, int64_t first_step);

  /// Appends the row's figures as floats: loss/train, lr, grad_norm and so on, or loss/val. They
  /// are in the file when this returns.
  void append(const MetricsRow& row);
  /// Waits until the rows are on disk.
  void flush() { file_.flush(); }

 private:
  AppendFile file_;
};

}  // namespace mmrec
