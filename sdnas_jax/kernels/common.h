// Types, vectors, threads and shapes of the kernels in this folder.
//
// Arrays are [edges, batch, height, width, channels]. A row of pixels is also a
// flat vector: pixel j, channel c is number C j + c.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <numeric>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

// Of what has rows of the batch, as the compiler is told: F32, F64 or BF16.
// Parameters and sums are Real, as all is computed, which for BF16 is F32.
constexpr ffi::DataType kType = ffi::TYPE;
constexpr ffi::DataType kReal = kType == ffi::F64 ? ffi::F64 : ffi::F32;
using Real = ffi::NativeType<kReal>;
using Buffer = ffi::Buffer<kType>;
using Result = ffi::Result<Buffer>;
using Table = ffi::Buffer<kReal>;
using Sum = ffi::Result<Table>;
// Which rows, such as an edge's outputs of one operation, are to be computed:
// the others' results are zero, and nothing of theirs is read.
using Alive = ffi::Buffer<ffi::PRED>;

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

constexpr int64_t kLanes = kBytes / sizeof(Real);
typedef Real Vec __attribute__((vector_size(kBytes)));

inline Vec load(const Real* from) {
  Vec v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

inline void store(Real* to, Vec v) { __builtin_memcpy(to, &v, sizeof v); }

#include "bfloat16.h"

// What a buffer of rows holds.
using Stored = std::conditional_t<kType == ffi::BF16, Bfloat16, Real>;

inline Stored* rows_of(Buffer of) {
  return reinterpret_cast<Stored*>(of.typed_data());
}

// Copies numbers, which may be of another type there.
template <typename From, typename To>
void copy(const From* from, int64_t count, To* to) {
  if constexpr (std::is_same_v<From, To>) {
    std::copy_n(from, count, to);
  } else {
    int64_t n = 0;
    for (; n + kLanes <= count; n += kLanes) store(to + n, load(from + n));
    for (; n < count; ++n) to[n] = from[n];
  }
}

// What is multiplied at once: two numbers where they are half as long.
constexpr int kPair = sizeof(Real) / sizeof(Stored);
using Pair = std::conditional_t<kPair == 2, uint32_t, Real>;

constexpr int64_t pairs(int64_t count) { return (count + kPair - 1) / kPair; }

namespace {

// A thread's blocks of memory, kept for its next call, by the power of two that
// they hold: the system's heap would be long in finding a place for such. A
// block must be given back by the thread that took it.
class Blocks {
 public:
  static Blocks& mine() {
    thread_local Blocks blocks;
    return blocks;
  }
  void* take(size_t bytes) {
    auto& kept = kept_[power(bytes)];
    if (kept.empty()) return ::operator new(size_t(1) << power(bytes), kLine);
    void* block = kept.back();
    kept.pop_back();
    return block;
  }
  void give(void* block, size_t bytes) { kept_[power(bytes)].push_back(block); }
  ~Blocks() {
    for (auto& kept : kept_)
      for (void* block : kept) ::operator delete(block, kLine);
  }

 private:
  // With a cache line, which vectors then do not straddle.
  static constexpr std::align_val_t kLine{64};
  static int power(size_t bytes) {
    int n = 6;
    while ((size_t(1) << n) < bytes) ++n;
    return n;
  }
  std::vector<void*> kept_[64];
};

}  // namespace

template <typename T>
struct Aligned {
  using value_type = T;
  Aligned() = default;
  template <typename U>
  Aligned(const Aligned<U>&) {}
  T* allocate(size_t n) {
    return static_cast<T*>(Blocks::mine().take(n * sizeof(T)));
  }
  void deallocate(T* from, size_t n) {
    Blocks::mine().give(from, n * sizeof(T));
  }
  bool operator==(const Aligned&) const { return true; }
  bool operator!=(const Aligned&) const { return false; }
};
template <typename T>
using Memory = std::vector<T, Aligned<T>>;
using Numbers = Memory<Real>;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Runs worker()(n) for n in [0, units), on the pool's threads and this one,
// each with a worker, and so with memory, of its own. The pool may never give
// its helpers a thread, so this thread works until nothing is left and only
// waits for units that have begun.
template <typename F>
void share_out(ffi::ThreadPool& pool, int64_t units, const F& worker) {
  struct Work {
    std::function<std::function<void(int64_t)>()> worker;
    int64_t units;
    std::atomic<int64_t> next{0}, done{0};
    void run() {
      int64_t n = next.fetch_add(1);
      if (n >= units) return;
      auto body = worker();
      for (; n < units; n = next.fetch_add(1), done.fetch_add(1)) body(n);
    }
  };
  auto work = std::make_shared<Work>();
  work->worker = [&worker] { return worker(); };
  work->units = units;
  int64_t helpers = std::min<int64_t>(pool.num_threads(), units) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule([work] { work->run(); });
  work->run();
  while (work->done.load() < units) std::this_thread::yield();
}

struct Shape {
  int64_t edges, batch, height, width, channels;
  explicit Shape(ffi::Span<const int64_t> d)
      : edges(d[0]), batch(d[1]), height(d[2]), width(d[3]), channels(d[4]) {}
  Shape with(int64_t other) const {
    Shape shape = *this;
    shape.channels = other;
    return shape;
  }
  int64_t row() const { return width * channels; }
  int64_t image() const { return height * row(); }
  int64_t at(int64_t edge, int64_t b) const {
    return (edge * batch + b) * image();
  }
};

// Sums over images that come out the same whatever the number of threads: they
// are taken in blocks of images, and the blocks then added in their order.
// worker() makes a function (sum, group, b) that adds image b's part for one
// group of edges to a sum of `size` numbers, at first zero; total(group), zero
// too, is where they end.
template <typename Worker, typename Total>
void sum_images(ffi::ThreadPool& pool, int64_t groups, int64_t batch,
                const std::function<int64_t(int64_t)>& size,
                const Worker& worker, const Total& total) {
  std::vector<int64_t> sizes;
  for (int64_t group = 0; group < groups; ++group) sizes.push_back(size(group));
  bool none = std::all_of(sizes.begin(), sizes.end(),
                          [](int64_t one) { return one == 0; });
  int64_t blocks = none ? batch : std::min<int64_t>(16, batch);
  std::vector<int64_t> first{0};
  for (int64_t unit = 0; unit < blocks * groups; ++unit)
    first.push_back(first.back() +
                    ceil_div(sizes[unit % groups], kLanes) * kLanes);
  Numbers sums(first.back());
  share_out(pool, blocks * groups, [&] {
    return [&, add = worker()](int64_t unit) mutable {
      for (int64_t b = unit / groups; b < batch; b += blocks)
        add(sums.data() + first[unit], unit % groups, b);
    };
  });
  for (int64_t unit = 0; unit < blocks * groups; ++unit) {
    const Real* from = sums.data() + first[unit];
    Real* to = total(unit % groups);
    for (int64_t n = 0; n < sizes[unit % groups]; ++n) to[n] += from[n];
  }
}

#define HANDLER(name, function, binding) \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(call_##name, function, binding)

#define BIND ffi::Ffi::Bind().Ctx<ffi::ThreadPool>()
