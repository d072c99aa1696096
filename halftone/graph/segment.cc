#include "halftone/graph/segment.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tanh.h>

#include <algorithm>
#include <vector>

#include "halftone/base/error.h"
#include "halftone/base/threads.h"
#include "halftone/graph/attention.h"
#include "halftone/graph/torch.h"

namespace halftone::graph {
namespace {

// [B, T, heads, D] out of a value, without a copy.
at::Tensor heads_of(const spec::View& view, const at::Tensor& value, int64_t heads, int64_t dim) {
  if (view.head_stride == 0) {
    const at::Tensor part = value.narrow(-1, view.offset, heads * dim);
    return part.view({part.size(0), part.size(1), heads, dim});
  }
  return value.narrow(-1, view.offset, (heads - 1) * view.head_stride + dim)
      .unfold(-1, dim, view.head_stride);
}

// What happens to an op in one run: later, nothing as yet; inputs, its input is given to the sink,
// but nothing is computed; done, it was computed in an earlier run.
enum class Step : uint8_t { later, inputs, compute, done };

class Interpreter {
 public:
  Interpreter(const spec::Segment& segment, const Parameters& parameters, const Sequence& sequence,
              ThreadPool* pool)
      : segment_(segment), parameters_(parameters), sequence_(sequence), pool_(pool) {
    check(pool == nullptr || !at::GradMode::is_enabled(),
          "ops are split over a pool only without gradient");
  }

  // Runs to the end.
  at::Tensor run(const at::Tensor& input, const Capture* capture) {
    start(input);
    walk(std::vector<Step>(segment_.ops.size(), Step::compute), capture);
    return segment_.ops.empty() ? input : values_[static_cast<size_t>(segment_.ops.back().out)];
  }

  at::Tensor resume(const at::Tensor& input, Suspended&& suspended) {
    values_ = std::move(suspended.values);
    values_[0] = input;
    std::vector<Step> steps(segment_.ops.size());
    for (size_t i = 0; i < steps.size(); ++i)
      steps[i] = suspended.done[i] ? Step::done : Step::compute;
    walk(steps, nullptr);
    return values_[static_cast<size_t>(segment_.ops.back().out)];
  }

  Suspended run_for_capture(const at::Tensor& input, const std::vector<Step>& steps,
                            const Capture& capture) {
    start(input);
    walk(steps, &capture);
    values_[0].reset();
    Suspended suspended{.done = {}, .values = std::move(values_)};
    for (const Step step : steps) suspended.done.push_back(step == Step::compute);
    return suspended;
  }

 private:
  void start(const at::Tensor& input) {
    values_.assign(static_cast<size_t>(segment_.values()), {});
    values_[0] = input;
  }

  void walk(const std::vector<Step>& steps, const Capture* capture) {
    const std::vector<size_t> last_use = last_uses(steps);
    for (size_t i = 0; i < segment_.ops.size(); ++i) {
      if (steps[i] == Step::later || steps[i] == Step::done) continue;
      const spec::Op& op = segment_.ops[i];
      if (capture != nullptr && std::holds_alternative<spec::Linear>(op.params))
        give(*capture, {CaptureKind::linear_input, op.name}, value(op.in.at(0)));
      if (steps[i] == Step::compute) {
        at::Tensor out = pool_ == nullptr ? compute(op, {}) : split_over_pool(op);
        if (capture != nullptr) give(*capture, {CaptureKind::op_output, op.name}, out);
        values_[static_cast<size_t>(op.out)] = std::move(out);
      }
      for (size_t v = 0; v < values_.size(); ++v)
        if (last_use[v] == i) values_[v].reset();
    }
  }

  // The part of an op's output to compute; `end` 0: all of it. Tokens of [B, T, width] for every op
  // that looks at each token alone, output columns for linears.
  struct Part {
    int64_t first_token = 0, end_token = 0, first_column = 0, end_column = 0;
  };

  at::Tensor compute(const spec::Op& op, const Part& part) const {
    return std::visit([&](const auto& params) { return compute(op, params, part); }, op.params);
  }

  // Eight parts or fewer along the longer side, whatever the number of threads: the same sums, so
  // the same bytes.
  at::Tensor split_over_pool(const spec::Op& op) const {
    const auto* linear = std::get_if<spec::Linear>(&op.params);
    const bool by_token = linear != nullptr || std::holds_alternative<spec::Norm>(op.params) ||
                          std::holds_alternative<spec::Activation>(op.params) ||
                          std::holds_alternative<spec::Add>(op.params) ||
                          std::holds_alternative<spec::Multiply>(op.params);
    if (!by_token) return compute(op, {});
    const at::Tensor& x = value(op.in.at(0));
    const int64_t T = x.size(1), width = linear != nullptr ? linear->out : x.size(2);
    const bool columns = linear != nullptr && linear->out > T;
    const int64_t length = columns ? linear->out : T;
    const int64_t step = std::max<int64_t>(16, (length / 8 + 15) / 16 * 16),
                  parts = (length + step - 1) / step;
    if (parts == 1) return compute(op, {});
    at::Tensor out = at::empty({x.size(0), T, width}, x.options());
    pool_->each(parts, [&](int64_t i) {
      const at::NoGradGuard no_grad;
      use_one_thread_here();
      const int64_t begin = i * step, end = std::min(begin + step, length);
      const Part part = columns ? Part{.first_column = begin, .end_column = end}
                                : Part{.first_token = begin, .end_token = end};
      out.slice(columns ? 2 : 1, begin, end).copy_(compute(op, part));
    });
    return out;
  }

  at::Tensor input(const spec::Op& op, size_t port, const Part& part) const {
    const at::Tensor& x = value(op.in.at(port));
    return part.end_token == 0 ? x : x.slice(1, part.first_token, part.end_token);
  }
  const at::Tensor& value(const spec::View& view) const {
    return values_[static_cast<size_t>(view.value)];
  }
  const at::Tensor& tensor(const spec::TensorRef& ref) const { return parameters_.at(ref.name); }
  at::Tensor tensor(const std::optional<spec::TensorRef>& ref) const {
    return ref ? tensor(*ref) : at::Tensor();
  }

  static void give(const Capture& capture, const CaptureKey& key, const at::Tensor& t) {
    if (capture.wanted.contains(key)) capture.sink(key, t);
  }

  // After which op a value goes: SIZE_MAX for never, as an op that is left for later reads it.
  std::vector<size_t> last_uses(const std::vector<Step>& steps) const {
    std::vector<size_t> last(values_.size(), SIZE_MAX);
    for (size_t i = 0; i < segment_.ops.size(); ++i) {
      if (steps[i] == Step::done) continue;
      last[static_cast<size_t>(segment_.ops[i].out)] = i;  // never read: dropped at once
      for (const spec::View& view : segment_.ops[i].in) last[static_cast<size_t>(view.value)] = i;
    }
    for (size_t i = 0; i < segment_.ops.size(); ++i)
      if (steps[i] == Step::later || steps[i] == Step::inputs)
        for (const spec::View& view : segment_.ops[i].in)
          last[static_cast<size_t>(view.value)] = SIZE_MAX;
    if (!segment_.ops.empty()) last[static_cast<size_t>(segment_.ops.back().out)] = SIZE_MAX;
    return last;
  }

  at::Tensor compute(const spec::Op& op, const spec::Embed& p, const Part&) const {
    at::Tensor index;
    switch (p.index) {
      case spec::Embed::Index::token:
        index = values_[0];
        break;  // ids: the op lists no input
      case spec::Embed::Index::position:
        index = sequence_.positions() + p.offset;
        break;
      case spec::Embed::Index::token_type:
        index = sequence_.token_types();
        break;
    }
    const at::Tensor& table = tensor(p.table);
    // Asked here because torch's own complaint names neither the table nor the value.
    const auto low = index.min().item<int64_t>(), high = index.max().item<int64_t>();
    if (low < 0 || high >= table.size(0))
      throw InputError(op.name,
                       "index " + std::to_string(low < 0 ? low : high) +
                           " is outside the table's " + std::to_string(table.size(0)) + " rows",
                       p.index == spec::Embed::Index::position
                           ? "use shorter sequences"
                           : "check that tokenizer and model belong together");
    const at::Tensor y = at::embedding(table, index.to(table.device()));
    return p.scale == 1.0 ? y : y * p.scale;
  }

  at::Tensor compute(const spec::Op& op, const spec::Norm& p, const Part& part) const {
    at::Tensor x = input(op, 0, part);
    const auto dtype = x.scalar_type();
    const bool slices = p.width != 0 && p.width != x.size(-1);
    std::vector<int64_t> shape = shape_of(x);
    if (slices) x = x.reshape({x.size(0), x.size(1), -1, p.width});
    at::Tensor weight = tensor(p.weight), bias = tensor(p.bias);
    if (weight.defined() && p.weight_offset != 0) weight = weight + p.weight_offset;
    // A weight as wide as the value belongs to all slices together.
    const auto fit = [&](at::Tensor& w) {
      if (w.defined() && slices && w.numel() != p.width) w = w.view({-1, p.width});
    };
    fit(weight), fit(bias);
    const bool half = dtype == c10::kHalf || dtype == c10::kBFloat16;
    if (half) x = x.to(c10::kFloat);  // sums of squares want more than 8 or 11 bits
    if (p.kind == spec::Norm::Kind::layer) {
      if (!half && (!weight.defined() || weight.dim() == 1)) {
        x = at::layer_norm(x, {x.size(-1)}, weight, bias, p.eps);
        return slices ? x.reshape(shape) : x;
      }
      x = at::layer_norm(x, {x.size(-1)}, {}, {}, p.eps);
    } else {
      x = x * at::rsqrt((x * x).mean(-1, true) + p.eps);
    }
    if (half) x = x.to(dtype);
    if (weight.defined()) x = x * weight;
    if (bias.defined()) x = x + bias;
    return slices ? x.reshape(shape) : x;
  }

  at::Tensor compute(const spec::Op& op, const spec::Linear& p, const Part& part) const {
    at::Tensor x = input(op, 0, part), w, bias;
    if (const SimulatedLinear* simulated = parameters_.decorated(op.name)) {
      if (simulated->input_scale.defined()) x = x * simulated->input_scale;
      w = simulated->weight;
      bias = simulated->bias;
    } else {
      w = p.weight.transposed ? tensor(p.weight).t() : tensor(p.weight);
      bias = tensor(p.bias);
    }
    if (part.end_column != 0) {
      w = w.slice(0, part.first_column, part.end_column);
      if (bias.defined()) bias = bias.slice(0, part.first_column, part.end_column);
    }
    return at::linear(x, w, bias);
  }

  at::Tensor compute(const spec::Op& op, const spec::Attention& p, const Part&) const {
    const auto heads = [&](size_t port, int64_t count) {
      return heads_of(op.in.at(port), value(op.in.at(port)), count, p.head_dim);
    };
    return attend(p, heads(0, p.heads), heads(1, p.kv_heads), heads(2, p.kv_heads), sequence_,
                  pool_);
  }

  at::Tensor compute(const spec::Op& op, const spec::Activation& p, const Part& part) const {
    const at::Tensor x = input(op, 0, part);
    switch (p.kind) {
      case spec::Activation::Kind::silu:
        return at::silu(x);
      case spec::Activation::Kind::gelu_erf:
        return at::gelu(x, "none");
      case spec::Activation::Kind::gelu_tanh:
        return at::gelu(x, "tanh");
      case spec::Activation::Kind::relu:
        return at::relu(x);
      case spec::Activation::Kind::tanh:
        return at::tanh(x);
    }
    check(false, "unknown activation");
    return {};
  }

  at::Tensor compute(const spec::Op& op, const spec::Add&, const Part& part) const {
    return input(op, 0, part) + input(op, 1, part);
  }

  at::Tensor compute(const spec::Op& op, const spec::Multiply&, const Part& part) const {
    return input(op, 0, part) * input(op, 1, part);
  }

  at::Tensor compute(const spec::Op& op, const spec::Pool& p, const Part&) const {
    const at::Tensor x = value(op.in.at(0));
    const int64_t T = x.size(1);
    const at::Tensor present =
        sequence_.present().defined() ? sequence_.present().to(x.device()) : at::Tensor();
    switch (p.kind) {
      case spec::Pool::Kind::first:
        return x.narrow(1, 0, 1);
      case spec::Pool::Kind::last: {
        if (!present.defined()) return x.narrow(1, T - 1, 1);
        const at::Tensor place =
            (present * at::arange(T, present.options().dtype(c10::kLong))).argmax(1);  // [B]
        return x.gather(1, place.view({-1, 1, 1}).expand({x.size(0), 1, x.size(2)}));
      }
      case spec::Pool::Kind::mean: {
        if (!present.defined()) return x.mean(1, true);
        const at::Tensor weight = present.to(x.scalar_type()).unsqueeze(-1);
        return (x * weight).sum(1, true) / weight.sum(1, true).clamp_min(1);
      }
    }
    check(false, "unknown pool");
    return {};
  }

  const spec::Segment& segment_;
  const Parameters& parameters_;
  const Sequence& sequence_;
  ThreadPool* const pool_;
  std::vector<at::Tensor> values_;
};

}  // namespace

at::Tensor run_segment(const spec::Segment& segment, const Parameters& parameters,
                       const at::Tensor& input, const Sequence& sequence, const Capture* capture,
                       ThreadPool* pool) {
  return Interpreter(segment, parameters, sequence, pool).run(input, capture);
}

bool Suspended::has_done(const spec::Segment& segment, const std::string& op) const {
  for (size_t i = 0; i < segment.ops.size(); ++i)
    if (segment.ops[i].name == op) return done[i];
  return false;
}

int64_t Suspended::bytes() const {
  int64_t sum = 0;
  for (const at::Tensor& value : values)
    if (value.defined()) sum += static_cast<int64_t>(value.nbytes());
  return sum;
}

Suspended run_for_capture(const spec::Segment& segment, const Parameters& parameters,
                          const at::Tensor& input, const Sequence& sequence,
                          const Capture& capture) {
  std::vector<Step> steps(segment.ops.size(), Step::later);
  std::vector<bool> needed(static_cast<size_t>(segment.values()), false);
  for (size_t i = segment.ops.size(); i-- > 0;) {
    const spec::Op& op = segment.ops[i];
    if (needed[static_cast<size_t>(op.out)] ||
        capture.wanted.contains({CaptureKind::op_output, op.name})) {
      steps[i] = Step::compute;
    } else if (capture.wanted.contains({CaptureKind::linear_input, op.name})) {
      steps[i] = Step::inputs;
    } else {
      continue;
    }
    for (const spec::View& view : op.in) needed[static_cast<size_t>(view.value)] = true;
  }
  return Interpreter(segment, parameters, sequence, nullptr).run_for_capture(input, steps, capture);
}

at::Tensor resume_segment(const spec::Segment& segment, const Parameters& parameters,
                          const at::Tensor& input, const Sequence& sequence, Suspended suspended) {
  return Interpreter(segment, parameters, sequence, nullptr).resume(input, std::move(suspended));
}

}  // namespace halftone::graph
