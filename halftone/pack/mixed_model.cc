#include "halftone/pack/mixed_model.h"

#include <algorithm>
#include <map>

#include "halftone/base/error.h"
#include "halftone/pack/compression.h"

namespace halftone::pack {
namespace {

using format::Port;
using spec::Op;
using spec::TensorRef;

// Tensors and ops of the other model get a name of their own: both may have one of that name.
constexpr const char* kOther = "other:";
bool is_other(const std::string& name) { return name.starts_with(kOther); }
std::string own_name(const std::string& name) {
  return name.substr(std::char_traits<char>::length(kOther));
}

class MixedTensors final : public files::TensorSource {
 public:
  MixedTensors(std::shared_ptr<const TensorSource> base, std::shared_ptr<const TensorSource> other)
      : base_(std::move(base)), other_(std::move(other)) {
    for (files::TensorInfo info : other_->tensors()) {
      info.name = kOther + info.name;
      infos_.push_back(std::move(info));
    }
    infos_.insert(infos_.end(), base_->tensors().begin(), base_->tensors().end());
    std::sort(infos_.begin(), infos_.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
  }
  const std::vector<files::TensorInfo>& tensors() const override { return infos_; }
  const files::TensorInfo* find(const std::string& name) const override {
    const auto found =
        std::lower_bound(infos_.begin(), infos_.end(), name,
                         [](const auto& info, const std::string& n) { return info.name < n; });
    return found != infos_.end() && found->name == name ? &*found : nullptr;
  }
  HostTensor read(const std::string& name) const override {
    return is_other(name) ? other_->read(own_name(name)) : base_->read(name);
  }
  HostTensor read_rows(const std::string& name, int64_t begin, int64_t end) const override {
    return is_other(name) ? other_->read_rows(own_name(name), begin, end)
                          : base_->read_rows(name, begin, end);
  }
  std::span<const std::byte> mapped(const std::string& name) const override {
    return is_other(name) ? other_->mapped(own_name(name)) : base_->mapped(name);
  }
  void forget(const std::string& name, std::span<const std::byte> part) const override {
    is_other(name) ? other_->forget(own_name(name), part) : base_->forget(name, part);
  }

 private:
  std::shared_ptr<const TensorSource> base_, other_;
  std::vector<files::TensorInfo> infos_;
};

class MixedModel final : public PackedModel {
 public:
  MixedModel(std::shared_ptr<const PackedModel> base, std::shared_ptr<const PackedModel> other,
             const std::set<std::string>& ops)
      : base_(std::move(base)), other_(std::move(other)), checkpoint_(base_->checkpoint()) {
    spec::ModelSpec& spec = checkpoint_.spec;
    checkpoint_.name +=
        " with " + std::to_string(ops.size()) + " ops of " + other_->checkpoint().name;
    checkpoint_.gguf = nullptr;
    checkpoint_.tensors =
        std::make_shared<MixedTensors>(base_->checkpoint().tensors, other_->checkpoint().tensors);
    plan_ = base_->plan();
    std::set<std::string> tables;
    const auto ours = spec::segments(spec);
    const auto theirs = spec::segments(other_->checkpoint().spec);
    for (size_t s = 0; s < ours.size(); ++s)
      for (size_t i = 0; i < ours[s]->ops.size(); ++i) {
        Op& op = ours[s]->ops[i];
        if (!ops.contains(op.name)) continue;
        taken_.emplace(op.name, &theirs[s]->ops[i]);
        op.params = theirs[s]->ops[i].params;
        spec::each_tensor(op, [](TensorRef& ref) { ref.name = kOther + ref.name; });
        for (const Port port : {Port::weight, Port::input}) {
          plan_.ports.erase({op.name, port});
          if (const format::Format* f = other_->plan().find(op.name, port))
            plan_.ports[{op.name, port}] = *f;
        }
      }
    check(taken_.size() == ops.size(), "an op that is to be taken from another model is in it");
    for (const Op& op : spec.prologue.ops)
      if (const auto* e = std::get_if<spec::Embed>(&op.params)) tables.insert(e->table.name);
    spec.tied_head = false;
    for (const Op& op : spec.epilogue.ops)
      if (const auto* l = std::get_if<spec::Linear>(&op.params))
        spec.tied_head |= l->role == spec::Role::head && tables.contains(l->weight.name);
    count_bytes();
  }

  const spec::Checkpoint& checkpoint() const override { return checkpoint_; }
  const format::Plan& plan() const override { return plan_; }
  DecoratedLinear linear(const Op& op) const override {
    const auto taken = taken_.find(op.name);
    return taken == taken_.end() ? base_->linear(op) : other_->linear(*taken->second);
  }
  std::optional<Matrix<float>> steps(const Op& op) const override {
    const auto taken = taken_.find(op.name);
    return taken == taken_.end() ? base_->steps(op) : other_->steps(*taken->second);
  }
  std::optional<StoredLinear> stored(const Op& op) const override {
    const auto taken = taken_.find(op.name);
    if (taken == taken_.end()) return base_->stored(op);
    auto out = other_->stored(*taken->second);
    if (out) {
      out->words_name = kOther + out->words_name;
      out->scales_name = kOther + out->scales_name;
    }
    return out;
  }
  HostTensor tensor(const TensorRef& ref) const override {
    if (!is_other(ref.name)) return base_->tensor(ref);
    TensorRef theirs = ref;
    theirs.name = own_name(ref.name);
    return other_->tensor(theirs);
  }
  uint64_t weight_bytes() const override { return weight_bytes_; }
  double bits_per_weight() const override {
    return static_cast<double>(weight_bytes_) * 8 /
           static_cast<double>(spec::parameter_count(checkpoint_.spec));
  }

 private:
  // Tensors that several ops read count once.
  void count_bytes() {
    std::set<std::string> dense;
    const spec::ModelSpec& spec = checkpoint_.spec;
    for (const spec::Segment* segment : spec::segments(spec))
      for (const Op& op : segment->ops) {
        if (plan_.find(op.name, Port::weight) == nullptr) {
          spec::each_tensor(op, [&](const TensorRef& ref) { dense.insert(ref.name); });
          continue;
        }
        const auto taken = taken_.find(op.name);
        weight_bytes_ += taken == taken_.end() ? stored_bytes(*base_, op)
                                               : stored_bytes(*other_, *taken->second);
      }
    for (const std::string& name : dense)
      if (const files::TensorInfo* info = checkpoint_.tensors->find(name))
        weight_bytes_ += info->stored_bytes;
  }

  std::shared_ptr<const PackedModel> base_, other_;
  spec::Checkpoint checkpoint_;
  format::Plan plan_;
  std::map<std::string, const Op*> taken_;  // name -> the op as the other model has it
  uint64_t weight_bytes_ = 0;
};

// What both models must have alike: everything of an op but where its tensors lie.
bool same_op(const Op& a, const Op& b) {
  if (a.name != b.name || a.in != b.in || a.out != b.out || a.params.index() != b.params.index())
    return false;
  if (const auto* l = std::get_if<spec::Linear>(&a.params)) {
    const auto& m = std::get<spec::Linear>(b.params);
    return l->in == m.in && l->out == m.out && l->role == m.role;
  }
  if (const auto* e = std::get_if<spec::Embed>(&a.params)) {
    const auto& f = std::get<spec::Embed>(b.params);
    return e->index == f.index && e->table.shape == f.table.shape;
  }
  if (const auto* n = std::get_if<spec::Norm>(&a.params)) {
    const auto& m = std::get<spec::Norm>(b.params);
    return n->kind == m.kind && n->width == m.width;
  }
  if (const auto* t = std::get_if<spec::Attention>(&a.params)) {
    const auto& u = std::get<spec::Attention>(b.params);
    return t->heads == u.heads && t->kv_heads == u.kv_heads && t->head_dim == u.head_dim;
  }
  return a.params == b.params;
}

}  // namespace

void check_mixable(const PackedModel& a, const PackedModel& b) {
  const auto ours = spec::segments(a.checkpoint().spec),
             theirs = spec::segments(b.checkpoint().spec);
  const auto refuse = [&](const std::string& what) {
    throw InputError(b.checkpoint().name, what, "compare a model with what it was made from");
  };
  if (const int64_t x = a.checkpoint().spec.vocabulary, y = b.checkpoint().spec.vocabulary; x != y)
    refuse("has a vocabulary of " + std::to_string(y) + ", " + a.checkpoint().name + " " +
           std::to_string(x));
  if (ours.size() != theirs.size())
    refuse("has " + std::to_string(theirs.size() - 2) + " blocks, " + a.checkpoint().name + " " +
           std::to_string(ours.size() - 2));
  for (size_t s = 0; s < ours.size(); ++s) {
    const auto &x = ours[s]->ops, &y = theirs[s]->ops;
    for (size_t i = 0; i < std::max(x.size(), y.size()); ++i)
      if (i >= x.size() || i >= y.size() || !same_op(x[i], y[i]))
        refuse("is not built as " + a.checkpoint().name + ": they part at " +
               quote(i < y.size() ? y[i].name : x[i].name));
  }
}

std::shared_ptr<const PackedModel> mix(std::shared_ptr<const PackedModel> base,
                                       std::shared_ptr<const PackedModel> other,
                                       const std::set<std::string>& ops) {
  check_mixable(*base, *other);
  return std::make_shared<MixedModel>(std::move(base), std::move(other), ops);
}

}  // namespace halftone::pack
