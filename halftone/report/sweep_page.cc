#include "halftone/report/sweep_page.h"

#include <functional>
#include <vector>

#include "halftone/base/numbers.h"
#include "halftone/report/comparison.h"
#include "halftone/report/heat_map.h"

namespace halftone::report {
namespace {

constexpr std::string_view kStyle = R"(
:root{--ink:#1a1c1f;--paper:#fff;--quiet:#5b6168;--line:#d8dce0;--link:#0072b2}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--paper:#121417;--quiet:#a0a7ae;--line:#333a41;--link:#56b4e9}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1100px;margin:0 auto;padding:24px 16px 64px}h1{font-size:22px;margin:0}h2{font-size:18px;margin:36px 0 8px}
.quiet,dt{color:var(--quiet)}.quiet,dl,th{font-size:14px}.scroll{overflow-x:auto}svg{width:100%;height:auto;display:block;margin:8px 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:4px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px}dd{margin:0;overflow-wrap:anywhere}
p,dd{max-width:68ch}nav{font-size:14px}nav a{color:var(--link);margin-right:14px;display:inline-block;padding:4px 0}
@media print{svg,table{break-inside:avoid}nav{display:none}})";

std::string shown_interval(const Json& mean) {
  const Json& ci = mean["ci95"];
  return shown(mean["mean"]) + (ci.is_array() ? " <span class=\"quiet\">[" + shown(ci[0]) + ", " +
                                                    shown(ci[1]) + "]</span>"
                                              : "");
}

std::string table(const std::vector<std::string>& head,
                  const std::vector<std::vector<std::string>>& rows) {
  std::string out = "<div class=\"scroll\"><table><thead><tr>";
  for (const std::string& cell : head) out += "<th>" + cell + "</th>";
  out += "</tr></thead><tbody>";
  for (const auto& row : rows) {
    out += "<tr>";
    for (const std::string& cell : row) out += "<td>" + cell + "</td>";
    out += "</tr>";
  }
  return out + "</tbody></table></div>";
}

std::string heading(const std::string& id, const std::string& title) {
  return "<h2 id=\"" + id + "\">" + title + "</h2>";
}

std::string name_of(const Json& model) { return model["name"].get<std::string>(); }

std::vector<std::string> texts(const Json& values) {
  std::vector<std::string> out;
  for (const Json& value : values) out.push_back(value.dump());
  return out;
}

std::optional<double> number(const Json& value) {
  return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
}

// One plane of the grid for each model; `reference` >= 0: what is more than that model's.
std::string planes(const Json& result, const char* plane, const std::string& measure,
                   const HeatText& text, const Json& rows, const Json& columns, int reference) {
  std::vector<HeatMap> maps;
  const Json& models = result["models"];
  for (size_t m = 0; m < models.size(); ++m) {
    if (reference >= 0 && m == static_cast<size_t>(reference)) continue;
    HeatMap map{name_of(models[m]), texts(rows), texts(columns), {}};
    const Json& values = models[m]["summary"][plane][measure];
    for (size_t r = 0; r < values.size(); ++r) {
      map.values.emplace_back();
      for (size_t c = 0; c < values[r].size(); ++c) {
        auto value = number(values[r][c]);
        if (reference >= 0) {
          const auto other =
              number(models[static_cast<size_t>(reference)]["summary"][plane][measure][r][c]);
          if (value && other)
            *value -= *other;
          else
            value.reset();
        }
        map.values.back().push_back(value);
      }
    }
    maps.push_back(std::move(map));
  }
  return maps.empty() ? "" : heat_maps(maps, text);
}

std::string of_measure(const Json& result, const std::string& key, const std::string& title) {
  const Json& grid = result["grid"];
  const HeatText text{"temperature", "top_k", title};
  std::string out = heading(key, escape_html(title));
  out += planes(result, "temperature_top_k", key, text, grid["temperatures"], grid["top_ks"], -1);
  if (result["models"].size() > 1)
    out += planes(
        result, "temperature_top_k", key,
        {"temperature", "top_k", title + ": difference to " + name_of(result["models"][0]), true},
        grid["temperatures"], grid["top_ks"], 0);
  out += planes(result, "length_temperature", key, {"new tokens, at most", "temperature", title},
                grid["lengths"], grid["temperatures"], -1);
  return out + planes(result, "length_top_k", key, {"new tokens, at most", "top_k", title},
                      grid["lengths"], grid["top_ks"], -1);
}

// A row a model, a column a value.
std::string margins(const Json& result, const char* margin, const Json& values,
                    const std::string& measure) {
  std::vector<std::string> head = {"model"};
  for (const std::string& value : texts(values)) head.push_back(value);
  std::vector<std::vector<std::string>> rows;
  for (const Json& model : result["models"]) {
    rows.push_back({escape_html(name_of(model))});
    for (const Json& value : model["summary"][margin][measure]) rows.back().push_back(shown(value));
  }
  return table(head, rows);
}

std::string speed_table(const Json& result) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& model : result["models"]) {
    const Json& solo = model["one_at_a_time"];
    const auto solo_figure = [&](const char* key) {
      return solo.is_null() ? std::string("&#8211;") : shown(solo[key], 4);
    };
    const auto mega = [](const Json& bytes) {
      return bytes.is_number() ? significant(bytes.get<double>() / 1e6, 4) : "&#8211;";
    };
    rows.push_back({escape_html(name_of(model)), shown(model["bits_per_weight"]),
                    mega(model["bytes"]), mega(model["peak_rss_bytes"]), solo_figure("min_tok_s"),
                    solo_figure("mean_tok_s"), solo_figure("max_tok_s"),
                    shown(model["batched"]["tok_s"], 4), solo_figure("batched_times")});
  }
  return table({"model", "bits/weight", "size MB", "peak MB", "min tok/s", "mean tok/s",
                "max tok/s", "batched tok/s", "batched / one at a time"},
               rows);
}

std::string simulated_table(const Json& simulated) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& row : simulated["models"])
    rows.push_back({escape_html(name_of(row)), shown(row["real"]["kl"]),
                    shown(row["simulated"]["kl"]), shown(row["real"]["perplexity"], 5),
                    shown(row["simulated"]["perplexity"], 5), shown(row["real"]["tok_s"], 4),
                    shown(row["simulated"]["tok_s"], 4)});
  return heading("simulated", "Simulated against real quantization") +
         table({"model", "KL real", "KL simulated", "ppl real", "ppl simulated", "tok/s real",
                "tok/s simulated"},
               rows) +
         "<p class=\"quiet\">" + escape_html(simulated["basis"].get<std::string>()) + "</p>";
}

}  // namespace

std::string sweep_heat_maps(const Json& result) {
  return planes(result, "temperature_top_k", "duplicates_per_content_word",
                {"temperature", "top_k", "duplicates per content word"},
                result["grid"]["temperatures"], result["grid"]["top_ks"], -1);
}

std::string sweep_curves(const Json& result) {
  std::vector<Curve> lines;
  for (const Json& model : result["models"]) {
    lines.push_back({name_of(model), {}});
    for (const Json& value : model["summary"]["by_length"]["duplicates_per_content_word"])
      lines.back().values.push_back(number(value));
  }
  return curves(lines, texts(result["grid"]["lengths"]), "new tokens, at most",
                "duplicates per content word");
}

std::string sweep_page(const Json& result, const Json& facts) {
  const Json& grid = result["grid"];
  std::string page =
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" "
      "content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>Generation study</title>"
      "<style>" +
      std::string(kStyle) + "</style></head><body><main><h1>Generation study</h1>";
  page += "<p>" + result["points"].dump() +
          " samples a model: " + std::to_string(grid["prompts"].size()) + " prompts x " +
          std::to_string(grid["lengths"].size()) + " lengths x " +
          std::to_string(grid["temperatures"].size()) + " temperatures x " +
          std::to_string(grid["top_ks"].size()) + " top_k x " + grid["samples"].dump() + ".</p>";
  page +=
      "<nav aria-label=\"sections\"><a href=\"#length\">Over length</a><a href=\"#speed\">Speed "
      "and "
      "memory</a>";
  if (!result["simulated"].is_null()) page += "<a href=\"#simulated\">Simulated</a>";
  page += "<a href=\"#margins\">One by one</a>";
  for (const Json& measure : result["measures"])
    page += "<a href=\"#" + measure[0].get<std::string>() + "\">" +
            escape_html(measure[1].get<std::string>()) + "</a>";
  page += "<a href=\"#method\">Method</a></nav>";
  std::vector<std::vector<std::string>> rows;
  for (const Json& model : result["models"]) {
    const Json &s = model["summary"], &mean = s["mean"], &same = s["identical"];
    const Json& difference = model["difference"];
    rows.push_back(
        {escape_html(name_of(model)), s["samples"].dump(), s["clamped"].dump(),
         same["differing"].empty()
             ? same["samples"].dump() + " in " + same["groups"].dump() + " groups, all equal"
             : std::to_string(same["differing"].size()) + " groups differ",
         shown_interval(mean["duplicates_per_content_word"]),
         difference.is_null() ? "&#8211;"
                              : shown_interval(difference["duplicates_per_content_word"]),
         shown(mean["distinct_2"]["mean"]), shown(mean["repetition_rate"]["mean"]),
         shown(mean["prompt_similarity"]["mean"]), shown(mean["tokens"]["mean"])});
  }
  page += table({"model", "samples", "clamped", "top_k 1", "duplicates per content word",
                 "difference", "distinct-2", "repetition rate", "similarity", "tokens"},
                rows);
  page += heading("length", "Duplicates over length") + sweep_curves(result);
  page += heading("speed", "Speed and memory") + speed_table(result);
  if (!result["simulated"].is_null()) page += simulated_table(result["simulated"]);
  page += heading("margins", "Duplicates per content word by length, temperature, top_k");
  page += margins(result, "by_length", grid["lengths"], "duplicates_per_content_word");
  page += margins(result, "by_temperature", grid["temperatures"], "duplicates_per_content_word");
  page += margins(result, "by_top_k", grid["top_ks"], "duplicates_per_content_word");
  for (const Json& measure : result["measures"])
    page += of_measure(result, measure[0].get<std::string>(), measure[1].get<std::string>());
  page +=
      "<p class=\"quiet\">The column top_k 1 is greedy: identical at every temperature by "
      "definition. Intervals: 95 %, bootstrap over prompts. Beside KL, tasks and answers of these "
      "models: halftone compare REF A B --sweep DIR --report out.html, DIR being this study's "
      "folder.</p>" +
      heading("method", "Method") + "<dl>";
  const auto fact = [&](const std::string& key, const Json& value) {
    page += "<dt>" + escape_html(key) + "</dt><dd>" +
            escape_html(value.is_string() ? value.get<std::string>() : value.dump()) + "</dd>";
  };
  for (const char* key :
       {"prompts_from", "empty_lines", "mode", "kv", "ignore_eos", "batch", "threads", "isa"})
    fact(key, result[key]);
  for (const auto& [key, value] : facts.items()) fact(key, value);
  return page + "</dl></main></body></html>\n";
}

}  // namespace halftone::report
