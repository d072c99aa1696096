// halftone compare: what candidates lost against a reference, and what they gained.
//
// Quality is measured here, side by side; speed and memory by `halftone bench` in a process of its
// own for each model, so that peak memory is that model's alone.
#include <algorithm>
#include <limits>

#include "halftone/base/error.h"
#include "halftone/cli/child.h"
#include "halftone/cli/model_options.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/output_file.h"
#include "halftone/cli/session.h"
#include "halftone/eval/divergence.h"
#include "halftone/eval/task.h"
#include "halftone/eval/windows.h"
#include "halftone/kernel/isa.h"
#include "halftone/report/comparison.h"
#include "halftone/spec/model_names.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string reference, data, report, text;
  std::vector<std::string> candidates;
  int64_t windows = 8, window = 0, stride = 0;
  bool no_speed = false;
  LogitOptions logits;
};

// The JSON that `halftone bench MODEL --json` prints, run as a child.
Json bench_child(const std::string& model, const Session& session) {
  return child_json(session, {"bench", model, "--json", "--quiet", "--prefill", "256", "--decode",
                              "48", "--threads", std::to_string(session.context.threads)});
}

Json row_of(const std::string& name, const pack::PackedModel& model, const eval::Divergence& d) {
  return {{"name", name},
          {"bytes", model.weight_bytes()},
          {"bits_per_weight", model.bits_per_weight()},
          {"kl_mean", d.kl_mean},
          {"kl_ci95", d.kl_ci95},
          {"kl_median", d.kl_median},
          {"kl_p90", d.kl_p90},
          {"kl_p99", d.kl_p99},
          {"kl_max", d.kl_max},
          {"top1_agreement", d.top1_agreement},
          {"top1_ci95", d.top1_ci95},
          {"perplexity", d.perplexity},
          {"perplexity_ratio_ci95", d.perplexity_ratio_ci95},
          {"prefill_tok_s", nullptr},  // speed comes later, if at all
          {"decode_tok_s", nullptr},
          {"peak_rss_bytes", nullptr}};
}

void print_table(Terminal& t, const Json& result) {
  TextTable table{{"model", "size MB", "bits/w", "KL mean", "95 %", "same top %", "ppl",
                   "prefill tok/s", "decode tok/s", "peak MB"},
                  {}};
  for (const Json& row : result["models"]) {
    const auto mega = [](const Json& bytes) {
      return bytes.is_null() ? std::string("-") : significant(bytes.get<double>() / 1e6, 4);
    };
    const auto rate = [&](const char* key) {
      return row[key].is_null() ? std::string("-") : significant(row[key].get<double>(), 4);
    };
    table.rows.push_back({row["name"].get<std::string>(), mega(row["bytes"]),
                          significant(row["bits_per_weight"].get<double>()),
                          significant(row["kl_mean"].get<double>()),
                          result["windows"] == 1
                              ? "-"
                              : significant(row["kl_ci95"][0].get<double>(), 2) + ".." +
                                    significant(row["kl_ci95"][1].get<double>(), 2),
                          significant(100 * row["top1_agreement"].get<double>()),
                          significant(row["perplexity"].get<double>(), 5), rate("prefill_tok_s"),
                          rate("decode_tok_s"), mega(row["peak_rss_bytes"])});
  }
  t.out(table.text());
  t.out(result["protocol"].get<std::string>() + ", " + result["windows"].dump() + " windows of " +
        result["data"].get<std::string>() + "; quality " +
        (result["simulated"] ? "simulated by torch"
                             : "in mode " + result["mode"].get<std::string>()) +
        (result["models"][0]["decode_tok_s"].is_null() ? "" : ", speed in mode int8") + ", " +
        result["threads"].dump() + " threads, " + result["isa"].get<std::string>());
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

int compare_models(Session& session, const Options& options) {
  options.logits.settle(session);
  Context& context = session.start();
  eval::check_stride(options.stride, options.window > 0 ? options.window : eval::kWindow);
  if (!options.data.empty()) session.places.data_dir = options.data;
  std::vector<std::string> names = {options.reference};
  names.insert(names.end(), options.candidates.begin(), options.candidates.end());
  // Mistakes before any work: a model that is not there, a page that cannot be written, text that
  // is not there.
  std::vector<std::string> paths;
  for (const std::string& name : names) paths.push_back(spec::resolve_model(name, context));
  std::optional<files::TextSet> own;
  if (!options.text.empty()) {
    own = files::read_text_file(*session.env, options.text, session.places.parquet, context.limits);
    paths.push_back(options.text);
  } else {
    const Table<eval::Task> tasks("task", eval::entries());
    for (std::string& path : eval::check_data(tasks.at("wikitext2"), session.places, *session.env))
      paths.push_back(std::move(path));
  }
  std::optional<OutputFile> page;
  if (!options.report.empty()) page.emplace(*session.env, options.report, "--report", paths);
  std::vector<LogitModel> models;
  int64_t shortest_context = std::numeric_limits<int64_t>::max();
  for (const std::string& name : names) {
    models.push_back(load_logits(name, options.logits, session));
    shortest_context = std::min(shortest_context, models.back().source->context());
  }
  int64_t window = window_length(options.window, shortest_context, context);
  const auto encode = [&](std::string_view s) {
    std::vector<int32_t> ids =
        open_text(models[0].packed->checkpoint(), context).tokenizer.encode(s);
    for (size_t i = 1; i < models.size(); ++i)
      check_same_tokens(names[i], models[i].packed->checkpoint(), options.reference, s, ids,
                        context);
    return ids;
  };
  eval::ScoredText scored;
  if (own)
    scored = {own->label, encode(own->joined())};
  else
    scored = eval::scored_text("wikitext2", files::Split::test, session.places, encode, context);
  const auto tokens = static_cast<int64_t>(scored.ids.size());
  if (tokens < window) window = std::max<int64_t>(2, tokens);
  const eval::Protocol protocol =
      options.stride > 0 ? eval::strided_windows(tokens, window, options.stride, options.windows)
                         : eval::gptq_windows(tokens, window, options.windows);
  std::vector<eval::LogitSource*> candidates;
  for (size_t i = 1; i < models.size(); ++i) candidates.push_back(models[i].source.get());
  const auto found = eval::divergence(*models[0].source, candidates, scored.ids, protocol, context);
  if (protocol.windows.size() < 4)
    session.terminal.warn("few windows: intervals are wide; --windows 20 is a fair comparison");

  Json rows = Json::array();
  eval::Divergence none;
  none.top1_agreement = 1;
  none.top1_ci95 = {1, 1};
  none.perplexity = found[0].reference_perplexity;
  none.perplexity_ratio_ci95 = {1, 1};
  rows.push_back(row_of(options.reference, *models[0].packed, none));
  for (size_t i = 0; i < found.size(); ++i)
    rows.push_back(row_of(options.candidates[i], *models[i + 1].packed, found[i]));
  models.clear();
  if (!options.no_speed) {
    for (size_t i = 0; i < names.size(); ++i) {
      context.throw_if_stopped();
      context.progress(
          {"bench", names[i], static_cast<double>(i), static_cast<double>(names.size()), ""});
      const Json bench = bench_child(names[i], session);
      rows[i]["prefill_tok_s"] = bench["prefill"]["tok_s"];
      rows[i]["decode_tok_s"] = bench["decode"]["tok_s"];
      rows[i]["peak_rss_bytes"] = bench["peak_rss_bytes"];
      rows[i]["load_ms"] = bench["load_ms"];
    }
  }
  const Json result = {{"models", rows},
                       {"reference", options.reference},
                       {"protocol", protocol.name},
                       {"windows", protocol.windows.size()},
                       {"positions", found[0].positions},
                       {"data", scored.label},
                       {"mode", options.logits.load.mode},
                       {"simulated", options.logits.engine == "torch"},
                       {"threads", context.threads},
                       {"isa", kernel::isa_name(kernel::choose_isa(std::getenv("HALFTONE_ISA")))}};
  if (page) {
    page->write(report::comparison_page(result, report::measurement_facts(session.argv)));
    page->finish();
    session.terminal.note("report: " + options.report);
  }
  session.print(result, [&] { print_table(session.terminal, result); });
  return 0;
}

}  // namespace

Command compare() {
  return {
      .summary = "KL, top-1 agreement, perplexity, speed and memory of models against a reference",
      .examples =
          "  halftone compare smollm2-fp out/rtn4 out/gptq4\n"
          "  halftone compare smollm2-fp out/gptq4 --windows 20 --report report.html\n"
          "  halftone compare models/base out/a out/b --text my.txt --json",
      .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
        auto options = std::make_shared<Options>();
        app.add_option("REF", options->reference, "the reference, usually the full-precision model")
            ->required();
        app.add_option("MODEL", options->candidates, "one or more candidates")->required();
        app.add_option("--windows,--limit", options->windows, "windows to score (default 8)")
            ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
        app.add_option("--window", options->window,
                       "tokens a window (default 2048, or the model's context)")
            ->check(CLI::Range(int64_t{2}, int64_t{1} << 31));
        app.add_option("--stride", options->stride, "strided windows")
            ->check(CLI::Range(int64_t{2}, int64_t{1} << 31));
        app.add_option(
            "--text", options->text,
            "score this .txt, .jsonl or .parquet file instead of wikitext2's test split");
        app.add_option("--data", options->data, "folder of data sets (default: HALFTONE_DATA)");
        app.add_option("--report", options->report, "write a self-contained HTML page");
        app.add_flag("--no-speed", options->no_speed, "quality only");
        options->logits.declare(app, session);
        session.add_threads(app);
        session.add_json(app);
        session.add_quiet(app);
        return [options, &session] { return compare_models(session, *options); };
      }};
}

}  // namespace halftone::cli
