#include "halftone/cli/draft_options.h"

#include <cmath>

#include "halftone/base/error.h"
#include "halftone/base/numbers.h"

namespace halftone::cli {
namespace {

void check_tokenizers(const std::string& draft, const text::Tokenizer& a, const std::string& target,
                      const text::Tokenizer& b) {
  const auto refuse = [&](const std::string& fact) {
    throw Error(Code::mismatch, "--draft " + draft,
                "its tokenizer is not that of " + target + ": " + fact,
                "draft with a smaller model of the same family, or use --lookup");
  };
  if (a.vocab_size() != b.vocab_size())
    refuse(std::to_string(a.vocab_size()) + " tokens against " + std::to_string(b.vocab_size()));
  for (int64_t i = 0; i < a.vocab_size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (a.token(id) != b.token(id))
      refuse("token " + std::to_string(id) + " is " + quote(a.token(id)) + " against " +
             quote(b.token(id)));
  }
}

}  // namespace

void DraftFlags::declare(CLI::App& app) {
  CLI::Option* by_model = app.add_option(
      "--draft", model,
      "a smaller model with the same tokenizer that proposes tokens for this one to verify: "
      "faster, the same distribution of texts");
  app.add_flag("--lookup", lookup,
               "propose what followed the same words before: faster where the answer repeats its "
               "prompt, the same text")
      ->excludes(by_model);
  tokens_asked = app.add_option("--draft-tokens", tokens,
                                "propose at most this many at once (default 8; how many of them "
                                "follows what is accepted)")
                     ->check(CLI::Range(int64_t{1}, int64_t{64}));
}

void DraftFlags::settle() const {
  if (tokens_asked->count() > 0 && !wanted())
    throw InputError("--draft-tokens", "nothing proposes tokens", "add --lookup or --draft MODEL");
}

std::unique_ptr<runtime::Drafter> DraftFlags::open(const std::string& target, const ModelText& text,
                                                   const ModelOptions& load, const Context& context,
                                                   runtime::GenerateOptions& generation) const {
  std::unique_ptr<runtime::Drafter> drafter;
  if (lookup) {
    drafter = runtime::lookup_drafter();
  } else if (!model.empty()) {
    const LoadedModel loaded = load_model(model, load, context);
    check_tokenizers(model, open_text(loaded.packed->checkpoint(), context).tokenizer, target,
                     text.tokenizer);
    drafter = runtime::model_drafter(loaded.model, context);
  }
  generation.drafter = drafter.get();
  generation.draft.tokens = tokens;
  return drafter;
}

Json draft_json(const runtime::Drafter& drafter, const runtime::GenerateResult& result) {
  return {{"by", drafter.label()},
          {"drafted", result.drafted},
          {"accepted", result.accepted},
          {"accepted_share", result.accepted_share()},
          {"tokens_a_step", result.tokens_a_step()}};
}

std::string draft_note(const runtime::GenerateResult& result) {
  return std::to_string(std::lround(100 * result.accepted_share())) + " % of " +
         std::to_string(result.drafted) + " drafted tokens accepted, " +
         significant(result.tokens_a_step(), 3) + " tokens a step";
}

}  // namespace halftone::cli
