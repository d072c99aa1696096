// Two models' answers to one prompt beside each other, token by token.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "halftone/cli/model_options.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/prompt_file.h"
#include "halftone/eval/fidelity.h"
#include "halftone/eval/score.h"

namespace halftone::cli {

// A row a prompt, of the first few: {prompt, parts_at (null: the same answer), tokens: [{text, kl}]
// of the reference's answer with the KL of the candidate that reads it, candidate_tokens: [{text}] of its
// own; where they part within that and both are known there, parts: {reference, candidate: [{text, p}],
// the five likeliest tokens}}. At most 8 prompts and 200 tokens of each: what a page can hold. What
// `memory` has of KLs and likeliest tokens is not measured.
Json side_by_side(const LogitModel& reference, const LogitModel& candidate, const ModelText& text,
                  std::span<const Prompt> prompts, std::span<const std::vector<int32_t>> ids,
                  std::span<const eval::Answer> reference_answers,
                  std::span<const eval::Answer> candidate_answers, const eval::RunMemory& memory,
                  const Context& context);

}  // namespace halftone::cli
