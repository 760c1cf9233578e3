// Sums over images and pixels, for each edge and channel: what a normalisation
// and its gradient are made of.

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
  int64_t whole = size / width;
  for (int64_t p = 0; p < lanes.period; ++p) {
    Vec<T> one{}, two{};
    for (int64_t n = p; n < whole; n += lanes.period) {
      Vec<T> v = load(a + n * width);
      one += v;
      two += v * load(b + n * width);
    }
    T* to = first + p * width;
    store(to, load(to) + scale * one);
    to = second + p * width;
    store(to, load(to) + scale * two);
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
