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

// out [pixels, columns] = sum over so many factors.
template <typename To>
void multiply_pixels(const Factor* factors, int64_t many, int64_t pixels,
                     int64_t inner, const std::vector<Column>& columns, To* out,
                     int64_t stride, std::vector<Term>& terms) {
  each_panel(columns.size(), [&](int64_t c, int64_t count) {
    terms.clear();
    for (const Factor* factor = factors; factor < factors + many; ++factor)
      terms.push_back({factor->in, factor->panels + pairs(inner) * c * kLanes,
                       inner, inner});
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

// What every function is given: images' shape, kernels, which edges are alive.
struct Given {
  Shape in;
  Kernels kernels;
  Pointwise w;
  const bool* alive;
  int64_t stride;
  bool relu;
  Given(const Buffer& x, const Alive& alive, const Table& w,
        ffi::RemainingArgs rest, Dilations dilations, bool back, int64_t stride,
        bool relu)
      : in(x.dimensions()),
        kernels(tiled(rest, in.channels, dilations)),
        w(w, back),
        alive(alive.typed_data()),
        stride(stride),
        relu(relu) {}
  // Padded images, yet to be read.
  Rows images() const {
    return {in.height, in.width, in.channels, stride, kernels.pad};
  }
};

// Leaves the outputs' moments too, if any are asked for.
void separable(ffi::ThreadPool& pool, const Stored* x, Given& given, Stored* z,
               Shape to, const Moments* moments) {
  Shape in = given.in, mid = to.with(in.channels);
  Kernels& kernels = given.kernels;
  const Pointwise& w = given.w;
  const bool* alive = given.alive;
  int64_t each = to.edges / in.edges, terms = w.edges / to.edges;
  int64_t size = moments ? moments->size() : 0;
  Rows empty = given.images();
  auto taps = looks(kernels, empty);
  Numbers totals(to.edges * size);
  // Of an edge, from the rows of its input.
  auto edge = [&](int64_t e, int64_t b, Rows& rows, Memory<Stored>& own,
                  std::vector<Factor>& factors, std::vector<Term>& scratch,
                  Real* sum) {
    Stored* out = z + to.at(e, b);
    in_rows(to, [&](int64_t first, int64_t last) {
      int64_t count = (last - first) * mid.row();
      own.resize(terms * count);
      factors.clear();
      for (int64_t t = 0; t < terms; ++t) {
        int64_t n = t * to.edges + e;
        convolve_rows(rows, taps[n], kernels.taps(n), kernels.period,
                      given.stride, in, own.data() + t * count, mid, first,
                      last);
        factors.push_back({own.data() + t * count, w.panels[n].data()});
      }
      Stored* place = out + first * to.row();
      multiply_pixels(factors.data(), terms, (last - first) * to.width,
                      w.inputs, w.columns, place, to.channels, scratch);
      if (moments) moments->add(place, (last - first) * to.row(), b, sum);
    });
  };
  auto worker = [&] {
    return [&, rows = empty, own = Memory<Stored>(),
            factors = std::vector<Factor>(), scratch = std::vector<Term>()](
               Real* sum, int64_t group, int64_t b) mutable {
      if (any(alive + group * each, each))
        rows.read(x + in.at(group, b), given.relu);
      for (int64_t e = group * each; e < (group + 1) * each; ++e, sum += size)
        if (alive[e])
          edge(e, b, rows, own, factors, scratch, sum);
        else
          std::fill_n(z + to.at(e, b), to.image(), Stored(0));
    };
  };
  sum_images(
      pool, in.edges, in.batch, [&](int64_t) { return each * size; }, worker,
      [&](int64_t group) { return totals.data() + group * each * size; });
  if (moments)
    for (int64_t e = 0; e < to.edges; ++e)
      moments->write(e, totals.data() + e * size);
}

// The gradients of what reaches z [edges, ...]: in x, if dx is given, and in
// the kernels, if dw [edges, inputs, outputs] is; the depthwise ones are left,
// tiled, in the kernels' tables. Sums of several terms have but the first.
class Gradients {
 public:
  Gradients(const Stored* x, Given& given, const Reaching& g, Shape from,
            Stored* dx, Real* dw)
      : x_(x),
        given_(given),
        g_(g),
        from_(from),
        mid_(from.with(given.in.channels)),
        dx_(dx),
        dw_(dw),
        each_(from.edges / given.in.edges),
        wide_(ceil_div(given.w.outputs, kLanes) * kLanes),
        images_(given.images()),
        middle_(mid_.height, mid_.width, mid_.channels, 1, given.kernels.pad),
        taps_(looks(given.kernels, images_)) {
    int64_t stride = given.stride, wide = given.kernels.wide();
    for (auto& k : given.kernels.edges) {
      back_.emplace_back();
      for (int64_t n = 0; n < stride * stride; ++n)
        back_.back().push_back(
            look_back(k, wide, middle_, stride, n / stride, n % stride));
    }
  }

  void compute(ffi::ThreadPool& pool) {
    std::vector<Numbers> totals;
    for (int64_t group = 0; group < given_.in.edges; ++group)
      totals.emplace_back(size(group));
    sum_images(
        pool, given_.in.edges, given_.in.batch,
        [&](int64_t group) { return size(group); },
        [&] {
          return [this, own = Own(*this)](Real* sum, int64_t group,
                                          int64_t b) mutable {
            add(own, sum, group, b);
          };
        },
        [&](int64_t group) { return totals[group].data(); });
    for (int64_t group = 0; dw_ && group < given_.in.edges; ++group)
      write(group, totals[group].data());
  }

 private:
  struct Own {  // a thread's memory
    Rows images, pulled, total;
    Numbers rows;
    Memory<Stored> seen;
    Memory<Pair> left, right;
    std::vector<Term> terms;
    explicit Own(const Gradients& of)
        : images(of.images_),
          pulled(of.middle_),
          total(of.given_.in.height, of.given_.in.width, of.given_.in.channels,
                of.given_.stride, 0) {}
  };

  // Of an edge's sums: the taps' and the matrix.
  int64_t taps(int64_t e) const { return dw_ ? given_.kernels.span(e, 1) : 0; }
  int64_t matrix() const { return dw_ ? given_.w.inputs * wide_ : 0; }
  int64_t size(int64_t group) const {
    int64_t sum = 0;
    for (int64_t e = group * each_; e < (group + 1) * each_; ++e)
      sum += taps(e) + matrix();
    return sum;
  }

  // An image's part, for the edges of a group.
  void add(Own& own, Real* sum, int64_t group, int64_t b) const {
    const Shape& in = given_.in;
    Kernels& kernels = given_.kernels;
    const Pointwise& w = given_.w;
    const Stored* x = x_ + in.at(group, b);
    if (dw_ && any(given_.alive + group * each_, each_))
      own.images.read(x, given_.relu);
    own.total.clear();
    for (int64_t n = 0; n < w.edges / in.edges; ++n) {
      int64_t e = group * each_ + n % each_, k = n / each_ * from_.edges + e;
      Real* depth = sum;
      sum += taps(e) + matrix();
      if (!given_.alive[e]) continue;
      const Stored* seen = g_.image(e, b, own.seen);
      for (int64_t y = 0; y < from_.height; ++y) {
        Factor row{seen + y * from_.row(), w.panels[k].data()};
        multiply_pixels(&row, 1, from_.width, w.outputs, w.columns,
                        own.pulled.at(y, 0), mid_.channels, own.terms);
      }
      if (dx_)
        scatter_image(own.pulled, mid_, back_[k], kernels.taps(k),
                      kernels.period, given_.stride, own.total, in);
      if (dw_) add_kernels(own, seen, k, depth, depth + taps(e));
    }
    if (!dx_) return;
    Stored* dx = dx_ + in.at(group, b);
    own.total.write(dx);
    for (int64_t n = 0; given_.relu && n < in.image(); ++n)
      dx[n] = x[n] > 0 ? dx[n] : Stored(0);
  }

  // To the depthwise taps' sums, and to the matrix [inputs, wide].
  void add_kernels(Own& own, const Stored* seen, int64_t k, Real* depth,
                   Real* matrix) const {
    const Shape& in = given_.in;
    Kernels& kernels = given_.kernels;
    const Pointwise& w = given_.w;
    correlate_rows(own.images, taps_[k], in, own.pulled, mid_, kernels.period,
                   given_.stride, depth);
    const Pair* right = pair_pixels(seen, from_.height, from_.width, w.outputs,
                                    wide_, own.right);
    int64_t row = pairs(from_.width);
    in_rows(from_, [&](int64_t first, int64_t last) {
      own.rows.resize((last - first) * mid_.row());
      convolve_rows(own.images, taps_[k], kernels.taps(k), kernels.period,
                    given_.stride, in, own.rows.data(), mid_, first, last);
      auto* left = pair_pixels(own.rows.data(), last - first, from_.width,
                               w.inputs, w.inputs, own.left);
      correlate_pixels(left, w.inputs, right + first * row * wide_, wide_,
                       (last - first) * row, wide_ / kLanes, matrix);
    });
  }

  void write(int64_t group, const Real* total) const {
    auto& w = given_.w;
    for (int64_t e = group * each_; e < (group + 1) * each_; ++e) {
      std::copy_n(total, taps(e), given_.kernels.taps(e));
      total += taps(e);
      for (int64_t c = 0; c < w.inputs; ++c, total += wide_)
        std::copy_n(total, w.outputs, dw_ + (e * w.inputs + c) * w.outputs);
    }
  }

  const Stored* x_;
  Given& given_;
  const Reaching& g_;
  Shape from_, mid_;
  Stored* dx_;
  Real* dw_;
  int64_t each_, wide_;
  Rows images_, middle_;
  std::vector<Taps> taps_;
  std::vector<std::vector<Taps>> back_;  // of each kernel, row and pixel
};

ffi::Error Separable(ffi::ThreadPool pool, Buffer x, Alive alive, Table w,
                     ffi::RemainingArgs rest, Result z, int64_t stride,
                     Dilations dilations, bool relu) {
  Given given(x, alive, w, rest, dilations, false, stride, relu);
  separable(pool, rows_of(x), given, rows_of(*z), Shape(z->dimensions()),
            nullptr);
  return ffi::Error::Success();
}

ffi::Error SeparableMoments(ffi::ThreadPool pool, Buffer x, Table share,
                            Alive alive, Table w, ffi::RemainingArgs rest,
                            Result z, Sum first, Sum second, int64_t stride,
                            Dilations dilations, bool relu) {
  Given given(x, alive, w, rest, dilations, false, stride, relu);
  Shape to(z->dimensions());
  Moments moments(to, share.typed_data(), first->typed_data(),
                  second->typed_data());
  separable(pool, rows_of(x), given, rows_of(*z), to, &moments);
  return ffi::Error::Success();
}

// Where gradients go: in x, in the 1x1 kernels, and in the depthwise ones.
struct Wanted {
  Stored* dx;
  Real* dw;
  ffi::RemainingRets* depths;
};

ffi::Error compute(ffi::ThreadPool& pool, const Buffer& x, Given& given,
                   const Reaching& g, Shape from, Wanted wanted) {
  Gradients(rows_of(x), given, g, from, wanted.dx, wanted.dw).compute(pool);
  if (wanted.depths) {
    auto grads = gather(*wanted.depths);
    visit(grads, [&](int64_t e, auto* k) { given.kernels.fold(e, k); });
  }
  return ffi::Error::Success();
}

ffi::Error SeparableInput(ffi::ThreadPool pool, Buffer x, Buffer g, Alive alive,
                          Table w, ffi::RemainingArgs rest, Result dx,
                          int64_t stride, Dilations dilations, bool relu) {
  Given given(x, alive, w, rest, dilations, true, stride, relu);
  return compute(pool, x, given, reaching(g), Shape(g.dimensions()),
                 {rows_of(*dx), nullptr, nullptr});
}

ffi::Error SeparableInputMixed(ffi::ThreadPool pool, Buffer x, Buffer g,
                               Buffer z, Table share, Alive alive, Table a,
                               Table b, Table c, Table w,
                               ffi::RemainingArgs rest, Result dx,
                               int64_t stride, Dilations dilations, bool relu) {
  Given given(x, alive, w, rest, dilations, true, stride, relu);
  return compute(pool, x, given, reaching(g, z, share, a, b, c),
                 Shape(z.dimensions()), {rows_of(*dx), nullptr, nullptr});
}

ffi::Error SeparableKernels(ffi::ThreadPool pool, Buffer x, Buffer g,
                            Alive alive, Table w, ffi::RemainingArgs rest,
                            Sum dw, ffi::RemainingRets results, int64_t stride,
                            Dilations dilations, bool relu) {
  Given given(x, alive, w, rest, dilations, true, stride, relu);
  return compute(pool, x, given, reaching(g), Shape(g.dimensions()),
                 {nullptr, dw->typed_data(), &results});
}

ffi::Error SeparableKernelsMixed(ffi::ThreadPool pool, Buffer x, Buffer g,
                                 Buffer z, Table share, Alive alive, Table a,
                                 Table b, Table c, Table w,
                                 ffi::RemainingArgs rest, Sum dw,
                                 ffi::RemainingRets results, int64_t stride,
                                 Dilations dilations, bool relu) {
  Given given(x, alive, w, rest, dilations, true, stride, relu);
  return compute(pool, x, given, reaching(g, z, share, a, b, c),
                 Shape(z.dimensions()), {nullptr, dw->typed_data(), &results});
}

ffi::Error SeparableBothMixed(ffi::ThreadPool pool, Buffer x, Buffer g,
                              Buffer z, Table share, Alive alive, Table a,
                              Table b, Table c, Table w,
                              ffi::RemainingArgs rest, Result dx, Sum dw,
                              ffi::RemainingRets results, int64_t stride,
                              Dilations dilations, bool relu) {
  Given given(x, alive, w, rest, dilations, true, stride, relu);
  return compute(pool, x, given, reaching(g, z, share, a, b, c),
                 Shape(z.dimensions()),
                 {rows_of(*dx), dw->typed_data(), &results});
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
