// ReLU, depthwise convolution and 1x1 convolution of many edges in one pass:
//
//   z[e, b, p, d] = sum over channels c of w[e, c, d] (k * relu x)[e, b, p, c],
//
// or a sum of such terms, whose kernels then follow each other.
//
// An image's depthwise output lives in a thread's cache only; the gradients
// compute it again, which costs less than to write and to read it.

#include "depthwise.h"

namespace {

// Numbers to whole vectors.
int64_t padded(int64_t n) { return ceil_div(n, kLanes) * kLanes; }

// Calls columns(Q, from) for Q vectors of columns at a time, two or one.
template <typename F>
void in_columns(int64_t wide, const F& columns) {
  int64_t from = 0;
  for (; from + 2 * kLanes <= wide; from += 2 * kLanes)
    columns(std::integral_constant<int, 2>(), from);
  if (from < wide) columns(std::integral_constant<int, 1>(), from);
}

// How many products to add, and how far apart their operands are.
struct Terms {
  int64_t count = 1, in = 0, matrix = 0;
};

// P rows and Q vectors of columns of out = sum over terms of in * matrix.
template <int P, int Q>
inline void product_block(const Real* in, int64_t inner, const Real* matrix,
                          int64_t wide, Terms terms, Real* out) {
  Vec sum[P][Q] = {};
  for (int64_t t = 0; t < terms.count; ++t) {
    const Real *left = in + t * terms.in, *right = matrix + t * terms.matrix;
    for (int64_t n = 0; n < inner; ++n, right += wide)
      for (int q = 0; q < Q; ++q) {
        Vec column = load(right + q * kLanes);
        for (int p = 0; p < P; ++p) sum[p][q] += left[p * inner + n] * column;
      }
  }
  for (int p = 0; p < P; ++p)
    for (int q = 0; q < Q; ++q) store(out + p * wide + q * kLanes, sum[p][q]);
}

// out [rows, wide] = sum over terms of in [rows, inner] * matrix [inner, wide],
// wide in vectors.
void product(const Real* in, int64_t rows, int64_t inner, const Real* matrix,
             int64_t wide, Terms terms, Real* out) {
  in_columns(wide, [&](auto q, int64_t from) {
    constexpr int Q = decltype(q)::value, P = 12 / Q;
    int64_t r = 0;
    for (; r + P <= rows; r += P)
      product_block<P, Q>(in + r * inner, inner, matrix + from, wide, terms,
                          out + r * wide + from);
    for (; r < rows; ++r)
      product_block<1, Q>(in + r * inner, inner, matrix + from, wide, terms,
                          out + r * wide + from);
  });
}

// M rows and Q vectors of columns of sum += a^T b.
template <int M, int Q>
inline void outer_block(const Real* a, int64_t channels, const Real* b,
                        int64_t wide, int64_t rows, Real* sum) {
  Vec part[M][Q];
  for (int m = 0; m < M; ++m)
    for (int q = 0; q < Q; ++q) part[m][q] = load(sum + m * wide + q * kLanes);
  for (int64_t r = 0; r < rows; ++r, a += channels, b += wide)
    for (int q = 0; q < Q; ++q) {
      Vec column = load(b + q * kLanes);
      for (int m = 0; m < M; ++m) part[m][q] += a[m] * column;
    }
  for (int m = 0; m < M; ++m)
    for (int q = 0; q < Q; ++q) store(sum + m * wide + q * kLanes, part[m][q]);
}

// sum [channels, wide] += a [rows, channels]^T * b [rows, wide].
void outer(const Real* a, int64_t channels, const Real* b, int64_t wide,
           int64_t rows, Real* sum) {
  in_columns(wide, [&](auto q, int64_t from) {
    constexpr int Q = decltype(q)::value, M = 8 / Q;
    int64_t c = 0;
    for (; c + M <= channels; c += M)
      outer_block<M, Q>(a + c, channels, b + from, wide, rows,
                        sum + c * wide + from);
    for (; c < channels; ++c)
      outer_block<1, Q>(a + c, channels, b + from, wide, rows,
                        sum + c * wide + from);
  });
}

// Copies rows between arrays of different width; what is added is zero.
void copy_rows(const Real* from, int64_t width, Real* to, int64_t wide,
               int64_t rows) {
  int64_t both = std::min(width, wide);
  for (int64_t r = 0; r < rows; ++r, from += width, to += wide) {
    std::copy_n(from, both, to);
    std::fill_n(to + both, wide - both, Real(0));
  }
}

// The 1x1 kernels [edges, inputs, outputs], padded to whole vectors, as they
// are and transposed.
struct Pointwise {
  int64_t edges, inputs, outputs, wide, wide_back;
  std::vector<Real> forward, backward;

  Pointwise(const Real* w, int64_t edges, int64_t inputs, int64_t outputs)
      : edges(edges),
        inputs(inputs),
        outputs(outputs),
        wide(padded(outputs)),
        wide_back(padded(inputs)),
        forward(edges * inputs * wide),
        backward(edges * outputs * wide_back) {
    copy_rows(w, outputs, forward.data(), wide, edges * inputs);
    for (int64_t e = 0; e < edges; ++e)
      for (int64_t c = 0; c < inputs; ++c)
        for (int64_t d = 0; d < outputs; ++d)
          backward[(e * outputs + d) * wide_back + c] =
              w[(e * inputs + c) * outputs + d];
  }
};

// z of one image, [pixels, outputs], from its depthwise output.
void map_pixels(const Real* in, int64_t pixels, int64_t inner,
                const Real* matrix, int64_t wide, Terms terms, Real* out,
                int64_t width, std::vector<Real>& scratch) {
  if (width == wide)
    return product(in, pixels, inner, matrix, wide, terms, out);
  scratch.resize(pixels * wide);
  product(in, pixels, inner, matrix, wide, terms, scratch.data());
  copy_rows(scratch.data(), wide, out, width, pixels);
}

// The image that is convolved: x, or with `relu` its positive part.
void read_image(const Real* from, int64_t size, bool relu,
                std::vector<Real>& to) {
  to.assign(from, from + size);  // a lost value stays lost: NaN < 0 is false
  if (relu)
    for (int64_t n = 0; n < size; ++n) to[n] = to[n] < 0 ? Real(0) : to[n];
}

bool any(const bool* alive, int64_t count) {
  return std::any_of(alive, alive + count, [](bool one) { return one; });
}

void separable(ffi::ThreadPool& pool, const Real* x, Shape in,
               const Pointwise& w, Kernels& kernels, const bool* alive,
               int64_t stride, bool relu, Real* z, Shape to) {
  Shape mid = to.with(in.channels);
  int64_t each = to.edges / in.edges, pixels = to.height * to.width;
  int64_t matrix = w.inputs * w.wide;
  Terms terms{w.edges / to.edges, mid.image(), to.edges * matrix};
  share_out(pool, in.edges * in.batch, [&] {
    Rows rows(in.height, in.width, in.channels, stride, kernels.pad);
    return [&, rows, image = std::vector<Real>(), own = std::vector<Real>(),
            scratch = std::vector<Real>(),
            taps = Taps()](int64_t unit) mutable {
      int64_t group = unit / in.batch, b = unit % in.batch;
      bool some = any(alive + group * each, each);
      if (some) read_image(x + in.at(group, b), in.image(), relu, image);
      if (some) rows.read(image.data());
      own.resize(terms.count * mid.image());
      for (int64_t e = group * each; e < (group + 1) * each; ++e) {
        if (!alive[e]) {
          std::fill_n(z + to.at(e, b), to.image(), Real(0));
          continue;
        }
        for (int64_t t = 0; t < terms.count; ++t)
          convolve_image(rows, kernels, t * to.edges + e, stride, in,
                         own.data() + t * terms.in, mid, taps);
        map_pixels(own.data(), pixels, w.inputs, w.forward.data() + e * matrix,
                   w.wide, terms, z + to.at(e, b), w.outputs, scratch);
      }
    };
  });
}

void separable_input(ffi::ThreadPool& pool, const Real* x, Shape in,
                     const Real* g, Shape from, const Pointwise& w,
                     Kernels& kernels, const bool* alive, int64_t stride,
                     bool relu, Real* out) {
  Shape mid = from.with(in.channels);
  int64_t each = from.edges / in.edges, pixels = from.height * from.width;
  int64_t terms = w.edges / from.edges;
  share_out(pool, in.edges * in.batch, [&] {
    Rows sum(in.height, in.width, in.channels, stride, 0);
    Rows rows(mid.height, mid.width, mid.channels, 1, kernels.pad);
    return
        [&, sum, rows, own = std::vector<Real>(), scratch = std::vector<Real>(),
         taps = Taps()](int64_t unit) mutable {
          int64_t group = unit / in.batch, b = unit % in.batch;
          own.resize(mid.image());
          sum.clear();
          for (int64_t n = 0; n < terms * each; ++n) {
            int64_t edge = group * each + n % each;
            if (!alive[edge]) continue;
            int64_t own_edge = n / each * from.edges + edge;
            map_pixels(g + from.at(edge, b), pixels, w.outputs,
                       w.backward.data() + own_edge * w.outputs * w.wide_back,
                       w.wide_back, Terms(), own.data(), w.inputs, scratch);
            rows.read(own.data());
            scatter_image(rows, mid, kernels, own_edge, stride, sum, in, taps);
          }
          Real* to = out + in.at(group, b);
          const Real* seen = x + in.at(group, b);
          sum.write(to);
          if (relu)
            for (int64_t n = 0; n < in.image(); ++n)
              to[n] = seen[n] > 0 ? to[n] : Real(0);
        };
  });
}

// Leaves the depthwise gradients, tiled, in the kernels' tables; dw is
// [edges, inputs, outputs].
void separable_kernels(ffi::ThreadPool& pool, const Real* x, Shape in,
                       const Real* g, Shape from, const Pointwise& w,
                       Kernels& kernels, const bool* alive, int64_t stride,
                       bool relu, Real* dw) {
  Shape mid = from.with(in.channels);
  int64_t each = from.edges / in.edges, pixels = from.height * from.width;
  int64_t matrix = w.inputs * w.wide;
  std::vector<std::vector<Real>> totals(in.edges);
  auto size = [&](int64_t group) {
    return kernels.span(group * each, each) + each * matrix;
  };
  for (int64_t group = 0; group < in.edges; ++group)
    totals[group].assign(size(group), Real(0));
  sum_images(
      pool, in.edges, in.batch, size,
      [&] {
        Rows rows(in.height, in.width, in.channels, stride, kernels.pad);
        return [&, rows, image = std::vector<Real>(), own = std::vector<Real>(),
                back = std::vector<Real>(), padded = std::vector<Real>(),
                scratch = std::vector<Real>(), line = std::vector<Real>(),
                taps = Taps()](Real* sum, int64_t group, int64_t b) mutable {
          if (!any(alive + group * each, each)) return;
          read_image(x + in.at(group, b), in.image(), relu, image);
          rows.read(image.data());
          own.resize(mid.image());
          back.resize(mid.image());
          for (int64_t e = group * each; e < (group + 1) * each; ++e) {
            if (!alive[e]) {
              sum += kernels.span(e, 1) + matrix;
              continue;
            }
            const Real* seen = g + from.at(e, b);
            map_pixels(seen, pixels, w.outputs,
                       w.backward.data() + e * w.outputs * w.wide_back,
                       w.wide_back, Terms(), back.data(), w.inputs, scratch);
            correlate_image(rows, in, back.data(), mid, kernels, e, stride, sum,
                            line, taps);
            sum += kernels.span(e, 1);
            convolve_image(rows, kernels, e, stride, in, own.data(), mid, taps);
            if (w.wide != w.outputs) {
              padded.resize(pixels * w.wide);
              copy_rows(seen, w.outputs, padded.data(), w.wide, pixels);
              seen = padded.data();
            }
            outer(own.data(), w.inputs, seen, w.wide, pixels, sum);
            sum += matrix;
          }
        };
      },
      [&](int64_t group) { return totals[group].data(); });
  for (int64_t e = 0; e < from.edges; ++e) {
    int64_t first = e / each * each;
    const Real* total = totals[e / each].data() +
                        kernels.span(first, e - first) + (e - first) * matrix;
    std::copy_n(total, kernels.span(e, 1), kernels.taps(e));
    copy_rows(total + kernels.span(e, 1), w.wide, dw + e * w.inputs * w.outputs,
              w.outputs, w.inputs);
  }
}

// The 1x1 kernels, [terms * edges, inputs, outputs].
Pointwise pointwise(Buffer w) {
  auto d = w.dimensions();
  return {w.typed_data(), d[0], d[1], d[2]};
}

ffi::Error Separable(ffi::ThreadPool pool, Buffer x, Alive alive, Buffer w,
                     ffi::RemainingArgs rest, Result z, int64_t stride,
                     Dilations dilations, bool relu) {
  Shape in(x.dimensions()), to(z->dimensions());
  auto kernels = tiled(rest, in.channels, dilations);
  separable(pool, x.typed_data(), in, pointwise(w), kernels, alive.typed_data(),
            stride, relu, z->typed_data(), to);
  return ffi::Error::Success();
}

ffi::Error SeparableInput(ffi::ThreadPool pool, Buffer x, Buffer g, Alive alive,
                          Buffer w, ffi::RemainingArgs rest, Result out,
                          int64_t stride, Dilations dilations, bool relu) {
  Shape in(x.dimensions()), from(g.dimensions());
  auto kernels = tiled(rest, in.channels, dilations);
  separable_input(pool, x.typed_data(), in, g.typed_data(), from, pointwise(w),
                  kernels, alive.typed_data(), stride, relu,
                  out->typed_data());
  return ffi::Error::Success();
}

ffi::Error SeparableKernels(ffi::ThreadPool pool, Buffer x, Buffer g,
                            Alive alive, Buffer w, ffi::RemainingArgs rest,
                            Result dw, ffi::RemainingRets results,
                            int64_t stride, Dilations dilations, bool relu) {
  Shape in(x.dimensions()), from(g.dimensions());
  auto kernels = tiled(rest, in.channels, dilations);
  separable_kernels(pool, x.typed_data(), in, g.typed_data(), from,
                    pointwise(w), kernels, alive.typed_data(), stride, relu,
                    dw->typed_data());
  auto grads = gather(results);
  visit(grads, [&](int64_t e, auto* k) { kernels.fold(e, k); });
  return ffi::Error::Success();
}

}  // namespace

// Which edges are alive, the 1x1 kernels and the depthwise ones.
#define KERNELS Arg<Alive>().Arg<Buffer>().RemainingArgs()
#define GEOMETRY \
  Attr<int64_t>("stride").Attr<Dilations>("dilations").Attr<bool>("relu")

HANDLER(separable, Separable,
        BIND.Arg<Buffer>().KERNELS.Ret<Buffer>().GEOMETRY);
HANDLER(separable_input, SeparableInput,
        BIND.Arg<Buffer>().Arg<Buffer>().KERNELS.Ret<Buffer>().GEOMETRY);
HANDLER(separable_kernels, SeparableKernels,
        BIND.Arg<Buffer>()
            .Arg<Buffer>()
            .KERNELS.Ret<Buffer>()
            .RemainingRets()
            .GEOMETRY);
