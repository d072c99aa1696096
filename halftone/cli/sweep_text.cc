#include "halftone/cli/sweep_text.h"

#include <string>

#include "halftone/base/numbers.h"

namespace halftone::cli {

void print_sweep(Terminal& t, const Json& result) {
  const auto figure = [](const Json& value, int digits = 3) {
    return value.is_number() ? significant(value.get<double>(), digits) : std::string("-");
  };
  TextTable table{{"model", "samples", "duplicates/word", "distinct-2", "repetition", "similarity",
                   "tokens", "bits/w", "peak MB", "min tok/s", "max tok/s", "batched"},
                  {}};
  for (const Json& model : result["models"]) {
    const Json &s = model["summary"], &solo = model["one_at_a_time"];
    const auto mean = [&](const char* key) { return figure(s["mean"][key]["mean"]); };
    table.rows.push_back({model["name"].get<std::string>(), s["samples"].dump(),
                          mean("duplicates_per_content_word"), mean("distinct_2"),
                          mean("repetition_rate"), mean("prompt_similarity"), mean("tokens"),
                          figure(model["bits_per_weight"]),
                          model["peak_rss_bytes"].is_number()
                              ? significant(model["peak_rss_bytes"].get<double>() / 1e6, 4)
                              : "-",
                          solo.is_null() ? "-" : figure(solo["min_tok_s"], 4),
                          solo.is_null() ? "-" : figure(solo["max_tok_s"], 4),
                          figure(model["batched"]["tok_s"], 4)});
  }
  t.out(table.text());
  for (const Json& model : result["models"]) {
    const Json &s = model["summary"], &same = s["identical"];
    std::string line = model["name"].get<std::string>() + ": " + s["clamped"].dump() +
                       " samples clamped by the context, ";
    line += s["missing"].get<int64_t>() > 0 ? s["missing"].dump() + " missing, " : "";
    line += "top_k 1: " + same["samples"].dump() + " samples in " + same["groups"].dump() +
            " groups, " +
            (same["differing"].empty() ? "all equal in each"
                                       : "DIFFERENT in groups of " + same["differing"].dump());
    if (!model["difference"].is_null())
      line += "; same text as " + result["models"][0]["name"].get<std::string>() + ": " +
              figure(Json(100 * model["difference"].value("same_text", 0.0))) + " %";
    t.out(line);
  }
  if (!result["simulated"].is_null()) {
    TextTable both{{"model", "KL real", "KL simulated", "ppl real", "ppl simulated", "tok/s real",
                    "tok/s simulated"},
                   {}};
    for (const Json& row : result["simulated"]["models"])
      both.rows.push_back({row["name"].get<std::string>(), figure(row["real"]["kl"]),
                           figure(row["simulated"]["kl"]), figure(row["real"]["perplexity"], 5),
                           figure(row["simulated"]["perplexity"], 5),
                           figure(row["real"]["tok_s"], 4), figure(row["simulated"]["tok_s"], 4)});
    t.out(both.text());
    t.out(result["simulated"]["basis"].get<std::string>());
  }
}

void print_speed(Terminal& t, const Json& result) {
  for (const Json& row : result["samples"])
    t.out(row["index"].dump() + "  " + row["tokens"].dump() + " tokens  " +
          significant(row["tok_s"].is_null() ? 0 : row["tok_s"].get<double>()) + " tok/s");
}

}  // namespace halftone::cli
