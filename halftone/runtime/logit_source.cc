#include "halftone/runtime/logit_source.h"

#include <algorithm>

#include "halftone/base/error.h"

namespace halftone::runtime {

RuntimeLogits::RuntimeLogits(std::shared_ptr<const Model> model, const SessionOptions& options,
                             const Context& context)
    : model_(std::move(model)), session_(model_, options, context) {}

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

}  // namespace halftone::runtime
