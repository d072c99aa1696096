#include "halftone/eval/answer_divergence.h"

#include <cmath>

#include "halftone/base/error.h"
#include "halftone/eval/divergence.h"

namespace halftone::eval {

std::vector<std::vector<double>> answer_divergence(LogitSource& reference, LogitSource& candidate,
                                                   std::span<const std::vector<int32_t>> prompts,
                                                   std::span<const Answer> answers,
                                                   const Context& context) {
  check(prompts.size() == answers.size(), "every prompt has an answer");
  if (candidate.vocabulary() != reference.vocabulary())
    throw InputError(candidate.label(),
                     "has a vocabulary of " + std::to_string(candidate.vocabulary()) +
                         ", the reference " + std::to_string(reference.vocabulary()),
                     "compare models of one family");
  const auto vocabulary = static_cast<size_t>(reference.vocabulary());
  double total = 0, done = 0;
  for (const Answer& answer : answers) total += static_cast<double>(answer.ids.size());
  std::vector<std::vector<double>> out(answers.size());
  std::vector<float> rows;  // of the reference
  for (size_t i = 0; i < answers.size(); ++i) {
    context.throw_if_stopped();
    const auto& answer = answers[i].ids;
    if (answer.empty()) continue;
    // The last token is chosen, and read by nobody.
    std::vector<int32_t> ids = prompts[i];
    ids.insert(ids.end(), answer.begin(), answer.end() - 1);
    const auto first = std::ssize(prompts[i]) - 1;
    rows.clear();
    reference.each_row(ids, first, [&](int64_t, std::span<const float> row) {
      rows.insert(rows.end(), row.begin(), row.end());
    });
    candidate.each_row(ids, first, [&](int64_t position, std::span<const float> row) {
      const auto at = static_cast<size_t>(position - first);
      const RowDivergence d = compare_rows(
          std::span<const float>(rows).subspan(at * vocabulary, vocabulary), row, answer[at]);
      if (!std::isfinite(d.kl))
        throw NumericError(candidate.label(), "position " + std::to_string(position) +
                                                  " has a logit that is not finite");
      out[i].push_back(d.kl);
    });
    done += static_cast<double>(answer.size());
    context.progress({"read", candidate.label(), done, total, "tok"});
  }
  return out;
}

}  // namespace halftone::eval
