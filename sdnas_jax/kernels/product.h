// Products of small matrices, a block of rows and columns in registers at a
// time.
//
// Columns are vectors of outputs; the matrix on the right is packed in panels
// of one to three of them.

#pragma once

#include "common.h"

// A compiler that leaves one of these calls keeps sums in memory.
#define INLINE inline __attribute__((always_inline))
#define INLINED __attribute__((always_inline))

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
  const Stored* left;
  const Pair* panel;
  int64_t inner, step;
};

// Calls f(0), f(1) ... f(N - 1) with constants, so that the elements of an
// array that they count through stay in registers.
template <typename F, size_t... I>
INLINE void each_of(std::index_sequence<I...>, const F& f) {
  (f(std::integral_constant<int, I>()), ...);
}

template <int N, typename F>
INLINE void each(const F& f) {
  each_of(std::make_index_sequence<N>(), f);
}

// P rows and Q columns of a product.
template <int P, int Q>
struct Sums {
  Vec of[P * Q] = {};

  // Adds P pairs, that one(p) says, times Q vectors of them.
  template <typename F>
  INLINE void add(const F& one, const Pair* const* right, int64_t at) {
    decltype(load(right[0])) column[Q];
    each<Q>([&](auto q) INLINED { column[q] = load(right[q] + at); });
    each<P * Q>([&](auto n) INLINED {
      of[n] = multiply_add(of[n], one(n / Q), column[n % Q]);
    });
  }
};

// Adds a product of P pixels from the x-th on, with an odd number of rows or
// not.
template <bool kOdd, int P, int Q>
INLINE void add_term(Sums<P, Q>& sums, const Term& term, int64_t x) {
  const Pair* right[Q];
  each<Q>([&](auto q) INLINED { right[q] = term.panel + q * kLanes; });
  const Stored* left = term.left + x * term.step;
  for (int64_t n = 0; n < term.inner; n += kPair) {
    bool whole = !kOdd || n + 1 < term.inner;
    auto one = [&](auto p) INLINED {
      const Stored* at = left + p * term.step + n;
      return whole ? pair(at) : pair(*at, Stored(0));
    };
    sums.add(one, right, n / kPair * Q * kLanes);
  }
}

// The product of `width` pixels: to[q] + p * stride is column q of pixel p.
template <int Q, typename To>
void multiply_row(const std::vector<Term>& terms, int64_t width,
                  const Column* columns, To* const* to, int64_t stride) {
  in_parts<rows_of(Q)>(width, [&](auto count, int64_t x) {
    constexpr int P = decltype(count)::value;
    Sums<P, Q> sums;
    if (terms[0].inner % kPair)
      for (auto& term : terms) add_term<true>(sums, term, x);
    else
      for (auto& term : terms) add_term<false>(sums, term, x);
    each<Q>([&](auto q) INLINED {
      To* out = to[q] + x * stride;
      if (columns[q].lanes == kLanes)
        each<P>([&](auto p)
                    INLINED { store(out + p * stride, sums.of[p * Q + q]); });
      else
        each<P>([&](auto p) INLINED {
          Real one[kLanes];  // whose address is taken, not that of the sums
          store(one, sums.of[p * Q + q]);
          copy(one, columns[q].lanes, out + p * stride);
        });
    });
  });
}

// A panel: some columns of a matrix next to each other, filled up with zeros.
template <typename F>
void pack(Memory<Pair>& panels, int64_t rows, const Column* columns,
          int64_t count, const F& at) {
  size_t filled = panels.size();
  panels.resize(filled + pairs(rows) * count * kLanes);
  Pair* to = panels.data() + filled;
  for (int64_t r = 0; r < rows; r += kPair)
    for (int64_t q = 0; q < count; ++q, to += kLanes)
      for (int64_t n = 0; n < columns[q].lanes; ++n) {
        bool last = r + 1 == rows;
        to[n] = pair(Stored(at(columns[q], r, n)),
                     last ? Stored(0) : Stored(at(columns[q], r + 1, n)));
      }
}

// Rows of pixels as pairs of neighbours, each channel's together and as many as
// fill `wide`; the last of an odd number is paired with zeros.
template <typename From>
const Pair* pair_pixels(const From* from, int64_t rows, int64_t width,
                        int64_t channels, int64_t wide, Memory<Pair>& memory) {
  if constexpr (std::is_same_v<From, Pair>)
    if (wide == channels) return from;
  memory.resize(rows * pairs(width) * wide);
  Pair* to = memory.data();
  for (int64_t y = 0; y < rows; ++y, from += width * channels)
    for (int64_t x = 0; x < width; x += kPair, to += wide) {
      const From* own = from + x * channels;
      bool two = kPair > 1 && x + 1 < width;
      for (int64_t c = 0; c < channels; ++c)
        to[c] =
            pair(Stored(own[c]), two ? Stored(own[channels + c]) : Stored(0));
    }
  return memory.data();
}

// Adds to M rows of Q columns of a table [rows, wide]: of each of some pairs of
// pixels, M from `left` and for each further one a step on, times Q vectors on
// the right.
template <int M, int Q>
void correlate(const Pair* left, int64_t step, const Pair* const* right,
               int64_t stride, int64_t count, Real* table, int64_t wide) {
  Sums<M, Q> sums;
  for (int64_t p = 0; p < count; ++p)
    sums.add([&](auto m) INLINED { return left[p * step + m]; }, right,
             p * stride);
  each<M * Q>([&](auto n) {
    Real* to = table + n / Q * wide + n % Q * kLanes;
    store(to, load(to) + sums.of[n]);
  });
}
