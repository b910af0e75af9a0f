#include "runtime/context.h"

#include <utility>

#include "runtime/context_parts.h"
#include "runtime/thread_state.h"

namespace mmrec {

Context::Context() : parts_(std::make_unique<Parts>()) {}
Context::~Context() = default;

Context& Context::current() {
  if (thread_state.context) return *thread_state.context;
  static Context of_programs;
  return of_programs;
}

/// A task of another context's loop does not count as a task of this context: its loops may use
/// this context's threads.
Context::Use::Use(Context& context)
    : before_(thread_state.context), inside_task_before_(thread_state.inside_task) {
  if (&context != &current()) thread_state.inside_task = false;
  thread_state.context = &context;
}

Context::Use::~Use() {
  thread_state.context = before_;
  thread_state.inside_task = inside_task_before_;
}

}  // namespace mmrec
