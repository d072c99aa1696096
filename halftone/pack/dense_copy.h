// The same model with every linear's weights in floats: what a quantized model costs is timed
// against, and what noise is added to.
//
//   auto f32 = dense_copy(packed, DType::f32);          // the same function, weights of 32 bits
//   auto noisy = dense_copy(packed, DType::f32, [&](const std::string& name, const Matrix<float>& steps, Matrix<float>& w) {...});
#pragma once

#include <functional>
#include <memory>

#include "halftone/pack/packed_model.h"

namespace halftone::pack {

// Changes the weights W [out, in] of the linear `name` in place, knowing PackedModel::steps of them.
// Called from several threads, for each linear that has steps, whenever it is read.
using ChangeWeights =
    std::function<void(const std::string& name, const Matrix<float>& steps, Matrix<float>& w)>;

// `dtype`: f32, f16 or bf16 (rounded). The plan is empty. Embeddings and norms stay as they are stored;
// a head tied to the embedding gets weights of its own. Nothing is copied: a linear is dequantized
// when it is read. weight_bytes() and bits_per_weight() count the linears in `dtype`.
std::shared_ptr<const PackedModel> dense_copy(std::shared_ptr<const PackedModel> model, DType dtype,
                                              ChangeWeights change = {});

}  // namespace halftone::pack
