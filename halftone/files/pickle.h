// The pickles inside PyTorch checkpoints, read by a closed machine: no code, no look-up by name, no
// recursion.
//
// A fixed list of opcodes and a fixed list of global names, which become tags and never callables.
// Values live in an arena by index, so cycles and shared tuples cost nothing. What is left at the
// end must be a state dict: text -> tensor.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/limits.h"
#include "halftone/base/tensor.h"

namespace halftone::files {

// A tensor as the pickle describes it: a view of a storage. Checked against itself here, against
// the record by the caller.
struct PickledTensor {
  std::string name;
  std::string storage;         // key of the record: "0"
  uint64_t storage_bytes = 0;  // that the pickle says it has
  DType dtype = DType::f32;
  Shape shape, stride;  // in elements
  int64_t offset = 0;   // in elements
};

struct StateDict {
  std::vector<PickledTensor> tensors;  // in the order of the pickle
  int64_t skipped = 0;                 // entries that are no tensors (step counts and the like)
};

// Errors name `path`: E_UNSAFE for anything outside the lists, E_TYPE, E_VALUE, E_BOUNDS,
// E_OVERFLOW, E_LIMIT, E_TRUNC, E_DUP, E_PATH.
StateDict read_state_dict(std::span<const std::byte> pickle, const std::string& path,
                          const Limits& limits);

}  // namespace halftone::files
