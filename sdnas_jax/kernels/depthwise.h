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

#include "kernels.h"

// An image's rows, split into `stride` phases, with zeros on both sides.
class Rows {
 public:
  Rows(int64_t height, int64_t width, int64_t channels, int64_t stride,
       int64_t pad)
      : height_(height),
        width_(width),
        channels_(channels),
        stride_(stride),
        pad_(pad),
        phase_(ceil_div(width + 2 * pad, stride) * channels + 2 * kLanes),
        data_(height * stride * phase_) {}

  // Column x of row y, from -pad on; column x + stride follows it.
  Real* at(int64_t y, int64_t x) {
    x += pad_;
    return data_.data() + (y * stride_ + x % stride_) * phase_ +
           x / stride_ * channels_;
  }
  void clear() { std::fill(data_.begin(), data_.end(), Real(0)); }
  void read(const Real* image) {
    each([&](Real* own, int64_t size) {
      std::copy_n(image, size, own);
      image += size;
    });
  }
  void write(Real* image) {
    each([&](const Real* own, int64_t size) {
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
  std::vector<Real> data_;
};

struct Tap {
  const Real* from;
  Real* weight;
};

using Taps = std::vector<Tap>;

// Vectors n, n + period ... of out, U in all, = or += sum over taps of
// weight * from; `phase` is n mod period, and out begins with vector `begin`.
template <int U, bool kAdd>
inline void block(Real* out, int64_t begin, const Tap* taps, int64_t count,
                  int64_t n, int64_t phase, int64_t period) {
  Vec sum[U];
  for (int u = 0; u < U; ++u)
    sum[u] = kAdd ? load(out + (n - begin + u * period) * kLanes) : Vec{};
  for (int64_t t = 0; t < count; ++t) {
    Vec weight = load(taps[t].weight + phase * kLanes);
    const Real* from = taps[t].from + n * kLanes;
    for (int u = 0; u < U; ++u)
      sum[u] += weight * load(from + u * period * kLanes);
  }
  for (int u = 0; u < U; ++u)
    store(out + (n - begin + u * period) * kLanes, sum[u]);
}

template <bool kAdd>
void add_taps(Real* out, int64_t begin, int64_t end, int64_t period,
              const Taps& taps) {
  const Tap* first = taps.data();
  int64_t count = taps.size();
  for (int64_t m = begin; m < std::min(begin + period, end); ++m) {
    int64_t n = m, p = m % period;
    for (; n + 7 * period < end; n += 8 * period)
      block<8, kAdd>(out, begin, first, count, n, p, period);
    for (; n + 3 * period < end; n += 4 * period)
      block<4, kAdd>(out, begin, first, count, n, p, period);
    for (; n + period < end; n += 2 * period)
      block<2, kAdd>(out, begin, first, count, n, p, period);
    for (; n < end; n += period)
      block<1, kAdd>(out, begin, first, count, n, p, period);
  }
}

// weight += sum over a row of g * from, for N taps at once.
template <int N>
void dot_taps(const Real* g, int64_t vectors, int64_t period, const Tap* taps) {
  for (int64_t p = 0; p < period; ++p) {
    Vec sum[N];
    for (int t = 0; t < N; ++t) sum[t] = load(taps[t].weight + p * kLanes);
    for (int64_t n = p; n < vectors; n += period) {
      Vec v = load(g + n * kLanes);
      for (int t = 0; t < N; ++t) sum[t] += v * load(taps[t].from + n * kLanes);
    }
    for (int t = 0; t < N; ++t) store(taps[t].weight + p * kLanes, sum[t]);
  }
}

void dot_row(const Real* g, int64_t vectors, int64_t period, const Taps& all) {
  const Tap* taps = all.data();
  int64_t count = all.size();
  for (; count >= 9; count -= 9, taps += 9)
    dot_taps<9>(g, vectors, period, taps);
  for (; count >= 5; count -= 5, taps += 5)
    dot_taps<5>(g, vectors, period, taps);
  for (; count >= 3; count -= 3, taps += 3)
    dot_taps<3>(g, vectors, period, taps);
  for (; count >= 1; count -= 1, taps += 1)
    dot_taps<1>(g, vectors, period, taps);
}

// The taps that output row y meets inside the image, and what they see of x.
void look(Taps& taps, const Kernel& k, Real* weights, int64_t wide, Rows& x,
          int64_t height, int64_t stride, int64_t y) {
  taps.clear();
  for (int64_t i = 0; i < k.size; ++i) {
    int64_t row = stride * y + k.dilation * i - k.pad;
    if (row < 0 || row >= height) continue;
    for (int64_t j = 0; j < k.size; ++j)
      taps.push_back({x.at(row, k.dilation * j - k.pad),
                      weights + (i * k.size + j) * wide});
  }
}

// stride * (gy, gx) + dilation * (i, j) - pad = (y, phase): what row y of x,
// and in it every stride-th pixel, meets in g.
void look_back(Taps& taps, const Kernel& k, Real* weights, int64_t wide,
               Rows& g, int64_t height, int64_t stride, int64_t y,
               int64_t phase) {
  taps.clear();
  for (int64_t i = 0; i < k.size; ++i) {
    int64_t gy = y + k.pad - k.dilation * i;
    if (gy < 0 || gy % stride || gy / stride >= height) continue;
    for (int64_t j = 0; j < k.size; ++j) {
      int64_t gx = phase + k.pad - k.dilation * j;
      if (gx % stride) continue;
      taps.push_back(
          {g.at(gy / stride, gx / stride), weights + (i * k.size + j) * wide});
    }
  }
}

// out = the convolution of one image by one edge's kernel.
void convolve_image(Rows& x, Kernels& kernels, int64_t e, int64_t stride,
                    const Shape& in, Real* out, const Shape& to, Taps& taps) {
  int64_t whole = to.row() / kLanes, rest = to.row() % kLanes;
  for (int64_t y = 0; y < to.height; ++y, out += to.row()) {
    look(taps, kernels.edges[e], kernels.taps(e), kernels.wide(), x, in.height,
         stride, y);
    add_taps<false>(out, 0, whole, kernels.period, taps);
    Real last[kLanes];
    add_taps<false>(last, whole, whole + (rest > 0), kernels.period, taps);
    std::copy_n(last, rest, out + whole * kLanes);
  }
}

// x += one edge's share in the input gradient of one image.
void scatter_image(Rows& g, const Shape& from, Kernels& kernels, int64_t e,
                   int64_t stride, Rows& x, const Shape& to, Taps& taps) {
  for (int64_t y = 0; y < to.height; ++y)
    for (int64_t phase = 0; phase < std::min(stride, to.width); ++phase) {
      look_back(taps, kernels.edges[e], kernels.taps(e), kernels.wide(), g,
                from.height, stride, y, phase);
      int64_t columns = ceil_div(to.width - phase, stride);
      add_taps<true>(x.at(y, phase), 0, ceil_div(columns * to.channels, kLanes),
                     kernels.period, taps);
    }
}

// sum += one edge's kernel gradient of one image, tiled.
void correlate_image(Rows& x, const Shape& in, const Real* g, const Shape& to,
                     Kernels& kernels, int64_t e, int64_t stride, Real* sum,
                     std::vector<Real>& line, Taps& taps) {
  int64_t vectors = ceil_div(to.row(), kLanes);
  line.resize(vectors * kLanes);
  for (int64_t y = 0; y < to.height; ++y, g += to.row()) {
    look(taps, kernels.edges[e], sum, kernels.wide(), x, in.height, stride, y);
    const Real* from = g;
    if (to.row() % kLanes) {  // beyond the row, g must read as zero
      std::copy_n(g, to.row(), line.data());
      from = line.data();
    }
    dot_row(from, vectors, kernels.period, taps);
  }
}
