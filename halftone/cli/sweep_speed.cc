#include "halftone/cli/sweep_speed.h"

#include <algorithm>
#include <limits>

#include "halftone/base/error.h"
#include "halftone/base/memory.h"
#include "halftone/cli/child.h"

namespace halftone::cli {
namespace {

std::vector<std::string> child_arguments(const std::string& model, const SweepOptions& options,
                                         const Context& context) {
  std::vector<std::string> out = {"sweep",
                                  model,
                                  "--speed-only",
                                  "--json",
                                  "--quiet",
                                  "--speed-samples",
                                  std::to_string(options.speed_samples),
                                  "--samples",
                                  std::to_string(options.samples),
                                  "--threads",
                                  std::to_string(context.threads),
                                  "--mode",
                                  options.load.mode};
  const auto add = [&](const char* option, const std::string& value) {
    if (value.empty()) return;
    out.emplace_back(option);
    out.push_back(value);
  };
  add("--prompts", options.prompts);
  add("--lengths", options.lengths);
  add("--temperatures", options.temperatures);
  add("--top-k", options.top_ks);
  add("--kv", options.load.kv);
  add("--activation-block", options.load.activation_block);
  add("--tile-cache", options.load.tile_cache);
  if (options.load.head_bits > 0) add("--head-bits", std::to_string(options.load.head_bits));
  if (options.ignore_eos) out.emplace_back("--ignore-eos");
  return out;
}

}  // namespace

std::vector<int64_t> speed_points(const eval::SweepGrid& grid, int64_t samples) {
  std::vector<int64_t> out;
  const int64_t count = std::min(samples, grid.size());
  for (int64_t i = 0; i < count; ++i) out.push_back((2 * i + 1) * grid.size() / (2 * count));
  return out;
}

Json one_at_a_time(const SweepWriter& writer, std::span<const int64_t> points,
                   const Context& context) {
  Json rows = Json::array();
  writer.one_by_one(points.first(1), [](int64_t, const SweepTokens&) {});  // warms up
  writer.one_by_one(points, [&](int64_t index, const SweepTokens& tokens) {
    const Json result = writer.result(index, tokens);
    rows.push_back({{"index", index},
                    {"text", result["text"]},
                    {"tokens", result["tokens"]},
                    {"seconds", result["seconds"]},
                    {"tok_s", result["tok_s"]}});
    context.progress({"one at a time", "", static_cast<double>(rows.size()),
                      static_cast<double>(points.size()), ""});
  });
  return {{"samples", rows},
          {"peak_rss_bytes", peak_rss_bytes()},
          {"load_ms", writer.loaded().load_ms}};
}

void measure_speed(const std::string& model, const SweepOptions& options,
                   const eval::SweepFile& file, const Session& session, Json& row) {
  session.context.progress({"one at a time", model, 0, 1, ""});
  const Json found = child_json(session, child_arguments(model, options, session.context));
  double tokens = 0, seconds = 0, low = std::numeric_limits<double>::infinity(), high = 0;
  for (const Json& sample : found["samples"]) {
    const auto index = sample["index"].get<int64_t>();
    check(sample["text"] == file.sample(index)["text"],
          "sample " + std::to_string(index) + " depends on what runs beside it");
    if (!sample["tok_s"].is_number() || sample["tokens"].get<int64_t>() < 1) continue;
    tokens += sample["tokens"].get<double>();
    seconds += sample["seconds"].get<double>();
    low = std::min(low, sample["tok_s"].get<double>());
    high = std::max(high, sample["tok_s"].get<double>());
  }
  row["peak_rss_bytes"] = found["peak_rss_bytes"];
  row["load_ms"] = found["load_ms"];
  if (seconds <= 0) return;
  const Json& batched = row["batched"]["tok_s"];
  row["one_at_a_time"] = {
      {"samples", found["samples"].size()},
      {"min_tok_s", low},
      {"mean_tok_s", tokens / seconds},
      {"max_tok_s", high},
      {"batched_times",
       batched.is_number() ? Json(batched.get<double>() * seconds / tokens) : Json()}};
}

}  // namespace halftone::cli
