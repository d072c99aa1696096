// What a model is stored in, and how much smaller that makes it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "halftone/pack/packed_model.h"

namespace halftone::pack {

// Bytes on disk of what this op is read from, its own tensors only: a table that several ops read
// counts for each.
uint64_t stored_bytes(const PackedModel& model, const spec::Op& op);

struct LinearStorage {
  const spec::Op* op = nullptr;
  spec::Role role = spec::Role::other;
  int64_t weights = 0;
  uint64_t bytes = 0;  // stored_bytes: scales, zeros and bias are in it
  // Of a weight's code; of one that is not quantized the bits it is stored in (a block of a GGUF
  // file with its scales).
  double code_bits = 0;
  std::string kind;  // "int4_g64", "q4_1", "bf16"
};
// Every linear in execution order; a head tied to the embedding is one like any other.
std::vector<LinearStorage> linear_storage(const PackedModel& model);

// Bits of a weight on average, in the three ways that papers count them, which differ; 32 / bits is
// the ratio of each, "against f32". The fourth is what a name claims.
struct Compression {
  double nominal = 0;     // codes alone, linears weighted by their parameters (DSA-QAT's formula 8)
  double effective = 0;   // all bytes of all tensors: scales, zeros, floats, padding
  double layer_mean = 0;  // codes alone, every linear counting alike, however small it is
  double linears = 0;     // all bytes of the linears but the head; 0 where there are none
};
inline double ratio_to_f32(double bits) { return bits > 0 ? 32 / bits : 0; }
Compression compression(const PackedModel& model);

}  // namespace halftone::pack
