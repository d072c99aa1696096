#include <algorithm>
#include <cmath>

#include "halftone/base/json_fields.h"
#include "halftone/base/numbers.h"
#include "halftone/report/comparison_sections.h"
#include "halftone/report/html.h"

namespace halftone::report {
namespace {

// Blocks down, roles across; `cell` gets the index of the row that stands there.
template <class Cell>
std::string by_block(const std::string& what, const Json& list, const std::string& base,
                     const Cell& cell) {
  std::vector<std::string> roles;
  std::vector<int64_t> blocks;
  for (const Json& row : list) {
    if (!row["role"].is_string() || !row["block"].is_number()) continue;
    const auto role = row["role"].get<std::string>();
    const auto block = row["block"].get<int64_t>();
    if (std::find(roles.begin(), roles.end(), role) == roles.end()) roles.push_back(role);
    if (std::find(blocks.begin(), blocks.end(), block) == blocks.end()) blocks.push_back(block);
  }
  std::vector<std::string> head = {"block"};
  for (const std::string& role : roles) head.push_back(escape_html(role));
  std::vector<std::vector<std::string>> rows(blocks.size(),
                                             std::vector<std::string>(head.size(), "&#8211;"));
  for (size_t b = 0; b < blocks.size(); ++b) rows[b][0] = std::to_string(blocks[b]);
  for (size_t u = 0; u < list.size(); ++u) {
    if (!list[u]["role"].is_string() || !list[u]["block"].is_number()) continue;
    const auto b = std::find(blocks.begin(), blocks.end(), list[u]["block"].get<int64_t>());
    const auto r = std::find(roles.begin(), roles.end(), list[u]["role"].get<std::string>());
    rows[static_cast<size_t>(b - blocks.begin())][static_cast<size_t>(r - roles.begin()) + 1] =
        cell(u);
  }
  return html_table(what, head, rows, base);
}

// What every part adds to the KL, measured from both sides; those that are worth most first.
std::string damage_table(const Json& result, size_t m) {
  const Json& units = result["models"][m]["units"];
  const std::string base = model_path(m, "units/");
  const double whole = number(result["models"][m]["units_measured"], "kl_mean"),
               share = whole > 0 ? 100 / whole : 0;
  const Figures figures(result, base);
  std::vector<std::vector<std::string>> rows;
  for (const size_t u : largest(units, "/saved"_json_pointer)) {
    const std::string path = base + std::to_string(u) + "/";
    rows.push_back(
        {"<bdi>" + escape_html(units[u]["unit"].get<std::string>()) + "</bdi>",
         escape_html(units[u]["kind"].get<std::string>()), figures.significant(path + "saved", 100),
         figures.significant(path + "kl_without"), figures.significant(path + "kl_only", share),
         figures.significant(path + "kl_only"), figures.significant(path + "bytes", 1e-6),
         figures.significant(path + "bytes_8bit", 1e-6)});
  }
  return html_table("shares of the KL, " + model_name(result, m),
                    {"part", "kind", "all but it quantized: off the KL, %", "KL then",
                     "it alone quantized: of the KL, %", "KL then", "MB", "MB at 8 bits"},
                    rows, base);
}

std::string advice_list(const Json& result, size_t m) {
  const Json* advice = at(result["models"][m], "advice");
  if (advice == nullptr || advice->empty()) return {};
  const Figures figures(result);
  std::string out = "<h4>Advice (predicted)</h4><ul class=\"advice\">";
  for (size_t i = 0; i < advice->size(); ++i) {
    const std::string path = model_path(m, "advice/" + std::to_string(i) + "/");
    out += "<li>keep <bdi>" + escape_html((*advice)[i]["keep"].get<std::string>()) + "</bdi> at " +
           (*advice)[i]["bits"].dump() + " bits: KL " +
           figures.fixed(path + "predicted_kl_change", 0, 100) + " %, +" +
           figures.significant(path + "extra_bytes", 1e-6) + " MB</li>";
  }
  return out +
         "</ul><p class=\"quiet\">Predicted: what the KL loses with that part in full precision, "
         "each by itself.</p>";
}

std::string damage_of_parts(const Json& result, size_t m) {
  if (at(result["models"][m], "units") == nullptr || result["models"][m]["units"].empty())
    return {};
  const Json& measured = result["models"][m]["units_measured"];
  return chart_place("shares", "data-model=\"" + std::to_string(m) + "\"") +
         folded("Share of the KL by part, as a table", damage_table(result, m)) +
         "<p class=\"quiet\">Measured, each part by itself, on " + measured["windows"].dump() +
         " windows (" + escape_html(measured["protocol"].get<std::string>()) + ", KL " +
         significant(number(measured, "kl_mean")) +
         "). Errors interact: neither column adds up to the whole.</p>" + advice_list(result, m);
}

}  // namespace

std::string layers_section(const Json& result) {
  if (!any_model_has(result, "weights")) return {};
  std::string body;
  for (size_t m = 1; m < result["models"].size(); ++m) {
    const Json& model = result["models"][m];
    if (!model.contains("weights") || model["weights"].empty()) continue;
    const Json& weights = model["weights"];
    const std::string name = model_name(result, m), base = model_path(m, "weights/");
    const Figures figures(result, base);
    const std::vector<size_t> worst = largest(weights, "/relative_error"_json_pointer);
    body += "<h3>" + name + "</h3>";
    if (!worst.empty()) {
      std::string line;
      for (size_t i = 0; i < std::min<size_t>(5, worst.size()); ++i)
        line += (i == 0 ? "" : ", ") + escape_html(weights[worst[i]]["op"].get<std::string>()) +
                " " + significant(100 * number(weights[worst[i]], "relative_error")) + " %";
      body += "<p>Furthest from the reference: " + line + ".</p>";
    }
    body += chart_place("damage", "data-model=\"" + std::to_string(m) + "\"") +
            folded("Error of every linear, as a table",
                   by_block("error of the weights in %, " + name, weights, base, [&](size_t u) {
                     return figures.significant(base + std::to_string(u) + "/relative_error", 100);
                   }));
    body += damage_of_parts(result, m);
  }
  return section(
      "damage", "Where the damage sits",
      "<p class=\"quiet\">Error of a linear: ||W<sub>q</sub> - W|| / ||W||, in percent of the "
      "reference's weights. What a weight is worth to the output is not in it" +
          std::string(any_model_has(result, "units") ? "; the share of the KL has it" : "") +
          ".</p>" + body);
}

std::string ranges_section(const Json& result) {
  if (!any_model_has(result, "channel_ranges")) return {};
  std::string body = chart_place("ranges");
  double widest = 0;
  std::string where;
  for (size_t m = 0; m < result["models"].size(); ++m) {
    const Json& model = result["models"][m];
    if (!model.contains("channel_ranges") || model["channel_ranges"].empty()) continue;
    const Json& ranges = model["channel_ranges"];
    const std::string base = model_path(m, "channel_ranges/");
    const Figures figures(result, base);
    const auto path = [&](size_t u) { return base + std::to_string(u) + "/"; };
    for (const Json& row : ranges) {
      if (!has_number(row, "median") || row["worst"].empty()) continue;
      const double median = row["median"].get<double>(), top = row["worst"][0][1].get<double>();
      if (m > 0 || median == 0 || top / median <= widest) continue;
      widest = top / median;
      where = "block " + row["block"].dump() + " " + escape_html(row["role"].get<std::string>());
    }
    body += folded(
        model_name(result, m) + ": median and largest channel, as a table",
        by_block("largest weight of an input channel: median and largest, " + model_name(result, m),
                 ranges, base, [&](size_t u) {
                   return figures.significant(path(u) + "median") + " / " +
                          figures.significant(path(u) + "worst/0/1");
                 }));
  }
  return folded_section(
      "ranges", "Channel ranges",
      where.empty() ? "Largest weight of every input channel"
                    : "The reference's widest channel is " + significant(widest) +
                          " times the median, in " + where,
      "<p class=\"quiet\">Largest |weight| of every input channel of a linear, by block: box = "
      "quartiles, whiskers = 1st and 99th percentile, points = the largest channels.</p>" +
          body);
}

}  // namespace halftone::report
