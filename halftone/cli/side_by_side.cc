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
  std::vector<int32_t> read;
  for (size_t i = 0; i < count; ++i) {
    read.insert(read.end(), ids[i].begin(), ids[i].end());
    read.insert(read.end(), shown[i].ids.begin(), shown[i].ids.end());
  }
  const auto kls =
      eval::remembered(memory, eval::memory_key("answer divergence", read, std::ssize(ids[0])),
                       [&] {
                         return Json(eval::answer_divergence(*reference.source, *candidate.source,
                                                             ids.first(count), shown, context));
                       })
          .get<std::vector<std::vector<double>>>();
  Json out = Json::array();
  for (size_t i = 0; i < count; ++i) {
    const eval::Parting parting = eval::parting(reference_answers[i].ids, candidate_answers[i].ids);
    const std::span<const int32_t> own(candidate_answers[i].ids);
    out.push_back(
        {{"prompt", prompts[i].text},
         {"parts_at", parting.parted() ? Json(parting.at) : Json()},
         {"tokens", tokens_of(text, shown[i].ids, kls[i])},
         {"candidate_tokens", tokens_of(text, own.first(std::min(kTokens, own.size())), {})}});
  }
  return out;
}

}  // namespace halftone::cli
