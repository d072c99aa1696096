#include "halftone/calib/torch_engine.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "halftone/base/error.h"
#include "halftone/base/threads.h"
#include "halftone/calib/observers.h"
#include "halftone/graph/graph.h"
#include "halftone/graph/segment.h"
#include "halftone/graph/torch.h"

namespace halftone::calib {
namespace {

using graph::CaptureKey;
using graph::CaptureKind;
using recipe::InputStatistics;
using recipe::Need;

// One sample on its way through the block.
struct InFlight {
  int64_t index = 0;
  at::Tensor input, output;  // [1, T, width]
  std::shared_ptr<const graph::Sequence> sequence;
  std::vector<at::Tensor> seen;  // [T, K] by observer
  std::vector<SampleStatistics> summary;
  graph::Suspended suspended;  // where an observing pass stopped, or an advancing one goes on
  bool finite = true;
};

int64_t bytes_of(const at::Tensor& x) { return x.defined() ? static_cast<int64_t>(x.nbytes()) : 0; }

bool all_finite(const at::Tensor& x) {
  const float* data = x.data_ptr<float>();
  float poison = 0;  // 0 * x is 0 unless x is infinite or NaN
  for (int64_t i = 0; i < x.numel(); ++i) poison += 0.0f * data[i];
  return poison == 0;
}

class TorchEngine final : public recipe::BlockEngine {
 public:
  TorchEngine(spec::Checkpoint checkpoint, const Context& context, const EngineOptions& options)
      : checkpoint_(std::move(checkpoint)),
        context_(context),
        options_(options),
        parameters_(options.tensors) {}

  Matrix<float> embed(std::span<const int32_t> ids) override {
    return graph::guarded("embeddings", [&] { return embed_rows(ids); });
  }

  void load(const spec::Segment& segment) override {
    block_ = &segment;
    forget();
    parameters_.clear();  // first: two segments at once are the driver's allowance, not ours
    for (const spec::TensorRef& ref : graph::tensors_of(*block_))
      parameters_.load(*checkpoint_.tensors, ref);
  }

  void set_weight(const std::string& op, const Matrix<float>& w) override {
    parameters_.set_weight(linear(op), w);
    if (!kept_.empty() && kept_.begin()->second.has_done(*block_, op)) forget();
  }
  Matrix<float> weight(const std::string& op) override { return parameters_.weight(linear(op)); }

  std::map<std::string, InputStatistics> run_block(
      int64_t samples, const std::function<Matrix<float>(int64_t)>& read,
      const std::function<void(int64_t, Matrix<float>)>& write,
      const std::map<std::string, std::set<Need>>& observe) override {
    check(block_ != nullptr, "load comes before run_block");
    return graph::guarded(block_->name, [&] { return run(samples, read, write, observe); });
  }

 private:
  const spec::Linear& linear(const std::string& op) const {
    check(block_ != nullptr, "load comes first");
    for (const spec::Op& candidate : block_->ops)
      if (const auto* found = std::get_if<spec::Linear>(&candidate.params);
          found != nullptr && candidate.name == op)
        return *found;
    throw InputError(op, "is no linear of " + block_->name);
  }

  std::map<std::string, InputStatistics> run(
      int64_t samples, const std::function<Matrix<float>(int64_t)>& read,
      const std::function<void(int64_t, Matrix<float>)>& write,
      const std::map<std::string, std::set<Need>>& observe) {
    std::vector<Observer> observers;
    for (Watched& watched : group_by_input(*block_, observe))
      observers.emplace_back(std::move(watched), samples);
    const bool advance = static_cast<bool>(write);
    if (!advance && observers.empty()) return {};
    if (!observers.empty()) forget();
    const graph::TorchThreads one_thread(1);
    std::vector<InFlight> wave;
    for (int64_t next = 0; next < samples;) {
      context_.throw_if_stopped();
      int64_t bytes = 0;
      while (next < samples && static_cast<int64_t>(wave.size()) < context_.pool->threads()) {
        if (!wave.empty() &&
            bytes + bytes / static_cast<int64_t>(wave.size()) > options_.capture_bytes)
          break;
        wave.push_back(take_in(next, read(next)));
        bytes += captured_bytes(wave.back(), observers, advance);
        ++next;
      }
      context_.pool->each(static_cast<int64_t>(wave.size()), [&](int64_t i) {
        graph::guarded(block_->name,
                       [&] { forward(wave[static_cast<size_t>(i)], observers, advance); });
      });
      for (InFlight& sample : wave) {
        // Asked in sample order, so that the same sample is named at any thread count.
        if (!sample.finite)
          throw NumericError(
              block_->name,
              "the hidden states of sample " + std::to_string(sample.index) + " are not finite",
              "look for a damaged weight: halftone inspect lists ranges");
        for (size_t o = 0; o < observers.size(); ++o) {
          observers[o].add(sample.seen[o], sample.summary[o], *context_.pool);
          sample.seen[o].reset();
        }
        if (advance) write(sample.index, graph::to_matrix(sample.output[0]));
        sample.output.reset();
        if (!advance && options_.keep_bytes > 0) keep(std::move(sample), samples);
      }
      wave.clear();
    }
    if (advance) forget();
    std::map<std::string, InputStatistics> result;
    for (Observer& observer : observers) {
      const InputStatistics statistics = observer.finish();
      for (const std::string& op : observer.watched().ops) result[op] = statistics;
    }
    return result;
  }

  InFlight take_in(int64_t index, Matrix<float>&& hidden) {
    if (hidden.rows == 0 || hidden.cols != checkpoint_.spec.width)
      throw ShapeError("sample " + std::to_string(index),
                       "is " + to_string(Shape{hidden.rows, hidden.cols}) +
                           ", the model's hidden states are " +
                           std::to_string(checkpoint_.spec.width) + " wide");
    InFlight sample;
    sample.index = index;
    // Rotation tables are kept in the sequence, so samples of one length share it; lengths rarely
    // differ.
    if (!sequence_ || sequence_->tokens() != hidden.rows)
      sequence_ = std::make_shared<graph::Sequence>(1, hidden.rows);
    sample.sequence = sequence_;
    sample.input =
        graph::to_torch(std::move(hidden)).unsqueeze(0).to(parameters_.options().device());
    if (const auto it = kept_.find(index); it != kept_.end()) {
      sample.suspended = std::move(it->second);
      kept_.erase(it);
    }
    return sample;
  }

  // Into one large tensor for all samples: small ones that stay while others come and go would
  // leave gaps all over the heap.
  void keep(InFlight&& sample, int64_t samples) {
    graph::Suspended& suspended = sample.suspended;
    for (const at::Tensor& value : suspended.values)
      if (value.defined() && value.scalar_type() != at::kFloat) return;
    const int64_t bytes = suspended.bytes();
    if (bytes > options_.keep_bytes) return;
    if (kept_bytes_ == 0 && bytes > 0) {
      const int64_t floats =
          std::min(options_.keep_bytes, bytes * samples) / static_cast<int64_t>(sizeof(float));
      if (!store_.defined() || store_.numel() < floats) {
        store_.reset();
        store_ = at::empty({floats}, parameters_.options());
      }
    }
    if (kept_bytes_ + bytes > std::min(options_.keep_bytes, bytes_of(store_))) return;
    for (at::Tensor& value : suspended.values) {
      if (!value.defined()) continue;
      const int64_t at = kept_bytes_ / static_cast<int64_t>(sizeof(float));
      const at::Tensor place = store_.narrow(0, at, value.numel()).view(value.sizes());
      place.copy_(value);
      value = place;
      kept_bytes_ += static_cast<int64_t>(value.nbytes());
    }
    kept_.emplace(sample.index, std::move(suspended));
  }
  void forget() {
    kept_.clear();
    kept_bytes_ = 0;
  }

  static int64_t captured_bytes(const InFlight& sample, const std::vector<Observer>& observers,
                                bool advance) {
    int64_t columns = advance ? 2 * sample.input.size(2) : sample.input.size(2);
    for (const Observer& observer : observers) columns += observer.watched().width;
    return columns * sample.input.size(1) * static_cast<int64_t>(sizeof(float));
  }

  void forward(InFlight& sample, const std::vector<Observer>& observers, bool advance) const {
    const at::NoGradGuard no_grad;
    graph::use_one_thread_here();
    graph::Capture capture;
    for (const Observer& observer : observers)
      capture.wanted.insert({CaptureKind::linear_input, observer.watched().ops.front()});
    sample.seen.resize(observers.size());
    sample.summary.resize(observers.size());
    capture.sink = [&](const CaptureKey& key, const at::Tensor& x) {
      for (size_t o = 0; o < observers.size(); ++o)
        if (observers[o].watched().ops.front() == key.name) {
          sample.seen[o] = x[0].to(c10::kCPU).contiguous();
          sample.summary[o] = summarise(sample.seen[o], observers[o].watched().needs);
        }
    };
    if (advance) {
      const at::Tensor output =
          sample.suspended.done.empty()
              ? graph::run_segment(*block_, parameters_, sample.input, *sample.sequence, &capture)
              : graph::resume_segment(*block_, parameters_, sample.input, *sample.sequence,
                                      std::exchange(sample.suspended, {}));
      sample.output = output.to(c10::kCPU).contiguous();
      sample.finite = all_finite(sample.output);
    } else {
      graph::Suspended stopped =
          graph::run_for_capture(*block_, parameters_, sample.input, *sample.sequence, capture);
      if (options_.keep_bytes > 0) sample.suspended = std::move(stopped);
    }
    sample.input.reset();
  }

  // Only the rows that the sample uses are read, so a table of half a GB never enters memory.
  Matrix<float> embed_rows(std::span<const int32_t> ids) {
    if (ids.empty()) throw InputError("sample", "has no tokens");
    std::vector<int32_t> used(ids.begin(), ids.end()), places;
    std::sort(used.begin(), used.end());
    used.erase(std::unique(used.begin(), used.end()), used.end());
    if (used.front() < 0 || used.back() >= checkpoint_.spec.vocabulary)
      throw InputError("token",
                       std::to_string(used.front() < 0 ? used.front() : used.back()) +
                           " is outside the vocabulary of " +
                           std::to_string(checkpoint_.spec.vocabulary),
                       "check that tokenizer and model belong together");
    for (const int32_t id : ids)
      places.push_back(
          static_cast<int32_t>(std::lower_bound(used.begin(), used.end(), id) - used.begin()));

    spec::Segment prologue = checkpoint_.spec.prologue;
    graph::Parameters few;
    for (spec::Op& op : prologue.ops) {
      auto* table = std::get_if<spec::Embed>(&op.params);
      if (table == nullptr || table->index != spec::Embed::Index::token) continue;
      table->table.shape[0] = static_cast<int64_t>(used.size());
      few.set(table->table, rows_of(table->table, used));
    }
    for (const spec::TensorRef& ref : graph::tensors_of(prologue))
      if (!few.has(ref.name)) few.load(*checkpoint_.tensors, ref);

    const at::NoGradGuard no_grad;
    const graph::TorchThreads one_thread(1);
    const graph::Sequence sequence(1, static_cast<int64_t>(ids.size()));
    return graph::to_matrix(
        graph::run_segment(prologue, few, graph::ids_tensor(places), sequence)[0]);
  }

  HostTensor rows_of(const spec::TensorRef& table, const std::vector<int32_t>& rows) const {
    HostTensor few(DType::f32, table.shape);
    const auto width = static_cast<size_t>(table.shape.at(1));
    for (size_t i = 0; i < rows.size(); ++i) {
      const HostTensor row =
          to_f32(checkpoint_.tensors->read_rows(table.name, rows[i], rows[i] + 1));
      std::copy_n(row.as<float>().begin(), width,
                  few.as<float>().begin() + static_cast<std::ptrdiff_t>(i * width));
    }
    return few;
  }

  const spec::Checkpoint checkpoint_;
  const Context& context_;
  const EngineOptions options_;
  const spec::Segment* block_ = nullptr;
  graph::Parameters parameters_;
  std::shared_ptr<graph::Sequence> sequence_;
  // Of the last observing pass, by sample, until a weight that they went through changes.
  std::map<int64_t, graph::Suspended> kept_;
  at::Tensor store_;  // holds their values
  int64_t kept_bytes_ = 0;
};

}  // namespace

std::unique_ptr<recipe::BlockEngine> torch_engine(spec::Checkpoint checkpoint,
                                                  const Context& context,
                                                  const EngineOptions& options) {
  return std::make_unique<TorchEngine>(std::move(checkpoint), context, options);
}

}  // namespace halftone::calib
