#include "support/memory_reserve.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace mmrec {

namespace {

constexpr size_t kBytes = 256 << 10;
std::atomic<void*> reserve = nullptr;

[[noreturn]] void give_up() {
  std::free(reserve.exchange(nullptr));
  throw std::bad_alloc();
}

}  // namespace

void keep_memory_reserve() {
  std::free(reserve.exchange(std::malloc(kBytes)));
  std::set_new_handler(give_up);
}

}  // namespace mmrec
