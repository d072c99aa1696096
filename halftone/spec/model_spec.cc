#include "halftone/spec/model_spec.h"

#include <algorithm>
#include <array>
#include <set>

#include "halftone/base/error.h"

namespace halftone::spec {
namespace {

constexpr std::array<std::string_view, 12> kRoles = {
    "query",    "key",    "value", "query_key_value", "attention_out", "mlp_gate", "mlp_up",
    "mlp_down", "pooler", "head",  "classifier",      "other"};

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

// Walks one segment and knows the width of every value.
class SegmentCheck {
 public:
  SegmentCheck(const Segment& segment, int64_t input_width, const std::string& path)
      : segment_(segment), path_(path), widths_{input_width} {}

  int64_t output_width() {
    for (const Op& op : segment_.ops) {
      if (op.out != static_cast<int32_t>(widths_.size()))
        fail(op, "values are not numbered in order");
      widths_.push_back(width_of(op));
    }
    return widths_.back();
  }

 private:
  [[noreturn]] void fail(const Op& op, const std::string& fact) const {
    throw FileError(Code::mismatch, path_, op.name + ": " + fact);
  }
  int64_t input(const Op& op, size_t i) const {
    if (i >= op.in.size()) fail(op, "misses an input");
    const View& view = op.in[i];
    if (view.value < 0 || view.value >= static_cast<int32_t>(widths_.size()))
      fail(op, "reads a value that does not exist yet");
    return widths_[static_cast<size_t>(view.value)];
  }
  int64_t whole(const Op& op, size_t i) const {
    const int64_t width = input(op, i);
    const View& view = op.in[i];
    if (view.offset != 0 || view.head_stride != 0 || (view.width != 0 && view.width != width))
      fail(op, "only attention reads parts of a value");
    return width;
  }
  void head_view(const Op& op, size_t i, int64_t heads, int64_t head_dim) const {
    const int64_t width = input(op, i);
    const View& view = op.in[i];
    const int64_t stride = view.head_stride ? view.head_stride : head_dim;
    if (view.offset < 0 || view.offset + (heads - 1) * stride + head_dim > width)
      fail(op, "reads " + std::to_string(heads) + " heads of " + std::to_string(head_dim) +
                   " from a value " + std::to_string(width) + " wide");
  }
  int64_t width_of(const Op& op) const {
    return std::visit(
        Overloaded{
            [&](const Embed& e) { return e.table.shape.at(1); },
            [&](const Norm& n) {
              const int64_t width = whole(op, 0);
              if (n.width <= 0 || width % n.width != 0)
                fail(op, "normalises " + std::to_string(n.width) + " of a value " +
                             std::to_string(width) + " wide");
              for (const auto* ref : {&n.weight, &n.bias})
                if (*ref && (*ref)->shape != Shape{n.width} && (*ref)->shape != Shape{width})
                  fail(op, "weighs slices of " + std::to_string(n.width) + " of a value " +
                               std::to_string(width) + " wide with " + quote((*ref)->name) + " " +
                               to_string((*ref)->shape));
              return width;
            },
            [&](const Linear& l) {
              if (whole(op, 0) != l.in)
                fail(op, "takes " + std::to_string(l.in) + " inputs, its value is " +
                             std::to_string(input(op, 0)) + " wide");
              return l.out;
            },
            [&](const Attention& a) {
              if (a.heads < 1 || a.kv_heads < 1 || a.heads % a.kv_heads != 0)
                fail(op, std::to_string(a.heads) + " heads cannot share " +
                             std::to_string(a.kv_heads) + " key-value heads");
              head_view(op, 0, a.heads, a.head_dim);
              head_view(op, 1, a.kv_heads, a.head_dim);
              head_view(op, 2, a.kv_heads, a.head_dim);
              if (a.rope &&
                  (a.rope->dims % 2 != 0 || a.rope->dims > a.head_dim ||
                   static_cast<int64_t>(a.rope->inverse_frequency.size()) * 2 != a.rope->dims))
                fail(op, "rope rotates " + std::to_string(a.rope->dims) + " of " +
                             std::to_string(a.head_dim) + " dimensions");
              return a.heads * a.head_dim;
            },
            [&](const Activation&) { return whole(op, 0); },
            [&](const Add&) { return same(op); },
            [&](const Multiply&) { return same(op); },
            [&](const Pool&) { return whole(op, 0); },
        },
        op.params);
  }
  int64_t same(const Op& op) const {
    if (op.in.size() != 2 || whole(op, 0) != whole(op, 1))
      fail(op, "needs two values of one width");
    return whole(op, 0);
  }

  const Segment& segment_;
  const std::string& path_;
  std::vector<int64_t> widths_;
};

// Specs and ops that are const, and others.
template <class S>
auto segments_of(S& spec) {
  std::vector<decltype(&spec.prologue)> out = {&spec.prologue};
  for (auto& block : spec.blocks) out.push_back(&block);
  out.push_back(&spec.epilogue);
  return out;
}
void each_tensor_of(auto& op, const auto& take) {
  const auto maybe = [&](auto& ref) {
    if (ref) take(*ref);
  };
  if (auto* embed = std::get_if<Embed>(&op.params)) take(embed->table);
  if (auto* norm = std::get_if<Norm>(&op.params)) maybe(norm->weight), maybe(norm->bias);
  if (auto* linear = std::get_if<Linear>(&op.params)) take(linear->weight), maybe(linear->bias);
}

}  // namespace

std::string_view role_name(Role role) { return kRoles[static_cast<size_t>(role)]; }

std::optional<Role> role_from(std::string_view name) {
  const auto it = std::find(kRoles.begin(), kRoles.end(), name);
  if (it == kRoles.end()) return std::nullopt;
  return static_cast<Role>(it - kRoles.begin());
}

std::vector<std::string> role_names() { return {kRoles.begin(), kRoles.end()}; }

int32_t Segment::values() const { return static_cast<int32_t>(ops.size()) + 1; }

void validate(const ModelSpec& spec, const std::string& path) {
  std::set<std::string> names;
  for (const Segment* segment : segments(spec))
    for (const Op& op : segment->ops)
      if (!names.insert(op.name).second)
        throw FileError(Code::duplicate, path, "two ops are called " + quote(op.name));
  int64_t width = SegmentCheck(spec.prologue, 0, path).output_width();
  for (const Segment& block : spec.blocks) {
    const int64_t out = SegmentCheck(block, width, path).output_width();
    if (out != width)
      throw FileError(Code::mismatch, path, block.name + " changes the width of the stream");
  }
  if (width != spec.width)
    throw FileError(Code::mismatch, path, "the stream is not as wide as the model says");
  const int64_t out = SegmentCheck(spec.epilogue, width, path).output_width();
  if (spec.output == ModelSpec::Output::language_model && out != spec.vocabulary)
    throw FileError(Code::mismatch, path,
                    "the head gives " + std::to_string(out) + " logits for a vocabulary of " +
                        std::to_string(spec.vocabulary));
}

std::vector<const Segment*> segments(const ModelSpec& spec) { return segments_of(spec); }
std::vector<Segment*> segments(ModelSpec& spec) { return segments_of(spec); }

void each_tensor(const Op& op, FunctionRef<void(const TensorRef&)> take) {
  each_tensor_of(op, take);
}
void each_tensor(Op& op, FunctionRef<void(TensorRef&)> take) { each_tensor_of(op, take); }

std::vector<LinearRef> linears(const ModelSpec& spec) {
  std::vector<LinearRef> out;
  int64_t index = -1;
  for (const Segment* segment : segments(spec)) {
    for (const Op& op : segment->ops)
      if (std::holds_alternative<Linear>(op.params)) out.push_back({index, &op});
    ++index;
  }
  return out;
}

const Op* find_op(const ModelSpec& spec, const std::string& name) {
  for (const Segment* segment : segments(spec))
    for (const Op& op : segment->ops)
      if (op.name == name) return &op;
  return nullptr;
}

std::vector<TensorRef> tensors(const ModelSpec& spec) {
  std::vector<TensorRef> out;
  std::set<std::string> seen;
  for (const Segment* segment : segments(spec))
    for (const Op& op : segment->ops)
      each_tensor(op, [&](const TensorRef& ref) {
        if (seen.insert(ref.name).second) out.push_back(ref);
      });
  return out;
}

int64_t parameter_count(const ModelSpec& spec) {
  int64_t count = 0;
  for (const TensorRef& ref : tensors(spec)) count += element_count(ref.shape);
  return count;
}

double multiply_adds(const Segment& segment) {
  double sum = 0;
  for (const Op& op : segment.ops)
    if (const auto* linear = std::get_if<Linear>(&op.params))
      sum += static_cast<double>(linear->in) * static_cast<double>(linear->out);
  return sum;
}

}  // namespace halftone::spec
