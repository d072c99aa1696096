#include "halftone/runtime/hidden_states.h"

#include <algorithm>

#include "halftone/base/error.h"

namespace halftone::runtime {

HiddenStates::HiddenStates(std::shared_ptr<const Model> model,
                           std::vector<std::vector<int32_t>> texts, const Context& context)
    : texts_(std::move(texts)) {
  int64_t tokens = 0;
  for (const auto& text : texts_) {
    first_rows_.push_back(tokens);
    tokens += std::ssize(text);
  }
  const int64_t width = model->spec().width;
  for (size_t cut = 0; cut <= model->spec().blocks.size(); ++cut) at_.emplace_back(tokens, width);
  Session session(std::move(model), {}, context);
  int64_t row = 0, rows = 0;
  session.observe([&](int64_t cut, const float* from, int64_t ld) {
    for (int64_t r = 0; r < rows; ++r)
      std::copy_n(from + r * ld, width, at_[static_cast<size_t>(cut)].row(row + r).data());
  });
  for (const auto& text : texts_) {
    session.reset();
    for (int64_t i = 0; i < std::ssize(text); i += rows) {
      rows = std::min(session.chunk(), std::ssize(text) - i);
      session.advance(std::span<const int32_t>(text).subspan(static_cast<size_t>(i),
                                                             static_cast<size_t>(rows)));
      row += rows;
      context.progress(
          {"hidden", "", static_cast<double>(row), static_cast<double>(tokens), "tok"});
    }
  }
}

ResumedLogits::ResumedLogits(std::shared_ptr<const Model> model, const HiddenStates& states,
                             int64_t block, const Context& context)
    : states_(states), block_(block), session_(std::move(model), {}, context) {
  check(block >= 0 && block < states.cuts(), "hidden states are kept for every block");
}

void ResumedLogits::begin(std::span<const int32_t> ids, int64_t first) {
  const auto& texts = states_.texts();
  const auto found = std::find_if(texts.begin(), texts.end(), [&](const auto& text) {
    return std::equal(text.begin(), text.end(), ids.begin(), ids.end());
  });
  check(found != texts.end(), "hidden states are kept for this text");
  text_ = static_cast<size_t>(found - texts.begin());
  session_.reset();
  chunk_begin_ = 0;
  given_ = first;
}

int64_t ResumedLogits::next(std::span<float> rows) {
  const std::span<const int32_t> ids = states_.texts()[text_];
  if (given_ >= std::ssize(ids)) return 0;
  const Matrix<float>& hidden = states_.at(block_);
  while (session_.position() <= given_) {
    chunk_begin_ = session_.position();
    const int64_t count = std::min(session_.chunk(), std::ssize(ids) - chunk_begin_);
    const int64_t row = states_.first_row(text_) + chunk_begin_;
    session_.advance_from(
        block_, ids.subspan(static_cast<size_t>(chunk_begin_), static_cast<size_t>(count)),
        std::span(hidden.data)
            .subspan(static_cast<size_t>(row * hidden.cols),
                     static_cast<size_t>(count * hidden.cols)));
  }
  const int64_t count = std::min(std::ssize(rows) / vocabulary(), session_.position() - given_);
  session_.logits(given_ - chunk_begin_, count, rows);
  given_ += count;
  return count;
}

}  // namespace halftone::runtime
