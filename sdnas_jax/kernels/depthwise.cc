// The depthwise convolution by itself, and its gradients.

#include "depthwise.h"

namespace {

ffi::Error Convolve(ffi::ThreadPool pool, Buffer x, ffi::RemainingArgs rest,
                    Result out, int64_t stride, Dilations dilations) {
  Shape in(x.dimensions()), to(out->dimensions());
  auto kernels = tiled(rest, in.channels, dilations);
  convolve(pool, x.typed_data(), in, kernels, stride, out->typed_data(), to);
  return ffi::Error::Success();
}

ffi::Error InputGradient(ffi::ThreadPool pool, Buffer g,
                         ffi::RemainingArgs rest, Result x, int64_t stride,
                         Dilations dilations) {
  Shape from(g.dimensions()), to(x->dimensions());
  auto kernels = tiled(rest, to.channels, dilations);
  input_gradient(pool, g.typed_data(), from, kernels, stride, x->typed_data(),
                 to);
  return ffi::Error::Success();
}

ffi::Error KernelGradient(ffi::ThreadPool pool, Buffer x, Buffer g,
                          ffi::RemainingRets rest, int64_t stride,
                          Dilations dilations) {
  Shape in(x.dimensions()), to(g.dimensions());
  auto buffers = gather(rest);
  auto kernels = kernels_of(buffers, in.channels, dilations);
  kernel_gradient(pool, x.typed_data(), in, g.typed_data(), to, stride,
                  kernels);
  visit(buffers, [&](int64_t e, auto* k) { kernels.fold(e, k); });
  return ffi::Error::Success();
}

}  // namespace

#define OF_KERNELS BIND.Arg<Buffer>().RemainingArgs().Ret<Buffer>().GEOMETRY

HANDLER(convolve, Convolve, OF_KERNELS);
HANDLER(input_gradient, InputGradient, OF_KERNELS);
HANDLER(kernel_gradient, KernelGradient,
        BIND.Arg<Buffer>().Arg<Buffer>().RemainingRets().GEOMETRY);
