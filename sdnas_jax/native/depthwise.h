// Depthwise convolution of many edges at once: the partial derivatives of
//
//   T(x, k, g) = sum over edges e, images b, positions p, taps i, channels c of
//                g[e, b, p, c] k[e, i, c] x[e, b, stride p + dilation i, c],
//
// with kernels [edges, size, size, channels]; x may have one edge that all
// kernels share.
//
// At stride 1 a tap adds to each output row an input row, shifted by whole
// pixels, times the kernel's channels repeated along it ("tiled"), so that
// vectors run across pixels and no channel count wastes lanes. A stride is
// brought to that case by splitting rows into phases, the columns of one
// remainder. Rows outside the image are left out, columns padded with zeros.

#pragma once

#include "common.h"

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

  int64_t wide() const { return period * lanes; }  // of a tap
  void add(int64_t count, int64_t size, int64_t dilation) {
    int64_t own = dilation * (size - 1) / 2;
    pad = std::max(pad, own);
    for (int64_t e = 0; e < count; ++e) {
      edges.push_back({size, dilation, own});
      first_.push_back(first_.back() + size * size * wide());
    }
  }
  void allocate() { table_.assign(first_.back(), T(0)); }
  // An edge's taps, one after the other; where they end, the next edge's begin.
  T* taps(int64_t edge) { return table_.data() + first_[edge]; }
  int64_t span(int64_t edge, int64_t count) const {
    return first_[edge + count] - first_[edge];
  }

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
    int64_t size = edges[edge].size;
    for (int64_t t = 0; t < size * size; ++t)
      for (int64_t n = 0; n < wide(); ++n)
        visit(taps(edge)[t * wide() + n], t * channels + n % channels);
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

template <typename T>
using Taps = std::vector<Tap<T>>;

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
              const Taps<T>& taps) {
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
             const Taps<T>& all) {
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
void look(Taps<T>& taps, const Kernel& k, T* weights,
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

// stride * (gy, gx) + dilation * (i, j) - pad = (y, phase): what row y of x, and
// in it every stride-th pixel, meets in g.
template <typename T>
void look_back(Taps<T>& taps, const Kernel& k, T* weights,
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

// out = the convolution of one image by one edge's kernel.
template <typename T>
void convolve_image(Rows<T>& x, Kernels<T>& kernels, int64_t e, int64_t stride,
                    const Shape& in, T* out, const Shape& to, Taps<T>& taps) {
  constexpr int64_t lanes = Simd<T>::lanes;
  int64_t whole = to.row() / lanes, rest = to.row() % lanes;
  for (int64_t y = 0; y < to.height; ++y, out += to.row()) {
    look(taps, kernels.edges[e], kernels.taps(e), kernels.wide(), x, in.height,
         stride, y);
    add_taps<T, false>(out, 0, whole, kernels.period, taps);
    T last[lanes];
    add_taps<T, false>(last, whole, whole + (rest > 0), kernels.period, taps);
    std::copy_n(last, rest, out + whole * lanes);
  }
}

// x += one edge's share in the input gradient of one image.
template <typename T>
void scatter_image(Rows<T>& g, const Shape& from, Kernels<T>& kernels,
                   int64_t e, int64_t stride, Rows<T>& x, const Shape& to,
                   Taps<T>& taps) {
  for (int64_t y = 0; y < to.height; ++y)
    for (int64_t phase = 0; phase < std::min(stride, to.width); ++phase) {
      look_back(taps, kernels.edges[e], kernels.taps(e), kernels.wide(), g,
                from.height, stride, y, phase);
      int64_t columns = ceil_div(to.width - phase, stride);
      add_taps<T, true>(x.at(y, phase), 0,
                        ceil_div(columns * to.channels, Simd<T>::lanes),
                        kernels.period, taps);
    }
}

// sum += one edge's kernel gradient of one image, tiled.
template <typename T>
void correlate_image(Rows<T>& x, const Shape& in, const T* g, const Shape& to,
                     Kernels<T>& kernels, int64_t e, int64_t stride, T* sum,
                     std::vector<T>& line, Taps<T>& taps) {
  int64_t vectors = ceil_div(to.row(), Simd<T>::lanes);
  line.resize(vectors * Simd<T>::lanes);
  for (int64_t y = 0; y < to.height; ++y, g += to.row()) {
    look(taps, kernels.edges[e], sum, kernels.wide(), x, in.height, stride, y);
    const T* from = g;
    if (to.row() % Simd<T>::lanes) {  // beyond the row, g must read as zero
      std::copy_n(g, to.row(), line.data());
      from = line.data();
    }
    dot_row(from, vectors, kernels.period, taps);
  }
}

template <typename T>
void convolve(ffi::ThreadPool& pool, const T* x, Shape in, Kernels<T>& kernels,
              int64_t stride, T* out, Shape to) {
  int64_t each = to.edges / in.edges;
  share_out(pool, in.edges * in.batch, [&] {
    Rows<T> rows(in.height, in.width, in.channels, stride, kernels.pad);
    return [&, rows, taps = Taps<T>()](int64_t unit) mutable {
      int64_t group = unit / in.batch, b = unit % in.batch;
      rows.read(x + in.at(group, b));
      for (int64_t e = group * each; e < (group + 1) * each; ++e)
        convolve_image(rows, kernels, e, stride, in, out + to.at(e, b), to,
                       taps);
    };
  });
}

template <typename T>
void input_gradient(ffi::ThreadPool& pool, const T* g, Shape from,
                    Kernels<T>& kernels, int64_t stride, T* x, Shape to) {
  int64_t each = from.edges / to.edges;
  share_out(pool, to.edges * to.batch, [&] {
    Rows<T> sum(to.height, to.width, to.channels, stride, 0);
    Rows<T> rows(from.height, from.width, to.channels, 1, kernels.pad);
    return [&, sum, rows, taps = Taps<T>()](int64_t unit) mutable {
      int64_t group = unit / to.batch, b = unit % to.batch;
      sum.clear();
      for (int64_t e = group * each; e < (group + 1) * each; ++e) {
        rows.read(g + from.at(e, b));
        scatter_image(rows, from, kernels, e, stride, sum, to, taps);
      }
      sum.write(x + to.at(group, b));
    };
  });
}

// Leaves the gradients, tiled, in the kernels' tables.
template <typename T>
void kernel_gradient(ffi::ThreadPool& pool, const T* x, Shape in, const T* g,
                     Shape to, int64_t stride, Kernels<T>& kernels) {
  int64_t each = to.edges / in.edges;
  auto size = [&](int64_t group) { return kernels.span(group * each, each); };
  sum_images<T>(
      pool, in.edges, in.batch, size,
      [&] {
        Rows<T> rows(in.height, in.width, in.channels, stride, kernels.pad);
        return [&, rows, line = std::vector<T>(),
                taps = Taps<T>()](T* sum, int64_t group, int64_t b) mutable {
          rows.read(x + in.at(group, b));
          for (int64_t e = group * each; e < (group + 1) * each; ++e) {
            correlate_image(rows, in, g + to.at(e, b), to, kernels, e, stride,
                            sum, line, taps);
            sum += kernels.span(e, 1);
          }
        };
      },
      [&](int64_t group) { return kernels.taps(group * each); });
}
