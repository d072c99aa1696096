// Quantized folders, read: ours, compressed-tensors (pack-quantized, int-quantized), GPTQ v1/v2 —
// and plain dense models, so that engines have one door. Linears come one by one.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "halftone/base/context.h"
#include "halftone/format/plan.h"
#include "halftone/pack/decorated_linear.h"
#include "halftone/spec/checkpoint.h"

namespace halftone::pack {

enum class Layout : uint8_t {
  halftone,
  compressed_tensors,
  gptq
};  // "halftone" is compressed-tensors naming + what it cannot say

class PackedModel {
 public:
  virtual ~PackedModel() = default;
  virtual const spec::Checkpoint& checkpoint() const = 0;
  virtual const format::Plan& plan() const = 0;  // empty for a dense model
  // The linear `op` of checkpoint().spec, ready for an engine. Thread-safe.
  virtual DecoratedLinear linear(const spec::Op& op) const = 0;
  // The same where it can be taken as it is stored, else nothing: then `linear` gives it, or says
  // what is wrong. Thread-safe; spans live as long as checkpoint().tensors.
  virtual std::optional<StoredLinear> stored(const spec::Op& /*op*/) const { return {}; }
  // The distance between neighbouring values that each weight of the linear `op` may have, [out, in]:
  // |scale| of its group with the scale of its input. Nothing for a linear in floats. Thread-safe.
  virtual std::optional<Matrix<float>> steps(const spec::Op& op) const;
  // Any other tensor of the spec (embeddings, norms), in its stored dtype.
  virtual HostTensor tensor(const spec::TensorRef& ref) const = 0;
  virtual uint64_t weight_bytes() const = 0;   // bytes on disk of the tensors it reads
  virtual double bits_per_weight() const = 0;  // weight_bytes * 8 / parameters
};

// Any model name that open_checkpoint takes. Errors: FileError naming the tensor when codes, scales
// and config contradict each other.
std::shared_ptr<const PackedModel> open_model(const std::string& model, const Context& context);

}  // namespace halftone::pack
