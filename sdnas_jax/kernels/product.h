// Products of small matrices, a block of rows and columns in registers at a
// time.
//
// Columns are vectors of outputs; the matrix on the right is packed in panels
// of one to three of them.

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

// Rows for so many columns: a power of two, at most 8, as each has an address.
constexpr int rows_of(int q) {
  int rows = 1;
  while (rows < 8 && 2 * rows * q <= kSums) rows *= 2;
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

// What is added to a product: of each pixel, `inner` numbers, from `left` and
// for each further pixel a step on, times as many rows of a panel.
struct Term {
  const Real *left, *panel;
  int64_t inner, step;
};

// Calls f(0), f(1) ... f(N - 1) with constants, so that the elements of an
// array that they count through stay in registers.
template <typename F, size_t... I>
inline __attribute__((always_inline)) void each_of(std::index_sequence<I...>,
                                                   const F& f) {
  (f(std::integral_constant<int, I>()), ...);
}

template <int N, typename F>
inline __attribute__((always_inline)) void each(const F& f) {
  each_of(std::make_index_sequence<N>(), f);
}

// P rows and Q columns of a product.
template <int P, int Q>
struct Sums {
  Vec of[P * Q] = {};

  // Adds P numbers, a step apart, times Q vectors.
  void add(const Real* left, int64_t step, const Real* const* right,
           int64_t at) {
    Vec column[Q];
    each<Q>([&](auto q) { column[q] = load(right[q] + at); });
    each<P * Q>([&](auto n) { of[n] += left[n / Q * step] * column[n % Q]; });
  }
};

// The product of `width` pixels: to[q] + p * stride is column q of pixel p.
template <int Q>
void multiply_row(const std::vector<Term>& terms, int64_t width,
                  const Column* columns, Real* const* to, int64_t stride) {
  in_parts<rows_of(Q)>(width, [&](auto count, int64_t x) {
    constexpr int P = decltype(count)::value;
    Sums<P, Q> sums;
    for (const Term& term : terms) {
      const Real* left = term.left + x * term.step;
      const Real* right[Q];
      each<Q>([&](auto q) { right[q] = term.panel + q * kLanes; });
      for (int64_t n = 0; n < term.inner; ++n)
        sums.add(left + n, term.step, right, n * Q * kLanes);
    }
    each<Q>([&](auto q) {
      Real* out = to[q] + x * stride;
      if (columns[q].lanes == kLanes)
        each<P>([&](auto p) { store(out + p * stride, sums.of[p * Q + q]); });
      else
        each<P>([&](auto p) {
          for (int64_t n = 0; n < columns[q].lanes; ++n)
            out[p * stride + n] = sums.of[p * Q + q][n];
        });
    });
  });
}

// A panel: some columns of a matrix next to each other, filled up with zeros.
template <typename F>
void pack(Numbers& panels, int64_t rows, const Column* columns, int64_t count,
          const F& at) {
  size_t filled = panels.size();
  panels.resize(filled + rows * count * kLanes);
  Real* to = panels.data() + filled;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t q = 0; q < count; ++q, to += kLanes)
      for (int64_t n = 0; n < columns[q].lanes; ++n)
        to[n] = at(columns[q], r, n);
}

// Adds to M rows of Q columns of a table [rows, wide]: of each pixel, M numbers
// from `left` and for each further one a step on, times Q vectors on the right.
template <int M, int Q>
void correlate(const Real* left, int64_t step, const Real* const* right,
               int64_t stride, int64_t pixels, Real* table, int64_t wide) {
  Sums<M, Q> sums;
  for (int64_t p = 0; p < pixels; ++p)
    sums.add(left + p * step, 1, right, p * stride);
  each<M * Q>([&](auto n) {
    Real* to = table + n / Q * wide + n % Q * kLanes;
    store(to, load(to) + sums.of[n]);
  });
}
