#include "halftone/runtime/hidden_states.h"

#include <algorithm>

#include "halftone/base/error.h"
#include "halftone/eval/rows.h"

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

std::span<const float> HiddenStates::rows(int64_t cut, size_t text, int64_t first,
                                          int64_t count) const {
  const Matrix<float>& all = at(cut);
  return std::span(all.data).subspan(static_cast<size_t>((first_rows_[text] + first) * all.cols),
                                     static_cast<size_t>(count * all.cols));
}

void each_linear_input(std::shared_ptr<const Model> model, const HiddenStates& states,
                       const Context& context, const TakeInputs& take) {
  struct Input {
    std::vector<std::string> ops;
    Matrix<float> rows;
    int64_t filled = 0;
  };
  std::vector<Input> inputs;  // in the order in which they are read
  const int64_t tokens = states.at(0).rows, blocks = states.cuts() - 1;
  const int64_t vocabulary = model->vocabulary(), chunk = eval::rows_per_chunk(vocabulary);
  Session session(std::move(model), {}, context);
  session.observe_inputs([&](const Session::LinearInput& seen) {
    auto at = std::find_if(inputs.begin(), inputs.end(), [&](const Input& input) {
      return input.ops.front() == seen.ops.front();
    });
    if (at == inputs.end()) {
      inputs.push_back({{seen.ops.begin(), seen.ops.end()}, Matrix<float>(tokens, seen.width)});
      at = inputs.end() - 1;
    }
    for (int64_t r = 0; r < seen.count; ++r)
      std::copy_n(seen.rows + r * seen.ld, seen.width, at->rows.row(at->filled++).data());
  });
  std::vector<float> logits(static_cast<size_t>(chunk * vocabulary));
  for (int64_t block = 0; block <= blocks; ++block) {
    inputs.clear();
    for (size_t t = 0; t < states.texts().size(); ++t) {
      const std::span<const int32_t> text = states.texts()[t];
      session.reset();
      for (int64_t i = 0, n = 0; i < std::ssize(text); i += n) {
        n = std::min(session.chunk(), std::ssize(text) - i);
        session.advance_from(block, text.subspan(static_cast<size_t>(i), static_cast<size_t>(n)),
                             states.rows(block, t, i, n), std::min(block + 1, blocks));
        for (int64_t r = 0; block == blocks && r < n; r += chunk)
          session.logits(r, std::min(chunk, n - r), logits);
      }
    }
    for (const Input& input : inputs) take(input.ops, input.rows);
    context.progress(
        {"inputs", "", static_cast<double>(block + 1), static_cast<double>(blocks + 1), ""});
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
  while (session_.position() <= given_) {
    chunk_begin_ = session_.position();
    const int64_t count = std::min(session_.chunk(), std::ssize(ids) - chunk_begin_);
    session_.advance_from(
        block_, ids.subspan(static_cast<size_t>(chunk_begin_), static_cast<size_t>(count)),
        states_.rows(block_, text_, chunk_begin_, count));
  }
  const int64_t count = std::min(std::ssize(rows) / vocabulary(), session_.position() - given_);
  session_.logits(given_ - chunk_begin_, count, rows);
  given_ += count;
  return count;
}

}  // namespace halftone::runtime
