// ReLU, depthwise convolution and 1x1 convolution of many edges in one pass:
//
//   z[e, b, p, d] = sum over channels c of w[e, c, d] (k * relu x)[e, b, p, c],
//
// or a sum of such terms, whose kernels then follow each other.
//
// An image's depthwise output lives in a thread's cache only; the gradients
// compute it again, which costs less than to write and to read it.

#include "depthwise.h"
#include "mixture.h"

namespace {

// Pixels of the depthwise output that are in the nearest cache together.
constexpr int64_t kPixels = 64;

// The 1x1 kernels [edges, inputs, outputs], each in panels, as they are or, for
// the way back, transposed.
struct Pointwise {
  int64_t edges, inputs, outputs;
  std::vector<Column> columns;  // of a panel
  std::vector<Memory<Pair>> panels;

  Pointwise(const Table& w, bool back)
      : edges(w.dimensions()[0]),
        inputs(w.dimensions()[1]),
        outputs(w.dimensions()[2]),
        columns(columns_of(0, back ? inputs : outputs)),
        panels(edges) {
    for (int64_t e = 0; e < edges; ++e) {
      const Real* own = w.typed_data() + e * inputs * outputs;
      auto at = [&](const Column& column, int64_t r, int64_t n) {
        int64_t c = column.first + n;
        return back ? own[c * outputs + r] : own[r * outputs + c];
      };
      each_panel(columns.size(), [&](int64_t c, int64_t count) {
        pack(panels[e], back ? outputs : inputs, &columns[c], count, at);
      });
    }
  }
};

// What is multiplied: pixels of `inner` numbers with panels, to be added up.
struct Factor {
  const Stored* in;
  const Pair* panels;
};

// out [pixels, columns] = sum over factors.
template <typename To>
void multiply_pixels(const std::vector<Factor>& factors, int64_t pixels,
                     int64_t inner, const std::vector<Column>& columns, To* out,
                     int64_t stride, std::vector<Term>& terms) {
  each_panel(columns.size(), [&](int64_t c, int64_t count) {
    terms.clear();
    for (auto& factor : factors)
      terms.push_back(
          {factor.in, factor.panels + pairs(inner) * c * kLanes, inner, inner});
    To* to[kColumns];
    for (int64_t q = 0; q < count; ++q) to[q] = out + columns[c + q].first;
    with_columns(count, [&](auto q) {
      multiply_row<decltype(q)::value>(terms, pixels, &columns[c], to, stride);
    });
  });
}

// table [inputs, columns] += the sum over so many pairs of pixels of a^T b.
void correlate_pixels(const Pair* a, int64_t inputs, const Pair* b,
                      int64_t stride, int64_t count, int64_t columns,
                      Real* table) {
  each_panel(columns, [&](int64_t c, int64_t some) {
    const Pair* right[kColumns];
    for (int64_t q = 0; q < some; ++q) right[q] = b + (c + q) * kLanes;
    with_columns(some, [&](auto q) {
      constexpr int Q = decltype(q)::value;
      in_parts<rows_of(Q)>(inputs, [&](auto m, int64_t n) {
        correlate<decltype(m)::value, Q>(a + n, inputs, right, stride, count,
                                         table + (n * columns + c) * kLanes,
                                         columns * kLanes);
      });
    });
  });
}

bool any(const bool* alive, int64_t count) {
  return std::any_of(alive, alive + count, [](bool one) { return one; });
}

// Calls f(first, last) for a few rows at a time of an image.
template <typename F>
void in_rows(const Shape& of, const F& f) {
  int64_t rows = std::max<int64_t>(1, kPixels / of.width);
  for (int64_t y = 0; y < of.height; y += rows)
    f(y, std::min(y + rows, of.height));
}

// Each kernel's taps.
std::vector<Taps> looks(Kernels& kernels, Rows& x) {
  std::vector<Taps> all;
  for (auto& k : kernels.edges) all.push_back(look(k, kernels.wide(), x));
  return all;
}

// Leaves the outputs' moments too, if any are asked for.
void separable(ffi::ThreadPool& pool, const Stored* x, Shape in,
               const Pointwise& w, Kernels& kernels, const bool* alive,
               int64_t stride, bool relu, Stored* z, Shape to,
               const Moments* moments) {
  Shape mid = to.with(in.channels);
  int64_t each = to.edges / in.edges, terms = w.edges / to.edges;
  int64_t size = moments ? moments->size() : 0;
  Rows empty(in.height, in.width, in.channels, stride, kernels.pad);
  auto taps = looks(kernels, empty);
  Numbers totals(to.edges * size);
  auto worker = [&] {
    return [&, rows = empty, own = Memory<Stored>(),
            factors = std::vector<Factor>(), scratch = std::vector<Term>()](
               Real* sum, int64_t group, int64_t b) mutable {
      if (any(alive + group * each, each)) rows.read(x + in.at(group, b), relu);
      for (int64_t e = group * each; e < (group + 1) * each; ++e, sum += size) {
        Stored* out = z + to.at(e, b);
        if (!alive[e]) {
          std::fill_n(out, to.image(), Stored(0));
          continue;
        }
        in_rows(to, [&](int64_t first, int64_t last) {
          int64_t count = (last - first) * mid.row();
          own.resize(terms * count);
          factors.clear();
          for (int64_t t = 0; t < terms; ++t) {
            int64_t n = t * to.edges + e;
            convolve_rows(rows, taps[n], kernels.taps(n), kernels.period,
                          stride, in, own.data() + t * count, mid, first, last);
            factors.push_back({own.data() + t * count, w.panels[n].data()});
          }
          int64_t made = (last - first) * to.row();
          Stored* place = out + first * to.row();
          multiply_pixels(factors, (last - first) * to.width, w.inputs,
                          w.columns, place, to.channels, scratch);
          if (moments) moments->add(place, made, b, sum);
        });
      }
    };
  };
  sum_images(
      pool, in.edges, in.batch, [&](int64_t) { return each * size; }, worker,
      [&](int64_t group) { return totals.data() + group * each * size; });
  if (moments)
    for (int64_t e = 0; e < to.edges; ++e)
      moments->write(e, totals.data() + e * size);
}

// The gradient in an image, where relu let it through.
void write(Rows& from, const Stored* x, bool relu, Stored* to, Shape of) {
  from.write(to);
  if (relu)
    for (int64_t n = 0; n < of.image(); ++n)
      to[n] = x[n] > 0 ? to[n] : Stored(0);
}

// The gradients of what reaches z: in x, if dx is given, and in the kernels, if
// dw [edges, inputs, outputs] is; the depthwise ones are left, tiled, in the
// kernels' tables. Sums of several terms have but the first.
void gradients(ffi::ThreadPool& pool, const Stored* x, Shape in,
               const Reaching& g, Shape from, const Pointwise& w,
               Kernels& kernels, const bool* alive, int64_t stride, bool relu,
               Stored* dx, Real* dw) {
  Shape mid = from.with(in.channels);
  int64_t wide = columns_of(0, w.outputs).size() * kLanes;
  int64_t each = from.edges / in.edges, terms = w.edges / from.edges;
  int64_t matrix = w.inputs * wide;
  Rows empty(in.height, in.width, in.channels, stride, kernels.pad);
  Rows middle(mid.height, mid.width, mid.channels, 1, kernels.pad);
  auto taps = looks(kernels, empty);
  std::vector<std::vector<Taps>> back;  // of each kernel, row and pixel
  for (auto& k : kernels.edges) {
    back.emplace_back();
    for (int64_t n = 0; n < stride * stride; ++n)
      back.back().push_back(
          look_back(k, kernels.wide(), middle, stride, n / stride, n % stride));
  }
  std::vector<Numbers> totals(in.edges);
  auto size = [&](int64_t group) {
    return dw ? kernels.span(group * each, each) + each * matrix : 0;
  };
  for (int64_t group = 0; group < in.edges; ++group)
    totals[group].assign(size(group), Real(0));
  auto worker = [&] {
    Rows total(in.height, in.width, in.channels, stride, 0);
    return [&, total, rows = empty, pulled = middle, own = Numbers(),
            memory = Memory<Stored>(), left = Memory<Pair>(),
            right = Memory<Pair>(), scratch = std::vector<Term>()](
               Real* sum, int64_t group, int64_t b) mutable {
      if (dw && any(alive + group * each, each))
        rows.read(x + in.at(group, b), relu);
      total.clear();
      for (int64_t n = 0; n < terms * each; ++n) {
        int64_t e = group * each + n % each, k = n / each * from.edges + e;
        Real *depth = sum, *point = sum + (dw ? kernels.span(e, 1) : 0);
        sum = point + (dw ? matrix : 0);
        if (!alive[e]) continue;
        const Stored* seen = g.image(e, b, memory);
        for (int64_t y = 0; y < from.height; ++y)
          multiply_pixels({{seen + y * from.row(), w.panels[k].data()}},
                          from.width, w.outputs, w.columns, pulled.at(y, 0),
                          mid.channels, scratch);
        if (dx)
          scatter_image(pulled, mid, back[k], kernels.taps(k), kernels.period,
                        stride, total, in);
        if (!dw) continue;
        correlate_rows(rows, taps[k], in, pulled, mid, kernels.period, stride,
                       depth);
        const Pair* two =
            pair_pixels(seen, from.height, from.width, w.outputs, wide, right);
        int64_t row = pairs(from.width);
        in_rows(from, [&](int64_t first, int64_t last) {
          own.resize((last - first) * mid.row());
          convolve_rows(rows, taps[k], kernels.taps(k), kernels.period, stride,
                        in, own.data(), mid, first, last);
          auto* one = pair_pixels(own.data(), last - first, from.width,
                                  w.inputs, w.inputs, left);
          correlate_pixels(one, w.inputs, two + first * row * wide, wide,
                           (last - first) * row, wide / kLanes, point);
        });
      }
      if (dx) write(total, x + in.at(group, b), relu, dx + in.at(group, b), in);
    };
  };
  sum_images(pool, in.edges, in.batch, size, worker,
             [&](int64_t group) { return totals[group].data(); });
  for (int64_t e = 0; dw && e < from.edges; ++e) {
    int64_t first = e / each * each;
    const Real* total = totals[e / each].data() +
                        kernels.span(first, e - first) + (e - first) * matrix;
    std::copy_n(total, kernels.span(e, 1), kernels.taps(e));
    total += kernels.span(e, 1);
    for (int64_t c = 0; c < w.inputs; ++c)
      std::copy_n(total + c * wide, w.outputs,
                  dw + (e * w.inputs + c) * w.outputs);
  }
}

// What all of the functions below are given besides.
struct Given {
  Shape in;
  Kernels kernels;
  Pointwise w;
  const bool* alive;
  Given(const Buffer& x, const Alive& alive, const Table& w,
        ffi::RemainingArgs rest, Dilations dilations, bool back)
      : in(x.dimensions()),
        kernels(tiled(rest, in.channels, dilations)),
        w(w, back),
        alive(alive.typed_data()) {}
};

ffi::Error Separable(ffi::ThreadPool pool, Buffer x, Alive alive, Table w,
                     ffi::RemainingArgs rest, Result z, int64_t stride,
                     Dilations dilations, bool relu) {
  Given given(x, alive, w, rest, dilations, false);
  separable(pool, rows_of(x), given.in, given.w, given.kernels, given.alive,
            stride, relu, rows_of(*z), Shape(z->dimensions()), nullptr);
  return ffi::Error::Success();
}

ffi::Error SeparableMoments(ffi::ThreadPool pool, Buffer x, Table share,
                            Alive alive, Table w, ffi::RemainingArgs rest,
                            Result z, Sum first, Sum second, int64_t stride,
                            Dilations dilations, bool relu) {
  Given given(x, alive, w, rest, dilations, false);
  Shape to(z->dimensions());
  Moments moments(to, share.typed_data(), first->typed_data(),
                  second->typed_data());
  separable(pool, rows_of(x), given.in, given.w, given.kernels, given.alive,
            stride, relu, rows_of(*z), to, &moments);
  return ffi::Error::Success();
}

ffi::Error SeparableInput(ffi::ThreadPool pool, Buffer x, Buffer g, Alive alive,
                          Table w, ffi::RemainingArgs rest, Result dx,
                          int64_t stride, Dilations dilations, bool relu) {
  Given given(x, alive, w, rest, dilations, true);
  gradients(pool, rows_of(x), given.in, reaching(g), Shape(g.dimensions()),
            given.w, given.kernels, given.alive, stride, relu, rows_of(*dx),
            nullptr);
  return ffi::Error::Success();
}

ffi::Error SeparableInputMixed(ffi::ThreadPool pool, Buffer x, Buffer g,
                               Buffer z, Table share, Alive alive, Table a,
                               Table b, Table c, Table w,
                               ffi::RemainingArgs rest, Result dx,
                               int64_t stride, Dilations dilations, bool relu) {
  Given given(x, alive, w, rest, dilations, true);
  gradients(pool, rows_of(x), given.in, reaching(g, z, share, a, b, c),
            Shape(z.dimensions()), given.w, given.kernels, given.alive, stride,
            relu, rows_of(*dx), nullptr);
  return ffi::Error::Success();
}

void fold(Kernels& kernels, ffi::RemainingRets results) {
  auto grads = gather(results);
  visit(grads, [&](int64_t e, auto* k) { kernels.fold(e, k); });
}

ffi::Error SeparableKernels(ffi::ThreadPool pool, Buffer x, Buffer g,
                            Alive alive, Table w, ffi::RemainingArgs rest,
                            Sum dw, ffi::RemainingRets results, int64_t stride,
                            Dilations dilations, bool relu) {
  Given given(x, alive, w, rest, dilations, true);
  gradients(pool, rows_of(x), given.in, reaching(g), Shape(g.dimensions()),
            given.w, given.kernels, given.alive, stride, relu, nullptr,
            dw->typed_data());
  fold(given.kernels, results);
  return ffi::Error::Success();
}

ffi::Error SeparableKernelsMixed(ffi::ThreadPool pool, Buffer x, Buffer g,
                                 Buffer z, Table share, Alive alive, Table a,
                                 Table b, Table c, Table w,
                                 ffi::RemainingArgs rest, Sum dw,
                                 ffi::RemainingRets results, int64_t stride,
                                 Dilations dilations, bool relu) {
  Given given(x, alive, w, rest, dilations, true);
  gradients(pool, rows_of(x), given.in, reaching(g, z, share, a, b, c),
            Shape(z.dimensions()), given.w, given.kernels, given.alive, stride,
            relu, nullptr, dw->typed_data());
  fold(given.kernels, results);
  return ffi::Error::Success();
}

ffi::Error SeparableBothMixed(ffi::ThreadPool pool, Buffer x, Buffer g,
                              Buffer z, Table share, Alive alive, Table a,
                              Table b, Table c, Table w,
                              ffi::RemainingArgs rest, Result dx, Sum dw,
                              ffi::RemainingRets results, int64_t stride,
                              Dilations dilations, bool relu) {
  Given given(x, alive, w, rest, dilations, true);
  gradients(pool, rows_of(x), given.in, reaching(g, z, share, a, b, c),
            Shape(z.dimensions()), given.w, given.kernels, given.alive, stride,
            relu, rows_of(*dx), dw->typed_data());
  fold(given.kernels, results);
  return ffi::Error::Success();
}

}  // namespace

// Which edges are alive, the 1x1 kernels and the depthwise ones.
#define KERNELS Arg<Alive>().Arg<Table>().RemainingArgs()
// The same, with a, b and c of `Reaching` between.
#define MIXED_KERNELS \
  Arg<Alive>()        \
      .Arg<Table>()   \
      .Arg<Table>()   \
      .Arg<Table>()   \
      .Arg<Table>()   \
      .RemainingArgs()
#define GEOMETRY \
  Attr<int64_t>("stride").Attr<Dilations>("dilations").Attr<bool>("relu")
#define ONE BIND.Arg<Buffer>()
#define TWO ONE.Arg<Buffer>()
// x, g, z and each image's share.
#define MIXED TWO.Arg<Buffer>().Arg<Table>().MIXED_KERNELS

HANDLER(separable, Separable, ONE.KERNELS.Ret<Buffer>().GEOMETRY);
HANDLER(
    separable_moments, SeparableMoments,
    ONE.Arg<Table>().KERNELS.Ret<Buffer>().Ret<Table>().Ret<Table>().GEOMETRY);
HANDLER(separable_input, SeparableInput, TWO.KERNELS.Ret<Buffer>().GEOMETRY);
HANDLER(separable_input_mixed, SeparableInputMixed,
        MIXED.Ret<Buffer>().GEOMETRY);
HANDLER(separable_kernels, SeparableKernels,
        TWO.KERNELS.Ret<Table>().RemainingRets().GEOMETRY);
HANDLER(separable_kernels_mixed, SeparableKernelsMixed,
        MIXED.Ret<Table>().RemainingRets().GEOMETRY);
HANDLER(separable_both_mixed, SeparableBothMixed,
        MIXED.Ret<Buffer>().Ret<Table>().RemainingRets().GEOMETRY);
