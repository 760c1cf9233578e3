// What a normalisation and its gradient are made of: sums over images and
// pixels, for each edge and channel, and what they then give.

#pragma once

#include "common.h"

// An image as a flat vector in which channel c comes again every `period`
// vectors: lane n of these stands for channel n mod channels.
template <typename T>
struct Lanes {
  int64_t channels, period, wide;
  explicit Lanes(int64_t channels)
      : channels(channels),
        period(channels / std::gcd<int64_t>(channels, Simd<T>::lanes)),
        wide(period * Simd<T>::lanes) {}
  void fold(const T* lanes, T* sums) const {
    std::fill_n(sums, channels, T(0));
    for (int64_t n = 0; n < wide; ++n) sums[n % channels] += lanes[n];
  }
};

// first += scale * sum of a, second += scale * sum of a b, by lane.
template <typename T>
void add_products(const T* a, const T* b, int64_t size, const Lanes<T>& lanes,
                  T scale, T* first, T* second) {
  constexpr int64_t width = Simd<T>::lanes;
  int64_t whole = size / width, block = 32 * lanes.period;  // near enough
  for (int64_t from = 0; from < whole; from += block)
    for (int64_t p = 0; p < lanes.period; ++p) {
      Vec<T> one{}, two{};
      int64_t to = std::min(from + block, whole);
      for (int64_t n = from + p; n < to; n += lanes.period) {
        Vec<T> v = load(a + n * width);
        one += v;
        two += v * load(b + n * width);
      }
      T* sum = first + p * width;
      store(sum, load(sum) + scale * one);
      sum = second + p * width;
      store(sum, load(sum) + scale * two);
    }
  for (int64_t n = whole * width; n < size; ++n) {
    first[n % lanes.wide] += scale * a[n];
    second[n % lanes.wide] += scale * a[n] * b[n];
  }
}

// first [edges, channels] = sum of share z, second the same of share z^2.
template <typename T>
void moments(ffi::ThreadPool& pool, const T* z, Shape of, const T* share,
             T* first, T* second) {
  Lanes<T> lanes(of.channels);
  std::vector<T> total(of.edges * 2 * lanes.wide);
  sum_images<T>(
      pool, of.edges, of.batch, [&](int64_t) { return 2 * lanes.wide; },
      [&] {
        return [&](T* sum, int64_t e, int64_t b) {
          const T* image = z + of.at(e, b);
          add_products(image, image, of.image(), lanes, share[b], sum,
                       sum + lanes.wide);
        };
      },
      [&](int64_t e) { return total.data() + e * 2 * lanes.wide; });
  for (int64_t e = 0; e < of.edges; ++e) {
    const T* own = total.data() + e * 2 * lanes.wide;
    lanes.fold(own, first + e * of.channels);
    lanes.fold(own + lanes.wide, second + e * of.channels);
  }
}

// first [edges, channels] = sum of g; second [stack * edges, channels] = sum of
// g z, for z [stack * edges or stack, ...], whose edges may share an array.
template <typename T>
void products(ffi::ThreadPool& pool, const T* g, Shape of, const T* z,
              int64_t depth, int64_t stack, T* first, T* second) {
  Lanes<T> lanes(of.channels);
  int64_t size = (1 + stack) * lanes.wide, each = depth / stack;
  std::vector<T> total(of.edges * size);
  sum_images<T>(
      pool, of.edges, of.batch, [&](int64_t) { return size; },
      [&] {
        return [&, unused = std::vector<T>(lanes.wide)](
                   T* sum, int64_t e, int64_t b) mutable {
          for (int64_t n = 0; n < stack; ++n) {
            int64_t at = n * each + (each > 1 ? e : 0);
            add_products(g + of.at(e, b), z + of.at(at, b), of.image(), lanes,
                         T(1), n ? unused.data() : sum,
                         sum + (1 + n) * lanes.wide);
          }
        };
      },
      [&](int64_t e) { return total.data() + e * size; });
  for (int64_t e = 0; e < of.edges; ++e) {
    const T* own = total.data() + e * size;
    lanes.fold(own, first + e * of.channels);
    for (int64_t n = 0; n < stack; ++n)
      lanes.fold(own + (1 + n) * lanes.wide,
                 second + (n * of.edges + e) * of.channels);
  }
}

// The gradient of a mixture of normalised z in z, one of which may serve many
// edges (`shared`), for slope = scale (second - mean first):
//   dz = sum over its edges of p scale (g - share (first + scale slope (z -
//   mean))).
// z, mean, scale are [stack * edges, ...] or [stack, ...]; p, second [stack *
// edges, ...]; g, first [edges, ...].
template <typename T>
void mixture_input(ffi::ThreadPool& pool, const T* g, Shape of, const T* z,
                   Shape rows, bool shared, const T* share, const T* p,
                   const T* mean, const T* scale, const T* first,
                   const T* second, T* dz) {
  Lanes<T> lanes(of.channels);
  constexpr int64_t width = Simd<T>::lanes;
  int64_t size = of.image(), many = shared ? of.edges : 1, terms = 1 + many;
  share_out(pool, rows.edges * of.batch, [&] {
    return [&, factors = std::vector<T>((1 + terms) * lanes.wide),
            from = std::vector<const T*>(terms)](int64_t unit) mutable {
      int64_t row = unit / of.batch, image = unit % of.batch;
      T *linear = factors.data(), *constant = linear + terms * lanes.wide;
      from[0] = z + of.at(row, image);
      for (int64_t n = 0; n < many; ++n)
        from[1 + n] = g + of.at(shared ? n : row % of.edges, image);
      for (int64_t m = 0; m < lanes.wide; ++m) {
        int64_t c = m % of.channels, own = row * of.channels + c;
        linear[m] = constant[m] = 0;
        for (int64_t n = 0; n < many; ++n) {
          int64_t at = row * many + n, e = at % of.edges;
          T one = first[e * of.channels + c];
          T slope = scale[own] * (second[at * of.channels + c] - mean[own] * one);
          T factor = p[at] * scale[own];
          factors[(1 + n) * lanes.wide + m] = factor;
          linear[m] -= share[image] * factor * scale[own] * slope;
          constant[m] -= share[image] * factor * one;
        }
        constant[m] -= linear[m] * mean[own];
      }
      T* to = dz + of.at(row, image);
      int64_t at = 0;
      for (; at + lanes.wide <= size; at += lanes.wide)
        for (int64_t c = 0; c < lanes.wide; c += width) {
          Vec<T> sum = load(constant + c);
          for (int64_t m = 0; m < terms; ++m)
            sum += load(linear + m * lanes.wide + c) * load(from[m] + at + c);
          store(to + at + c, sum);
        }
      for (int64_t c = 0; at < size; ++at, ++c) {
        to[at] = constant[c];
        for (int64_t m = 0; m < terms; ++m)
          to[at] += linear[m * lanes.wide + c] * from[m][at];
      }
    };
  });
}
