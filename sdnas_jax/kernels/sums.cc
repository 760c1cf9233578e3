// What a normalisation and its gradient are made of: sums over images and
// pixels, for each edge and channel, and what they then give.

#include "mixture.h"

namespace {

// first [edges, channels] = sum of share z, second the same of share z^2; alive
// [edges].
void moments(ffi::ThreadPool& pool, const Stored* z, Shape of,
             const Real* share, const bool* alive, Real* first, Real* second) {
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
void products(ffi::ThreadPool& pool, const Stored* g, Shape of, const Stored* z,
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

// out [edges, ...] = bias + the sum over a stack of a (z - mean), for a [stack
// * edges, channels]; z and mean are [stack * edges, ...] or, `shared`, [stack,
// ...]; alive [stack * edges].
void mix(ffi::ThreadPool& pool, const Stored* z, Shape rows, bool shared,
         const Real* a, const Real* mean, const Real* bias, const bool* alive,
         Stored* out, Shape to) {
  Lanes lanes(to.channels);
  int64_t size = to.image(), each = shared ? to.edges : 1;
  int64_t count = rows.edges * each;
  Numbers factors = tiled(a, count, lanes),
          constants = tiled(bias, to.edges, lanes);
  Numbers means = tiled(mean, rows.edges, lanes);
  struct Term {
    const Stored* z;
    const Real *factor, *mean;
  };
  share_out(pool, to.edges * to.batch, [&] {
    return [&, terms = std::vector<Term>()](int64_t unit) mutable {
      int64_t e = unit / to.batch, b = unit % to.batch, at = 0;
      const Real* constant = constants.data() + e * lanes.wide;
      Stored* own = out + to.at(e, b);
      terms.clear();
      for (int64_t n = e; n < count; n += to.edges)
        if (alive[n])
          terms.push_back({z + to.at(n / each, b),
                           factors.data() + n * lanes.wide,
                           means.data() + n / each * lanes.wide});
      for (; at + lanes.wide <= size; at += lanes.wide)
        for (int64_t c = 0; c < lanes.wide; c += kLanes) {
          Vec sum = load(constant + c);
          for (auto& [z, factor, mean] : terms)
            sum += load(factor + c) * (load(z + at + c) - load(mean + c));
          store(own + at + c, sum);
        }
      for (int64_t c = 0; at < size; ++at, ++c) {
        Real sum = constant[c];
        for (auto& [z, factor, mean] : terms)
          sum += factor[c] * (z[at] - mean[c]);
        own[at] = sum;
      }
    };
  });
}

// The gradient of a mixture of normalised z in z, one of which may serve many
// edges (`shared`), for slope = scale (second - mean first):
//   dz = sum over its edges of p scale (g - share (first + scale slope (z -
//   mean))).
// z, mean, scale are [stack * edges, ...] or [stack, ...]; p, second [stack *
// edges, ..., channels]; alive [stack * edges]; g, first [edges, ...].
void mixture_input(ffi::ThreadPool& pool, const Stored* g, Shape of,
                   const Stored* z, Shape rows, bool shared, const Real* share,
                   const Real* p, const Real* mean, const Real* scale,
                   const Real* first, const Real* second, const bool* alive,
                   Stored* dz) {
  Lanes lanes(of.channels);
  int64_t size = of.image(), many = shared ? of.edges : 1;
  share_out(pool, rows.edges * of.batch, [&] {
    return [&, factors = Numbers((2 + many) * lanes.wide),
            from = std::vector<const Stored*>(),
            edges = std::vector<int64_t>()](int64_t unit) mutable {
      int64_t row = unit / of.batch, image = unit % of.batch;
      Stored* to = dz + of.at(row, image);
      from = {z + of.at(row, image)};
      edges.clear();  // those of [stack * edges] that this row serves, alive
      for (int64_t at = row * many; at < (row + 1) * many; ++at)
        if (alive[at]) {
          edges.push_back(at);
          from.push_back(g + of.at(at % of.edges, image));
        }
      if (edges.empty()) {
        std::fill_n(to, size, Stored(0));
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
        Real sum = constant[c];
        for (int64_t m = 0; m < terms; ++m)
          sum += linear[m * lanes.wide + c] * from[m][at];
        to[at] = sum;
      }
    };
  });
}

ffi::Error TakeMoments(ffi::ThreadPool pool, Buffer z, Table share, Alive alive,
                       Sum first, Sum second) {
  moments(pool, rows_of(z), Shape(z.dimensions()), share.typed_data(),
          alive.typed_data(), first->typed_data(), second->typed_data());
  return ffi::Error::Success();
}

ffi::Error Products(ffi::ThreadPool pool, Buffer g, Buffer z, Alive alive,
                    Sum first, Sum second) {
  Shape of(g.dimensions());
  int64_t stack = second->dimensions()[0] / of.edges;
  products(pool, rows_of(g), of, rows_of(z), z.dimensions()[0], stack,
           alive.typed_data(), first->typed_data(), second->typed_data());
  return ffi::Error::Success();
}

ffi::Error Mix(ffi::ThreadPool pool, Buffer z, Table a, Table mean, Table bias,
               Alive alive, Result out, bool shared) {
  mix(pool, rows_of(z), Shape(z.dimensions()), shared, a.typed_data(),
      mean.typed_data(), bias.typed_data(), alive.typed_data(), rows_of(*out),
      Shape(out->dimensions()));
  return ffi::Error::Success();
}

ffi::Error MixtureInput(ffi::ThreadPool pool, Buffer g, Buffer z, Table share,
                        Table p, Table mean, Table scale, Table first,
                        Table second, Alive alive, Result dz, bool shared) {
  mixture_input(pool, rows_of(g), Shape(g.dimensions()), rows_of(z),
                Shape(z.dimensions()), shared, share.typed_data(),
                p.typed_data(), mean.typed_data(), scale.typed_data(),
                first.typed_data(), second.typed_data(), alive.typed_data(),
                rows_of(*dz));
  return ffi::Error::Success();
}

}  // namespace

#define ONE BIND.Arg<Buffer>()
#define TWO ONE.Arg<Buffer>()
#define SUMS Arg<Alive>().Ret<Table>().Ret<Table>()

HANDLER(moments, TakeMoments, ONE.Arg<Table>().SUMS);
HANDLER(products, Products, TWO.SUMS);
HANDLER(mix, Mix,
        ONE.Arg<Table>()
            .Arg<Table>()
            .Arg<Table>()
            .Arg<Alive>()
            .Ret<Buffer>()
            .Attr<bool>("shared"));
HANDLER(mixture_input, MixtureInput,
        TWO.Arg<Table>()
            .Arg<Table>()
            .Arg<Table>()
            .Arg<Table>()
            .Arg<Table>()
            .Arg<Table>()
            .Arg<Alive>()
            .Ret<Buffer>()
            .Attr<bool>("shared"));
