// What XLA calls. The depthwise kernels of a call are the arguments, or the
// results, that remain after the others.

#include "pool.h"
#include "separable.h"
#include "sums.h"

namespace {

template <ffi::DataType D>
using Buffers = std::vector<ffi::Buffer<D>>;

// Calls with each edge's number and its kernel in the buffers.
template <ffi::DataType D, typename F>
void visit(Buffers<D>& buffers, const F& with) {
  int64_t edge = 0;
  for (auto& k : buffers) {
    auto d = k.dimensions();
    for (int64_t e = 0; e < d[0]; ++e)
      with(edge++, k.typed_data() + e * d[1] * d[2] * d[3]);
  }
}

template <ffi::DataType D>
Kernels<ffi::NativeType<D>> kernels_of(Buffers<D>& buffers, int64_t channels,
                                       ffi::Span<const int64_t> dilations) {
  Kernels<ffi::NativeType<D>> kernels(channels);
  for (size_t n = 0; n < buffers.size(); ++n)
    kernels.add(buffers[n].dimensions()[0], buffers[n].dimensions()[1],
                dilations[n]);
  kernels.allocate();
  return kernels;
}

template <ffi::DataType D>
Buffers<D> gather(ffi::RemainingArgs rest) {
  Buffers<D> buffers;
  for (size_t n = 0; n < rest.size(); ++n)
    buffers.push_back(*rest.get<ffi::Buffer<D>>(n));
  return buffers;
}

template <ffi::DataType D>
Buffers<D> gather(ffi::RemainingRets rest) {
  Buffers<D> buffers;
  for (size_t n = 0; n < rest.size(); ++n)
    buffers.push_back(**rest.get<ffi::Buffer<D>>(n));
  return buffers;
}

// The depthwise kernels among a call's arguments, tiled.
template <ffi::DataType D>
Kernels<ffi::NativeType<D>> tiled(ffi::RemainingArgs rest, int64_t channels,
                                  ffi::Span<const int64_t> dilations) {
  auto buffers = gather<D>(rest);
  auto kernels = kernels_of<D>(buffers, channels, dilations);
  visit<D>(buffers, [&](int64_t e, auto* k) { kernels.tile(e, k); });
  return kernels;
}

// The 1x1 kernels, [edges, inputs, outputs].
template <ffi::DataType D>
Pointwise<ffi::NativeType<D>> pointwise(ffi::Buffer<D> w) {
  auto d = w.dimensions();
  return {w.typed_data(), d[0], d[1], d[2]};
}

template <ffi::DataType D>
ffi::Error Convolve(ffi::ThreadPool pool, ffi::Buffer<D> x,
                    ffi::RemainingArgs rest, ffi::Result<ffi::Buffer<D>> out,
                    int64_t stride, ffi::Span<const int64_t> dilations) {
  Shape in(x.dimensions()), to(out->dimensions());
  auto kernels = tiled<D>(rest, in.channels, dilations);
  convolve(pool, x.typed_data(), in, kernels, stride, out->typed_data(), to);
  return ffi::Error::Success();
}

template <ffi::DataType D>
ffi::Error InputGradient(ffi::ThreadPool pool, ffi::Buffer<D> g,
                         ffi::RemainingArgs rest,
                         ffi::Result<ffi::Buffer<D>> x, int64_t stride,
                         ffi::Span<const int64_t> dilations) {
  Shape from(g.dimensions()), to(x->dimensions());
  auto kernels = tiled<D>(rest, to.channels, dilations);
  input_gradient(pool, g.typed_data(), from, kernels, stride, x->typed_data(),
                 to);
  return ffi::Error::Success();
}

template <ffi::DataType D>
ffi::Error KernelGradient(ffi::ThreadPool pool, ffi::Buffer<D> x,
                          ffi::Buffer<D> g, ffi::RemainingRets rest,
                          int64_t stride, ffi::Span<const int64_t> dilations) {
  Shape in(x.dimensions()), to(g.dimensions());
  auto buffers = gather<D>(rest);
  auto kernels = kernels_of<D>(buffers, in.channels, dilations);
  kernel_gradient(pool, x.typed_data(), in, g.typed_data(), to, stride,
                  kernels);
  visit<D>(buffers, [&](int64_t e, auto* k) { kernels.fold(e, k); });
  return ffi::Error::Success();
}

template <ffi::DataType D>
ffi::Error Separable(ffi::ThreadPool pool, ffi::Buffer<D> x, ffi::Buffer<D> w,
                     ffi::RemainingArgs rest, ffi::Result<ffi::Buffer<D>> z,
                     int64_t stride, ffi::Span<const int64_t> dilations,
                     bool relu) {
  Shape in(x.dimensions()), to(z->dimensions());
  auto kernels = tiled<D>(rest, in.channels, dilations);
  separable(pool, x.typed_data(), in, pointwise<D>(w), kernels, stride,
            relu, z->typed_data(), to);
  return ffi::Error::Success();
}

template <ffi::DataType D>
ffi::Error SeparableInput(ffi::ThreadPool pool, ffi::Buffer<D> x,
                          ffi::Buffer<D> g, ffi::Buffer<D> w,
                          ffi::RemainingArgs rest,
                          ffi::Result<ffi::Buffer<D>> out, int64_t stride,
                          ffi::Span<const int64_t> dilations, bool relu) {
  Shape in(x.dimensions()), from(g.dimensions());
  auto kernels = tiled<D>(rest, in.channels, dilations);
  separable_input(pool, x.typed_data(), in, g.typed_data(), from,
                  pointwise<D>(w), kernels, stride, relu, out->typed_data());
  return ffi::Error::Success();
}

template <ffi::DataType D>
ffi::Error SeparableKernels(ffi::ThreadPool pool, ffi::Buffer<D> x,
                            ffi::Buffer<D> g, ffi::Buffer<D> w,
                            ffi::RemainingArgs rest,
                            ffi::Result<ffi::Buffer<D>> dw,
                            ffi::RemainingRets results, int64_t stride,
                            ffi::Span<const int64_t> dilations, bool relu) {
  Shape in(x.dimensions()), from(g.dimensions());
  auto kernels = tiled<D>(rest, in.channels, dilations);
  separable_kernels(pool, x.typed_data(), in, g.typed_data(), from,
                    pointwise<D>(w), kernels, stride, relu, dw->typed_data());
  auto grads = gather<D>(results);
  visit<D>(grads, [&](int64_t e, auto* k) { kernels.fold(e, k); });
  return ffi::Error::Success();
}

template <ffi::DataType D>
ffi::Error Moments(ffi::ThreadPool pool, ffi::Buffer<D> z, ffi::Buffer<D> share,
                   ffi::Result<ffi::Buffer<D>> first,
                   ffi::Result<ffi::Buffer<D>> second) {
  moments(pool, z.typed_data(), Shape(z.dimensions()), share.typed_data(),
          first->typed_data(), second->typed_data());
  return ffi::Error::Success();
}

template <ffi::DataType D>
ffi::Error Products(ffi::ThreadPool pool, ffi::Buffer<D> g, ffi::Buffer<D> z,
                    ffi::Result<ffi::Buffer<D>> first,
                    ffi::Result<ffi::Buffer<D>> second) {
  Shape of(g.dimensions());
  int64_t stack = second->dimensions()[0] / of.edges;
  products(pool, g.typed_data(), of, z.typed_data(), z.dimensions()[0], stack,
           first->typed_data(), second->typed_data());
  return ffi::Error::Success();
}

template <ffi::DataType D>
ffi::Error MixtureInput(ffi::ThreadPool pool, ffi::Buffer<D> g,
                        ffi::Buffer<D> z, ffi::Buffer<D> share,
                        ffi::Buffer<D> p, ffi::Buffer<D> mean,
                        ffi::Buffer<D> scale, ffi::Buffer<D> first,
                        ffi::Buffer<D> second, ffi::Result<ffi::Buffer<D>> dz,
                        bool shared) {
  mixture_input(pool, g.typed_data(), Shape(g.dimensions()), z.typed_data(),
                Shape(z.dimensions()), shared, share.typed_data(),
                p.typed_data(), mean.typed_data(), scale.typed_data(),
                first.typed_data(), second.typed_data(), dz->typed_data());
  return ffi::Error::Success();
}

template <ffi::DataType D>
ffi::Error Choose(ffi::ThreadPool pool, ffi::Buffer<D> x, ffi::Buffer<D> c,
                  ffi::Result<ffi::Buffer<D>> out, int64_t stride) {
  choose(pool, x.typed_data(), c.typed_data(), Shape(x.dimensions()), stride,
         out->typed_data(), Shape(out->dimensions()));
  return ffi::Error::Success();
}

template <ffi::DataType D>
ffi::Error Spread(ffi::ThreadPool pool, ffi::Buffer<D> x, ffi::Buffer<D> g,
                  ffi::Result<ffi::Buffer<D>> c, int64_t stride) {
  spread(pool, x.typed_data(), Shape(x.dimensions()), g.typed_data(),
         Shape(g.dimensions()), stride, c->typed_data());
  return ffi::Error::Success();
}

}  // namespace

// Each handler for both types.
#define HANDLERS(name, function, binding)                                  \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name##_float32, function<ffi::F32>,        \
                                binding(ffi::Buffer<ffi::F32>));           \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name##_float64, function<ffi::F64>,        \
                                binding(ffi::Buffer<ffi::F64>))

#define BIND ffi::Ffi::Bind().Ctx<ffi::ThreadPool>()
#define GEOMETRY \
  Attr<int64_t>("stride").Attr<ffi::Span<const int64_t>>("dilations")

#define WITH_RELU GEOMETRY.Attr<bool>("relu")

#define OF_X_KERNELS(B) BIND.Arg<B>().RemainingArgs().Ret<B>().GEOMETRY
#define OF_X_G(B) BIND.Arg<B>().Arg<B>().RemainingRets().GEOMETRY
#define OF_X_W_KERNELS(B) \
  BIND.Arg<B>().Arg<B>().RemainingArgs().Ret<B>().WITH_RELU
#define OF_X_G_W_KERNELS(B) \
  BIND.Arg<B>().Arg<B>().Arg<B>().RemainingArgs().Ret<B>().WITH_RELU
#define TO_ALL_KERNELS(B)                                             \
  BIND.Arg<B>().Arg<B>().Arg<B>().RemainingArgs().Ret<B>()            \
      .RemainingRets().WITH_RELU
#define TO_TWO_SUMS(B) BIND.Arg<B>().Arg<B>().Ret<B>().Ret<B>()
#define OF_G_Z_SHARE_P_SUMS(B)                                        \
  BIND.Arg<B>().Arg<B>().Arg<B>().Arg<B>().Arg<B>().Arg<B>().Arg<B>() \
      .Arg<B>().Ret<B>().Attr<bool>("shared")

#define WITH_STRIDE(B) \
  BIND.Arg<B>().Arg<B>().Ret<B>().Attr<int64_t>("stride")

HANDLERS(convolve, Convolve, OF_X_KERNELS);
HANDLERS(input_gradient, InputGradient, OF_X_KERNELS);
HANDLERS(kernel_gradient, KernelGradient, OF_X_G);
HANDLERS(separable, Separable, OF_X_W_KERNELS);
HANDLERS(separable_input, SeparableInput, OF_X_G_W_KERNELS);
HANDLERS(separable_kernels, SeparableKernels, TO_ALL_KERNELS);
HANDLERS(moments, Moments, TO_TWO_SUMS);
HANDLERS(products, Products, TO_TWO_SUMS);
HANDLERS(mixture_input, MixtureInput, OF_G_Z_SHARE_P_SUMS);
HANDLERS(choose, Choose, WITH_STRIDE);
HANDLERS(spread, Spread, WITH_STRIDE);
