#pragma once

#include <cstdint>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace mmrec {

/// Flushes denormals to zero on this thread during the lifetime of the object, then restores the
/// thread's mode. Reason: decaying recurrence states become denormal and slow every multiplication
/// on them a hundredfold. Cost: 1 ns if denormals are already flushed, otherwise 10 ns.
class FlushDenormals {
 public:
  FlushDenormals() {
    const Control control = read();
    missing_ = ~control & kFlush;
    if (missing_ != 0) write(control | missing_);
  }
  ~FlushDenormals() {
    if (missing_ != 0) write(read() & ~missing_);
  }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
#if defined(__SSE__)
  using Control = uint32_t;
  static constexpr Control kFlush = 0x8040;  // FTZ and DAZ
  static Control read() { return _mm_getcsr(); }
  static void write(Control control) { _mm_setcsr(control); }
#elif defined(__aarch64__)
  using Control = uint64_t;
  static constexpr Control kFlush = Control{1} << 24;  // FZ
  static Control read() {
    Control control;
    asm volatile("mrs %0, fpcr" : "=r"(control));
    return control;
  }
  static void write(Control control) { asm volatile("msr fpcr, %0" ::"r"(control)); }
#else
  using Control = uint32_t;
  static constexpr Control kFlush = 0;
  static Control read() { return 0; }
  static void write(Control) {}
#endif

  Control missing_;  // the bits of kFlush that were not set before
};

}  // namespace mmrec
