// Activations that are computed twice and not kept (Chen et al. 2016).
#pragma once

#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// run(x) without what its backward pass needs, which is had by running it again when the gradient arrives: of the graph
// only x is kept. `learnt` are the tensors that run reads and that require gradients. `run` must give the same result
// whenever it is called, and must not look at anything that changes meanwhile. `draws`: it draws random numbers from
// libtorch's generator, whose state is put back for the second time.
at::Tensor run_again_in_backward(const std::function<at::Tensor(const at::Tensor&)>& run, const at::Tensor& x,
                                 const std::vector<at::Tensor>& learnt, bool draws);

}  // namespace introspect
