#include "halftone/cli/side_by_side.h"

#include <algorithm>

#include "halftone/base/numbers.h"
#include "halftone/eval/answer_divergence.h"

namespace halftone::cli {
namespace {

constexpr size_t kPrompts = 8, kTokens = 200;

// What each token adds to the text; what is held back for a whole character comes with the token that
// completes it.
Json tokens_of(const ModelText& text, std::span<const int32_t> ids, std::span<const double> kls) {
  text::StreamDecoder stream(text.tokenizer);
  Json out = Json::array();
  for (size_t i = 0; i < ids.size(); ++i) {
    out.push_back({{"text", stream.push(ids[i])}});
    if (i < kls.size()) out.back()["kl"] = rounded(kls[i]);
  }
  if (!out.empty()) out.back()["text"] = out.back()["text"].get<std::string>() + stream.finish();
  return out;
}

Json tokens_of(const ModelText& text, const std::vector<eval::Likely>& likely) {
  Json out = Json::array();
  for (const auto& [id, probability] : likely)
    out.push_back({{"text", text.tokenizer.token_bytes(id)}, {"p", rounded(probability)}});
  return out;
}

}  // namespace

Json side_by_side(const LogitModel& reference, const LogitModel& candidate, const ModelText& text,
                  std::span<const Prompt> prompts, std::span<const std::vector<int32_t>> ids,
                  std::span<const eval::Answer> reference_answers,
                  std::span<const eval::Answer> candidate_answers, const Context& context) {
  const size_t count = std::min(kPrompts, prompts.size());
  std::vector<eval::Answer> shown(reference_answers.begin(),
                                  reference_answers.begin() + static_cast<std::ptrdiff_t>(count));
  for (eval::Answer& answer : shown) answer.ids.resize(std::min(kTokens, answer.ids.size()));
  std::vector<std::optional<int64_t>> parts(count);
  for (size_t i = 0; i < count; ++i) {
    const eval::Parting parting = eval::parting(reference_answers[i].ids, candidate_answers[i].ids);
    if (parting.parted()) parts[i] = parting.at;
  }
  const auto found = eval::answer_divergence(*reference.source, *candidate.source, ids.first(count),
                                             shown, parts, context);
  Json out = Json::array();
  for (size_t i = 0; i < count; ++i) {
    const std::span<const int32_t> own(candidate_answers[i].ids);
    out.push_back(
        {{"prompt", prompts[i].text},
         {"parts_at", parts[i] ? Json(*parts[i]) : Json()},
         {"tokens", tokens_of(text, shown[i].ids, found[i].kl)},
         {"candidate_tokens", tokens_of(text, own.first(std::min(kTokens, own.size())), {})}});
    if (!found[i].reference_top.empty())
      out.back()["parts"] = {{"reference", tokens_of(text, found[i].reference_top)},
                             {"candidate", tokens_of(text, found[i].candidate_top)}};
  }
  return out;
}

}  // namespace halftone::cli
