// Convolutions over space and channels that keep an image's size,
//
//   z[e, b, p, d] = sum over taps t, channels c of w[e, t, c, d] x[b, p + t,
//   c],
//
// of one input with the kernels of many edges. Pixels of a row lie next to each
// other, each followed by its neighbours on the right: so a row of taps is a
// product of overlapping rows of numbers with a matrix, and nothing is copied
// but to pad. Columns of the matrix are the outputs of all edges alive.

#include "mixture.h"
#include "product.h"

namespace {

// The kernels of some edges, all of one size: [edges, size, size, inputs,
// outputs], the first of which has number `first` among all edges.
struct Kernels {
  const Real* data;
  int64_t edges, size, inputs, outputs, first;
  int64_t taps() const { return size * size; }
  int64_t one() const { return taps() * inputs * outputs; }
};

std::vector<Kernels> kernels_of(ffi::RemainingArgs rest) {
  std::vector<Kernels> all;
  int64_t first = 0;
  for (size_t n = 0; n < rest.size(); ++n) {
    Table k = *rest.get<Table>(n);
    auto d = k.dimensions();
    all.push_back({k.typed_data(), d[0], d[1], d[3], d[4], first});
    first += d[0];
  }
  return all;
}

// Rows of pixels with zeros to their left and right; as pairs of neighbours,
// which overlap, or, of `Stored`, by themselves.
template <typename T>
struct Padded {
  int64_t height, width, channels, pad;
  Memory<T> data;
  Padded(const Shape& of, int64_t pad)
      : height(of.height),
        width(of.width),
        channels(of.channels),
        pad(pad),
        data(height * row()) {}
  int64_t row() const { return (width + 2 * pad) * channels; }
  void read(const Stored* image) {
    for (int64_t y = 0; y < height; ++y, image += width * channels)
      if constexpr (std::is_same_v<T, Stored>)
        std::copy_n(image, width * channels, at(y, 0));
      else
        read_pairs(image, at(y, 0));
  }
  T* at(int64_t y, int64_t x) {
    return data.data() + y * row() + (x + pad) * channels;
  }

 private:
  void read_pairs(const Stored* line, T* to) const {
    int64_t last = (width - 1) * channels;
    for (int64_t n = pad ? -channels : 0; n < 0; ++n)
      to[n] = pair(Stored(0), line[n + channels]);
    for (int64_t n = 0; n < last; ++n)
      to[n] = pair(line[n], line[n + channels]);
    for (int64_t n = last; n < last + channels; ++n)
      to[n] = pair(line[n], Stored(0));
  }
};

// All columns of the alive edges of `k`, in panels.
struct Panels {
  std::vector<Column> columns;
  Memory<Pair> data;
  Panels(const Kernels& k, const bool* alive) {
    for (int64_t e = 0; e < k.edges; ++e)
      if (alive[k.first + e])
        for (auto one : columns_of(e, k.outputs)) columns.push_back(one);
    for (int64_t c = 0, count; c < int64_t(columns.size()); c += count) {
      count = next_columns(columns.size() - c);
      for (int64_t i = 0; i < k.size; ++i)
        pack(
            data, k.size * k.inputs, &columns[c], count,
            [&](const Column& own, int64_t r, int64_t n) {
              r += i * k.size * k.inputs;
              return k.data[own.edge * k.one() + r * k.outputs + own.first + n];
            });
    }
  }
};

// The rows of taps that output row y meets inside the image.
template <typename F>
void each_tap_row(int64_t size, int64_t height, int64_t y, const F& visit) {
  for (int64_t i = 0; i < size; ++i) {
    int64_t row = y + i - size / 2;
    if (row >= 0 && row < height) visit(i, row);
  }
}

int64_t pad_of(const std::vector<Kernels>& all) {
  int64_t pad = 0;
  for (auto& k : all) pad = std::max(pad, k.size / 2);
  return pad;
}

// Leaves the outputs' moments too, if any are asked for.
void convolve(ffi::ThreadPool& pool, const Stored* x, Shape in,
              const std::vector<Kernels>& all, const bool* alive, Stored* z,
              Shape to, const Moments* moments) {
  std::vector<Panels> panels;
  for (auto& k : all) panels.emplace_back(k, alive);
  int64_t size = moments ? moments->size() : 0;
  Numbers total(to.edges * size);
  auto worker = [&] {
    return [&, image = Padded<Stored>(in, pad_of(all)),
            terms = std::vector<Term>()](Real* sum, int64_t,
                                         int64_t b) mutable {
      image.read(x + in.at(0, b));
      for (size_t a = 0; a < all.size(); ++a) {
        const Kernels& k = all[a];
        auto& columns = panels[a].columns;
        int64_t inner = k.size * k.inputs;
        each_panel(columns.size(), [&](int64_t c, int64_t count) {
          int64_t line = pairs(inner) * kLanes;  // of a column, a row of taps
          const Pair* panel = panels[a].data.data() + k.size * c * line;
          for (int64_t y = 0; y < in.height; ++y) {
            terms.clear();
            each_tap_row(k.size, in.height, y, [&](int64_t i, int64_t row) {
              terms.push_back({image.at(row, -(k.size / 2)),
                               panel + i * count * line, inner, k.inputs});
            });
            Stored* out[kColumns];
            for (int64_t q = 0; q < count; ++q)
              out[q] = z + to.at(k.first + columns[c + q].edge, b) +
                       y * to.row() + columns[c + q].first;
            with_columns(count, [&](auto q) {
              multiply_row<decltype(q)::value>(terms, in.width, &columns[c],
                                               out, to.channels);
            });
          }
        });
      }
      for (int64_t e = 0; e < to.edges; ++e, sum += size) {
        Stored* own = z + to.at(e, b);
        if (!alive[e])
          std::fill_n(own, to.image(), Stored(0));
        else if (moments)
          moments->add(own, to.image(), b, sum);
      }
    };
  };
  sum_images(
      pool, 1, in.batch, [&](int64_t) { return total.size(); }, worker,
      [&](int64_t) { return total.data(); });
  if (moments)
    for (int64_t e = 0; e < to.edges; ++e)
      moments->write(e, total.data() + e * size);
}

// The gradient in x: the sum over edges of g's convolutions with the kernels
// turned round.
void convolve_input(ffi::ThreadPool& pool, const Reaching& g, Shape from,
                    const std::vector<Kernels>& all, const bool* alive,
                    Stored* dx, Shape to) {
  auto columns = columns_of(0, to.channels);
  // For some of the columns, each alive edge's panel, one after the other.
  std::vector<Memory<Pair>> panels;
  for (int64_t c = 0, count; c < int64_t(columns.size()); c += count) {
    count = next_columns(columns.size() - c);
    panels.emplace_back();
    for (auto& k : all)
      for (int64_t e = 0; e < k.edges; ++e)
        if (alive[k.first + e])
          for (int64_t i = 0; i < k.size; ++i)
            pack(panels.back(), k.size * k.outputs, &columns[c], count,
                 [&](const Column& own, int64_t r, int64_t n) {
                   int64_t tap = k.taps() - 1 - i * k.size - r / k.outputs;
                   return k.data[e * k.one() +
                                 (tap * k.inputs + own.first + n) * k.outputs +
                                 r % k.outputs];
                 });
  }
  share_out(pool, to.batch, [&] {
    Padded<Stored> empty(from, pad_of(all));
    return [&, images = std::vector<Padded<Stored>>(from.edges, empty),
            terms = std::vector<Term>(),
            memory = Memory<Stored>()](int64_t b) mutable {
      for (int64_t e = 0; e < from.edges; ++e)
        if (alive[e]) images[e].read(g.image(e, b, memory));
      for (size_t part = 0, c = 0; part < panels.size(); ++part) {
        int64_t count = next_columns(columns.size() - c);
        for (int64_t y = 0; y < to.height; ++y) {
          terms.clear();
          const Pair* panel = panels[part].data();
          for (auto& k : all)
            for (int64_t e = k.first; e < k.first + k.edges; ++e) {
              if (!alive[e]) continue;
              int64_t inner = k.size * k.outputs;
              int64_t line = pairs(inner) * count * kLanes;
              each_tap_row(k.size, to.height, y, [&](int64_t i, int64_t row) {
                terms.push_back({images[e].at(row, -(k.size / 2)),
                                 panel + i * line, inner, k.outputs});
              });
              panel += k.size * line;
            }
          Stored* out[kColumns];
          for (int64_t q = 0; q < count; ++q)
            out[q] = dx + to.at(0, b) + y * to.row() + columns[c + q].first;
          with_columns(count, [&](auto q) {
            multiply_row<decltype(q)::value>(terms, to.width, &columns[c], out,
                                             to.channels);
          });
        }
        c += count;
      }
    };
  });
}

// Adds to rows `from` on, M of them, of a row of taps' sums, over an image.
template <int M, int Q>
void correlate_image(Padded<Pair>& x, int64_t i, int64_t from, int64_t size,
                     const Pair* const* g, int64_t stride, Real* table,
                     int64_t wide) {
  int64_t count = pairs(x.width);
  for (int64_t y = 0; y < x.height; ++y) {
    int64_t row = y + i - size / 2;
    if (row < 0 || row >= x.height) continue;
    const Pair* right[Q];
    for (int q = 0; q < Q; ++q) right[q] = g[q] + y * count * stride;
    correlate<M, Q>(x.at(row, -(size / 2)) + from, kPair * x.channels, right,
                    stride, count, table, wide);
  }
}

// The gradient in the kernels of one size, dw [edges, size, size, inputs,
// outputs], whose edges are numbered from `k.first` on.
void convolve_kernels(ffi::ThreadPool& pool, const Stored* x, Shape in,
                      const Reaching& g, Shape from, const Kernels& k,
                      const bool* alive, Real* dw) {
  std::vector<Column> columns;
  for (int64_t e = 0; e < k.edges; ++e)
    if (alive[k.first + e])
      for (auto one : columns_of(e, k.outputs)) columns.push_back(one);
  int64_t wide = columns.size() * kLanes, inner = k.size * k.inputs;
  int64_t stride = ceil_div(k.outputs, kLanes) * kLanes;
  Numbers total(k.size * inner * wide);
  auto worker = [&] {
    return [&, image = Padded<Pair>(in, k.size / 2),
            memory = std::vector<Memory<Stored>>(k.edges),
            paired = std::vector<Memory<Pair>>(k.edges)](Real* sum, int64_t,
                                                         int64_t b) mutable {
      image.read(x + in.at(0, b));
      std::vector<const Pair*> own(k.edges);  // each edge's g, in whole vectors
      for (int64_t e = 0; e < k.edges; ++e)
        if (alive[k.first + e])
          own[e] = pair_pixels(g.image(k.first + e, b, memory[e]), from.height,
                               from.width, k.outputs, stride, paired[e]);
      each_panel(columns.size(), [&](int64_t c, int64_t count) {
        const Pair* right[kColumns];
        for (int64_t q = 0; q < count; ++q)
          right[q] = own[columns[c + q].edge] + columns[c + q].first;
        with_columns(count, [&](auto q) {
          constexpr int Q = decltype(q)::value;
          for (int64_t i = 0; i < k.size; ++i)
            in_parts<rows_of(Q)>(inner, [&](auto m, int64_t n) {
              correlate_image<decltype(m)::value, Q>(
                  image, i, n, k.size, right, stride,
                  sum + (i * inner + n) * wide + c * kLanes, wide);
            });
        });
      });
    };
  };
  sum_images(
      pool, 1, in.batch, [&](int64_t) { return total.size(); }, worker,
      [&](int64_t) { return total.data(); });
  std::fill_n(dw, k.edges * k.one(), Real(0));
  for (size_t c = 0; c < columns.size(); ++c)
    for (int64_t r = 0; r < k.size * inner; ++r)
      std::copy_n(
          total.data() + r * wide + c * kLanes, columns[c].lanes,
          dw + columns[c].edge * k.one() + r * k.outputs + columns[c].first);
}

ffi::Error Convolve(ffi::ThreadPool pool, Buffer x, Alive alive,
                    ffi::RemainingArgs rest, Result z) {
  convolve(pool, rows_of(x), Shape(x.dimensions()), kernels_of(rest),
           alive.typed_data(), rows_of(*z), Shape(z->dimensions()), nullptr);
  return ffi::Error::Success();
}

ffi::Error ConvolveMoments(ffi::ThreadPool pool, Buffer x, Table share,
                           Alive alive, ffi::RemainingArgs rest, Result z,
                           Sum first, Sum second) {
  Shape to(z->dimensions());
  Moments moments(to, share.typed_data(), first->typed_data(),
                  second->typed_data());
  convolve(pool, rows_of(x), Shape(x.dimensions()), kernels_of(rest),
           alive.typed_data(), rows_of(*z), to, &moments);
  return ffi::Error::Success();
}

ffi::Error ConvolveInput(ffi::ThreadPool pool, Buffer g, Alive alive,
                         ffi::RemainingArgs rest, Result dx) {
  convolve_input(pool, reaching(g), Shape(g.dimensions()), kernels_of(rest),
                 alive.typed_data(), rows_of(*dx), Shape(dx->dimensions()));
  return ffi::Error::Success();
}

ffi::Error ConvolveInputMixed(ffi::ThreadPool pool, Buffer g, Buffer z,
                              Table share, Alive alive, Table a, Table b,
                              Table c, ffi::RemainingArgs rest, Result dx) {
  convolve_input(pool, reaching(g, z, share, a, b, c), Shape(z.dimensions()),
                 kernels_of(rest), alive.typed_data(), rows_of(*dx),
                 Shape(dx->dimensions()));
  return ffi::Error::Success();
}

void convolve_kernels(ffi::ThreadPool& pool, Buffer x, const Reaching& g,
                      Shape from, Alive alive, ffi::RemainingRets rest) {
  int64_t first = 0;
  for (size_t n = 0; n < rest.size(); ++n) {
    Sum dw = *rest.get<Table>(n);
    auto d = dw->dimensions();
    convolve_kernels(pool, rows_of(x), Shape(x.dimensions()), g, from,
                     {nullptr, d[0], d[1], d[3], d[4], first},
                     alive.typed_data(), dw->typed_data());
    first += d[0];
  }
}

ffi::Error ConvolveKernels(ffi::ThreadPool pool, Buffer x, Buffer g,
                           Alive alive, ffi::RemainingRets rest) {
  convolve_kernels(pool, x, reaching(g), Shape(g.dimensions()), alive, rest);
  return ffi::Error::Success();
}

ffi::Error ConvolveKernelsMixed(ffi::ThreadPool pool, Buffer x, Buffer g,
                                Buffer z, Table share, Alive alive, Table a,
                                Table b, Table c, ffi::RemainingRets rest) {
  convolve_kernels(pool, x, reaching(g, z, share, a, b, c),
                   Shape(z.dimensions()), alive, rest);
  return ffi::Error::Success();
}

}  // namespace

#define ONE BIND.Arg<Buffer>()
// With z, each image's share, which are alive, and a, b and c of `Reaching`.
#define MIXED(given)  \
  given.Arg<Buffer>() \
      .Arg<Table>()   \
      .Arg<Alive>()   \
      .Arg<Table>()   \
      .Arg<Table>()   \
      .Arg<Table>()

HANDLER(convolve, Convolve, ONE.Arg<Alive>().RemainingArgs().Ret<Buffer>());
HANDLER(convolve_moments, ConvolveMoments,
        ONE.Arg<Table>()
            .Arg<Alive>()
            .RemainingArgs()
            .Ret<Buffer>()
            .Ret<Table>()
            .Ret<Table>());
HANDLER(convolve_input, ConvolveInput,
        ONE.Arg<Alive>().RemainingArgs().Ret<Buffer>());
HANDLER(convolve_input_mixed, ConvolveInputMixed,
        MIXED(ONE).RemainingArgs().Ret<Buffer>());
HANDLER(convolve_kernels, ConvolveKernels,
        ONE.Arg<Buffer>().Arg<Alive>().RemainingRets());
HANDLER(convolve_kernels_mixed, ConvolveKernelsMixed,
        MIXED(ONE.Arg<Buffer>()).RemainingRets());
