// Depthwise convolution of many edges at once: the partial derivatives of
//
//   T(x, k, g) = sum over edges e, images b, positions p, taps i, channels c of
//                g[e, b, p, c] k[e, i, c] x[e, b, stride p + dilation i, c].
//
// Arrays are [edges, batch, height, width, channels], kernels [edges, size,
// size, channels]; x may have one edge that all kernels share.
//
// A row of pixels is a flat vector: pixel j, channel c is number C j + c. At
// stride 1 a tap adds to each output row an input row, shifted by whole pixels,
// times the kernel's channels repeated along it ("tiled"), so that vectors run
// across pixels and no channel count wastes lanes. A stride is brought to that
// case by splitting rows into their phases (columns of one remainder). Rows
// outside the image are left out; columns are padded with zeros.
//
// Images are shared out to XLA's own threads. Sums over images are taken in
// blocks that do not depend on the number of threads: same input, same bits.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

template <typename T>
struct Simd {
  static constexpr int lanes = kBytes / sizeof(T);
  typedef T Vec __attribute__((vector_size(kBytes)));
};

template <typename T>
using Vec = typename Simd<T>::Vec;

template <typename T>
inline Vec<T> load(const T* from) {
  Vec<T> v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

template <typename T>
inline void store(T* to, Vec<T> v) {
  __builtin_memcpy(to, &v, sizeof v);
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Runs worker()(n) for n in [0, units), on the pool's threads and this one, each
// with a worker, and so with memory, of its own. The pool may never give its
// helpers a thread, so this thread works until nothing is left and only waits
// for units that have begun.
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
  int64_t row() const { return width * channels; }
  int64_t image() const { return height * row(); }
  int64_t at(int64_t edge, int64_t b) const {
    return (edge * batch + b) * image();
  }
};

struct Kernel {
  int64_t size, dilation, pad;
};

// All kernels of a call, edge by edge: each tap's weights, one for each channel,
// repeated until they fill whole vectors, `period` in number.
template <typename T>
struct Kernels {
  static constexpr int64_t lanes = Simd<T>::lanes;
  int64_t channels, period, pad = 0;
  std::vector<Kernel> edges;

  explicit Kernels(int64_t channels)
      : channels(channels), period(channels / std::gcd(channels, lanes)) {}

  void add(int64_t count, int64_t size, int64_t dilation) {
    int64_t own = dilation * (size - 1) / 2;
    pad = std::max(pad, own);
    for (int64_t e = 0; e < count; ++e) {
      edges.push_back({size, dilation, own});
      first_.push_back(first_.back() + size * size * period * lanes);
    }
  }
  void allocate() { table_.assign(first_.back(), T(0)); }
  // An edge's taps, one after the other; where they end, the next edge's begin.
  T* taps(int64_t edge) { return table_.data() + first_[edge]; }

  void tile(int64_t edge, const T* kernel) {
    each(edge, [&](T& own, int64_t n) { own = kernel[n]; });
  }
  // Adjoint of `tile`.
  void fold(int64_t edge, T* kernel) {
    int64_t size = edges[edge].size;
    std::fill_n(kernel, size * size * channels, T(0));
    each(edge, [&](T& own, int64_t n) { kernel[n] += own; });
  }

 private:
  template <typename F>
  void each(int64_t edge, const F& visit) {
    int64_t size = edges[edge].size, wide = period * lanes;
    for (int64_t t = 0; t < size * size; ++t)
      for (int64_t n = 0; n < wide; ++n)
        visit(taps(edge)[t * wide + n], t * channels + n % channels);
  }

  std::vector<int64_t> first_{0};
  std::vector<T> table_;
};

// An image's rows, split into `stride` phases, with zeros on both sides.
template <typename T>
class Rows {
 public:
  Rows(int64_t height, int64_t width, int64_t channels, int64_t stride,
       int64_t pad)
      : height_(height), width_(width), channels_(channels), stride_(stride),
        pad_(pad),
        phase_(ceil_div(width + 2 * pad, stride) * channels +
               2 * Simd<T>::lanes),
        data_(height * stride * phase_) {}

  // Column x of row y, from -pad on; column x + stride follows it.
  T* at(int64_t y, int64_t x) {
    x += pad_;
    return data_.data() + (y * stride_ + x % stride_) * phase_ +
           x / stride_ * channels_;
  }
  void clear() { std::fill(data_.begin(), data_.end(), T(0)); }
  void read(const T* image) {
    each([&](T* own, int64_t size) {
      std::copy_n(image, size, own);
      image += size;
    });
  }
  void write(T* image) {
    each([&](const T* own, int64_t size) {
      std::copy_n(own, size, image);
      image += size;
    });
  }

 private:
  // What is contiguous both here and in an image: a row or else a pixel.
  template <typename F>
  void each(const F& visit) {
    for (int64_t y = 0; y < height_; ++y)
      if (stride_ == 1)
        visit(at(y, 0), width_ * channels_);
      else
        for (int64_t x = 0; x < width_; ++x) visit(at(y, x), channels_);
  }

  int64_t height_, width_, channels_, stride_, pad_, phase_;
  std::vector<T> data_;
};

template <typename T>
struct Tap {
  const T* from;
  T* weight;
};

// Vectors n, n + period ... of out, U in all, = or += sum over taps of
// weight * from; `phase` is n mod period, and out begins with vector `begin`.
template <typename T, int U, bool kAdd>
inline void block(T* out, int64_t begin, const Tap<T>* taps, int64_t count,
                  int64_t n, int64_t phase, int64_t period) {
  constexpr int64_t lanes = Simd<T>::lanes;
  Vec<T> sum[U];
  for (int u = 0; u < U; ++u)
    sum[u] = kAdd ? load(out + (n - begin + u * period) * lanes) : Vec<T>{};
  for (int64_t t = 0; t < count; ++t) {
    Vec<T> weight = load(taps[t].weight + phase * lanes);
    const T* from = taps[t].from + n * lanes;
    for (int u = 0; u < U; ++u)
      sum[u] += weight * load(from + u * period * lanes);
  }
  for (int u = 0; u < U; ++u)
    store(out + (n - begin + u * period) * lanes, sum[u]);
}

template <typename T, bool kAdd>
void add_taps(T* out, int64_t begin, int64_t end, int64_t period,
              const std::vector<Tap<T>>& taps) {
  const Tap<T>* first = taps.data();
  int64_t count = taps.size();
  for (int64_t m = begin; m < std::min(begin + period, end); ++m) {
    int64_t n = m, p = m % period;
    for (; n + 7 * period < end; n += 8 * period)
      block<T, 8, kAdd>(out, begin, first, count, n, p, period);
    for (; n + 3 * period < end; n += 4 * period)
      block<T, 4, kAdd>(out, begin, first, count, n, p, period);
    for (; n + period < end; n += 2 * period)
      block<T, 2, kAdd>(out, begin, first, count, n, p, period);
    for (; n < end; n += period)
      block<T, 1, kAdd>(out, begin, first, count, n, p, period);
  }
}

// weight += sum over a row of g * from, for N taps at once.
template <typename T, int N>
void dot_taps(const T* g, int64_t vectors, int64_t period,
              const Tap<T>* taps) {
  constexpr int64_t lanes = Simd<T>::lanes;
  for (int64_t p = 0; p < period; ++p) {
    Vec<T> sum[N];
    for (int t = 0; t < N; ++t) sum[t] = load(taps[t].weight + p * lanes);
    for (int64_t n = p; n < vectors; n += period) {
      Vec<T> v = load(g + n * lanes);
      for (int t = 0; t < N; ++t) sum[t] += v * load(taps[t].from + n * lanes);
    }
    for (int t = 0; t < N; ++t) store(taps[t].weight + p * lanes, sum[t]);
  }
}

template <typename T>
void dot_row(const T* g, int64_t vectors, int64_t period,
             const std::vector<Tap<T>>& all) {
  const Tap<T>* taps = all.data();
  int64_t count = all.size();
  for (; count >= 9; count -= 9, taps += 9)
    dot_taps<T, 9>(g, vectors, period, taps);
  for (; count >= 5; count -= 5, taps += 5)
    dot_taps<T, 5>(g, vectors, period, taps);
  for (; count >= 3; count -= 3, taps += 3)
    dot_taps<T, 3>(g, vectors, period, taps);
  for (; count >= 1; count -= 1, taps += 1)
    dot_taps<T, 1>(g, vectors, period, taps);
}

// The taps that output row y meets inside the image, and what they see of x.
template <typename T>
void look(std::vector<Tap<T>>& taps, const Kernel& k, T* weights,
          int64_t wide, Rows<T>& x, int64_t height, int64_t stride,
          int64_t y) {
  taps.clear();
  for (int64_t i = 0; i < k.size; ++i) {
    int64_t row = stride * y + k.dilation * i - k.pad;
    if (row < 0 || row >= height) continue;
    for (int64_t j = 0; j < k.size; ++j)
      taps.push_back({x.at(row, k.dilation * j - k.pad),
                      weights + (i * k.size + j) * wide});
  }
}

template <typename T>
void convolve(ffi::ThreadPool& pool, const T* x, Shape in, Kernels<T>& kernels,
              int64_t stride, T* out, Shape to) {
  constexpr int64_t lanes = Simd<T>::lanes;
  int64_t wide = kernels.period * lanes, each = to.edges / in.edges;
  int64_t whole = to.row() / lanes, rest = to.row() % lanes;
  share_out(pool, in.edges * in.batch, [&] {
    Rows<T> rows(in.height, in.width, in.channels, stride, kernels.pad);
    return [&, rows, taps = std::vector<Tap<T>>()](int64_t unit) mutable {
      int64_t group = unit / in.batch, b = unit % in.batch;
      rows.read(x + in.at(group, b));
      for (int64_t e = group * each; e < (group + 1) * each; ++e) {
        T* line = out + to.at(e, b);
        for (int64_t y = 0; y < to.height; ++y, line += to.row()) {
          look(taps, kernels.edges[e], kernels.taps(e), wide, rows, in.height,
               stride, y);
          add_taps<T, false>(line, 0, whole, kernels.period, taps);
          T last[lanes];
          add_taps<T, false>(last, whole, whole + (rest > 0), kernels.period,
                             taps);
          std::copy_n(last, rest, line + whole * lanes);
        }
      }
    };
  });
}

// stride * (gy, gx) + dilation * (i, j) - pad = (y, phase): what row y of x, and
// in it every stride-th pixel, meets in g.
template <typename T>
void look_back(std::vector<Tap<T>>& taps, const Kernel& k, T* weights,
               int64_t wide, Rows<T>& g, int64_t height, int64_t stride,
               int64_t y, int64_t phase) {
  taps.clear();
  for (int64_t i = 0; i < k.size; ++i) {
    int64_t gy = y + k.pad - k.dilation * i;
    if (gy < 0 || gy % stride || gy / stride >= height) continue;
    for (int64_t j = 0; j < k.size; ++j) {
      int64_t gx = phase + k.pad - k.dilation * j;
      if (gx % stride) continue;
      taps.push_back({g.at(gy / stride, gx / stride),
                      weights + (i * k.size + j) * wide});
    }
  }
}

template <typename T>
void input_gradient(ffi::ThreadPool& pool, const T* g, Shape from,
                    Kernels<T>& kernels, int64_t stride, T* x, Shape to) {
  constexpr int64_t lanes = Simd<T>::lanes;
  int64_t wide = kernels.period * lanes, each = from.edges / to.edges;
  share_out(pool, to.edges * to.batch, [&] {
    Rows<T> sum(to.height, to.width, to.channels, stride, 0);
    Rows<T> rows(from.height, from.width, to.channels, 1, kernels.pad);
    return [&, sum, rows,
            taps = std::vector<Tap<T>>()](int64_t unit) mutable {
      int64_t group = unit / to.batch, b = unit % to.batch;
      sum.clear();
      for (int64_t e = group * each; e < (group + 1) * each; ++e) {
        rows.read(g + from.at(e, b));
        for (int64_t y = 0; y < to.height; ++y)
          for (int64_t phase = 0; phase < std::min(stride, to.width);
               ++phase) {
            look_back(taps, kernels.edges[e], kernels.taps(e), wide, rows,
                      from.height, stride, y, phase);
            int64_t columns = ceil_div(to.width - phase, stride);
            add_taps<T, true>(sum.at(y, phase), 0,
                              ceil_div(columns * to.channels, lanes),
                              kernels.period, taps);
          }
      }
      sum.write(x + to.at(group, b));
    };
  });
}

constexpr int64_t kBlocks = 16;  // of images, each with sums of its own

// Leaves the gradients, tiled, in the kernels' tables.
template <typename T>
void kernel_gradient(ffi::ThreadPool& pool, const T* x, Shape in, const T* g,
                     Shape to, int64_t stride, Kernels<T>& kernels) {
  constexpr int64_t lanes = Simd<T>::lanes;
  int64_t wide = kernels.period * lanes, each = to.edges / in.edges;
  int64_t vectors = ceil_div(to.row(), lanes);
  int64_t blocks = std::min(kBlocks, in.batch);
  std::vector<std::vector<T>> sums(blocks * in.edges);
  share_out(pool, blocks * in.edges, [&] {
    Rows<T> rows(in.height, in.width, in.channels, stride, kernels.pad);
    return [&, rows, line = std::vector<T>(vectors * lanes),
            taps = std::vector<Tap<T>>()](int64_t unit) mutable {
      int64_t group = unit % in.edges, begin = group * each;
      T* first = kernels.taps(begin);
      std::vector<T>& sum = sums[unit];
      sum.resize(kernels.taps(begin + each) - first);
      for (int64_t b = unit / in.edges; b < in.batch; b += blocks) {
        rows.read(x + in.at(group, b));
        for (int64_t e = begin; e < begin + each; ++e)
          for (int64_t y = 0; y < to.height; ++y) {
            look(taps, kernels.edges[e], sum.data() + (kernels.taps(e) - first),
                 wide, rows, in.height, stride, y);
            const T* from = g + to.at(e, b) + y * to.row();
            if (to.row() % lanes) {
              std::copy_n(from, to.row(), line.data());
              from = line.data();
            }
            dot_row(from, vectors, kernels.period, taps);
          }
      }
    };
  });
  for (int64_t unit = 0; unit < blocks * in.edges; ++unit) {
    T* total = kernels.taps(unit % in.edges * each);
    for (size_t n = 0; n < sums[unit].size(); ++n) total[n] += sums[unit][n];
  }
}

// The handlers: kernels are the arguments, or the results, that remain.

template <ffi::DataType D>
using Buffers = std::vector<ffi::Buffer<D>>;

// Calls with each edge's number and its kernel in the buffers.
template <ffi::DataType D, typename F>
void visit(Buffers<D>& buffers, const F& with) {
  int64_t edge = 0;
  for (auto& k : buffers) {
    auto d = k.dimensions();
    for (int64_t e = 0; e < d[0]; ++e)
      with(edge++, k.typed_data() + e * d[1] * d[2] * d[3]);
  }
}

template <ffi::DataType D>
Kernels<ffi::NativeType<D>> kernels_of(Buffers<D>& buffers, int64_t channels,
                                       ffi::Span<const int64_t> dilations) {
  Kernels<ffi::NativeType<D>> kernels(channels);
  for (size_t n = 0; n < buffers.size(); ++n)
    kernels.add(buffers[n].dimensions()[0], buffers[n].dimensions()[1],
                dilations[n]);
  kernels.allocate();
  return kernels;
}

template <ffi::DataType D>
Buffers<D> gather(ffi::RemainingArgs rest) {
  Buffers<D> buffers;
  for (size_t n = 0; n < rest.size(); ++n)
    buffers.push_back(*rest.get<ffi::Buffer<D>>(n));
  return buffers;
}

template <ffi::DataType D>
ffi::Error Convolve(ffi::ThreadPool pool, ffi::Buffer<D> x,
                    ffi::RemainingArgs rest, ffi::Result<ffi::Buffer<D>> out,
                    int64_t stride, ffi::Span<const int64_t> dilations) {
  Shape in(x.dimensions()), to(out->dimensions());
  auto buffers = gather<D>(rest);
  auto kernels = kernels_of<D>(buffers, in.channels, dilations);
  visit<D>(buffers, [&](int64_t e, auto* k) { kernels.tile(e, k); });
  convolve(pool, x.typed_data(), in, kernels, stride, out->typed_data(), to);
  return ffi::Error::Success();
}

template <ffi::DataType D>
ffi::Error InputGradient(ffi::ThreadPool pool, ffi::Buffer<D> g,
                         ffi::RemainingArgs rest,
                         ffi::Result<ffi::Buffer<D>> x, int64_t stride,
                         ffi::Span<const int64_t> dilations) {
  Shape from(g.dimensions()), to(x->dimensions());
  auto buffers = gather<D>(rest);
  auto kernels = kernels_of<D>(buffers, to.channels, dilations);
  visit<D>(buffers, [&](int64_t e, auto* k) { kernels.tile(e, k); });
  input_gradient(pool, g.typed_data(), from, kernels, stride, x->typed_data(),
                 to);
  return ffi::Error::Success();
}

template <ffi::DataType D>
ffi::Error KernelGradient(ffi::ThreadPool pool, ffi::Buffer<D> x,
                          ffi::Buffer<D> g, ffi::RemainingRets rest,
                          int64_t stride, ffi::Span<const int64_t> dilations) {
  Shape in(x.dimensions()), to(g.dimensions());
  Buffers<D> buffers;
  for (size_t n = 0; n < rest.size(); ++n)
    buffers.push_back(**rest.get<ffi::Buffer<D>>(n));
  auto kernels = kernels_of<D>(buffers, in.channels, dilations);
  kernel_gradient(pool, x.typed_data(), in, g.typed_data(), to, stride,
                  kernels);
  visit<D>(buffers, [&](int64_t e, auto* k) { kernels.fold(e, k); });
  return ffi::Error::Success();
}

}  // namespace

#define CONVOLUTION(type)                                              \
  ffi::Ffi::Bind()                                                     \
      .Ctx<ffi::ThreadPool>()                                          \
      .Arg<ffi::Buffer<type>>()                                        \
      .RemainingArgs()                                                 \
      .Ret<ffi::Buffer<type>>()                                        \
      .Attr<int64_t>("stride")                                         \
      .Attr<ffi::Span<const int64_t>>("dilations")
#define OF_KERNELS(type)                                               \
  ffi::Ffi::Bind()                                                     \
      .Ctx<ffi::ThreadPool>()                                          \
      .Arg<ffi::Buffer<type>>()                                        \
      .Arg<ffi::Buffer<type>>()                                        \
      .RemainingRets()                                                 \
      .Attr<int64_t>("stride")                                         \
      .Attr<ffi::Span<const int64_t>>("dilations")

XLA_FFI_DEFINE_HANDLER_SYMBOL(convolve_float32, Convolve<ffi::F32>,
                              CONVOLUTION(ffi::F32));
XLA_FFI_DEFINE_HANDLER_SYMBOL(convolve_float64, Convolve<ffi::F64>,
                              CONVOLUTION(ffi::F64));
XLA_FFI_DEFINE_HANDLER_SYMBOL(input_gradient_float32, InputGradient<ffi::F32>,
                              CONVOLUTION(ffi::F32));
XLA_FFI_DEFINE_HANDLER_SYMBOL(input_gradient_float64, InputGradient<ffi::F64>,
                              CONVOLUTION(ffi::F64));
XLA_FFI_DEFINE_HANDLER_SYMBOL(kernel_gradient_float32, KernelGradient<ffi::F32>,
                              OF_KERNELS(ffi::F32));
XLA_FFI_DEFINE_HANDLER_SYMBOL(kernel_gradient_float64, KernelGradient<ffi::F64>,
                              OF_KERNELS(ffi::F64));
