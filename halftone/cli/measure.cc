#include "halftone/cli/measure.h"

#include <algorithm>
#include <cmath>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/hash.h"
#include "halftone/base/memory.h"
#include "halftone/cli/child.h"
#include "halftone/cli/divergence_json.h"
#include "halftone/cli/model_damage.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/noise_floor.h"
#include "halftone/cli/text_options.h"
#include "halftone/eval/divergence.h"
#include "halftone/eval/overlap.h"
#include "halftone/eval/task.h"
#include "halftone/pack/compression.h"
#include "halftone/report/comparison.h"
#include "halftone/report/loss_card.h"
#include "halftone/runtime/logit_source.h"
#include "halftone/spec/model_names.h"

namespace halftone::cli {
namespace {

constexpr int64_t kSchema = 1;
constexpr const char* kName = "measured.json";
constexpr BenchRun kBench{.prefill = 128, .decode = 32, .repeat = 2};

std::string hash_of_ids(std::span<const int32_t> ids) {
  return Hasher().add(std::as_bytes(ids)).hex();
}

uint64_t bytes_of_files(const std::string& path, Env& env) {
  uint64_t bytes = 0;
  for (const std::string& file : spec::model_files(env, path))
    if (const auto info = env.stat(file)) bytes += info->size;
  return bytes;
}

Json size_of(const pack::PackedModel& model, const pack::PackedModel& reference, Env& env) {
  const pack::Compression c = pack::compression(model);
  return {{"bytes", model.weight_bytes()},
          {"reference_bytes", reference.weight_bytes()},
          {"file_bytes", bytes_of_files(model.checkpoint().path, env)},
          {"ratio", static_cast<double>(reference.weight_bytes()) /
                        static_cast<double>(model.weight_bytes())},
          {"bits_per_weight", c.effective},
          {"nominal_bits", c.nominal},
          {"layer_mean_bits", c.layer_mean},
          {"ratio_to_f32",
           {{"nominal", pack::ratio_to_f32(c.nominal)},
            {"effective", pack::ratio_to_f32(c.effective)},
            {"layer_mean", pack::ratio_to_f32(c.layer_mean)}}}};
}

void measure_quality(Json& out, const CutText& text,
                     const std::shared_ptr<const pack::PackedModel>& model,
                     const std::shared_ptr<const pack::PackedModel>& reference,
                     const Context& context) {
  context.progress({"measure", "load", 0, 1, ""});
  const auto before = runtime::Model::load(reference, {}, context),
             after = runtime::Model::load(model, {}, context);
  out["damage"] = hidden_errors(
      before, after, std::span(text.ids).first(static_cast<size_t>(text.window)), context);
  const runtime::SessionOptions room{.max_tokens = text.window};
  runtime::RuntimeLogits a(before, room, context), b(after, room, context);
  const NoiseFloor floor = noise_floor(*before, std::ssize(text.protocol.windows), context);
  const std::array<eval::LogitSource*, 2> candidates = {&b, floor.source.get()};
  try {
    const auto found = eval::divergence(a, candidates, text.ids, text.protocol, context,
                                        {.last_windows = floor.windows});
    out["divergence"] = to_json(found[0]);
    out["noise_floor"] = json_of(floor, &found[1]);
    out["protocol"]["positions"] = found[0].positions;
  } catch (const NumericError& e) {
    out["failure"] = e.subject() + ": " + e.fact();
  }
}

void measure_speed(Json& out, const MeasureRequest& request, const Session& session) {
  const auto figures = [](const Json& found) {
    return Json{{"prefill_tok_s", found["prefill"]["tok_s"]},
                {"decode_tok_s", found["decode"]["tok_s"]},
                {"load_ms", found["load_ms"]}};
  };
  session.context.progress({"measure", "speed", 0, 2, ""});
  const Json before = bench_child(request.reference, kBench, session);
  session.context.progress({"measure", "speed", 1, 2, ""});
  const Json after = bench_child(request.model, kBench, session);
  out["speed"] = {{"mode", after["mode"]},
                  {"threads", after["threads"]},
                  {"isa", after["isa"]},
                  {"model", figures(after)},
                  {"reference", figures(before)}};
  out["memory"] = {{"peak_rss_bytes", after["peak_rss_bytes"]},
                   {"reference_peak_rss_bytes", before["peak_rss_bytes"]}};
}

Json overlap_with(const MeasureRequest& request, const CutText& text) {
  if (request.calibration.empty()) return nullptr;
  eval::TokenRuns test, seen;
  test.add(text.ids);
  eval::Overlap whole, scored;
  for (const auto& sample : request.calibration) {
    whole += test.in(sample);
    seen.add(sample);
  }
  for (const auto& window : text.windows()) scored += seen.in(window);
  return {{"shared", whole.shared},
          {"places", whole.places},
          {"share", whole.share()},
          {"windows_share", scored.share()}};
}

}  // namespace

std::optional<MeasuredText> wikitext_for(const std::string& model, const Session& session) {
  if (!files::text_set_path(*session.env, "wikitext2", files::Split::test, session.places))
    return std::nullopt;
  const ModelText text = open_text(spec::open_checkpoint(model, session.context), session.context);
  eval::ScoredText scored = eval::scored_text(
      "wikitext2", files::Split::test, session.places,
      [&](std::string_view s) { return text.tokenizer.encode(s); }, session.context);
  return MeasuredText{std::move(scored.label), std::move(scored.ids), true};
}

Json measure(const MeasureRequest& request, const Session& session) {
  const Context& context = session.context;
  const auto reference = pack::open_model(request.reference, context),
             model = pack::open_model(request.model, context);
  Json notes = Json::array();
  Json out = {
      {"schema", kSchema},
      {"model", request.model},
      {"reference", request.reference},
      {"fingerprint", read_receipt(model->checkpoint().path, context).value("fingerprint", Json())},
      {"protocol", nullptr},
      {"size", size_of(*model, *reference, *session.env)},
      {"speed", nullptr},
      {"memory", nullptr},
      {"divergence", nullptr},
      {"noise_floor", nullptr},
      {"tasks", Json::array()},
      {"damage", Json::array()},
      {"overlap", nullptr}};
  const int64_t window =
      std::min({request.window, std::ssize(request.text.ids), model->checkpoint().spec.context});
  const bool speaks = model->checkpoint().spec.output == spec::ModelSpec::Output::language_model;
  if (!speaks) notes.push_back("not a language model: only its size is measured");
  if (speaks && window < 2) notes.push_back("no text to measure on");
  if (speaks && window >= 2) {
    const CutText text = cut({request.text.label, request.text.ids}, window, request.windows);
    out["protocol"] = {{"name", text.protocol.name},
                       {"data", text.label},
                       {"windows", text.protocol.windows.size()},
                       {"window", window},
                       {"positions", 0},
                       {"mode", "exact"}};
    const int64_t read = text.protocol.windows.back().end;
    const auto ids = std::span(text.ids).first(static_cast<size_t>(read));
    if (request.text.named)
      out["protocol"]["ids_hash"] = hash_of_ids(ids);
    else
      out["protocol"]["ids"] = std::vector<int32_t>(ids.begin(), ids.end());
    out["overlap"] = overlap_with(request, text);
    // A model takes about its file in memory; blocks of a GGUF file may be widened.
    const auto room = static_cast<double>(available_memory_bytes());
    const double needed =
        1.3 * static_cast<double>(reference->weight_bytes() + model->weight_bytes());
    if (room > 0 && needed > room)
      notes.push_back("quality not measured: both models at once need about " + bytes_text(needed) +
                      ", " + bytes_text(room) + " are free");
    else
      measure_quality(out, text, model, reference, context);
  }
  if (speaks && request.speed) {
    try {
      measure_speed(out, request, session);
    } catch (const Error& e) {
      if (e.code() == Code::interrupted) throw;
      notes.push_back("speed not measured: " + e.fact());
    }
  }
  out["notes"] = std::move(notes);
  out["facts"] = report::measurement_facts(session.argv);
  return out;
}

Json measure_tasks(const std::string& model, const std::string& reference,
                   const TaskOptions& options, const Session& session, RunJournals& journals) {
  TaskComparison tasks(options, session);
  const spec::Checkpoint before = spec::open_checkpoint(reference, session.context),
                         after = spec::open_checkpoint(model, session.context);
  if (after.spec.output != spec::ModelSpec::Output::language_model)
    throw InputError("--tasks", model + " is no language model", "leave it out");
  LogitOptions logits;
  logits.load.mode = "exact";
  const auto load = [&](const std::string& name) {
    return [&, name] { return load_logits(name, logits, session); };
  };
  Json both = {{"models", {Json::object(), Json::object()}}};
  tasks.run({{reference, before.path, load(reference)}, {model, after.path, load(model)}},
            open_text(before, session.context), journals, both);
  Json out = std::move(both["models"][1]["tasks"]);
  for (Json& row : out)
    for (const char* key : {"limit", "num_fewshot"})
      row[key] = both["tasks"].at(row["task"].get<std::string>()).at(key);
  return out;
}

TaskOptions same_tasks(const Json& tasks) {
  TaskOptions out;
  for (const Json& row : tasks) {
    out.tasks.push_back(row.at("task"));
    if (const Json limit = row.value("limit", Json()); !limit.is_null())
      out.limits.push_back(out.tasks.back() + ":" + limit.dump());
    out.shots = row.at("num_fewshot");
  }
  return out;
}

void write_measured(const std::string& folder, Json measured, const Context& context) {
  measured.erase("hash");
  // As it will be read: a name that is no UTF-8 is replaced.
  measured = parse_json(measured.dump(-1, ' ', false, Json::error_handler_t::replace), kName);
  measured["hash"] = Hasher().add(measured.dump()).hex();
  write_atomically(*context.env, join_path(folder, kName), measured.dump(2) + "\n");
}

std::optional<Json> read_measured(const std::string& folder, const Context& context) {
  const std::string path = join_path(folder, kName);
  if (!context.env->stat(path)) return std::nullopt;
  Json json = parse_json(context.env->read_text(path, context.limits.json_file_bytes), path);
  if (!json.is_object() || !json.value("schema", Json()).is_number_integer())
    throw FileError(Code::type, path, "is not what halftone measures: it has no schema");
  if (json["schema"] != kSchema)
    throw FileError(Code::version, path,
                    "was written by another halftone (schema " + json["schema"].dump() +
                        ", this one knows " + std::to_string(kSchema) + ")",
                    {}, "use that program, or delete it and measure again");
  const Json hash = json.value("hash", Json());
  json.erase("hash");
  if (hash != Hasher().add(json.dump()).hex())
    throw FileError(Code::mismatch, path, "is not as it was written: its own hash differs", {},
                    "copy it again, or delete it and measure again");
  report::check_measured(json, path);
  return json;
}

Json read_receipt(const std::string& folder, const Context& context) {
  const std::string path = join_path(folder, "halftone.json");
  if (!context.env->stat(path)) return Json::object();
  Json json = parse_json(context.env->read_text(path, context.limits.json_file_bytes), path);
  report::check_receipt(json, path);
  return json;
}

}  // namespace halftone::cli
