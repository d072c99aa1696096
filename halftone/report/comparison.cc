#include "halftone/report/comparison.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "halftone/base/numbers.h"
#include "halftone/base/version.h"
#include "halftone/kernel/isa.h"
#include "halftone/report/chart.h"

namespace halftone::report {
namespace {

// Speed and memory are null where they were not measured.
bool has(const Json& row, const char* key) { return row.contains(key) && row[key].is_number(); }

double number(const Json& row, const char* key) {
  return has(row, key) ? row[key].get<double>() : 0;
}

// "1 token in 27": a rate that people can picture.
std::string one_in(double share) {
  if (share <= 0) return "no token";
  return "1 token in " + std::to_string(std::max<int64_t>(1, std::lround(1 / share)));
}

// One window has no interval.
std::string interval(const Json& ci, int64_t windows, double factor, int digits) {
  if (windows == 1) return "one window: no interval";
  const auto text = [&](size_t end) {
    const double value = factor * ci[end].get<double>();
    return digits < 0 ? significant(value) : fixed(value, digits);
  };
  return "95 % [" + text(0) + ", " + text(1) + "]";
}

std::string verdict(const Json& row, const Json& reference) {
  const double same = number(row, "top1_agreement");
  std::string out = "<strong>" + std::string(closeness(row["top1_ci95"][0].get<double>())) +
                    "</strong>: " + one_in(1 - same) + " gets another first choice";
  if (number(row, "bytes") > 0)
    out += "; " + fixed(number(reference, "bytes") / number(row, "bytes"), 2) + " times smaller";
  if (number(row, "decode_tok_s") > 0 && number(reference, "decode_tok_s") > 0)
    out += ", writes " + fixed(number(row, "decode_tok_s") / number(reference, "decode_tok_s"), 2) +
           " times as fast";
  return out + ".";
}

std::string figure(const std::string& label, const std::string& value, const std::string& below) {
  return "<div class=\"figure\"><div class=\"label\">" + label + "</div><div class=\"value\">" +
         value + "</div><div class=\"before\">" + below + "</div></div>";
}

// The candidate to put first: the closest one.
const Json& best_of(const Json& models) {
  size_t best = 1;
  for (size_t i = 2; i < models.size(); ++i)
    if (number(models[i], "kl_mean") < number(models[best], "kl_mean")) best = i;
  return models[best];
}

constexpr std::string_view kStyle = R"(
:root{--ink:#1a1c1f;--paper:#fff;--quiet:#5b6168;--line:#d8dce0;--accent:#0072b2}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--paper:#121417;--quiet:#a0a7ae;--line:#333a41;--accent:#56b4e9}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1100px;margin:0 auto;padding:24px 16px 64px}h1{font-size:22px;margin:0 0 4px}h2{font-size:18px;margin:40px 0 8px}
p{margin:6px 0}.quiet{color:var(--quiet);font-size:14px}.figures{display:grid;grid-template-columns:repeat(4,1fr);gap:12px;margin:20px 0}
.figure{border:1px solid var(--line);border-radius:8px;padding:12px}.label{font-size:14px;color:var(--quiet)}.value{font-size:28px;font-weight:600}
.before{font-size:14px;color:var(--quiet)}.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:6px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}th{font-size:14px;color:var(--quiet);font-weight:600}
th:first-child,td:first-child{text-align:left}.best{font-weight:700}svg{width:100%;height:auto;display:block}svg text{fill:var(--ink);font:13px system-ui,sans-serif}
svg .axis{stroke:var(--line)}svg .soft{fill:var(--quiet)}dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;font-size:14px}
dt{color:var(--quiet)}dd{margin:0;overflow-wrap:anywhere}@media(max-width:700px){.figures{grid-template-columns:1fr 1fr}}
@media print{body{background:#fff;color:#000}svg,table{break-inside:avoid}})";

std::string table_of(const Json& models) {
  struct Column {
    std::string head;
    std::function<std::string(const Json&)> cell;
    const char* key;
    bool lower_is_better;
  };
  const std::vector<Column> columns = {
      {"size MB &#8595;", [](const Json& r) { return fixed(number(r, "bytes") / 1e6, 1); }, "bytes",
       true},
      {"bits/weight &#8595;", [](const Json& r) { return fixed(number(r, "bits_per_weight"), 2); },
       "bits_per_weight", true},
      {"KL nats/token &#8595;",
       [](const Json& r) {
         const Json& ci = r["kl_ci95"];
         return significant(number(r, "kl_mean")) +
                (ci[0] == ci[1] ? ""
                                : " <span class=\"quiet\">[" + significant(ci[0].get<double>()) +
                                      ", " + significant(ci[1].get<double>()) + "]</span>");
       },
       "kl_mean", true},
      {"p99 &#8595;", [](const Json& r) { return significant(number(r, "kl_p99")); }, "kl_p99",
       true},
      {"same first choice % &#8593;",
       [](const Json& r) { return fixed(100 * number(r, "top1_agreement"), 2); }, "top1_agreement",
       false},
      {"perplexity &#8595;", [](const Json& r) { return fixed(number(r, "perplexity"), 3); },
       "perplexity", true},
      {"prefill tok/s &#8593;",
       [](const Json& r) {
         return has(r, "prefill_tok_s") ? fixed(number(r, "prefill_tok_s"), 0) : "&#8211;";
       },
       "prefill_tok_s", false},
      {"decode tok/s &#8593;",
       [](const Json& r) {
         return has(r, "decode_tok_s") ? fixed(number(r, "decode_tok_s"), 1) : "&#8211;";
       },
       "decode_tok_s", false},
      {"peak MB &#8595;",
       [](const Json& r) {
         return has(r, "peak_rss_bytes") ? fixed(number(r, "peak_rss_bytes") / 1e6, 0) : "&#8211;";
       },
       "peak_rss_bytes", true}};
  std::string out = "<div class=\"scroll\"><table><thead><tr><th>model</th>";
  for (const Column& column : columns) out += "<th>" + column.head + "</th>";
  out += "</tr></thead><tbody>";
  for (size_t i = 0; i < models.size(); ++i) {
    out += "<tr><td>" + escape_html(models[i]["name"].get<std::string>()) +
           (i == 0 ? " <span class=\"quiet\">reference</span>" : "") + "</td>";
    for (const Column& column : columns) {
      bool best = i > 0 && models.size() > 2;  // among candidates
      for (size_t k = 1; best && k < models.size(); ++k) {
        const double mine = number(models[i], column.key), other = number(models[k], column.key);
        best = column.lower_is_better ? mine <= other : mine >= other;
      }
      out += best ? "<td class=\"best\">" + column.cell(models[i]) + " *</td>"
                  : "<td>" + column.cell(models[i]) + "</td>";
    }
    out += "</tr>";
  }
  return out + "</tbody></table></div>";
}

// Answers to prompts, where compare let the models write.
std::string answers_of(const Json& result) {
  const Json& prompts = result["prompts"];
  std::string head, body;
  for (size_t i = 1; i < result["models"].size(); ++i) {
    const Json& row = result["models"][i];
    const Json& answers = row["fidelity"];
    body += "<tr><td>" + escape_html(row["name"].get<std::string>()) + "</td>";
    const auto cell = [&](const std::string& title, const Json& value, double factor) {
      if (i == 1) head += "<th>" + title + "</th>";
      const Json& ci = value["ci95"];
      body += "<td>" + significant(factor * value["value"].get<double>());
      if (!ci.is_null())
        body += " <span class=\"quiet\">[" + significant(factor * ci[0].get<double>()) + ", " +
                significant(factor * ci[1].get<double>()) + "]</span>";
      body += "</td>";
    };
    cell("same answer % &#8593;", answers["exact"], 100);
    cell("tokens until they part &#8593;", answers["common_prefix"], 1);
    for (const auto& [name, score] : answers["scores"].items())
      cell(escape_html(score["title"].get<std::string>()) + " &#8593;", score, 1);
    body += "</tr>";
  }
  return "<h2>Do they answer the same?</h2><div class=\"scroll\"><table><thead><tr><th>model</th>" +
         head + "</tr></thead><tbody>" + body + "</tbody></table></div><p class=\"quiet\">Greedy " +
         "answers of at most " + prompts["tokens"].dump() + " tokens to " +
         prompts["count"].dump() + " prompts of " +
         escape_html(prompts["file"].get<std::string>()) +
         ", scored against the reference's answers. Intervals: 95 %, bootstrap over prompts.</p>";
}

std::string frontier(const Json& models) {
  std::vector<ChartPoint> points;
  for (size_t i = 1; i < models.size(); ++i)
    points.push_back({models[i]["name"].get<std::string>(), number(models[i], "bytes") / 1e6,
                      number(models[i], "kl_mean"), models[i]["kl_ci95"][0].get<double>(),
                      models[i]["kl_ci95"][1].get<double>()});
  return scatter(points, {"size, MB (log)", "KL to the reference, nats per token (log)",
                          number(models[0], "bytes") / 1e6, "full precision"});
}

}  // namespace

std::string_view closeness(double low) {
  if (low >= 0.99) return "nearly identical";
  if (low >= 0.96) return "close";
  if (low >= 0.90) return "noticeable";
  if (low >= 0.80) return "strong change";
  return "broken";
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

Json measurement_facts(const std::vector<std::string>& argv) {
  std::string command = "halftone";
  for (size_t i = 1; i < argv.size(); ++i) command += " " + argv[i];
  return {{"command", command},
          {"version", HALFTONE_VERSION},
          {"commit", program_commit()},
          {"cpu", kernel::cpu_name()},
          {"cpu flags", kernel::cpu_flags()},
          {"compiler", "GCC " __VERSION__}};
}

std::string comparison_page(const Json& result, const Json& facts) {
  const Json& models = result["models"];
  const Json& reference = models[0];
  const Json& best = best_of(models);
  const std::string name = escape_html(reference["name"].get<std::string>());
  const bool simulated = result.value("simulated", false);
  const bool timed = has(models[0], "decode_tok_s");
  const auto windows = result["windows"].get<int64_t>();
  const std::string quality =
      simulated ? "simulated by torch" : "mode " + result["mode"].get<std::string>();
  std::string page =
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\">"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'\"><title>" +
      name + ": what was lost</title><style>" + std::string(kStyle) + "</style></head><body><main>";
  page += "<h1>" + name + " &#8594; " + escape_html(best["name"].get<std::string>()) + "</h1><p>" +
          verdict(best, reference) + "</p><div class=\"figures\">";
  page += figure("size", fixed(number(best, "bytes") / 1e6, 1) + " MB",
                 "before " + fixed(number(reference, "bytes") / 1e6, 1) + " MB");
  page +=
      has(best, "decode_tok_s")
          ? figure("speed, decode (mode int8)", fixed(number(best, "decode_tok_s"), 1) + " tok/s",
                   "before " + fixed(number(reference, "decode_tok_s"), 1))
          : figure("bits per weight", fixed(number(best, "bits_per_weight"), 2),
                   "before " + fixed(number(reference, "bits_per_weight"), 2));
  page += figure("KL (" + quality + ")", significant(number(best, "kl_mean")),
                 "nats per token, " + interval(best["kl_ci95"], windows, 1, -1));
  page += figure("same first choice (" + quality + ")",
                 fixed(100 * number(best, "top1_agreement"), 1) + " %",
                 interval(best["top1_ci95"], windows, 100, 1));
  page += "</div>";
  if (models.size() > 2) {
    page += "<h2>Each candidate in a sentence</h2>";
    for (size_t i = 1; i < models.size(); ++i)
      page += "<p>" + escape_html(models[i]["name"].get<std::string>()) + ": " +
              verdict(models[i], reference) + "</p>";
  }
  page += "<h2>Size against loss</h2>" + frontier(models);
  page += "<h2>All figures</h2>" + table_of(models) +
          "<p class=\"quiet\">* best candidate. KL, first choice and perplexity: " + quality +
          (timed ? "; speed and memory: mode int8" : "") +
          ". Intervals: 95 %, bootstrap over windows.</p>";
  if (result.contains("prompts")) page += answers_of(result);
  page += "<h2>Method</h2><dl>";
  const auto fact = [&](const std::string& key, const std::string& value) {
    page += "<dt>" + escape_html(key) + "</dt><dd>" + escape_html(value) + "</dd>";
  };
  fact("text", result["data"].get<std::string>() + ", " + result["protocol"].get<std::string>() +
                   ", " + result["windows"].dump() + " windows, " + result["positions"].dump() +
                   " positions");
  fact("quality", simulated ? "simulated in float by libtorch (--engine torch)"
                            : "numeric " + quality + ", real kernels (nothing simulated)");
  if (timed)
    fact("speed", "numeric mode int8, " + result["threads"].dump() + " threads, " +
                      result["isa"].get<std::string>());
  for (const auto& [key, value] : facts.items())
    fact(key, value.is_string() ? value.get<std::string>() : value.dump());
  page += "</dl></main></body></html>\n";
  return page;
}

}  // namespace halftone::report
