// What a normalisation and its gradient are made of: sums over images and
// pixels, for each edge and channel, and what they then give.

#include "mixture.h"

namespace {

// first [edges, channels] = sum of share z, second the same of share z^2; alive
// [edges].
void moments(ffi::ThreadPool& pool, const Real* z, Shape of, const Real* share,
             const bool* alive, Real* first, Real* second) {
  Moments moments(of, share, first, second);
  Numbers total(of.edges * moments.size());
  auto own = [&](int64_t e) { return total.data() + e * moments.size(); };
  sum_images(
      pool, of.edges, of.batch, [&](int64_t) { return moments.size(); },
      [&] {
        return [&](Real* sum, int64_t e, int64_t b) {
          if (alive[e]) moments.add(z + of.at(e, b), of.image(), b, sum);
        };
      },
      own);
  for (int64_t e = 0; e < of.edges; ++e) moments.write(e, own(e));
}

// first [edges, channels] = sum of g; second [stack * edges, channels] = sum of
// g z, for z [stack * edges or stack, ...], whose edges may share an array;
// alive [stack * edges].
void products(ffi::ThreadPool& pool, const Real* g, Shape of, const Real* z,
              int64_t depth, int64_t stack, const bool* alive, Real* first,
              Real* second) {
  Lanes lanes(of.channels);
  int64_t size = (1 + stack) * lanes.wide, each = depth / stack;
  Numbers total(of.edges * size);
  sum_images(
      pool, of.edges, of.batch, [&](int64_t) { return size; },
      [&] {
        return [&, unused = Numbers(lanes.wide)](Real* sum, int64_t e,
                                                 int64_t b) mutable {
          Real* once = sum;  // the first that is alive takes the sum of g too
          for (int64_t n = 0; n < stack; ++n) {
            if (!alive[n * of.edges + e]) continue;
            int64_t at = n * each + (each > 1 ? e : 0);
            add_products(g + of.at(e, b), z + of.at(at, b), of.image(), lanes,
                         Real(1), once, sum + (1 + n) * lanes.wide);
            once = unused.data();
          }
        };
      },
      [&](int64_t e) { return total.data() + e * size; });
  for (int64_t e = 0; e < of.edges; ++e) {
    const Real* own = total.data() + e * size;
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
// edges, ..., channels]; alive [stack * edges]; g, first [edges, ...].
void mixture_input(ffi::ThreadPool& pool, const Real* g, Shape of,
                   const Real* z, Shape rows, bool shared, const Real* share,
                   const Real* p, const Real* mean, const Real* scale,
                   const Real* first, const Real* second, const bool* alive,
                   Real* dz) {
  Lanes lanes(of.channels);
  int64_t size = of.image(), many = shared ? of.edges : 1;
  share_out(pool, rows.edges * of.batch, [&] {
    return [&, factors = Numbers((2 + many) * lanes.wide),
            from = std::vector<const Real*>(),
            edges = std::vector<int64_t>()](int64_t unit) mutable {
      int64_t row = unit / of.batch, image = unit % of.batch;
      Real* to = dz + of.at(row, image);
      from = {z + of.at(row, image)};
      edges.clear();  // those of [stack * edges] that this row serves, alive
      for (int64_t at = row * many; at < (row + 1) * many; ++at)
        if (alive[at]) {
          edges.push_back(at);
          from.push_back(g + of.at(at % of.edges, image));
        }
      if (edges.empty()) {
        std::fill_n(to, size, Real(0));
        return;
      }
      int64_t terms = from.size();
      Real *linear = factors.data(), *constant = linear + terms * lanes.wide;
      for (int64_t m = 0; m < lanes.wide; ++m) {
        int64_t c = m % of.channels, own = row * of.channels + c;
        linear[m] = constant[m] = 0;
        for (int64_t n = 0; n < terms - 1; ++n) {
          int64_t at = edges[n], e = at % of.edges;
          Real one = first[e * of.channels + c];
          Real slope =
              scale[own] * (second[at * of.channels + c] - mean[own] * one);
          Real factor = p[at * of.channels + c] * scale[own];
          factors[(1 + n) * lanes.wide + m] = factor;
          linear[m] -= share[image] * factor * scale[own] * slope;
          constant[m] -= share[image] * factor * one;
        }
        constant[m] -= linear[m] * mean[own];
      }
      int64_t at = 0;
      for (; at + lanes.wide <= size; at += lanes.wide)
        for (int64_t c = 0; c < lanes.wide; c += kLanes) {
          Vec sum = load(constant + c);
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

ffi::Error TakeMoments(ffi::ThreadPool pool, Buffer z, Buffer share,
                       Alive alive, Result first, Result second) {
  moments(pool, z.typed_data(), Shape(z.dimensions()), share.typed_data(),
          alive.typed_data(), first->typed_data(), second->typed_data());
  return ffi::Error::Success();
}

ffi::Error Products(ffi::ThreadPool pool, Buffer g, Buffer z, Alive alive,
                    Result first, Result second) {
  Shape of(g.dimensions());
  int64_t stack = second->dimensions()[0] / of.edges;
  products(pool, g.typed_data(), of, z.typed_data(), z.dimensions()[0], stack,
           alive.typed_data(), first->typed_data(), second->typed_data());
  return ffi::Error::Success();
}

ffi::Error MixtureInput(ffi::ThreadPool pool, Buffer g, Buffer z, Buffer share,
                        Buffer p, Buffer mean, Buffer scale, Buffer first,
                        Buffer second, Alive alive, Result dz, bool shared) {
  mixture_input(pool, g.typed_data(), Shape(g.dimensions()), z.typed_data(),
                Shape(z.dimensions()), shared, share.typed_data(),
                p.typed_data(), mean.typed_data(), scale.typed_data(),
                first.typed_data(), second.typed_data(), alive.typed_data(),
                dz->typed_data());
  return ffi::Error::Success();
}

}  // namespace

#define OF_TWO BIND.Arg<Buffer>().Arg<Buffer>()

HANDLER(moments, TakeMoments, OF_TWO.Arg<Alive>().Ret<Buffer>().Ret<Buffer>());
HANDLER(products, Products, OF_TWO.Arg<Alive>().Ret<Buffer>().Ret<Buffer>());
HANDLER(mixture_input, MixtureInput,
        OF_TWO.Arg<Buffer>()
            .Arg<Buffer>()
            .Arg<Buffer>()
            .Arg<Buffer>()
            .Arg<Buffer>()
            .Arg<Buffer>()
            .Arg<Alive>()
            .Ret<Buffer>()
            .Attr<bool>("shared"));
