// Sums for each channel, and the gradient that a mixture of normalised outputs
// hands on, of an image that a kernel has in the cache.

#pragma once

#include "common.h"

// An image as a flat vector in which channel c comes again every `period`
// vectors: lane n of these stands for channel n mod channels.
struct Lanes {
  int64_t channels, period, wide;
  explicit Lanes(int64_t channels)
      : channels(channels),
        period(channels / std::gcd(channels, kLanes)),
        wide(period * kLanes) {}
  void fold(const Real* lanes, Real* sums) const {
    std::fill_n(sums, channels, Real(0));
    for (int64_t n = 0; n < wide; ++n) sums[n % channels] += lanes[n];
  }
};

// A table [rows, channels], each row repeated until it fills whole vectors.
Numbers tiled(const Real* table, int64_t rows, const Lanes& lanes) {
  Numbers all(rows * lanes.wide);
  for (int64_t n = 0; n < rows * lanes.wide; ++n)
    all[n] = table[n / lanes.wide * lanes.channels +
                   n % lanes.wide % lanes.channels];
  return all;
}

// first += scale * sum of a, second += scale * sum of a b, by lane.
void add_products(const Stored* a, const Stored* b, int64_t size,
                  const Lanes& lanes, Real scale, Real* first, Real* second) {
  int64_t whole = size / kLanes,
          block = 32 * lanes.period;  // so many are summed apart: less rounding
  for (int64_t from = 0; from < whole; from += block)
    for (int64_t p = 0; p < lanes.period; ++p) {
      Vec one{}, two{};
      int64_t to = std::min(from + block, whole);
      for (int64_t n = from + p; n < to; n += lanes.period) {
        Vec v = load(a + n * kLanes);
        one += v;
        two += v * load(b + n * kLanes);
      }
      Real* sum = first + p * kLanes;
      store(sum, load(sum) + scale * one);
      sum = second + p * kLanes;
      store(sum, load(sum) + scale * two);
    }
  for (int64_t n = whole * kLanes; n < size; ++n) {
    first[n % lanes.wide] += scale * a[n];
    second[n % lanes.wide] += scale * a[n] * b[n];
  }
}

// The sums over images of share z and share z^2, for each of some edges.
struct Moments {
  Lanes lanes;
  Numbers share;  // of each image
  Real *first, *second;

  Moments(Shape of, const Real* share, Real* first, Real* second)
      : lanes(of.channels),
        share(share, share + of.batch),
        first(first),
        second(second) {}
  int64_t size() const { return 2 * lanes.wide; }  // numbers for an edge
  // Adds some pixels of an image to an edge's.
  void add(const Stored* z, int64_t count, int64_t b, Real* sum) const {
    add_products(z, z, count, lanes, share[b], sum, sum + lanes.wide);
  }
  void write(int64_t edge, const Real* sum) const {
    lanes.fold(sum, first + edge * lanes.channels);
    lanes.fold(sum + lanes.wide, second + edge * lanes.channels);
  }
};

// What reaches the outputs z [stack * edges, ...] of a mixture from its
// gradient g [edges, ...]:
//   dz = a g + share (b + c z),
// for a, b, c [stack * edges, channels]; or, without them, g itself.
class Reaching {
 public:
  Reaching(const Stored* g, Shape of) : g_(g), of_(of), lanes_(of.channels) {}
  Reaching(const Stored* g, Shape of, const Stored* z, Shape rows,
           const Real* share, const Real* a, const Real* b, const Real* c)
      : g_(g), of_(of), lanes_(of.channels), z_(z), share_(share) {
    for (auto* each : {a, b, c})
      tables_.push_back(tiled(each, rows.edges, lanes_));
  }

  // An image of an edge's, in memory that lasts to the next call.
  const Stored* image(int64_t edge, int64_t b, Memory<Stored>& memory) const {
    const Stored* g = g_ + of_.at(edge % of_.edges, b);
    if (!z_) return g;
    const Stored* z = z_ + of_.at(edge, b);
    int64_t size = of_.image(), wide = lanes_.wide, n = 0;
    memory.resize(ceil_div(size, kLanes) * kLanes);
    auto table = [&](int k) { return tables_[k].data() + edge * wide; };
    const Real *a = table(0), *constant = table(1), *c = table(2);
    Real share = share_[b];
    Stored* to = memory.data();
    for (; n + wide <= size; n += wide)
      for (int64_t p = 0; p < wide; p += kLanes)
        store(to + n + p,
              load(a + p) * load(g + n + p) +
                  share * (load(constant + p) + load(c + p) * load(z + n + p)));
    for (int64_t p = 0; n < size; ++n, ++p)
      to[n] = a[p] * g[n] + share * (constant[p] + c[p] * z[n]);
    return to;
  }

 private:
  const Stored* g_;
  Shape of_;
  Lanes lanes_;
  const Stored* z_ = nullptr;
  const Real* share_ = nullptr;
  std::vector<Numbers> tables_;
};

Reaching reaching(const Buffer& g) {
  return {rows_of(g), Shape(g.dimensions())};
}

Reaching reaching(const Buffer& g, const Buffer& z, const Table& share,
                  const Table& a, const Table& b, const Table& c) {
  return {rows_of(g),         Shape(g.dimensions()),
          rows_of(z),         Shape(z.dimensions()),
          share.typed_data(), a.typed_data(),
          b.typed_data(),     c.typed_data()};
}
