// ReLU, depthwise convolution and 1x1 convolution of many edges in one pass:
//
//   z[e, b, p, d] = sum over channels c of w[e, c, d] (k * relu x)[e, b, p, c].
//
// An image's depthwise output lives in a thread's cache only; the gradients
// compute it again, which costs less than to write and to read it.

#pragma once

#include "depthwise.h"

// Numbers to whole vectors.
template <typename T>
int64_t padded(int64_t n) {
  return ceil_div(n, Simd<T>::lanes) * Simd<T>::lanes;
}

// Calls columns(Q, from) for Q vectors of columns at a time, two or one.
template <typename T, typename F>
void in_columns(int64_t wide, const F& columns) {
  constexpr int64_t lanes = Simd<T>::lanes;
  int64_t from = 0;
  for (; from + 2 * lanes <= wide; from += 2 * lanes)
    columns(std::integral_constant<int, 2>(), from);
  if (from < wide) columns(std::integral_constant<int, 1>(), from);
}

// P rows and Q vectors of columns of out = in * matrix.
template <typename T, int P, int Q>
inline void product_block(const T* in, int64_t inner, const T* matrix,
                          int64_t wide, T* out) {
  constexpr int64_t lanes = Simd<T>::lanes;
  Vec<T> sum[P][Q] = {};
  for (int64_t n = 0; n < inner; ++n, matrix += wide)
    for (int q = 0; q < Q; ++q) {
      Vec<T> column = load(matrix + q * lanes);
      for (int p = 0; p < P; ++p) sum[p][q] += in[p * inner + n] * column;
    }
  for (int p = 0; p < P; ++p)
    for (int q = 0; q < Q; ++q) store(out + p * wide + q * lanes, sum[p][q]);
}

// out [rows, wide] = in [rows, inner] * matrix [inner, wide], wide in vectors.
template <typename T>
void product(const T* in, int64_t rows, int64_t inner, const T* matrix,
             int64_t wide, T* out) {
  in_columns<T>(wide, [&](auto q, int64_t from) {
    constexpr int Q = decltype(q)::value, P = 12 / Q;
    int64_t r = 0;
    for (; r + P <= rows; r += P)
      product_block<T, P, Q>(in + r * inner, inner, matrix + from, wide,
                             out + r * wide + from);
    for (; r < rows; ++r)
      product_block<T, 1, Q>(in + r * inner, inner, matrix + from, wide,
                             out + r * wide + from);
  });
}

// M rows and Q vectors of columns of sum += a^T b.
template <typename T, int M, int Q>
inline void outer_block(const T* a, int64_t channels, const T* b, int64_t wide,
                        int64_t rows, T* sum) {
  constexpr int64_t lanes = Simd<T>::lanes;
  Vec<T> part[M][Q];
  for (int m = 0; m < M; ++m)
    for (int q = 0; q < Q; ++q)
      part[m][q] = load(sum + m * wide + q * lanes);
  for (int64_t r = 0; r < rows; ++r, a += channels, b += wide)
    for (int q = 0; q < Q; ++q) {
      Vec<T> column = load(b + q * lanes);
      for (int m = 0; m < M; ++m) part[m][q] += a[m] * column;
    }
  for (int m = 0; m < M; ++m)
    for (int q = 0; q < Q; ++q)
      store(sum + m * wide + q * lanes, part[m][q]);
}

// sum [channels, wide] += a [rows, channels]^T * b [rows, wide].
template <typename T>
void outer(const T* a, int64_t channels, const T* b, int64_t wide,
           int64_t rows, T* sum) {
  in_columns<T>(wide, [&](auto q, int64_t from) {
    constexpr int Q = decltype(q)::value, M = 8 / Q;
    int64_t c = 0;
    for (; c + M <= channels; c += M)
      outer_block<T, M, Q>(a + c, channels, b + from, wide, rows,
                           sum + c * wide + from);
    for (; c < channels; ++c)
      outer_block<T, 1, Q>(a + c, channels, b + from, wide, rows,
                           sum + c * wide + from);
  });
}

// Copies rows between arrays of different width; what is added is zero.
template <typename T>
void copy_rows(const T* from, int64_t width, T* to, int64_t wide,
               int64_t rows) {
  int64_t both = std::min(width, wide);
  for (int64_t r = 0; r < rows; ++r, from += width, to += wide) {
    std::copy_n(from, both, to);
    std::fill_n(to + both, wide - both, T(0));
  }
}

// The 1x1 kernels [edges, inputs, outputs], padded to whole vectors, as they
// are and transposed.
template <typename T>
struct Pointwise {
  int64_t inputs, outputs, wide, wide_back;
  std::vector<T> forward, backward;

  Pointwise(const T* w, int64_t edges, int64_t inputs, int64_t outputs)
      : inputs(inputs), outputs(outputs), wide(padded<T>(outputs)),
        wide_back(padded<T>(inputs)), forward(edges * inputs * wide),
        backward(edges * outputs * wide_back) {
    copy_rows(w, outputs, forward.data(), wide, edges * inputs);
    for (int64_t e = 0; e < edges; ++e)
      for (int64_t c = 0; c < inputs; ++c)
        for (int64_t d = 0; d < outputs; ++d)
          backward[(e * outputs + d) * wide_back + c] =
              w[(e * inputs + c) * outputs + d];
  }
};

// z of one image, [pixels, outputs], from its depthwise output.
template <typename T>
void map_pixels(const T* in, int64_t pixels, int64_t inner, const T* matrix,
                int64_t wide, T* out, int64_t width, std::vector<T>& scratch) {
  if (width == wide) return product(in, pixels, inner, matrix, wide, out);
  scratch.resize(pixels * wide);
  product(in, pixels, inner, matrix, wide, scratch.data());
  copy_rows(scratch.data(), wide, out, width, pixels);
}

// The image that is convolved: x, or with `relu` its positive part.
template <typename T>
void read_image(const T* from, int64_t size, bool relu, std::vector<T>& to) {
  to.assign(from, from + size);  // a lost value stays lost: NaN < 0 is false
  if (relu)
    for (int64_t n = 0; n < size; ++n) to[n] = to[n] < 0 ? T(0) : to[n];
}

template <typename T>
void separable(ffi::ThreadPool& pool, const T* x, Shape in,
               const Pointwise<T>& w, Kernels<T>& kernels, int64_t stride,
               bool relu, T* z, Shape to) {
  Shape mid = to.with(in.channels);
  int64_t each = to.edges / in.edges, pixels = to.height * to.width;
  share_out(pool, in.edges * in.batch, [&] {
    Rows<T> rows(in.height, in.width, in.channels, stride, kernels.pad);
    return [&, rows, image = std::vector<T>(), own = std::vector<T>(),
            scratch = std::vector<T>(),
            taps = Taps<T>()](int64_t unit) mutable {
      int64_t group = unit / in.batch, b = unit % in.batch;
      read_image(x + in.at(group, b), in.image(), relu, image);
      rows.read(image.data());
      own.resize(mid.image());
      for (int64_t e = group * each; e < (group + 1) * each; ++e) {
        convolve_image(rows, kernels, e, stride, in, own.data(), mid, taps);
        map_pixels(own.data(), pixels, w.inputs,
                   w.forward.data() + e * w.inputs * w.wide, w.wide,
                   z + to.at(e, b), w.outputs, scratch);
      }
    };
  });
}

template <typename T>
void separable_input(ffi::ThreadPool& pool, const T* x, Shape in, const T* g,
                     Shape from, const Pointwise<T>& w, Kernels<T>& kernels,
                     int64_t stride, bool relu, T* out) {
  Shape mid = from.with(in.channels);
  int64_t each = from.edges / in.edges, pixels = from.height * from.width;
  share_out(pool, in.edges * in.batch, [&] {
    Rows<T> sum(in.height, in.width, in.channels, stride, 0);
    Rows<T> rows(mid.height, mid.width, mid.channels, 1, kernels.pad);
    return [&, sum, rows, own = std::vector<T>(), scratch = std::vector<T>(),
            taps = Taps<T>()](int64_t unit) mutable {
      int64_t group = unit / in.batch, b = unit % in.batch;
      own.resize(mid.image());
      sum.clear();
      for (int64_t e = group * each; e < (group + 1) * each; ++e) {
        map_pixels(g + from.at(e, b), pixels, w.outputs,
                   w.backward.data() + e * w.outputs * w.wide_back,
                   w.wide_back, own.data(), w.inputs, scratch);
        rows.read(own.data());
        scatter_image(rows, mid, kernels, e, stride, sum, in, taps);
      }
      T* to = out + in.at(group, b);
      const T* seen = x + in.at(group, b);
      sum.write(to);
      if (relu)
        for (int64_t n = 0; n < in.image(); ++n)
          to[n] = seen[n] > 0 ? to[n] : T(0);
    };
  });
}

// Leaves the depthwise gradients, tiled, in the kernels' tables; dw is
// [edges, inputs, outputs].
template <typename T>
void separable_kernels(ffi::ThreadPool& pool, const T* x, Shape in, const T* g,
                       Shape from, const Pointwise<T>& w, Kernels<T>& kernels,
                       int64_t stride, bool relu, T* dw) {
  Shape mid = from.with(in.channels);
  int64_t each = from.edges / in.edges, pixels = from.height * from.width;
  int64_t matrix = w.inputs * w.wide;
  std::vector<std::vector<T>> totals(in.edges);
  auto size = [&](int64_t group) {
    return kernels.span(group * each, each) + each * matrix;
  };
  for (int64_t group = 0; group < in.edges; ++group)
    totals[group].assign(size(group), T(0));
  sum_images<T>(
      pool, in.edges, in.batch, size,
      [&] {
        Rows<T> rows(in.height, in.width, in.channels, stride, kernels.pad);
        return [&, rows, image = std::vector<T>(), own = std::vector<T>(),
                back = std::vector<T>(), padded = std::vector<T>(),
                scratch = std::vector<T>(), line = std::vector<T>(),
                taps = Taps<T>()](T* sum, int64_t group, int64_t b) mutable {
          read_image(x + in.at(group, b), in.image(), relu, image);
          rows.read(image.data());
          own.resize(mid.image());
          back.resize(mid.image());
          for (int64_t e = group * each; e < (group + 1) * each; ++e) {
            const T* seen = g + from.at(e, b);
            map_pixels(seen, pixels, w.outputs,
                       w.backward.data() + e * w.outputs * w.wide_back,
                       w.wide_back, back.data(), w.inputs, scratch);
            correlate_image(rows, in, back.data(), mid, kernels, e, stride, sum,
                            line, taps);
            sum += kernels.span(e, 1);
            convolve_image(rows, kernels, e, stride, in, own.data(), mid, taps);
            if (w.wide != w.outputs) {
              padded.resize(pixels * w.wide);
              copy_rows(seen, w.outputs, padded.data(), w.wide, pixels);
              seen = padded.data();
            }
            outer(own.data(), w.inputs, seen, w.wide, pixels, sum);
            sum += matrix;
          }
        };
      },
      [&](int64_t group) { return totals[group].data(); });
  for (int64_t e = 0; e < from.edges; ++e) {
    int64_t first = e / each * each;
    const T* total = totals[e / each].data() + kernels.span(first, e - first) +
                     (e - first) * matrix;
    std::copy_n(total, kernels.span(e, 1), kernels.taps(e));
    copy_rows(total + kernels.span(e, 1), w.wide, dw + e * w.inputs * w.outputs,
              w.outputs, w.inputs);
  }
}
