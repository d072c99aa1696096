// Drafting (runtime/speculate.h) as options of the commands that write text.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "halftone/base/json.h"
#include "halftone/cli/model_options.h"
#include "halftone/cli/model_text.h"
#include "halftone/runtime/generate.h"

namespace halftone::cli {

struct DraftFlags {
  std::string model;  // --draft
  bool lookup = false;
  int64_t tokens = 8;
  const CLI::Option* tokens_asked = nullptr;

  void declare(CLI::App& app);
  bool wanted() const { return lookup || !model.empty(); }
  // InputError where --draft-tokens stands alone. Before any work.
  void settle() const;
  // Null when no draft is wanted. Sets drafter and draft of `generation`; E_MISMATCH naming both
  // models when their tokenizers differ.
  std::unique_ptr<runtime::Drafter> open(const std::string& target, const ModelText& text,
                                         const ModelOptions& load, const Context& context,
                                         runtime::GenerateOptions& generation) const;
};

// {"by", "drafted", "accepted", "accepted_share", "tokens_a_step"} of one or several generations.
Json draft_json(const runtime::Drafter& drafter, const runtime::GenerateResult& result);
std::string draft_note(const runtime::GenerateResult& result);  // "drafts 61 % accepted, 3.1 ..."

}  // namespace halftone::cli
