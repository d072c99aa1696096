// halftone eval: tasks on one model.
#include "halftone/base/error.h"
#include "halftone/cli/model_options.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/output_file.h"
#include "halftone/cli/session.h"
#include "halftone/eval/task.h"
#include "halftone/eval/windows.h"
#include "halftone/spec/model_names.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string model, data, log_samples;
  std::vector<std::string> tasks;
  int64_t limit = 0, stride = 0, window = 0;
  LogitOptions logits;
};

// "perplexity 17.305 [16.9, 17.71]  gptq-2048, 148 windows of wikitext2 test, 93 s"
std::string text_of(const eval::TaskResult& result) {
  std::string out;
  for (const auto& [name, value, ci95] : result.metrics) {
    out += name + " " + significant(value, 5);
    if (ci95) out += " [" + significant((*ci95)[0], 4) + ", " + significant((*ci95)[1], 4) + "]";
    out += "  ";
  }
  return out + result.basis + ", " + duration(result.seconds);
}

int evaluate(Session& session, Options& options) {
  const Table<eval::Task> table("task", eval::entries());
  eval::check_stride(options.stride, options.window > 0 ? options.window : eval::kWindow);
  if (!options.data.empty()) session.places.data_dir = options.data;
  std::vector<std::string> inputs;
  for (const std::string& task : options.tasks)  // mistakes before any work
    for (std::string& path : eval::check_data(table.at(task), session.places, *session.env))
      inputs.push_back(std::move(path));
  options.logits.settle(session);
  const Context& context = session.start();
  inputs.push_back(spec::resolve_model(options.model, context));
  std::optional<OutputFile> samples;
  if (!options.log_samples.empty())
    samples.emplace(*session.env, options.log_samples, "--log-samples", inputs);
  const auto [packed, source] = load_logits(options.model, options.logits, session);
  const int64_t window = window_length(options.window, source->context(), context);
  const ModelText text = open_text(packed->checkpoint(), context);
  Json results = Json::object();
  std::vector<std::string> lines = {source->label()};
  for (const std::string& task : options.tasks) {
    const eval::TaskResult result = table.at(task).run(
        {.source = *source,
         .encode = [&](std::string_view s) { return text.tokenizer.encode(s); },
         .places = session.places,
         .limit = options.limit,
         .stride = options.stride,
         .window = window,
         .log_sample = samples ? [&](const Json& sample) { samples->write(sample.dump() + "\n"); }
                               : std::function<void(const Json&)>{},
         .context = context});
    results[task] = result.json;
    lines.push_back("  " + task + "  " + text_of(result));
  }
  session.print({{"model", options.model}, {"engine", source->label()}, {"results", results}}, [&] {
    for (const std::string& line : lines) session.terminal.out(line);
  });
  if (samples) samples->finish();  // last: a full disk takes the samples, not the result
  return 0;
}

}  // namespace

Command eval() {
  return {
      .summary = "measure a model on tasks: perplexity on wikitext2, c4, ptb",
      .examples =
          "  halftone eval smollm2 --tasks wikitext2 --limit 8\n"
          "  halftone eval out/gptq4 --tasks wikitext2,ptb --stride 512 --json\n"
          "  halftone eval out/gptq4 --tasks wikitext2 --engine torch      (simulated, for "
          "comparison)",
      .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
        auto options = std::make_shared<Options>();
        app.add_option("MODEL", options->model,
                       "a folder, a .gguf, a hub name in the local cache, smollm2")
            ->required();
        app.add_option("--tasks", options->tasks, "comma-separated")->required()->delimiter(',');
        app.add_option("--limit", options->limit, "at most N windows or items a task")
            ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
        app.add_option("--stride", options->stride,
                       "strided perplexity: windows advance by N tokens (512 is usual); default: "
                       "GPTQ's disjoint windows")
            ->check(CLI::Range(int64_t{2}, int64_t{1} << 31));
        app.add_option("--window", options->window,
                       "tokens a window (default 2048, or the model's context)")
            ->check(CLI::Range(int64_t{2}, int64_t{1} << 31));
        app.add_option("--data", options->data, "folder of data sets (default: HALFTONE_DATA)");
        app.add_option("--log-samples", options->log_samples,
                       "write one JSON line a window or item to FILE");
        options->logits.declare(app, session);
        session.add_threads(app);
        session.add_json(app);
        session.add_quiet(app);
        return [options, &session] { return evaluate(session, *options); };
      }};
}

}  // namespace halftone::cli
