#include "halftone/graph/logit_source.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "halftone/base/error.h"
#include "halftone/graph/torch.h"

namespace halftone::graph {
namespace {

class GraphLogits final : public eval::LogitSource {
 public:
  GraphLogits(std::string name, std::shared_ptr<const Graph> graph, const Context& context)
      : name_(std::move(name)), graph_(std::move(graph)), context_(context) {
    if (graph_->spec().output != spec::ModelSpec::Output::language_model)
      throw UnsupportedError(name_, "has no logits: it is no language model",
                             "give a decoder, such as smollm2");
  }

  std::string label() const override {
    const std::string mode =
        graph_->parameters().any_decorated()
            ? "simulated"
            : std::string(dtype_name(
                  dtype_of(c10::typeMetaToScalarType(graph_->parameters().options().dtype()))));
    return name_ + " (torch, " + mode + ")";
  }
  int64_t vocabulary() const override { return graph_->spec().vocabulary; }
  int64_t context() const override { return graph_->spec().context; }

  void begin(std::span<const int32_t> ids, int64_t first) override {
    guarded(name_, [&] {
      const auto T = static_cast<int64_t>(ids.size());
      if (T > context())
        throw InputError(
            name_,
            std::to_string(T) + " tokens are more than its context of " + std::to_string(context()),
            "use shorter windows");
      check(first >= 0 && first <= T, "the first position lies in the sequence");
      hidden_.reset();
      position_ = end_ = 0;
      if (first == T) return;
      const at::NoGradGuard no_grad;
      const TorchThreads one_thread(1);
      const Sequence sequence(1, T);
      at::Tensor x = ids_tensor(ids);
      for (int64_t i = -1; i < blocks(); ++i)
        x = graph_->forward_segment(i, x, sequence, nullptr, context_.pool);
      hidden_ = x.slice(1, first);
      end_ = T - first;
    });
  }

  // The end of a language model looks at each position alone, so it is run in slices.
  int64_t next(std::span<float> rows) override {
    return guarded(name_, [&] {
      const int64_t n =
          std::min(static_cast<int64_t>(rows.size()) / vocabulary(), end_ - position_);
      if (n <= 0) return int64_t{0};
      const at::NoGradGuard no_grad;
      const TorchThreads one_thread(1);
      const at::Tensor part = hidden_.slice(1, position_, position_ + n);
      const at::Tensor y =
          graph_->forward_segment(blocks(), part, Sequence(1, n), nullptr, context_.pool)
              .to(c10::kCPU, c10::kFloat)
              .contiguous();
      check(y.numel() == n * vocabulary(), "logits are [n, vocabulary]");
      std::copy_n(y.data_ptr<float>(), y.numel(), rows.begin());
      position_ += n;
      return n;
    });
  }

 private:
  int64_t blocks() const { return static_cast<int64_t>(graph_->spec().blocks.size()); }

  const std::string name_;
  const std::shared_ptr<const Graph> graph_;
  const Context& context_;
  at::Tensor hidden_;  // [1, T - first, width]
  int64_t position_ = 0, end_ = 0;
};

}  // namespace

std::unique_ptr<eval::LogitSource> graph_logits(std::string name,
                                                std::shared_ptr<const Graph> graph,
                                                const Context& context) {
  return std::make_unique<GraphLogits>(std::move(name), std::move(graph), context);
}

}  // namespace halftone::graph
