// The depthwise kernels of a call: the arguments, or the results, that remain
// after the others, each [edges, size, size, channels].

#pragma once

#include "common.h"

struct Kernel {
  int64_t size, dilation, pad;
};

// All kernels of a call, edge by edge: each tap's weights, one for each
// channel, repeated until they fill whole vectors, `period` in number.
struct Kernels {
  int64_t channels, period, pad = 0;
  std::vector<Kernel> edges;

  explicit Kernels(int64_t channels)
      : channels(channels), period(channels / std::gcd(channels, kLanes)) {}

  int64_t wide() const { return period * kLanes; }  // of a tap
  void add(int64_t count, int64_t size, int64_t dilation) {
    int64_t own = dilation * (size - 1) / 2;
    pad = std::max(pad, own);
    for (int64_t e = 0; e < count; ++e) {
      edges.push_back({size, dilation, own});
      first_.push_back(first_.back() + size * size * wide());
    }
  }
  void allocate() { table_.assign(first_.back(), Real(0)); }
  // An edge's taps, one after the other; where they end, the next edge's begin.
  Real* taps(int64_t edge) { return table_.data() + first_[edge]; }
  int64_t span(int64_t edge, int64_t count) const {
    return first_[edge + count] - first_[edge];
  }

  void tile(int64_t edge, const Real* kernel) {
    each(edge, [&](Real& own, int64_t n) { own = kernel[n]; });
  }
  // Adjoint of `tile`.
  void fold(int64_t edge, Real* kernel) {
    int64_t size = edges[edge].size;
    std::fill_n(kernel, size * size * channels, Real(0));
    each(edge, [&](Real& own, int64_t n) { kernel[n] += own; });
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
  Numbers table_;
};

using Tables = std::vector<Table>;
using Dilations = ffi::Span<const int64_t>;

// Calls with each edge's number and its kernel in the tables.
template <typename F>
void visit(Tables& tables, const F& with) {
  int64_t edge = 0;
  for (auto& k : tables) {
    auto d = k.dimensions();
    for (int64_t e = 0; e < d[0]; ++e)
      with(edge++, k.typed_data() + e * d[1] * d[2] * d[3]);
  }
}

Kernels kernels_of(Tables& tables, int64_t channels, Dilations dilations) {
  Kernels kernels(channels);
  for (size_t n = 0; n < tables.size(); ++n)
    kernels.add(tables[n].dimensions()[0], tables[n].dimensions()[1],
                dilations[n % dilations.size()]);
  kernels.allocate();
  return kernels;
}

Tables gather(ffi::RemainingArgs rest) {
  Tables tables;
  for (size_t n = 0; n < rest.size(); ++n)
    tables.push_back(*rest.get<Table>(n));
  return tables;
}

Tables gather(ffi::RemainingRets rest) {
  Tables tables;
  for (size_t n = 0; n < rest.size(); ++n)
    tables.push_back(**rest.get<Table>(n));
  return tables;
}

// The depthwise kernels among a call's arguments, tiled.
Kernels tiled(ffi::RemainingArgs rest, int64_t channels, Dilations dilations) {
  auto tables = gather(rest);
  auto kernels = kernels_of(tables, channels, dilations);
  visit(tables, [&](int64_t e, auto* k) { kernels.tile(e, k); });
  return kernels;
}
