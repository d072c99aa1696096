#include <algorithm>

#include "halftone/text/tokenizer.h"

namespace halftone::text {
namespace {

// U+FFFD: what an unfinished character decodes to
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
// A character has at most four bytes; more ids than this without an end are junk, not patience.
constexpr size_t kMostHeld = 32;

}  // namespace

// A token's text may depend on those before it (leading spaces, byte runs), so the window is
// decoded as a whole and what was shown before is cut off its front. Bytes that turn out never to
// have been a character may change what their neighbours decode to (a run of byte tokens is valid
// as a whole or not at all): then the new ids are decoded alone.
std::string StreamDecoder::fresh(const std::string& text) const {
  if (text.starts_with(shown_)) return text.substr(shown_.size());
  return tokenizer_->decode(std::span(ids_).subspan(shown_ids_), skip_special_);
}

void StreamDecoder::follow(std::span<const int32_t> ids) {
  const auto last = ids.last(std::min(ids.size(), kMostHeld));  // context enough, as in push
  ids_.assign(last.begin(), last.end());
  shown_ids_ = ids_.size();
  shown_ = tokenizer_->decode(ids_, skip_special_);
}

std::string StreamDecoder::push(int32_t id) {
  ids_.push_back(id);
  const std::string text = tokenizer_->decode(ids_, skip_special_);
  if (text.ends_with(kReplacement) && ids_.size() - shown_ids_ < kMostHeld) return {};
  std::string piece = fresh(text);
  // Nothing shown yet (special tokens, a stripped space): keep the ids, they are context for the
  // first word.
  if (piece.empty() && ids_.size() < kMostHeld) return {};
  // The ids shown just now are context enough for the next ones.
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(shown_ids_));
  shown_ids_ = ids_.size();
  shown_ = tokenizer_->decode(ids_, skip_special_);
  return piece;
}

std::string StreamDecoder::finish() {
  std::string piece = fresh(tokenizer_->decode(ids_, skip_special_));
  ids_.clear();
  shown_ids_ = 0;
  shown_.clear();
  return piece;
}

}  // namespace halftone::text
