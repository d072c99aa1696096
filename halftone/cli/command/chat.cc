// halftone chat: a conversation in the terminal. The KV cache keeps what was said; only new tokens
// are computed.
#include <cstdio>
#include <iostream>

#include "halftone/base/bytes.h"
#include "halftone/base/error.h"
#include "halftone/cli/draft_options.h"
#include "halftone/cli/model_options.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/sampling_options.h"
#include "halftone/cli/session.h"
#include "halftone/runtime/generate.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string model, system;
  int64_t tokens = 1024;
  ModelOptions load;
  SamplingOptions sampling;
  DraftFlags draft;
};

int chat_with(Session& session, const Options& options) {
  options.draft.settle();
  const Context& context = session.start();
  runtime::GenerateOptions generation{.max_new_tokens = options.tokens,
                                      .sampler = options.sampling.resolve()};
  const auto [loaded, text] = load_with_text(options.model, options.load, context);
  if (!text.chat)
    throw UnsupportedError(options.model, "has no chat template",
                           "use halftone run MODEL -p TEXT, or a model tuned for chat");
  generation.stop_ids = text.tokenizer.special().eos_ids;
  const auto drafter = options.draft.open(options.model, text, options.load, context, generation);
  runtime::Session sequence(loaded.model, {}, context);
  Json messages = Json::array();
  if (!options.system.empty()) messages.push_back(text::message("system", options.system));
  std::vector<int32_t> fed;  // what the cache holds
  session.terminal.note(loaded.model->label() +
                        ". /reset starts over, /quit or Ctrl-D ends, Ctrl-C stops an answer.");
  for (;;) {
    if (!session.quiet) std::fputs("\n> ", stderr);
    std::string line;
    if (!std::getline(std::cin, line) || line == "/quit") break;
    if (line.empty()) continue;
    if (!valid_utf8(line)) {
      session.terminal.warn("that line is not UTF-8; say it again");
      continue;
    }
    if (line == "/reset") {
      messages = Json::array();
      if (!options.system.empty()) messages.push_back(text::message("system", options.system));
      sequence.reset();
      fed.clear();
      continue;
    }
    messages.push_back(text::message("user", line));
    const std::vector<int32_t> all = text.conversation(messages);
    // A template may rewrite what was said before (dropping thoughts, say): then the cache starts
    // over.
    if (fed.size() >= all.size() || !std::equal(fed.begin(), fed.end(), all.begin())) {
      sequence.reset();
      fed.clear();
    }
    if (static_cast<int64_t>(all.size()) >= sequence.max_tokens()) {
      session.terminal.warn("the conversation fills the model's context of " +
                            std::to_string(sequence.max_tokens()) + " tokens; /reset to go on");
      messages.erase(messages.size() - 1);
      continue;
    }
    text::StreamDecoder stream(text.tokenizer);
    std::string answer;
    const auto show = [&](const std::string& piece) {
      answer += piece;
      session.terminal.piece(piece);
    };
    context.stop->store(false);
    const auto fresh = std::span<const int32_t>(all).subspan(fed.size());
    const runtime::GenerateResult result = runtime::generate(
        sequence, fresh, generation,
        [&](int32_t id) {
          show(stream.push(id));
          return !context.stop->load();
        },
        fed);
    show(stream.finish());
    session.terminal.piece("\n");
    messages.push_back(text::message("assistant", answer));
    fed = all;
    // The last token was handed out but not fed.
    const auto cached = static_cast<size_t>(sequence.position()) - all.size();
    fed.insert(fed.end(), result.tokens.begin(),
               result.tokens.begin() +
                   static_cast<std::ptrdiff_t>(std::min(cached, result.tokens.size())));
    ++generation.sampler.seed;
    std::string note = significant(result.decode_tok_s()) + " tok/s";
    if (drafter) note += ", " + draft_note(result);
    if (result.reason == runtime::Stop::full)
      note += ", cut: the context of " + std::to_string(sequence.max_tokens()) +
              " tokens is full; /reset to go on";
    if (result.reason == runtime::Stop::length)
      note += ", cut after " + std::to_string(options.tokens) + " tokens; -n allows more";
    session.terminal.note("[" + note + "]");
  }
  return 0;
}

}  // namespace

Command chat() {
  return {.summary = "talk with a model in the terminal",
          .examples =
              "  halftone chat smollm2\n  halftone chat out/gptq4 --system \"Answer in one "
              "sentence.\" --temperature 0.5\n"
              "  halftone chat out/gptq4 --lookup",
          .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
            auto options = std::make_shared<Options>();
            app.add_option("MODEL", options->model,
                           "a folder, a .gguf, a hub name in the local cache, smollm2")
                ->required();
            app.add_option("--system", options->system, "a system message to begin with");
            app.add_option("-n,--tokens", options->tokens,
                           "at most this many tokens an answer (default 1024)")
                ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
            options->draft.declare(app);
            options->sampling.declare(app);
            options->load.declare(app, "int8");
            session.add_threads(app);
            session.add_quiet(app);
            return [options, &session] { return chat_with(session, *options); };
          }};
}

}  // namespace halftone::cli
