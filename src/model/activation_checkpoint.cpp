#include "model/activation_checkpoint.h"

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace introspect {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Crosses to the backward pass in the context's saved data, which takes intrusive pointers.
struct Again : torch::CustomClassHolder {
  std::function<at::Tensor(const at::Tensor&)> run;
  at::Tensor generator_state;  // undefined: nothing is drawn
};

// What the generator draws in this scope begins at `state`; behind it the generator goes on as if nothing had been.
class DrawnAgain {
 public:
  DrawnAgain(at::Device device, const at::Tensor& state) : generator_(at::globalContext().defaultGenerator(device)) {
    if (!state.defined()) return;
    before_ = generator_.get_state();
    generator_.set_state(state);
  }
  ~DrawnAgain() {
    if (before_.defined()) generator_.set_state(before_);
  }
  DrawnAgain(const DrawnAgain&) = delete;
  DrawnAgain& operator=(const DrawnAgain&) = delete;

 private:
  at::Generator generator_;
  at::Tensor before_;
};

struct RunAgain : Function<RunAgain> {
  // inputs: x, then what is learnt
  static at::Tensor forward(AutogradContext* context, at::TensorList inputs, const c10::intrusive_ptr<Again>& again) {
    context->save_for_backward(inputs.vec());
    context->saved_data["again"] = c10::IValue::make_capsule(again);
    return again->run(inputs[0]);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    variable_list inputs = context->get_saved_variables();
    const auto again = c10::static_intrusive_pointer_cast<Again>(context->saved_data["again"].toCapsule());
    const bool flows = inputs[0].requires_grad();
    // a leaf of its own: the graph of the second run ends here
    inputs[0] = inputs[0].detach().requires_grad_(flows);
    at::Tensor y;
    {
      const at::AutoGradMode with_gradients(true);
      const DrawnAgain drawn(inputs[0].device(), again->generator_state);
      y = again->run(inputs[0]);
    }
    const variable_list wanted(inputs.begin() + (flows ? 0 : 1), inputs.end());
    variable_list made = torch::autograd::grad({y}, wanted, gradients, /*retain_graph=*/false,
                                               /*create_graph=*/false, /*allow_unused=*/true);
    if (!flows) made.insert(made.begin(), at::Tensor());
    made.emplace_back();  // of `again`
    return made;
  }
};

}  // namespace

at::Tensor run_again_in_backward(const std::function<at::Tensor(const at::Tensor&)>& run, const at::Tensor& x,
                                 const std::vector<at::Tensor>& learnt, bool draws) {
  auto again = c10::make_intrusive<Again>();
  again->run = run;
  if (draws) again->generator_state = at::globalContext().defaultGenerator(x.device()).get_state();
  variable_list inputs{x};
  inputs.insert(inputs.end(), learnt.begin(), learnt.end());
  return RunAgain::apply(at::TensorList(inputs), again);
}

}  // namespace introspect
