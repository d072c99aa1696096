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
#include "halftone/eval/divergence.h"
#include "halftone/eval/overlap.h"
#include "halftone/eval/task.h"
#include "halftone/pack/compression.h"
#include "halftone/report/comparison.h"
#include "halftone/runtime/logit_source.h"
#include "halftone/spec/model_names.h"

namespace halftone::cli {
namespace {

constexpr int64_t kSchema = 1;
constexpr const char* kName = "measured.json";

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

void measure_quality(Json& out, const MeasureRequest& request,
                     const std::shared_ptr<const pack::PackedModel>& model,
                     const std::shared_ptr<const pack::PackedModel>& reference,
                     const eval::Protocol& protocol, const Context& context) {
  context.progress({"measure", "load", 0, 1, ""});
  const auto before = runtime::Model::load(reference, {}, context),
             after = runtime::Model::load(model, {}, context);
  const eval::Window& first = protocol.windows.front();
  out["damage"] = hidden_errors(
      before, after,
      std::span(request.text.ids)
          .subspan(static_cast<size_t>(first.begin), static_cast<size_t>(first.end - first.begin)),
      context);
  const runtime::SessionOptions room{.max_tokens = first.end - first.begin};
  runtime::RuntimeLogits a(before, room, context), b(after, room, context);
  const std::array<eval::LogitSource*, 1> candidates = {&b};
  try {
    const eval::Divergence d =
        eval::divergence(a, candidates, request.text.ids, protocol, context)[0];
    out["divergence"] = to_json(d);
    out["protocol"]["positions"] = d.positions;
  } catch (const NumericError& e) {
    out["failure"] = e.subject() + ": " + e.fact();
  }
}

Json bench(const std::string& model, const Session& session) {
  return child_json(session,
                    {"bench", model, "--json", "--quiet", "--prefill", "128", "--decode", "32",
                     "--repeat", "2", "--threads", std::to_string(session.context.threads)});
}

void measure_speed(Json& out, const MeasureRequest& request, const Session& session) {
  const auto figures = [](const Json& found) {
    return Json{{"prefill_tok_s", found["prefill"]["tok_s"]},
                {"decode_tok_s", found["decode"]["tok_s"]},
                {"load_ms", found["load_ms"]}};
  };
  session.context.progress({"measure", "speed", 0, 2, ""});
  const Json before = bench(request.reference, session);
  session.context.progress({"measure", "speed", 1, 2, ""});
  const Json after = bench(request.model, session);
  out["speed"] = {{"mode", after["mode"]},
                  {"threads", after["threads"]},
                  {"isa", after["isa"]},
                  {"model", figures(after)},
                  {"reference", figures(before)}};
  out["memory"] = {{"peak_rss_bytes", after["peak_rss_bytes"]},
                   {"reference_peak_rss_bytes", before["peak_rss_bytes"]}};
}

Json overlap_with(const MeasureRequest& request, const eval::Protocol& protocol) {
  if (request.calibration.empty()) return nullptr;
  eval::TokenRuns test, seen;
  test.add(request.text.ids);
  eval::Overlap whole, scored;
  for (const auto& sample : request.calibration) {
    whole += test.in(sample);
    seen.add(sample);
  }
  for (const eval::Window& w : protocol.windows)
    scored +=
        seen.in(std::span(request.text.ids)
                    .subspan(static_cast<size_t>(w.begin), static_cast<size_t>(w.end - w.begin)));
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
      {"tasks", Json::array()},
      {"damage", Json::array()},
      {"overlap", nullptr}};
  const auto tokens = std::ssize(request.text.ids);
  const int64_t window = std::min({request.window, tokens, model->checkpoint().spec.context});
  const bool speaks = model->checkpoint().spec.output == spec::ModelSpec::Output::language_model;
  if (!speaks) notes.push_back("not a language model: only its size is measured");
  if (speaks && window < 2) notes.push_back("no text to measure on");
  if (speaks && window >= 2) {
    const eval::Protocol protocol = eval::gptq_windows(tokens, window, request.windows);
    out["protocol"] = {{"name", protocol.name},
                       {"data", request.text.label},
                       {"windows", protocol.windows.size()},
                       {"window", window},
                       {"positions", 0},
                       {"mode", "exact"}};
    const int64_t read = protocol.windows.back().end;
    const auto ids = std::span(request.text.ids).first(static_cast<size_t>(read));
    if (request.text.named)
      out["protocol"]["ids_hash"] = hash_of_ids(ids);
    else
      out["protocol"]["ids"] = std::vector<int32_t>(ids.begin(), ids.end());
    out["overlap"] = overlap_with(request, protocol);
    // A model takes about its file in memory; blocks of a GGUF file may be widened.
    const auto room = static_cast<double>(available_memory_bytes());
    const double needed =
        1.3 * static_cast<double>(reference->weight_bytes() + model->weight_bytes());
    if (room > 0 && needed > room)
      notes.push_back("quality not measured: both models at once need about " + bytes_text(needed) +
                      ", " + bytes_text(room) + " are free");
    else
      measure_quality(out, request, model, reference, protocol, context);
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
  return json;
}

Json read_receipt(const std::string& folder, const Context& context) {
  const std::string path = join_path(folder, "halftone.json");
  if (!context.env->stat(path)) return Json::object();
  Json json = parse_json(context.env->read_text(path, context.limits.json_file_bytes), path);
  return json.is_object() ? std::move(json) : Json::object();
}

}  // namespace halftone::cli
