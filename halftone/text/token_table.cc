#include "halftone/text/token_table.h"

#include <algorithm>
#include <bit>

#include "halftone/base/hash.h"

namespace halftone::text {

size_t TokenTable::slot_of(std::string_view token) const {
  const size_t mask = slots_.size() - 1;
  size_t at = static_cast<size_t>(hash64(std::as_bytes(std::span(token)))) & mask;
  while (slots_[at] >= 0 && (*this)[slots_[at]] != token) at = (at + 1) & mask;
  return at;
}

void TokenTable::grow(size_t slots) {
  std::vector<int32_t> old(slots, -1);
  old.swap(slots_);
  for (const int32_t id : old)
    if (id >= 0) slots_[slot_of((*this)[id])] = id;
}

void TokenTable::reserve(size_t tokens, size_t bytes) {
  text_.reserve(bytes);
  spans_.reserve(2 * tokens);
  if (const size_t slots = std::bit_ceil(2 * tokens + 2); slots > slots_.size()) grow(slots);
}

bool TokenTable::add(int32_t id, std::string_view token) {
  const auto at = 2 * static_cast<size_t>(id);
  if (at >= spans_.size()) spans_.resize(at + 2);
  if (token.empty()) return false;
  if (2 * static_cast<size_t>(indexed_ + 1) > slots_.size())
    grow(std::max<size_t>(64, 2 * slots_.size()));
  const size_t slot = slot_of(token);
  const bool fresh = slots_[slot] < 0;
  spans_[at] = static_cast<uint32_t>(text_.size());
  text_ += token;
  spans_[at + 1] = static_cast<uint32_t>(text_.size());
  ++used_;
  if (fresh) {
    slots_[slot] = id;
    ++indexed_;
  }
  return fresh;
}

std::optional<int32_t> TokenTable::find(std::string_view token) const {
  if (slots_.empty() || token.empty()) return {};
  const int32_t id = slots_[slot_of(token)];
  return id < 0 ? std::nullopt : std::optional(id);
}

}  // namespace halftone::text
