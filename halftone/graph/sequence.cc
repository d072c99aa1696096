#include "halftone/graph/sequence.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "halftone/graph/torch.h"

namespace halftone::graph {
namespace {

constexpr auto kLong = c10::kLong;

at::Tensor per_token(const at::Tensor& given, const at::Tensor& ids, const char* name) {
  if (given.sizes() != ids.sizes())
    throw ShapeError(
        name, "is " + to_string(shape_of(given)) + " where ids are " + to_string(shape_of(ids)));
  return given.to(c10::kCPU);
}

}  // namespace

Sequence::Sequence(int64_t batch, int64_t tokens)
    : batch_(batch),
      tokens_(tokens),
      positions_(at::arange(tokens, kLong).unsqueeze(0)),
      token_types_(at::zeros({1, tokens}, kLong)) {}

Sequence::Sequence(const Batch& batch) : Sequence(batch.ids.size(0), batch.ids.size(1)) {
  if (batch.positions.defined())
    positions_ = per_token(batch.positions, batch.ids, "positions").to(kLong);
  if (batch.token_types.defined())
    token_types_ = per_token(batch.token_types, batch.ids, "token types").to(kLong);
  if (batch.attention_mask.defined()) {
    const at::Tensor present = per_token(batch.attention_mask, batch.ids, "attention mask").ne(0);
    if (!present.all().item<bool>()) present_ = present;
  }
}

std::pair<at::Tensor, at::Tensor> Sequence::rotation(const spec::Rope& rope,
                                                     const at::Tensor& like) const {
  const std::lock_guard lock(mutex_);
  for (const Rotation& kept : rotations_)
    if (kept.cos.scalar_type() == like.scalar_type() && kept.cos.device() == like.device() &&
        kept.rope == rope)
      return {kept.cos, kept.sin};
  const at::Tensor frequency =
      at::tensor(c10::ArrayRef<double>(rope.inverse_frequency), c10::kDouble);
  const at::Tensor angle = (positions_.to(c10::kDouble).unsqueeze(-1) * frequency).unsqueeze(2);
  Rotation made{rope, (angle.cos() * rope.magnitude).to(like.options()),
                (angle.sin() * rope.magnitude).to(like.options())};
  rotations_.push_back(made);
  return {made.cos, made.sin};
}

}  // namespace halftone::graph
