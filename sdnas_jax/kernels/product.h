// Products of small matrices, a block of rows and columns in registers at a time.
//
// Columns are vectors of outputs; the matrix on the right is packed in panels of
// one to three of them.

#pragma once

#include "common.h"

// Of the vectors that registers hold of a product: all, and its columns.
constexpr int kSums = kBytes == 64 ? 24 : 12;
constexpr int kColumns = 3;

// Calls part(N, from) for N of `count` at a time, N at most kMost and halved
// until it fits.
template <int kMost, typename F>
inline void in_parts(int64_t count, const F& part, int64_t from = 0) {
  for (; from + kMost <= count; from += kMost)
    part(std::integral_constant<int, kMost>(), from);
  if constexpr (kMost > 1)
    if (from < count) in_parts<kMost / 2>(count, part, from);
}

// The largest power of two that Q columns leave registers for.
constexpr int rows_of(int q) {
  int rows = 1;
  while (2 * rows * q <= kSums) rows *= 2;
  return rows;
}

// A vector of outputs: of an edge, `lanes` of its features from the first on.
struct Column {
  int64_t edge, first, lanes;
};

std::vector<Column> columns_of(int64_t edge, int64_t features) {
  std::vector<Column> columns;
  for (int64_t d = 0; d < features; d += kLanes)
    columns.push_back({edge, d, std::min(kLanes, features - d)});
  return columns;
}

// Columns are taken three at a time, and four in two halves.
int64_t next_columns(int64_t left) {
  return left == 4 ? 2 : std::min<int64_t>(left, kColumns);
}

// Calls f(first, count) for each panel of so many columns.
template <typename F>
void each_panel(int64_t columns, const F& f) {
  for (int64_t c = 0, count; c < columns; c += count) {
    count = next_columns(columns - c);
    f(c, count);
  }
}

template <typename F>
void with_columns(int64_t count, const F& f) {
  if (count == 3) return f(std::integral_constant<int, 3>());
  if (count == 2) return f(std::integral_constant<int, 2>());
  f(std::integral_constant<int, 1>());
}

// What is added to a product: of each pixel, `inner` numbers, from `left` and for
// each further pixel a step on, times as many rows of a panel.
struct Term {
  const Real *left, *panel;
  int64_t inner, step;
};

// Adds to P pixels' Q columns.
template <int P, int Q>
inline void multiply(const std::vector<Term>& terms, int64_t x,
                     Vec (&sum)[P][Q]) {
  for (const Term& term : terms) {
    const Real *left = term.left + x * term.step, *right = term.panel;
    for (int64_t n = 0; n < term.inner; ++n, right += Q * kLanes) {
      Vec column[Q];
      for (int q = 0; q < Q; ++q) column[q] = load(right + q * kLanes);
      for (int p = 0; p < P; ++p)
        for (int q = 0; q < Q; ++q)
          sum[p][q] += left[p * term.step + n] * column[q];
    }
  }
}

// The product of `width` pixels: to[q] + p * stride is column q of pixel p.
template <int Q>
void multiply_row(const std::vector<Term>& terms, int64_t width,
                  const Column* columns, Real* const* to, int64_t stride) {
  in_parts<rows_of(Q)>(width, [&](auto count, int64_t x) {
    constexpr int P = decltype(count)::value;
    Vec sum[P][Q] = {};
    multiply<P, Q>(terms, x, sum);
    for (int q = 0; q < Q; ++q)
      for (int p = 0; p < P; ++p) {
        Real* out = to[q] + (x + p) * stride;
        if (columns[q].lanes == kLanes)
          store(out, sum[p][q]);
        else
          std::copy_n(reinterpret_cast<Real*>(&sum[p][q]), columns[q].lanes,
                      out);
      }
  });
}

// A panel: some columns of a matrix next to each other, filled up with zeros.
template <typename F>
void pack(Numbers& panels, int64_t rows, const Column* columns,
          int64_t count, const F& at) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t q = 0; q < count; ++q)
      for (int64_t n = 0; n < kLanes; ++n)
        panels.push_back(n < columns[q].lanes ? at(columns[q], r, n) : Real(0));
}

// M numbers of each pixel, from `left` and for each further one a step on, times
// Q columns of as many pixels on the right: the sum over pixels is added.
template <int M, int Q>
inline void correlate(const Real* left, int64_t step,
                      const Real* const* right, int64_t stride, int64_t pixels,
                      Vec (&sum)[M][Q]) {
  for (int64_t p = 0; p < pixels; ++p, left += step) {
    Vec column[Q];
    for (int q = 0; q < Q; ++q) column[q] = load(right[q] + p * stride);
    for (int m = 0; m < M; ++m)
      for (int q = 0; q < Q; ++q) sum[m][q] += left[m] * column[q];
  }
}

// Of a table [rows, wide], M rows of Q columns: read, or written.
template <int M, int Q>
inline void take(const Real* table, int64_t wide, Vec (&sum)[M][Q]) {
  for (int m = 0; m < M; ++m)
    for (int q = 0; q < Q; ++q) sum[m][q] = load(table + m * wide + q * kLanes);
}

template <int M, int Q>
inline void put(Real* table, int64_t wide, const Vec (&sum)[M][Q]) {
  for (int m = 0; m < M; ++m)
    for (int q = 0; q < Q; ++q) store(table + m * wide + q * kLanes, sum[m][q]);
}
