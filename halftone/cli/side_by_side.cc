#include "halftone/cli/side_by_side.h"

#include <algorithm>
#include <optional>

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

// What was found, as a run keeps it: {kl, reference, candidate: [[id, probability]]}. Numbers only: a
// token's bytes may be no UTF-8.
Json kept_of(const std::vector<eval::AnswerDivergence>& found) {
  const auto pairs = [](const std::vector<eval::Likely>& likely) {
    Json out = Json::array();
    for (const auto& [id, probability] : likely) out.push_back(Json::array({id, probability}));
    return out;
  };
  Json out = Json::array();
  for (const eval::AnswerDivergence& d : found)
    out.push_back({{"kl", d.kl},
                   {"reference", pairs(d.reference_top)},
                   {"candidate", pairs(d.candidate_top)}});
  return out;
}

Json likeliest_of(const ModelText& text, const Json& pairs) {
  Json out = Json::array();
  for (const Json& pair : pairs)
    out.push_back({{"text", text.tokenizer.token_bytes(pair.at(0).get<int32_t>())},
                   {"p", rounded(pair.at(1).get<double>())}});
  return out;
}

}  // namespace

Json side_by_side(const LogitModel& reference, const LogitModel& candidate, const ModelText& text,
                  std::span<const Prompt> prompts, std::span<const std::vector<int32_t>> ids,
                  std::span<const eval::Answer> reference_answers,
                  std::span<const eval::Answer> candidate_answers, const eval::RunMemory& memory,
                  const Context& context) {
  const size_t count = std::min(kPrompts, prompts.size());
  std::vector<eval::Answer> shown(reference_answers.begin(),
                                  reference_answers.begin() + static_cast<std::ptrdiff_t>(count));
  for (eval::Answer& answer : shown) answer.ids.resize(std::min(kTokens, answer.ids.size()));
  std::vector<std::optional<int64_t>> parts(count);
  std::vector<int32_t> read;  // and where more is asked: all that is found depends on
  for (size_t i = 0; i < count; ++i) {
    const eval::Parting parting = eval::parting(reference_answers[i].ids, candidate_answers[i].ids);
    if (parting.parted()) parts[i] = parting.at;
    for (const auto& tokens : {ids[i], shown[i].ids}) {
      read.push_back(static_cast<int32_t>(tokens.size()));
      read.insert(read.end(), tokens.begin(), tokens.end());
    }
    read.push_back(static_cast<int32_t>(parts[i].value_or(-1)));
  }
  const Json kept =
      eval::remembered(memory, eval::memory_key("answer divergence, with parts", read, 0), [&] {
        return kept_of(eval::answer_divergence(*reference.source, *candidate.source,
                                               ids.first(count), shown, parts, context));
      });
  Json out = Json::array();
  for (size_t i = 0; i < count; ++i) {
    const std::span<const int32_t> own(candidate_answers[i].ids);
    out.push_back(
        {{"prompt", prompts[i].text},
         {"parts_at", parts[i] ? Json(*parts[i]) : Json()},
         {"tokens", tokens_of(text, shown[i].ids, kept.at(i).at("kl").get<std::vector<double>>())},
         {"candidate_tokens", tokens_of(text, own.first(std::min(kTokens, own.size())), {})}});
    const Json &theirs = kept.at(i).at("reference"), &ours = kept.at(i).at("candidate");
    if (!theirs.empty())
      out.back()["parts"] = {{"reference", likeliest_of(text, theirs)},
                             {"candidate", likeliest_of(text, ours)}};
  }
  return out;
}

}  // namespace halftone::cli
