// Reading measured.json and halftone.json for the card and its explanation: their shapes are checked
// (loss_card.h), so what is looked up here is there.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "halftone/base/json_fields.h"

namespace halftone::report {

inline std::string words(const Json& object, const char* key) {
  return object.value(key, std::string());
}

// Two texts of a kind share phrases; more than this is a text that was seen.
inline bool overlaps(const Json& overlap) {
  return std::max(number(overlap, "share"), number(overlap, "windows_share")) >= 0.02;
}

inline int64_t fallbacks_of(const Json& layers) {
  return std::count_if(layers.begin(), layers.end(),
                       [](const Json& layer) { return at(layer, "fallback") != nullptr; });
}

}  // namespace halftone::report
