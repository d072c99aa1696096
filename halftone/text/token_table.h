// Tokens by id, and ids by token, in a few blocks of memory: a vocabulary of 50,000 tokens is made
// in 2 ms. Const members are safe from many threads.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace halftone::text {

class TokenTable {
 public:
  void reserve(size_t tokens, size_t bytes);
  // `token` becomes the text of `id`, which has none yet; "" leaves it without. True when no id had
  // this text before: of several, find() gives the first that was added.
  bool add(int32_t id, std::string_view token);

  std::optional<int32_t> find(std::string_view token) const;
  // "" when the id is not used. The view ends with the next add().
  std::string_view operator[](int32_t id) const {
    const auto at = 2 * static_cast<size_t>(id);
    if (id < 0 || at >= spans_.size()) return {};
    return std::string_view(text_).substr(spans_[at], spans_[at + 1] - spans_[at]);
  }
  int64_t size() const { return std::ssize(spans_) / 2; }  // highest id + 1
  int64_t used() const { return used_; }                   // ids with a text

  // Token `id` is text()[spans()[2 * id] .. spans()[2 * id + 1]).
  const std::string& text() const { return text_; }
  std::span<const uint32_t> spans() const { return spans_; }

 private:
  size_t slot_of(std::string_view token) const;  // that holds it, or the free one where it belongs
  void grow(size_t slots);

  std::string text_;
  std::vector<uint32_t> spans_;
  std::vector<int32_t> slots_;  // ids, -1 free; a power of two of them, at most half full
  int64_t used_ = 0, indexed_ = 0;
};

}  // namespace halftone::text
