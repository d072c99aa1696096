// The pickle machine alone. Every tensor of an accepted state dict is a view inside the storage it
// names.
#include "fuzz/fuzz.h"
#include "halftone/files/pickle.h"

using namespace halftone;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Limits limits;
  limits.pickle_opcodes = 100'000;
  files::StateDict state;
  if (!fuzz::accepts(
          [&] { state = files::read_state_dict(fuzz::as_span(data, size), "input", limits); }))
    return 0;
  for (const auto& t : state.tensors) {
    fuzz::require(
        !t.name.empty() && t.shape.size() == t.stride.size() && t.shape.size() <= limits.rank,
        "a tensor is well-formed");
    fuzz::require(t.storage.find('/') == std::string::npos && !t.storage.empty(),
                  "a storage's key is a plain name");
    __int128 last = t.offset, count = 1;
    for (size_t i = 0; i < t.shape.size(); ++i) {
      last += static_cast<__int128>(t.shape[i] - 1) * t.stride[i];
      count *= t.shape[i];
    }
    if (count == 0) continue;
    fuzz::require(t.offset >= 0 &&
                      (last + 1) * dtype_bytes(t.dtype) <= static_cast<__int128>(t.storage_bytes),
                  "a view lies inside its storage");
    fuzz::require(count * dtype_bytes(t.dtype) <= static_cast<__int128>(t.storage_bytes),
                  "and is no larger than it");
  }
  return 0;
}
