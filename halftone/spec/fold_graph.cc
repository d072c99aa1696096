#include "halftone/spec/fold_graph.h"

#include <map>
#include <optional>

#include "halftone/base/error.h"

namespace halftone::spec {
namespace {

// One use of a value: which op reads it, through which input.
struct Use {
  const Op* op;
  size_t input;
};

// Follows the channels of one value forward. `channel[k]` = factor that scales column k of the
// value; -1 = none.
class Tracer {
 public:
  explicit Tracer(const Segment& segment) : segment_(segment) {
    for (const Op& op : segment.ops)
      for (size_t i = 0; i < op.in.size(); ++i) uses_[op.in[i].value].push_back({&op, i});
  }

  // False when some use cannot absorb the scale.
  bool trace(int32_t value, const std::vector<int64_t>& channel,
             std::vector<Fold::Consumer>& consumers) const {
    const auto it = uses_.find(value);
    if (it == uses_.end()) return false;  // the segment's output: leaves our sight
    if (value == segment_.ops.back().out) return false;
    for (const Use& use : it->second)
      if (!pass(use, channel, consumers)) return false;
    return true;
  }

 private:
  bool pass(const Use& use, const std::vector<int64_t>& channel,
            std::vector<Fold::Consumer>& consumers) const {
    const Op& op = *use.op;
    if (std::holds_alternative<Linear>(op.params)) {
      consumers.push_back({op.name, channel});
      return true;
    }
    // A product carries the scale of either factor, unless both factors come from the scaled value.
    if (std::holds_alternative<Multiply>(op.params)) {
      if (op.in[0].value == op.in[1].value) return false;
      return trace(op.out, channel, consumers);
    }
    if (const auto* attention = std::get_if<Attention>(&op.params)) {
      // Only values pass linearly; query heads of one kv head read the same channels.
      if (use.input != 2 || op.in[0].value == op.in[2].value || op.in[1].value == op.in[2].value)
        return false;
      const View& view = op.in[2];
      const int64_t stride = view.head_stride ? view.head_stride : attention->head_dim;
      std::vector<int64_t> out;
      for (int64_t h = 0; h < attention->heads; ++h) {
        const int64_t kv = h / (attention->heads / attention->kv_heads);
        for (int64_t d = 0; d < attention->head_dim; ++d)
          out.push_back(channel[static_cast<size_t>(view.offset + kv * stride + d)]);
      }
      return trace(op.out, out, consumers);
    }
    // Activations stop it: relu would pass positive factors, and a part that wants that asks for it
    // by name.
    return false;
  }

  const Segment& segment_;
  std::map<int32_t, std::vector<Use>> uses_;
};

// Width of the value that `op` reads (a norm keeps the width of its input).
int64_t width_before(const Segment& block, const Op& op, int64_t stream_width) {
  const int32_t value = op.in[0].value;
  if (value == 0) return stream_width;
  const Op& maker = block.ops[static_cast<size_t>(value - 1)];
  if (const auto* linear = std::get_if<Linear>(&maker.params)) return linear->out;
  if (const auto* attention = std::get_if<Attention>(&maker.params))
    return attention->heads * attention->head_dim;
  return width_before(block, maker, stream_width);
}

std::vector<int64_t> identity(int64_t n) {
  std::vector<int64_t> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i)] = i;
  return out;
}

}  // namespace

std::vector<Fold> fold_graph(const ModelSpec& spec) {
  std::vector<Fold> folds;
  for (size_t index = 0; index < spec.blocks.size(); ++index) {
    const Segment& block = spec.blocks[index];
    const Tracer tracer(block);
    for (const Op& op : block.ops) {
      Fold fold;
      if (const auto* norm = std::get_if<Norm>(&op.params)) {
        // Without a weight there is nowhere to put the factor; over slices of a wider value one
        // weight serves many channels.
        if (!norm->weight || norm->width != width_before(block, op, spec.width)) continue;
        fold.producer_is_norm = true;
        fold.channels = norm->width;
      } else if (const auto* linear = std::get_if<Linear>(&op.params)) {
        fold.channels = linear->out;
      } else {
        continue;
      }
      fold.segment = static_cast<int64_t>(index);
      fold.producer = op.name;
      fold.producer_row = identity(fold.channels);
      if (!tracer.trace(op.out, identity(fold.channels), fold.consumers)) continue;
      folds.push_back(std::move(fold));
    }
  }
  return folds;
}

}  // namespace halftone::spec
