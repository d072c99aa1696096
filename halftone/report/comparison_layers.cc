#include <algorithm>
#include <cmath>

#include "halftone/base/numbers.h"
#include "halftone/report/comparison_sections.h"
#include "halftone/report/html.h"

namespace halftone::report {
namespace {

bool has_number(const Json& row, const char* key) {
  return row.contains(key) && row[key].is_number();
}

std::string percent(double share) { return significant(100 * share) + " %"; }

// Rows of `list` in which `key` is a number, the largest first.
std::vector<size_t> largest(const Json& list, const char* key) {
  std::vector<size_t> order;
  for (size_t u = 0; u < list.size(); ++u)
    if (has_number(list[u], key)) order.push_back(u);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return list[a][key].get<double>() > list[b][key].get<double>();
  });
  return order;
}

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

// What blocks add to the KL, where it was measured.
std::string share_table(const Json& result, size_t m, const Json& units) {
  const std::vector<size_t> order = largest(units, "kl_share");
  std::vector<std::vector<std::string>> rows;
  double blocks = 0;
  const Figures figures(result);
  for (const size_t u : order) {
    const std::string path = model_path(m, "units/" + std::to_string(u) + "/");
    if (units[u]["block"].is_number()) blocks += units[u]["kl_share"].get<double>();
    rows.push_back({escape_html(units[u]["unit"].get<std::string>()),
                    figures.fixed(path + "kl_share", 1, 100),
                    figures.significant(path + "bytes", 1e-6)});
  }
  if (rows.empty()) return {};
  return chart_place("shares", "data-model=\"" + std::to_string(m) + "\"") +
         folded("Share of the KL by block, as a table",
                html_table("shares of the KL, " + model_name(result, m),
                           {"part", "KL that leaving it whole takes off, %", "MB"}, rows)) +
         "<p class=\"quiet\">Measured, each part by itself; the blocks sum to " + fixed(blocks, 2) +
         " of the whole.</p>";
}

}  // namespace

std::string layers_section(const Json& result) {
  if (!any_model_has(result, "units")) return {};
  std::string body;
  for (size_t m = 1; m < result["models"].size(); ++m) {
    const Json& model = result["models"][m];
    if (!model.contains("units") || model["units"].empty()) continue;
    const Json& units = model["units"];
    const std::string name = model_name(result, m), base = model_path(m, "units/");
    const Figures figures(result, base);
    const std::vector<size_t> worst = largest(units, "relative_error");
    body += "<h3>" + name + "</h3>";
    if (!worst.empty()) {
      std::string line;
      for (size_t i = 0; i < std::min<size_t>(5, worst.size()); ++i)
        line += (i == 0 ? "" : ", ") + escape_html(units[worst[i]]["unit"].get<std::string>()) +
                " " + percent(units[worst[i]]["relative_error"].get<double>());
      body += "<p>Furthest from the reference: " + line + ".</p>";
    }
    body += chart_place("damage", "data-model=\"" + std::to_string(m) + "\"") +
            folded("Error of every linear, as a table",
                   by_block("error of the weights in %, " + name, units, base, [&](size_t u) {
                     return figures.significant(base + std::to_string(u) + "/relative_error", 100);
                   }));
    body += share_table(result, m, units);
  }
  return section(
      "damage", "Where the damage sits",
      "<p class=\"quiet\">Error of a linear: ||W<sub>q</sub> - W|| / ||W||, in percent of the "
      "reference's weights. What a weight is worth to the output is not in it.</p>" +
          body);
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
