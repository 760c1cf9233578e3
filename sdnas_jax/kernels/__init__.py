"""What makes a CPU fast: C++ called from XLA, and the plain forms beside it.

What it offers to the networks, and which formula each has in every backend:
`separable.convolve` pointwise(depthwise(relu(x))), `convolution.convolve` some
dense convolutions, `pool.both` the two 3x3 pools, `mixture.blend` and `mix`
sum_o p_o (z_o - mean_o) / std_o, `outputs.blend` that of a convolution as one,
`mixture.weigh` p x. `alive` tells them which terms are zero and need not be
computed, `choice.best` which form to take.
"""
