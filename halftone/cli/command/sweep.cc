// halftone sweep: the generation study. Prompts x lengths x temperatures x top_k, a text for each,
// by every model, and what the texts have in common: repetition, speed, memory.
#include "halftone/base/error.h"
#include "halftone/cli/session.h"
#include "halftone/cli/sweep_options.h"
#include "halftone/cli/sweep_study.h"
#include "halftone/cli/sweep_text.h"

namespace halftone::cli {
namespace {

int sweep_models(Session& session, const SweepOptions& options) {
  if (options.speed_only && options.models.size() > 1)
    throw InputError("--speed-only", "is for one model");
  if (options.speed_only && options.speed_samples == 0)
    throw InputError("--speed-samples 0", "leaves --speed-only nothing to do",
                     "leave one of them out");
  if (!options.speed_only && options.output.empty())
    throw InputError("-o", "is missing", "name the folder of the results");
  if (options.simulated && !options.shard.empty())
    throw InputError("--simulated", "needs all samples", "give it when the shards are joined");
  if (options.simulated) session.need_torch("--simulated");
  session.start();
  if (options.speed_only) {
    const Json result = sweep_speed_only(session, options);
    session.print(result, [&] { print_speed(session.terminal, result); });
    return 0;
  }
  const Json result = sweep_study(session, options);
  session.print(result, [&] {
    Terminal& t = session.terminal;
    print_sweep(t, result);
    if (shard_of(options.shard).of == 1)
      t.note("page: " + join_path(options.output, "index.html"));
    else
      t.note("when all shards are in one folder, the command without --shard joins them");
  });
  return 0;
}

}  // namespace

Command sweep() {
  return {
      .summary =
          "the generation study: prompts x lengths x temperatures x top_k, by several models",
      .examples =
          "  halftone sweep models/base out/rtn8 out/gptq4 -o study\n"
          "  halftone sweep smollm2-fp out/gptq4 --prompts my.txt --lengths 50 -o study "
          "--simulated\n"
          "  halftone sweep models/base -o study --shard 2/4         (of four machines)\n"
          "A run that was killed goes on when the same command is given again.",
      .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
        auto options = std::make_shared<SweepOptions>();
        app.add_option("MODEL", options->models,
                       "folders, .gguf files, hub names in the local cache; the first is the "
                       "reference")
            ->required();
        app.add_option("--prompts", options->prompts,
                       "one prompt per line, or JSONL with \"prompt\" (default: ten of ours)");
        app.add_option("-o,--output", options->output,
                       "folder of the results: MODEL.jsonl, summary.json, index.html");
        app.add_option("--lengths", options->lengths,
                       "at most so many new tokens (default 50:500:50)");
        app.add_option("--temperatures", options->temperatures, "(default 0.1:0.8:0.1,1)");
        app.add_option("--top-k", options->top_ks, "(default 1,5,10,20,50,100,200)");
        app.add_option("--samples", options->samples, "of each prompt and cell (default 1)")
            ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
        app.add_option("--shard", options->shard,
                       "i/n: the i-th of n parts; without it, shards in the folder are joined");
        app.add_option("--batch", options->batch,
                       "texts written together, fewer where memory is short (default 64); no text "
                       "depends on it")
            ->check(CLI::Range(int64_t{1}, int64_t{1024}));
        app.add_option("--cache-gb", options->cache_gb,
                       "memory for keys and values (default: half of what is available)")
            ->check(CLI::PositiveNumber);
        app.add_option("--speed-samples", options->speed_samples,
                       "samples that are written once more one at a time, in a process of their "
                       "own, for tok/s and memory (default 20; 0: none)")
            ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
        app.add_flag("--speed-only", options->speed_only,
                     "nothing but these samples, and their times");
        app.add_flag("--ignore-eos", options->ignore_eos,
                     "texts go on past the end token, to their whole length");
        app.add_flag("--simulated", options->simulated,
                     "compare loss and speed of real and simulated quantization (torch)");
        app.add_flag("--fresh", options->fresh, "do not go on with what is in the folder");
        options->load.declare(app, "exact");
        session.add_threads(app);
        session.add_json(app);
        session.add_quiet(app);
        return [options, &session] { return sweep_models(session, *options); };
      }};
}

}  // namespace halftone::cli
