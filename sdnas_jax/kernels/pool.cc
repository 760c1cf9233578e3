// Both 3x3 pools of an image, padding left out: with c = x the largest pixel of
// each window and the mean; the first of equals counts as the largest.

#include "common.h"

namespace {

// Calls visit(pixel of the output, weight of the mean, its window's pixels).
template <typename F>
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
      visit(out, Real(1) / count, near, count);
    }
}

// What comparing two V gives, and what may number a window's pixels: a vector
// of integers, or one.
template <typename V>
struct Lane {
  using Index = decltype(V{} > V{});
};
template <>
struct Lane<Real> {
  using Index = int;
};

// Calls f(vector, channel) for whole vectors of channels, f(number, channel)
// for the rest.
template <typename F>
void over_channels(int64_t channels, const F& f) {
  int64_t k = 0;
  for (; k + kLanes <= channels; k += kLanes) f(Vec{}, k);
  for (; k < channels; ++k) f(Real{}, k);
}

template <typename V, typename From>
inline V take(const From* from) {
  if constexpr (std::is_same_v<V, Vec>)
    return load(from);
  else
    return *from;
}
template <typename To>
inline void put(To* to, Vec v) {
  store(to, v);
}
template <typename To>
inline void put(To* to, Real v) {
  *to = v;
}

// out [2, batch, ...]: c where x is largest, and c's mean.
void choose(ffi::ThreadPool& pool, const Stored* x, const Stored* c, Shape in,
            int64_t stride, Stored* out, Shape to) {
  int64_t channels = in.channels;
  share_out(pool, in.batch, [&] {
    return [&](int64_t b) {
      const Stored *seen = x + in.at(0, b), *taken = c + in.at(0, b);
      Stored *most = out + to.at(0, b), *mean = out + to.at(1, b);
      windows(in, stride,
              [&](int64_t p, Real part, const int64_t* near, int64_t count) {
                over_channels(channels, [&](auto like, int64_t k) {
                  using V = decltype(like);
                  V best = take<V>(seen + near[0] * channels + k);
                  V one = take<V>(taken + near[0] * channels + k), sum = one;
                  for (int64_t n = 1; n < count; ++n) {
                    V own = take<V>(seen + near[n] * channels + k);
                    V with = take<V>(taken + near[n] * channels + k);
                    auto larger = own > best;
                    best = larger ? own : best;
                    one = larger ? with : one;
                    sum += with;
                  }
                  sum *= part;
                  put(most + p * channels + k, one);
                  put(mean + p * channels + k, sum);
                });
              });
    };
  });
}

// The transpose of choose in c: from g [2, batch, ...] to c.
void spread(ffi::ThreadPool& pool, const Stored* x, Shape in, const Stored* g,
            Shape from, int64_t stride, Stored* c) {
  int64_t channels = in.channels;
  share_out(pool, in.batch, [&] {
    return [&, total = Numbers(in.image())](int64_t b) mutable {
      const Stored* seen = x + in.at(0, b);
      const Stored *most = g + from.at(0, b), *mean = g + from.at(1, b);
      std::fill(total.begin(), total.end(), Real(0));
      windows(in, stride,
              [&](int64_t p, Real part, const int64_t* near, int64_t count) {
                over_channels(channels, [&](auto like, int64_t k) {
                  using V = decltype(like);
                  using Index = typename Lane<V>::Index;
                  V best = take<V>(seen + near[0] * channels + k);
                  Index at{};
                  for (int64_t n = 1; n < count; ++n) {
                    V own = take<V>(seen + near[n] * channels + k);
                    auto larger = own > best;
                    best = larger ? own : best;
                    at = larger ? Index{} + static_cast<int>(n) : at;
                  }
                  V one = take<V>(most + p * channels + k);
                  V share = part * take<V>(mean + p * channels + k);
                  for (int64_t n = 0; n < count; ++n) {
                    Real* place = total.data() + near[n] * channels + k;
                    auto here = at == Index{} + static_cast<int>(n);
                    put(place, take<V>(place) + share + (here ? one : V{}));
                  }
                });
              });
      copy(total.data(), in.image(), c + in.at(0, b));
    };
  });
}

// out [1, batch, ...]: each window's mean.
void average(ffi::ThreadPool& pool, const Stored* x, Shape in, int64_t stride,
             Stored* out, Shape to) {
  int64_t channels = in.channels;
  share_out(pool, in.batch, [&] {
    return [&](int64_t b) {
      const Stored* seen = x + in.at(0, b);
      Stored* mean = out + to.at(0, b);
      windows(in, stride,
              [&](int64_t p, Real part, const int64_t* near, int64_t count) {
                over_channels(channels, [&](auto like, int64_t k) {
                  decltype(like) sum{};
                  for (int64_t n = 0; n < count; ++n)
                    sum += take<decltype(like)>(seen + near[n] * channels + k);
                  put(mean + p * channels + k, sum * part);
                });
              });
    };
  });
}

// Its transpose: from g [1, batch, ...] to c.
void average_back(ffi::ThreadPool& pool, const Stored* g, Shape from,
                  int64_t stride, Stored* c, Shape in) {
  int64_t channels = in.channels;
  share_out(pool, in.batch, [&] {
    return [&, total = Numbers(in.image())](int64_t b) mutable {
      const Stored* mean = g + from.at(0, b);
      std::fill(total.begin(), total.end(), Real(0));
      windows(in, stride,
              [&](int64_t p, Real part, const int64_t* near, int64_t count) {
                over_channels(channels, [&](auto like, int64_t k) {
                  using V = decltype(like);
                  V share = part * take<V>(mean + p * channels + k);
                  for (int64_t n = 0; n < count; ++n) {
                    Real* place = total.data() + near[n] * channels + k;
                    put(place, take<V>(place) + share);
                  }
                });
              });
      copy(total.data(), in.image(), c + in.at(0, b));
    };
  });
}

ffi::Error Average(ffi::ThreadPool pool, Buffer x, Result out, int64_t stride) {
  average(pool, rows_of(x), Shape(x.dimensions()), stride, rows_of(*out),
          Shape(out->dimensions()));
  return ffi::Error::Success();
}

ffi::Error AverageBack(ffi::ThreadPool pool, Buffer g, Result c,
                       int64_t stride) {
  average_back(pool, rows_of(g), Shape(g.dimensions()), stride, rows_of(*c),
               Shape(c->dimensions()));
  return ffi::Error::Success();
}

ffi::Error Choose(ffi::ThreadPool pool, Buffer x, Buffer c, Result out,
                  int64_t stride) {
  choose(pool, rows_of(x), rows_of(c), Shape(x.dimensions()), stride,
         rows_of(*out), Shape(out->dimensions()));
  return ffi::Error::Success();
}

ffi::Error Spread(ffi::ThreadPool pool, Buffer x, Buffer g, Result c,
                  int64_t stride) {
  spread(pool, rows_of(x), Shape(x.dimensions()), rows_of(g),
         Shape(g.dimensions()), stride, rows_of(*c));
  return ffi::Error::Success();
}

}  // namespace

#define ONE BIND.Arg<Buffer>()
#define STRIDED Ret<Buffer>().Attr<int64_t>("stride")

HANDLER(choose, Choose, ONE.Arg<Buffer>().STRIDED);
HANDLER(spread, Spread, ONE.Arg<Buffer>().STRIDED);
HANDLER(average, Average, ONE.STRIDED);
HANDLER(average_back, AverageBack, ONE.STRIDED);
