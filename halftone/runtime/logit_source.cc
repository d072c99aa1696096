#include "halftone/runtime/logit_source.h"

#include <algorithm>

#include "halftone/base/error.h"
#include "halftone/base/memory.h"
#include "halftone/runtime/tree_walk.h"

namespace halftone::runtime {

RuntimeLogits::RuntimeLogits(std::shared_ptr<const Model> model, const SessionOptions& options,
                             const Context& context)
    : model_(std::move(model)), run_(context), session_(model_, options, context) {}

void RuntimeLogits::begin(std::span<const int32_t> ids, int64_t first) {
  check(first >= 0, "logits are wanted from a negative position");
  // What the text before began with, too, need not be computed again (the question of several
  // answers, the examples of several questions), unless its logits are wanted.
  const auto same =
      std::mismatch(ids_.begin(), ids_.end(), ids.begin(), ids.end()).first - ids_.begin();
  session_.truncate(std::min({static_cast<int64_t>(same), first, session_.position()}));
  ids_.assign(ids.begin(), ids.end());
  chunk_begin_ = 0;
  given_ = first;
}

int64_t RuntimeLogits::next(std::span<float> rows) {
  const auto total = static_cast<int64_t>(ids_.size());
  if (given_ >= total) return 0;
  while (session_.position() <= given_) {
    chunk_begin_ = session_.position();
    const int64_t count = std::min(session_.chunk(), total - chunk_begin_);
    session_.advance(std::span<const int32_t>(ids_).subspan(static_cast<size_t>(chunk_begin_),
                                                            static_cast<size_t>(count)));
  }
  const int64_t room = static_cast<int64_t>(rows.size()) / vocabulary();
  const int64_t count = std::min(room, session_.position() - given_);
  session_.logits(given_ - chunk_begin_, count, rows);
  given_ += count;
  return count;
}

void RuntimeLogits::each_text(std::span<const eval::WantedText> texts, const eval::TakeRows& take) {
  if (texts.empty()) return;
  // Sixteen short continuations fill a step; more sequences would only take memory.
  constexpr int64_t kSequences = 16;
  int64_t longest = 0;
  for (const eval::WantedText& text : texts) longest = std::max(longest, std::ssize(text.ids));
  const uint64_t each = std::max<uint64_t>(session_.cache_bytes_for(longest), 1);
  uint64_t room = available_memory_bytes() / 4;
  if (room == 0) room = uint64_t{1} << 30;  // the system did not say
  if (many_) room += many_->cache_bytes();
  const auto fit = static_cast<int64_t>(std::clamp<uint64_t>(room / each, 1, kSequences));
  const int64_t sequences = std::min(fit, std::ssize(texts));
  if (!many_ || many_->sequences() < sequences || many_->sequences() > fit) {
    many_.reset();
    many_ = std::make_unique<Session>(
        model_, SessionOptions{.max_tokens = session_.max_tokens(), .sequences = sequences}, run_);
  }
  TreeWalk(*many_, texts).run(take);
}

}  // namespace halftone::runtime
