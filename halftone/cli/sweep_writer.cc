#include "halftone/cli/sweep_writer.h"

#include <algorithm>
#include <chrono>

#include "halftone/base/error.h"
#include "halftone/cli/answers.h"
#include "halftone/runtime/batch.h"
#include "halftone/text/words.h"

namespace halftone::cli {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

}  // namespace

std::vector<std::vector<int32_t>> sweep_prompts(const text::Tokenizer& tokenizer,
                                                const std::string& model, int64_t model_context,
                                                const PromptFile& prompts) {
  std::vector<std::vector<int32_t>> out;
  for (size_t i = 0; i < prompts.prompts.size(); ++i) {
    out.push_back(tokenizer.encode(prompts.prompts[i].text));
    if (out[i].empty())
      throw FileError(Code::value, prompts.where(i),
                      "has no tokens: it is empty, and the tokenizer of " + model + " adds no BOS",
                      {}, "write at least one word, or take the line out");
    if (std::ssize(out[i]) > model_context)
      throw FileError(Code::value, prompts.where(i),
                      "has " + std::to_string(out[i].size()) + " tokens, the context of " + model +
                          " is " + std::to_string(model_context),
                      {}, "shorten it, or take the line out");
  }
  return out;
}

SweepWriter::SweepWriter(ModelWithText model, const std::string& name, const PromptFile& prompts,
                         const eval::SweepGrid& grid, bool ignore_eos, const Context& context)
    : model_(std::move(model)),
      grid_(grid),
      context_(context),
      prompts_(sweep_prompts(model_.text.tokenizer, name, model_.model.model->context_length(),
                             prompts)) {
  for (const std::string& p : grid_.prompts) prompt_words_.push_back(text::split_words(p));
  for (std::string& word : text::stop_words()) stop_words_.insert(std::move(word));
  if (!ignore_eos) stop_ids_ = model_.text.tokenizer.special().eos_ids;
}

const std::vector<int32_t>& SweepWriter::prompt(int64_t index) const {
  return prompts_[static_cast<size_t>(eval::sweep_point(grid_, index).prompt)];
}

// The last token is not fed, so one more than there is room for.
int64_t SweepWriter::room(int64_t index) const {
  return model_.model.model->context_length() - std::ssize(prompt(index)) + 1;
}

runtime::GenerateOptions SweepWriter::options(int64_t index) const {
  const eval::SweepPoint p = eval::sweep_point(grid_, index);
  const int64_t top_k = grid_.top_ks[static_cast<size_t>(p.top_k)];
  return {.max_new_tokens = grid_.lengths[static_cast<size_t>(p.length)],
          .sampler = {.temperature =
                          top_k == 1 ? 0 : grid_.temperatures[static_cast<size_t>(p.temperature)],
                      .top_k = top_k,
                      .seed = eval::sweep_seed(grid_, p)},
          .stop_ids = stop_ids_};
}

void SweepWriter::together(std::span<const int64_t> points, int64_t batch, uint64_t cache_bytes,
                           const Take& take) const {
  if (points.empty()) return;
  int64_t longest = 0;
  for (const int64_t i : points)
    longest = std::max(longest, std::ssize(prompt(i)) + options(i).max_new_tokens);
  runtime::Batch running(model_.model.model,
                         {.sequences = std::min<int64_t>(batch, std::ssize(points)),
                          .max_tokens = std::min(longest, model_.model.model->context_length()),
                          .cache_bytes = cache_bytes},
                         context_);
  std::vector<SweepTokens> texts(points.size());
  for (const int64_t i : points) running.add({.prompt = prompt(i), .options = options(i)});
  std::vector<size_t> served;
  auto last = Clock::now();
  double idle = 0;  // of passes that read prompts only
  while (!running.idle()) {
    const auto events = running.step();
    served.clear();
    for (const runtime::Event& e : events) {  // a text's token and its end follow one another
      const auto i = static_cast<size_t>(e.id);
      if (std::find(served.begin(), served.end(), i) == served.end()) served.push_back(i);
      if (e.kind == runtime::Event::Kind::token)
        texts[i].ids.push_back(e.token);
      else
        texts[i].stop = e.reason;
    }
    const auto now = Clock::now();
    idle += seconds_between(last, now);
    last = now;
    if (served.empty()) continue;
    for (const size_t i : served) texts[i].seconds += idle / static_cast<double>(served.size());
    idle = 0;
    for (const runtime::Event& e : events) {
      if (e.kind != runtime::Event::Kind::finished) continue;
      const auto i = static_cast<size_t>(e.id);
      take(points[i], texts[i]);
      texts[i].ids = {};
    }
  }
}

void SweepWriter::one_by_one(std::span<const int64_t> points, const Take& take) const {
  runtime::Session session(model_.model.model, {}, context_);
  for (const int64_t i : points) {
    session.reset();
    const auto start = Clock::now();
    runtime::GenerateResult made =
        runtime::generate(session, prompt(i), options(i), [this](int32_t) {
          context_.throw_if_stopped();
          return true;
        });
    take(i, {.ids = std::move(made.tokens),
             .stop = made.reason,
             .seconds = seconds_between(start, Clock::now())});
  }
}

Json SweepWriter::result(int64_t index, const SweepTokens& tokens) const {
  const std::string written = answer_text(model_.text, prompt(index), tokens.ids, false);
  const eval::SweepPoint p = eval::sweep_point(grid_, index);
  Json out = {
      {"text", written}, {"tokens", tokens.ids.size()}, {"stop", runtime::stop_name(tokens.stop)}};
  if (room(index) < grid_.lengths[static_cast<size_t>(p.length)]) out["clamped_to"] = room(index);
  out.update(eval::statistics_json(eval::text_statistics(
      prompt_words_[static_cast<size_t>(p.prompt)], text::split_words(written), stop_words_)));
  out["seconds"] = tokens.seconds;
  out["tok_s"] =
      tokens.seconds > 0 ? Json(static_cast<double>(tokens.ids.size()) / tokens.seconds) : Json();
  return out;
}

}  // namespace halftone::cli
