// Both 3x3 pools of an image, padding left out: with c = x the largest pixel of
// each window and the mean; the first of equals counts as the largest.

#pragma once

#include "common.h"

// Calls visit(pixel of the output, weight of the mean, its window's pixels).
template <typename T, typename F>
void windows(const Shape& in, int64_t stride, const F& visit) {
  int64_t out = 0;
  for (int64_t y = 0; y < in.height; y += stride)
    for (int64_t x = 0; x < in.width; x += stride, ++out) {
      int64_t near[9], count = 0;
      for (int64_t i = std::max<int64_t>(y - 1, 0);
           i <= std::min(y + 1, in.height - 1); ++i)
        for (int64_t j = std::max<int64_t>(x - 1, 0);
             j <= std::min(x + 1, in.width - 1); ++j)
          near[count++] = i * in.width + j;
      visit(out, T(1) / count, near, count);
    }
}

// out [2, batch, ...]: c where x is largest, and c's mean.
template <typename T>
void choose(ffi::ThreadPool& pool, const T* x, const T* c, Shape in,
            int64_t stride, T* out, Shape to) {
  int64_t channels = in.channels;
  share_out(pool, in.batch, [&] {
    return [&, best = std::vector<T>(channels)](int64_t b) mutable {
      const T *seen = x + in.at(0, b), *taken = c + in.at(0, b);
      T *most = out + to.at(0, b), *mean = out + to.at(1, b);
      windows<T>(in, stride, [&](int64_t p, T part, const int64_t* near,
                                 int64_t count) {
        T *__restrict one = most + p * channels,
          *__restrict two = mean + p * channels, *__restrict top = best.data();
        for (int64_t n = 0; n < count; ++n) {
          const T* from = seen + near[n] * channels;
          const T* with = taken + near[n] * channels;
          for (int64_t k = 0; k < channels; ++k) {
            bool larger = n == 0 || from[k] > top[k];
            top[k] = larger ? from[k] : top[k];
            one[k] = larger ? with[k] : one[k];
            two[k] = n == 0 ? with[k] : two[k] + with[k];
          }
        }
        for (int64_t k = 0; k < channels; ++k) two[k] *= part;
      });
    };
  });
}

// The transpose of choose in c: from g [2, batch, ...] to c.
template <typename T>
void spread(ffi::ThreadPool& pool, const T* x, Shape in, const T* g, Shape from,
            int64_t stride, T* c) {
  int64_t channels = in.channels;
  share_out(pool, in.batch, [&] {
    return [&, best = std::vector<T>(channels),
            at = std::vector<int64_t>(channels)](int64_t b) mutable {
      const T* seen = x + in.at(0, b);
      const T *most = g + from.at(0, b), *mean = g + from.at(1, b);
      T* to = c + in.at(0, b);
      std::fill_n(to, in.image(), T(0));
      windows<T>(in, stride, [&](int64_t p, T part, const int64_t* near,
                                 int64_t count) {
        const T *one = most + p * channels, *two = mean + p * channels;
        for (int64_t n = 0; n < count; ++n) {
          const T* own = seen + near[n] * channels;
          T* sum = to + near[n] * channels;
          for (int64_t k = 0; k < channels; ++k) {
            bool larger = n == 0 || own[k] > best[k];
            best[k] = larger ? own[k] : best[k];
            at[k] = larger ? near[n] : at[k];
            sum[k] += part * two[k];
          }
        }
        for (int64_t k = 0; k < channels; ++k)
          to[at[k] * channels + k] += one[k];
      });
    };
  });
}
