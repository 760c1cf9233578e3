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
#include "product.h"

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
  // Numbers from one row to the next.
  int64_t row() const { return stride_ * phase_; }
  void clear() { std::fill(data_.begin(), data_.end(), Real(0)); }
  // Of an image, or with `relu` of its positive part.
  void read(const Stored* image, bool relu) {
    each([&](Real* own, int64_t size) {
      if (relu)  // a lost value stays lost: NaN < 0 is false
        for (int64_t n = 0; n < size; ++n)
          own[n] = image[n] < 0 ? Real(0) : Real(image[n]);
      else
        copy(image, size, own);
      image += size;
    });
  }
  void write(Stored* image) {
    each([&](const Real* own, int64_t size) {
      copy(own, size, image);
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
  Numbers data_;
};

// A tap of a kernel, relative to an output pixel: the row that it sees, where
// in memory, and where its weights are.
struct Tap {
  int64_t row, from, weights;
};

using Taps = std::vector<Tap>;

// The taps of a convolution of x: output row y sees row stride * y + tap.row.
Taps look(const Kernel& k, int64_t wide, Rows& x) {
  Taps taps;
  for (int64_t i = 0; i < k.size; ++i)
    for (int64_t j = 0; j < k.size; ++j) {
      int64_t row = k.dilation * i - k.pad;
      int64_t column = x.at(0, k.dilation * j - k.pad) - x.at(0, 0);
      taps.push_back({row, row * x.row() + column, (i * k.size + j) * wide});
    }
  return taps;
}

// The taps of its adjoint, of g: every stride-th row of x from `y` on, and
// pixel from `phase` on, meet what solves
//   stride * (gy, gx) + dilation * (i, j) - pad = (y, phase).
Taps look_back(const Kernel& k, int64_t wide, Rows& g, int64_t stride,
               int64_t y, int64_t phase) {
  Taps taps;
  for (int64_t i = 0; i < k.size; ++i)
    for (int64_t j = 0; j < k.size; ++j) {
      int64_t row = y + k.pad - k.dilation * i;
      int64_t column = phase + k.pad - k.dilation * j;
      if (row % stride || column % stride) continue;
      row /= stride;
      int64_t from = g.at(0, column / stride) - g.at(0, 0);
      taps.push_back({row, row * g.row() + from, (i * k.size + j) * wide});
    }
  return taps;
}

// Those, of some taps in order of their rows, that see one of `height` rows.
struct Seen {
  const Tap *begin, *end;
  Seen(const Taps& taps, int64_t row, int64_t height)
      : begin(taps.data()), end(begin + taps.size()) {
    auto outside = [&](const Tap& tap) {
      return row + tap.row < 0 || row + tap.row >= height;
    };
    while (begin < end && outside(*begin)) ++begin;
    while (begin < end && outside(end[-1])) --end;
  }
};

// Vectors n, n + period ... of out, U in all, = or += sum over taps of weights
// * from; `phase` is n mod period, and out begins with vector `begin`.
template <int U, bool kAdd, bool kOne, typename To>
inline void block(To* out, int64_t begin, const Seen& seen, const Real* from,
                  const Real* weights, int64_t n, int64_t phase,
                  int64_t period) {
  int64_t step = kOne ? kLanes : period * kLanes;  // a constant where it can be
  Vec sum[U];
  for (int u = 0; u < U; ++u)
    sum[u] = kAdd ? load(out + (n - begin) * kLanes + u * step) : Vec{};
  for (const Tap* tap = seen.begin; tap < seen.end; ++tap) {
    Vec weight = load(weights + tap->weights + phase * kLanes);
    const Real* own = from + tap->from + n * kLanes;
    for (int u = 0; u < U; ++u) sum[u] += weight * load(own + u * step);
  }
  for (int u = 0; u < U; ++u)
    store(out + (n - begin) * kLanes + u * step, sum[u]);
}

// The same where the taps of each row are K, and each sees what the one before
// it sees of the D-th next output: so a vector is loaded once for all of them.
template <int U, int K, int D, bool kAdd, typename To>
inline void block_of_runs(To* out, int64_t step, const Seen& seen,
                          const Real* from, const Real* weights, bool back) {
  Vec sum[U];
  each<U>([&](auto u)
              INLINED { sum[u] = kAdd ? load(out + u * step) : Vec{}; });
  for (const Tap* tap = seen.begin; tap < seen.end; tap += K) {
    const Tap* first = back ? tap + K - 1 : tap;
    Vec weight[K];
    each<K>([&](auto k) INLINED {
      weight[k] = load(weights + first[back ? -k : k].weights);
    });
    const Real* own = from + first->from;
    each<U + D*(K - 1)>([&](auto m) INLINED {
      Vec v = load(own);
      own += step;
      each<K>([&](auto k) INLINED {
        constexpr int u = decltype(m)::value - D * decltype(k)::value;
        if constexpr (u >= 0 && u < U) sum[u] += weight[k] * v;
      });
    });
  }
  each<U>([&](auto u) INLINED { store(out + u * step, sum[u]); });
}

// How the rows of some taps are such runs: D, or 0 where they are not.
struct Runs {
  int64_t taps = 0, apart = 0;
  bool back = false;
  Runs(const Seen& seen, int64_t step) {
    auto row = [&](const Tap* tap) {
      return tap < seen.end && tap->row == seen.begin->row;
    };
    for (const Tap* tap = seen.begin; row(tap); ++tap) ++taps;
    if (taps < 2) return;
    int64_t by = seen.begin[1].from - seen.begin->from;
    for (const Tap* tap = seen.begin + 1; row(tap); ++tap)
      if (tap->from - tap[-1].from != by) return;
    back = by < 0;
    if (by % step == 0) apart = std::abs(by / step);
  }
  template <int K, int D>
  bool are() const {
    return taps == K && apart == D;
  }
};

template <bool kAdd, typename To>
void add_taps(To* out, int64_t begin, int64_t end, int64_t period,
              const Seen& seen, const Real* from, const Real* weights) {
  Runs runs(seen, period * kLanes);
  for (int64_t m = begin; m < std::min(begin + period, end); ++m) {
    int64_t p = m % period, count = ceil_div(end - m, period);
    in_parts<16>(count, [&](auto u, int64_t n) {
      constexpr int U = decltype(u)::value;
      auto some = [&](auto k, auto d) {
        int64_t at = (m + n * period) * kLanes;
        block_of_runs<U, decltype(k)::value, decltype(d)::value, kAdd>(
            out + at - begin * kLanes, period * kLanes, seen, from + at,
            weights + p * kLanes, runs.back);
      };
      if constexpr (U >= 8) {
        using std::integral_constant;
        if (runs.are<3, 1>())
          return some(integral_constant<int, 3>(), integral_constant<int, 1>());
        if (runs.are<5, 1>())
          return some(integral_constant<int, 5>(), integral_constant<int, 1>());
        if (runs.are<3, 2>())
          return some(integral_constant<int, 3>(), integral_constant<int, 2>());
        if (runs.are<5, 2>())
          return some(integral_constant<int, 5>(), integral_constant<int, 2>());
      }
      if (period == 1)
        block<U, kAdd, true>(out, begin, seen, from, weights, n + m, 0, 1);
      else
        block<U, kAdd, false>(out, begin, seen, from, weights, m + n * period,
                              p, period);
    });
  }
}

// sums += sum over a row of g * from, for N taps at once.
template <int N>
void dot_taps(const Real* g, int64_t vectors, int64_t period, const Tap* taps,
              const Real* from, Real* sums) {
  for (int64_t p = 0; p < period; ++p) {
    Vec sum[N];
    for (int t = 0; t < N; ++t)
      sum[t] = load(sums + taps[t].weights + p * kLanes);
    for (int64_t n = p; n < vectors; n += period) {
      Vec v = load(g + n * kLanes);
      for (int t = 0; t < N; ++t)
        sum[t] += v * load(from + taps[t].from + n * kLanes);
    }
    for (int t = 0; t < N; ++t)
      store(sums + taps[t].weights + p * kLanes, sum[t]);
  }
}

void dot_row(const Real* g, int64_t vectors, int64_t period, const Seen& seen,
             const Real* from, Real* sums) {
  const Tap* taps = seen.begin;
  auto some = [&](auto n) {
    constexpr int N = decltype(n)::value;
    for (; seen.end - taps >= N; taps += N)
      dot_taps<N>(g, vectors, period, taps, from, sums);
  };
  some(std::integral_constant<int, 15>());
  some(std::integral_constant<int, 10>());
  some(std::integral_constant<int, 9>());
  some(std::integral_constant<int, 5>());
  some(std::integral_constant<int, 3>());
  some(std::integral_constant<int, 1>());
}

// Rows `first` to `last` of the convolution of one image by one kernel.
template <typename To>
void convolve_rows(Rows& x, const Taps& taps, const Real* weights,
                   int64_t period, int64_t stride, const Shape& in, To* out,
                   const Shape& to, int64_t first, int64_t last) {
  int64_t whole = to.row() / kLanes, rest = to.row() % kLanes;
  for (int64_t y = first; y < last; ++y, out += to.row()) {
    Seen seen(taps, stride * y, in.height);
    const Real* from = x.at(stride * y, 0);
    add_taps<false>(out, 0, whole, period, seen, from, weights);
    if (!rest) continue;
    To part[kLanes];
    add_taps<false>(part, whole, whole + 1, period, seen, from, weights);
    std::copy_n(part, rest, out + whole * kLanes);
  }
}

// x += one kernel's share in the input gradient of one image; `taps` are those
// of each row and pixel, mod stride.
void scatter_image(Rows& g, const Shape& from, const std::vector<Taps>& taps,
                   const Real* weights, int64_t period, int64_t stride, Rows& x,
                   const Shape& to) {
  for (int64_t y = 0; y < to.height; ++y)
    for (int64_t phase = 0; phase < std::min(stride, to.width); ++phase) {
      int64_t columns = ceil_div(to.width - phase, stride), base = y / stride;
      Seen seen(taps[y % stride * stride + phase], base, from.height);
      add_taps<true>(x.at(y, phase), 0, ceil_div(columns * to.channels, kLanes),
                     period, seen, g.at(base, 0), weights);
    }
}

// sums += one kernel's gradient of one image, tiled; beyond its rows g is zero.
void correlate_rows(Rows& x, const Taps& taps, const Shape& in, Rows& g,
                    const Shape& to, int64_t period, int64_t stride,
                    Real* sums) {
  for (int64_t y = 0; y < to.height; ++y)
    dot_row(g.at(y, 0), ceil_div(to.row(), kLanes), period,
            Seen(taps, stride * y, in.height), x.at(stride * y, 0), sums);
}
