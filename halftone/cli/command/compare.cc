// halftone compare: what candidates lost against a reference, and what they gained.
//
// Quality is measured here, side by side; speed and memory by `halftone bench` in a process of its
// own for each model, so that peak memory is that model's alone.
#include <algorithm>
#include <limits>

#include "halftone/base/error.h"
#include "halftone/base/numbers.h"
#include "halftone/cli/check_text.h"
#include "halftone/cli/child.h"
#include "halftone/cli/compare_answers.h"
#include "halftone/cli/compare_layers.h"
#include "halftone/cli/compare_tasks.h"
#include "halftone/cli/divergence_json.h"
#include "halftone/cli/measure.h"
#include "halftone/cli/model_options.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/noise_floor.h"
#include "halftone/cli/output_file.h"
#include "halftone/cli/run_journal.h"
#include "halftone/cli/session.h"
#include "halftone/cli/text_options.h"
#include "halftone/eval/divergence.h"
#include "halftone/eval/windows.h"
#include "halftone/kernel/isa.h"
#include "halftone/report/comparison.h"
#include "halftone/spec/model_names.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string reference, data, report, text;
  std::vector<std::string> candidates;
  std::string sweep;
  int64_t windows = 8, window = 0, stride = 0;
  bool no_speed = false, no_noise_floor = false, damage = false, fresh = false;
  AnswerOptions answers;
  TaskOptions tasks;
  LogitOptions logits;
};

Json row_of(const std::string& name, const pack::PackedModel& model, const eval::Divergence& d) {
  Json row = {{"name", name},
              {"bytes", model.weight_bytes()},
              {"bits_per_weight", model.bits_per_weight()}};
  row.update(to_json(d));
  for (const char* later : {"prefill_tok_s", "decode_tok_s", "peak_rss_bytes", "load_ms", "energy"})
    row[later] = nullptr;
  return row;
}

std::string figure(const Json& value, double factor = 1, int digits = 3) {
  return value.is_null() ? std::string("-") : significant(factor * value.get<double>(), digits);
}

// What the first table has no room for.
void print_details(Terminal& t, const Json& result) {
  TextTable table{{"against the reference", "KL median", "p90", "p99", "max", "JS mean",
                   "same top 5 %", "ppl ratio", "+-"},
                  {}};
  for (size_t i = 1; i < result["models"].size(); ++i) {
    const Json& row = result["models"][i];
    table.rows.push_back({row["name"].get<std::string>(), figure(row["kl_median"]),
                          figure(row["kl_p90"]), figure(row["kl_p99"]), figure(row["kl_max"]),
                          figure(row["js_mean"]), figure(row["top5_agreement"], 100),
                          figure(row["perplexity_ratio"], 1, 5),
                          figure(row["perplexity_ratio_se"], 1, 2)});
  }
  t.out("");
  t.out(table.text());
  const Json& floor = result["noise_floor"];
  const std::string what = floor["what"].get<std::string>();
  t.out(floor["kl_mean"].is_null() ? "no noise floor: " + what
                                   : "noise floor: KL " + figure(floor["kl_mean"]) + ", same top " +
                                         figure(floor["top1_agreement"], 100, 4) + " %: " + what +
                                         ", windows: " + floor["windows"].dump());
  for (const Json& row : result["models"])
    if (row.contains("layers"))
      print_hidden_errors(t, row, "hidden states of " + row["name"].get<std::string>());
  for (const Json& row : result["models"])
    if (row.contains("advice")) print_advice(t, row["advice"], row["name"].get<std::string>());
}

// What a model costs besides speed and memory. Energy is measured or modelled: `source` says which.
void print_costs(Terminal& t, const Json& rows) {
  TextTable table{{"cost", "load ms", "mJ a decoded token", "energy"}, {}};
  for (const Json& row : rows)
    table.rows.push_back({row["name"].get<std::string>(), figure(row["load_ms"]),
                          figure(row["energy"]["decode_j_per_token"], 1e3),
                          row["energy"]["source"].get<std::string>()});
  t.out("");
  t.out(table.text());
}

void print_result(Terminal& t, const Json& result, const std::string& left_out) {
  TextTable table{{"model", "size MB", "bits/w", "KL mean", "95 %", "same top %", "ppl",
                   "prefill tok/s", "decode tok/s", "peak MB"},
                  {}};
  for (const Json& row : result["models"]) {
    table.rows.push_back(
        {row["name"].get<std::string>(), figure(row["bytes"], 1e-6, 4),
         significant(row["bits_per_weight"].get<double>()),
         significant(row["kl_mean"].get<double>()),
         result["windows"] == 1 ? "-"
                                : significant(row["kl_ci95"][0].get<double>(), 2) + ".." +
                                      significant(row["kl_ci95"][1].get<double>(), 2),
         significant(100 * row["top1_agreement"].get<double>()),
         significant(row["perplexity"].get<double>(), 5), figure(row["prefill_tok_s"], 1, 4),
         figure(row["decode_tok_s"], 1, 4), figure(row["peak_rss_bytes"], 1e-6, 4)});
  }
  t.out(table.text());
  t.out(result["protocol"].get<std::string>() + ", " +
        counted(result["windows"].get<int64_t>(), "window") + " of " +
        result["data"].get<std::string>() + left_out + "; quality " +
        (result["simulated"] ? "simulated by torch"
                             : "in mode " + result["mode"].get<std::string>()) +
        (result["models"][0]["decode_tok_s"].is_null() ? "" : ", speed in mode int8") + ", " +
        result["threads"].dump() + " threads, " + result["isa"].get<std::string>());
  print_details(t, result);
  if (!result["models"][0]["energy"].is_null()) print_costs(t, result["models"]);
  if (result.contains("tasks")) print_tasks(t, result);
  if (result.contains("prompts")) print_answers(t, result);
}

// A KL between models that read other tokens means nothing. A model without a tokenizer takes the
// reference's, as those of a GPTQ script often do.
void check_same_tokens(const std::string& name, const spec::Checkpoint& checkpoint,
                       const std::string& reference, std::string_view text,
                       const std::vector<int32_t>& ids, const Context& context) {
  std::optional<ModelText> own;
  try {
    own = open_text(checkpoint, context);
  } catch (const Error& e) {
    if (e.code() != Code::missing) throw;
    context.warn(name + " has no tokenizer: it is given the tokens of " + reference);
    return;
  }
  if (own->tokenizer.encode(text) != ids)
    throw InputError(name, "cuts the text into other tokens than " + reference,
                     "compare models with one tokenizer");
}

// Where a run keeps what it has measured, by model: of the reference what it is measured against
// itself for.
std::vector<eval::RunMemory> memory_of(RunJournals& journals, const std::vector<LogitModel>& models,
                                       const NoiseFloor& floor,
                                       const std::vector<std::string>& paths,
                                       const Session& session) {
  const std::string against =
      fingerprint(*session.env, paths[0], logit_settings(*models[0].source, session));
  std::vector<eval::RunMemory> out = {journals.of(
      paths[0],
      against + " itself " + (floor.source ? logit_settings(*floor.source, session) : ""))};
  for (size_t i = 1; i < models.size(); ++i)
    out.push_back(
        journals.of(paths[i], against + " " + logit_settings(*models[i].source, session)));
  return out;
}

// Of `models` over the same windows; the floor, if there is one, comes last.
std::vector<eval::Divergence> diverge(const std::vector<LogitModel>& models,
                                      const NoiseFloor& floor, const CutText& text,
                                      const std::vector<eval::RunMemory>& memory,
                                      const Context& context) {
  std::vector<eval::LogitSource*> candidates;
  eval::DivergenceOptions options{.last_windows = floor.windows,
                                  .memory = {memory.begin() + 1, memory.end()}};
  for (size_t i = 1; i < models.size(); ++i) candidates.push_back(models[i].source.get());
  if (floor.source) {
    candidates.push_back(floor.source.get());
    options.memory.push_back(memory[0]);
  }
  return eval::divergence(*models[0].source, candidates, text.ids, text.protocol, context, options);
}

// Speed and memory of each, where a run that was stopped has not measured them.
void add_speed(Json& rows, const std::vector<std::string>& names,
               const std::vector<eval::RunMemory>& memory, const Session& session) {
  const Context& context = session.context;
  const uint64_t key = eval::memory_key("bench " + std::to_string(context.threads), {}, 0);
  for (size_t i = 0; i < names.size(); ++i) {
    context.throw_if_stopped();
    context.progress(
        {"bench", names[i], static_cast<double>(i), static_cast<double>(names.size()), ""});
    const Json bench =
        eval::remembered(memory[i], key, [&] { return bench_child(names[i], {}, session); });
    rows[i]["prefill_tok_s"] = bench["prefill"]["tok_s"];
    rows[i]["decode_tok_s"] = bench["decode"]["tok_s"];
    rows[i]["peak_rss_bytes"] = bench["peak_rss_bytes"];
    rows[i]["load_ms"] = bench["load_ms"];
    const Json& energy = bench["energy"];
    rows[i]["energy"] = {{"decode_j_per_token", energy["decode_j_per_token"]},
                         {"source", energy["source"]}};
  }
}

int compare_models(Session& session, Options& options) {
  options.answers.check(options.logits);
  options.tasks.settle(options.windows);
  if (options.damage && options.logits.engine == "torch")
    throw InputError("--damage", "mixes models for the runtime",
                     "leave it out, or use --engine runtime");
  options.logits.settle(session);
  Context& context = session.start();
  eval::check_stride(options.stride, options.window > 0 ? options.window : eval::kWindow);
  std::vector<std::string> names = {options.reference};
  names.insert(names.end(), options.candidates.begin(), options.candidates.end());
  // Mistakes before any work: a model that is not there, a page that cannot be written, text that
  // is not there.
  std::vector<std::string> paths;
  for (const std::string& name : names) paths.push_back(spec::resolve_model(name, context));
  std::vector<std::string> inputs = paths;
  const TextChoice choice(options.text, options.data, session);
  inputs.insert(inputs.end(), choice.inputs().begin(), choice.inputs().end());
  std::optional<Answers> answers;
  if (!options.answers.prompts.empty()) {
    answers.emplace(options.answers, context);
    inputs.push_back(options.answers.prompts);
  }
  std::optional<TaskComparison> tasks;
  if (!options.tasks.tasks.empty()) {
    tasks.emplace(options.tasks, session);
    inputs.insert(inputs.end(), tasks->inputs().begin(), tasks->inputs().end());
  }
  std::optional<Json> sweep;
  if (!options.sweep.empty()) {
    sweep = read_sweep(options.sweep, context);
    inputs.push_back(options.sweep);
  }
  std::optional<OutputFile> page;
  if (!options.report.empty()) page.emplace(*session.env, options.report, "--report", inputs);
  const auto load = [&](size_t i) {
    // What codes for keys and values lose shows against a reference that has none.
    LogitOptions logits = options.logits;
    if (i == 0) logits.load.kv.clear();
    return load_logits(names[i], logits, session);
  };
  std::vector<LogitModel> models;
  std::vector<Json> recipes;  // null: not known
  int64_t shortest_context = std::numeric_limits<int64_t>::max();
  for (size_t i = 0; i < names.size(); ++i) {
    models.push_back(load(i));
    shortest_context = std::min(shortest_context, models.back().source->context());
    recipes.push_back(
        read_receipt(models.back().packed->checkpoint().path, context).value("recipe", Json()));
  }
  if (answers) answers->encode(*models[0].packed, shortest_context);
  const int64_t window = window_length(options.window, shortest_context, context);
  const ModelText text = open_text(models[0].packed->checkpoint(), context);
  const auto encode = [&](std::string_view s) {
    std::vector<int32_t> ids = text.tokenizer.encode(s);
    for (size_t i = 1; i < models.size(); ++i)
      check_same_tokens(names[i], models[i].packed->checkpoint(), options.reference, s, ids,
                        context);
    return ids;
  };
  const CutText scored = cut(choice.encoded(encode), window, options.windows, options.stride);
  const eval::Protocol& protocol = scored.protocol;
  NoiseFloor floor{.what = "left out by --no-noise-floor"};
  if (!models[0].model)
    floor.what = "the torch engine has one dtype for keys and values";
  else if (!options.no_noise_floor)
    floor = noise_floor(*models[0].model, std::ssize(protocol.windows), context);
  // Kept until all of it is whole: a killed run does what is left, whatever it was doing.
  RunJournals journals(context, "against", options.fresh);
  const auto memory = memory_of(journals, models, floor, paths, session);
  const auto found = diverge(models, floor, scored, memory, context);
  if (protocol.windows.size() < 4)
    session.terminal.warn("few windows: intervals are wide; --windows 20 is a fair comparison");

  Json rows = Json::array();
  eval::Divergence none;
  none.top1_agreement = none.top5_agreement = 1;
  none.top1_ci95 = none.top5_ci95 = none.perplexity_ratio_ci95 = {1, 1};
  none.perplexity = none.reference_perplexity = found[0].reference_perplexity;
  rows.push_back(row_of(options.reference, *models[0].packed, none));
  for (size_t i = 1; i < models.size(); ++i)
    rows.push_back(row_of(names[i], *models[i].packed, found[i - 1]));
  for (size_t i = 1; i < models.size(); ++i)
    if (!recipes[i].is_null()) rows[i]["recipe"] = std::move(recipes[i]);
  if (answers) answers->run(models, memory, rows);
  add_layers(models, std::span(scored.ids).first(static_cast<size_t>(scored.window)), memory, rows,
             context);
  if (options.damage) add_damage(models, scored.ids, scored.window, memory, rows, context);
  Json result = {{"models", rows},
                 {"reference", options.reference},
                 {"protocol", protocol.name},
                 {"windows", protocol.windows.size()},
                 {"positions", found[0].positions},
                 {"tokens_dropped", protocol.dropped},
                 {"data", scored.label},
                 {"noise_floor", json_of(floor, floor.source ? &found.back() : nullptr)},
                 {"mode", options.logits.load.mode},
                 {"simulated", options.logits.engine == "torch"},
                 {"threads", context.threads},
                 {"isa", kernel::isa_name(kernel::choose_isa(std::getenv("HALFTONE_ISA")))}};
  if (scored.blank_lines > 0) result["blank_lines"] = scored.blank_lines;
  if (answers) result["prompts"] = answers->facts();
  models.clear();
  floor.source.reset();
  if (tasks) {
    std::vector<TaskComparison::Model> measured;
    for (size_t i = 0; i < names.size(); ++i)
      measured.push_back({names[i], paths[i], [&load, i] { return load(i); }});
    RunJournals kept(context, "compare", options.fresh);  // for the next comparison, too
    tasks->run(measured, text, kept, result);
  }
  if (!options.no_speed) add_speed(result["models"], names, memory, session);
  if (sweep) result["sweep"] = std::move(*sweep);
  if (page) {
    page->write(report::comparison_page(result, report::measurement_facts(session.argv)));
    page->finish();
    session.terminal.note("report: " + options.report);
  }
  session.print(result, [&] {
    print_result(session.terminal, result, eval::left_out_text(protocol, scored.blank_lines));
  });
  journals.remove();
  return 0;
}

}  // namespace

Command compare() {
  return {
      .summary = "KL, agreement, perplexity, tasks, speed and memory of models against a reference",
      .examples =
          "  halftone compare smollm2-fp out/rtn4 out/gptq4\n"
          "  halftone compare smollm2-fp out/gptq4 --prompts prompts.txt     (the same answers?)\n"
          "  halftone compare smollm2-fp out/gptq4 --windows 20 --report report.html\n"
          "  halftone compare smollm2-fp out/gptq4 --tasks piqa,mmlu --limit 500,mmlu:20\n"
          "  halftone compare smollm2-fp out/rtn8 out/gptq4 --full     (hours; a killed run goes "
          "on "
          "when the same command is given again)\n"
          "  halftone compare smollm2-fp out/gptq4 --prompts prompts.txt --damage --report "
          "report.html\n"
          "  halftone compare models/base out/a out/b --text my.txt --json\n"
          "  halftone compare out/gptq4 out/gptq4 --kv int4     (what that cache loses: the "
          "reference keeps the default one)",
      .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
        auto options = std::make_shared<Options>();
        app.add_option("REF", options->reference, "the reference, usually the full-precision model")
            ->required();
        app.add_option("MODEL", options->candidates, "one or more candidates")->required();
        const CLI::Option* windows =
            app.add_option("--windows", options->windows, "windows to score (default 8)")
                ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
        app.add_option("--window", options->window,
                       "tokens a window (default 2048, or the model's context)")
            ->check(CLI::Range(int64_t{2}, int64_t{1} << 31));
        app.add_option("--stride", options->stride, "strided windows")
            ->check(CLI::Range(int64_t{2}, int64_t{1} << 31));
        add_text(app, options->text, options->data);
        app.add_option("--report", options->report, "write a self-contained HTML page");
        app.add_flag("--damage", options->damage,
                     "also measure what each block, role and table costs, by models that are mixed "
                     "of both, as halftone check does (minutes a candidate)");
        app.add_option("--sweep", options->sweep,
                       "folder of halftone sweep: its heat maps go into the page and the JSON");
        options->answers.declare(app);
        options->tasks.declare(app);
        options->tasks.not_full.push_back(windows);
        app.add_flag("--no-noise-floor", options->no_noise_floor,
                     "leave out the noise floor: the reference against itself, only the dtype of "
                     "its cache changed");
        app.add_flag("--fresh", options->fresh,
                     "forget what earlier runs of these models measured");
        app.add_flag("--no-speed", options->no_speed, "quality only");
        options->logits.declare(app, session);
        session.add_threads(app);
        session.add_json(app);
        session.add_quiet(app);
        return [options, &session] {
          return resumable([&] { return compare_models(session, *options); });
        };
      }};
}

}  // namespace halftone::cli
