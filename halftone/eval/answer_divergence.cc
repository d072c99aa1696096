#include "halftone/eval/answer_divergence.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "halftone/base/error.h"
#include "halftone/eval/divergence.h"

namespace halftone::eval {

namespace {

std::vector<Likely> likeliest(std::span<const float> row) {
  constexpr size_t kMost = 5;
  std::vector<int32_t> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  const auto middle = order.begin() + static_cast<std::ptrdiff_t>(std::min(kMost, order.size()));
  const auto at = [&](int32_t id) { return row[static_cast<size_t>(id)]; };
  std::partial_sort(order.begin(), middle, order.end(), [&](int32_t a, int32_t b) {
    return at(a) > at(b) || (at(a) == at(b) && a < b);
  });
  const double top = at(order[0]);
  double sum = 0;
  for (const float x : row) sum += std::exp(static_cast<double>(x) - top);
  std::vector<Likely> out;
  for (auto id = order.begin(); id != middle; ++id)
    out.push_back({*id, std::exp(static_cast<double>(at(*id)) - top) / sum});
  return out;
}

}  // namespace

std::vector<AnswerDivergence> answer_divergence(LogitSource& reference, LogitSource& candidate,
                                                std::span<const std::vector<int32_t>> prompts,
                                                std::span<const Answer> answers,
                                                std::span<const std::optional<int64_t>> ask_at,
                                                const Context& context) {
  check(prompts.size() == answers.size() && ask_at.size() == answers.size(),
        "every prompt has an answer and says what is asked of it");
  if (candidate.vocabulary() != reference.vocabulary())
    throw InputError(candidate.label(),
                     "has a vocabulary of " + std::to_string(candidate.vocabulary()) +
                         ", the reference " + std::to_string(reference.vocabulary()),
                     "compare models of one family");
  const auto vocabulary = static_cast<size_t>(reference.vocabulary());
  double total = 0, done = 0;
  for (const Answer& answer : answers) total += static_cast<double>(answer.ids.size());
  std::vector<AnswerDivergence> out(answers.size());
  std::vector<float> rows;  // of the reference
  for (size_t i = 0; i < answers.size(); ++i) {
    context.throw_if_stopped();
    const auto& answer = answers[i].ids;
    const bool what_follows = ask_at[i] == std::ssize(answer);
    if (answer.empty() && !what_follows) continue;
    // The last token is chosen; it is read only where what follows it is asked for.
    std::vector<int32_t> ids = prompts[i];
    ids.insert(ids.end(), answer.begin(), answer.end() - (what_follows ? 0 : 1));
    const auto first = std::ssize(prompts[i]) - 1;
    rows.clear();
    reference.each_row(ids, first, [&](int64_t, std::span<const float> row) {
      rows.insert(rows.end(), row.begin(), row.end());
    });
    candidate.each_row(ids, first, [&](int64_t position, std::span<const float> row) {
      const auto at = static_cast<size_t>(position - first);
      const auto reference_row = std::span<const float>(rows).subspan(at * vocabulary, vocabulary);
      const bool chosen = at < answer.size();
      const RowDivergence d = compare_rows(reference_row, row, chosen ? answer[at] : 0);
      if (!std::isfinite(d.kl))
        throw NumericError(candidate.label(), "position " + std::to_string(position) +
                                                  " has a logit that is not finite");
      if (chosen) out[i].kl.push_back(d.kl);
      if (ask_at[i] == position - first) {
        out[i].reference_top = likeliest(reference_row);
        out[i].candidate_top = likeliest(row);
      }
    });
    done += static_cast<double>(answer.size());
    context.progress({"read", candidate.label(), done, total, "tok"});
  }
  return out;
}

}  // namespace halftone::eval
