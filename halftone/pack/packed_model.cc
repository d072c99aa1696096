#include "halftone/pack/packed_model.h"

#include <cmath>
#include <map>
#include <set>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/files/gguf_blocks.h"
#include "halftone/pack/read_linear.h"
#include "halftone/pack/receipt.h"

namespace halftone::pack {
namespace {

using format::Port;

class OpenModel final : public PackedModel {
 public:
  OpenModel(spec::Checkpoint checkpoint, const Context& context)
      : checkpoint_(std::move(checkpoint)) {
    if (checkpoint_.quantized) read_config(context);
    if (checkpoint_.gguf) steps_ = spec::gguf_steps(checkpoint_);
    weight_bytes_ = bytes_read();
    if (!checkpoint_.gguf)
      checkpoint_.tensors = verified(
          checkpoint_.tensors,
          check_receipt(checkpoint_.path, *checkpoint_.tensors, plan_, context), checkpoint_.path);
  }

  const spec::Checkpoint& checkpoint() const override { return checkpoint_; }
  const format::Plan& plan() const override { return plan_; }
  uint64_t weight_bytes() const override { return weight_bytes_; }
  double bits_per_weight() const override {
    return static_cast<double>(weight_bytes_) * 8 /
           static_cast<double>(spec::parameter_count(checkpoint_.spec));
  }

  DecoratedLinear linear(const spec::Op& op) const override {
    const auto& params = std::get<spec::Linear>(op.params);
    const auto found = schemes_.find(op.name);
    if (found == schemes_.end()) return read_dense(*checkpoint_.tensors, op.name, params);
    const LinearFile file{*checkpoint_.tensors, *config_, op.name, params, found->second};
    return found->second.storage == Storage::gptq ? read_gptq(file, gptq_version_)
                                                  : read_compressed(file);
  }

  std::optional<StoredLinear> stored(const spec::Op& op) const override {
    const auto found = schemes_.find(op.name);
    if (found == schemes_.end()) return {};
    const LinearFile file{*checkpoint_.tensors, *config_, op.name,
                          std::get<spec::Linear>(op.params), found->second};
    return found->second.storage == Storage::gptq ? stored_gptq(file, gptq_version_)
                                                  : stored_compressed(file);
  }

  std::optional<Matrix<float>> steps(const spec::Op& op) const override {
    if (!steps_) return PackedModel::steps(op);
    const auto& params = std::get<spec::Linear>(op.params);
    const auto& info = *checkpoint_.tensors->find(params.weight.name);
    if (files::block_type(info.stored_as)->steps == nullptr) return {};
    return effective_weight(read_dense(*steps_, op.name, params));
  }

  HostTensor tensor(const spec::TensorRef& ref) const override {
    const auto& info = require(*checkpoint_.tensors, ref.name, kFloatTypes);
    require_shape(info, ref.shape, "from config.json");
    return checkpoint_.tensors->read(ref.name);
  }

 private:
  // Of the tensors that the spec reads and of what stands for its quantized linears: files also hold
  // causal masks, and copies of a tied head.
  uint64_t bytes_read() const {
    std::set<std::string> dense;
    for (const spec::TensorRef& ref : spec::tensors(checkpoint_.spec)) dense.insert(ref.name);
    uint64_t bytes = 0;
    for (const auto& t : checkpoint_.tensors->tensors())
      if (dense.contains(t.name) || schemes_.contains(t.name.substr(0, t.name.rfind('.'))))
        bytes += t.stored_bytes;
    return bytes;
  }

  // Every linear's headers are checked here, before any work; values are checked when they are
  // read.
  void read_config(const Context& context) {
    config_.emplace(*spec::quantization_of(checkpoint_.config),
                    join_path(checkpoint_.path, "config.json"));
    const auto& tensors = *checkpoint_.tensors;
    gptq_version_ = config_->gptq_version();
    bool probed = false;
    for (const auto& ref : spec::linears(checkpoint_.spec)) {
      const std::string& name = ref.op->name;
      const spec::Linear& params = ref.linear();
      const auto scheme = config_->scheme(name, params);
      const bool stored = has_quantized_weights(tensors, name);
      if (!scheme) {
        if (stored)
          throw FileError(Code::mismatch, join_path(checkpoint_.path, "config.json"),
                          "module " + quote(name) +
                              " has quantized weights, but quantization_config leaves it out");
        continue;
      }
      // A tied head matches "Linear" by class, and then lives on as the embedding; GPTQ names no
      // modules, so its tensors tell.
      const bool own_weights = tensors.find(name + ".weight") != nullptr;
      const bool tied = params.role == spec::Role::head && checkpoint_.spec.tied_head;
      if (!stored && (tied || (scheme->storage == Storage::gptq && own_weights))) continue;
      const LinearFile file{tensors, *config_, name, params, *scheme};
      Scheme checked = *scheme;
      if (scheme->storage == Storage::gptq) {
        checked.weights = check_gptq(file);
        if (!probed) {
          probed = true;
          const GptqZeros zeros = probe_gptq_zeros(file);
          gptq_version_ = zeros.version;
          if (zeros.wrong_label)
            context.warn(checkpoint_.path + ": labelled " +
                         (config_->gptq_version() == 1 ? "gptq" : "gptq_v2") +
                         ", but its zero-points are those of " +
                         (zeros.version == 1 ? "gptq" : "gptq_v2") + "; read as " +
                         (zeros.version == 1 ? "gptq" : "gptq_v2"));
          if (zeros.wrapped)
            context.warn(checkpoint_.path +
                         ": zero-points of 0 stored as all ones (v1); read as 0");
        }
      } else {
        checked.weights = check_compressed(file);
      }
      plan_.ports[{name, Port::weight}] = checked.weights;
      if (checked.input) plan_.ports[{name, Port::input}] = *checked.input;
      schemes_.emplace(name, std::move(checked));
    }
    check_dense();
    for (const auto& remark : config_->remarks()) context.info(checkpoint_.path + ": " + remark);
  }

  // Everything that is not in a quantized linear must be there as in a dense model.
  void check_dense() const {
    std::set<std::string> elsewhere;
    for (const auto& ref : spec::linears(checkpoint_.spec)) {
      if (!schemes_.contains(ref.op->name)) continue;
      elsewhere.insert(ref.linear().weight.name);
      if (ref.linear().bias) elsewhere.insert(ref.linear().bias->name);
    }
    for (const spec::Segment* segment : spec::segments(checkpoint_.spec))
      for (const auto& op : segment->ops)
        if (const auto* e = std::get_if<spec::Embed>(&op.params))
          elsewhere.erase(e->table.name);  // tied to a quantized head
    for (const spec::TensorRef& ref : spec::tensors(checkpoint_.spec))
      if (!elsewhere.contains(ref.name))
        require_shape(require(*checkpoint_.tensors, ref.name, kDenseTypes), ref.shape,
                      "from config.json");
  }

  spec::Checkpoint checkpoint_;
  std::shared_ptr<const files::TensorSource> steps_;  // of a GGUF
  format::Plan plan_;
  std::optional<QuantizationConfig> config_;
  std::map<std::string, Scheme> schemes_;
  int64_t gptq_version_ = 1;
  uint64_t weight_bytes_ = 0;
};

}  // namespace

std::optional<Matrix<float>> PackedModel::steps(const spec::Op& op) const {
  if (plan().find(op.name, Port::weight) == nullptr) return {};
  const DecoratedLinear from = linear(op);
  const format::Codes& codes = from.codes();
  Matrix<float> out(from.out, from.in);
  for (int64_t n = 0; n < out.rows; ++n)
    for (int64_t k = 0; k < out.cols; ++k) {
      out.at(n, k) = std::abs(codes.scale(n, codes.group_of(k)));
      if (!from.input_scale.empty())
        out.at(n, k) *= std::abs(from.input_scale[static_cast<size_t>(k)]);
    }
  return out;
}

std::shared_ptr<const PackedModel> open_model(const std::string& model, const Context& context) {
  return std::make_shared<OpenModel>(spec::open_checkpoint(model, context), context);
}

}  // namespace halftone::pack
