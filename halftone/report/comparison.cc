#include "halftone/report/comparison.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "halftone/base/json_fields.h"
#include "halftone/base/numbers.h"
#include "halftone/base/version.h"
#include "halftone/kernel/isa.h"
#include "halftone/report/assets.h"
#include "halftone/report/comparison_sections.h"

namespace halftone::report {
namespace {

bool within_noise(const Json& result, const Json& row) {
  return result.contains("noise_floor") && has_number(result["noise_floor"], "kl_mean") &&
         number(row, "kl_mean") <= number(result["noise_floor"], "kl_mean");
}

std::string verdict(const Json& result, size_t m) {
  const Json &row = result["models"][m], &reference = result["models"][0];
  if (!has_number(row, "top1_agreement")) return "not measured.";
  const double same = number(row, "top1_agreement");
  // The lower end of the interval decides, where there is one.
  const Json::json_pointer low("/top1_ci95/0");
  const double at_least =
      row.contains(low) && row.at(low).is_number() ? row.at(low).get<double>() : same;
  std::string out =
      "<strong>" +
      (within_noise(result, row) ? "identical within noise" : std::string(closeness(at_least))) +
      "</strong>: " + first_choices(same);
  if (number(row, "bytes") > 0)
    out += "; " + fixed(number(reference, "bytes") / number(row, "bytes"), 2) + " times smaller";
  if (number(row, "decode_tok_s") > 0 && number(reference, "decode_tok_s") > 0)
    out += ", writes " + fixed(number(row, "decode_tok_s") / number(reference, "decode_tok_s"), 2) +
           " times as fast";
  int64_t worse = 0, tasks = 0;
  if (row.contains("tasks"))
    for (const Json& task : row["tasks"]) {
      ++tasks;
      worse +=
          has_number(task, "p_holm") && number(task, "p_holm") < 0.05 && number(task, "change") < 0;
    }
  if (tasks > 0)
    out += "; " + std::to_string(worse) + " of " + std::to_string(tasks) + " tasks " +
           (worse == 1 ? "is worse" : "are worse");
  return out + ".";
}

std::string figure(const std::string& label, const std::string& value, const std::string& below) {
  return "<div class=\"figure\"><div class=\"label\">" + label + "</div><div class=\"value\">" +
         value + "</div><div class=\"before\">" + below + "</div></div>";
}

// The candidate to put first: the closest one.
size_t best_of(const Json& models) {
  const auto kl = [&](size_t i) {
    return has_number(models[i], "kl_mean") ? number(models[i], "kl_mean") : INFINITY;
  };
  size_t best = 1;
  for (size_t i = 2; i < models.size(); ++i)
    if (kl(i) < kl(best)) best = i;
  return best;
}

struct Column {
  std::string head;
  const char* key;
  bool lower_is_better;
  std::function<std::string(const Figures&, size_t)> cell;
};

// A column of figures with `digits` behind the point.
Column plain(const std::string& head, const char* key, bool lower_is_better, int digits,
             double factor = 1) {
  return {head, key, lower_is_better, [=](const Figures& figures, size_t m) {
            return figures.fixed(model_path(m, key), digits, factor);
          }};
}

std::string table_of(const Json& result) {
  const Json& models = result["models"];
  const std::vector<Column> columns = {
      plain("size MB &#8595;", "bytes", true, 1, 1e-6),
      plain("bits/weight &#8595;", "bits_per_weight", true, 2),
      {"KL nats/token &#8595;", "kl_mean", true,
       [](const Figures& figures, size_t m) {
         return figures.significant(model_path(m, "kl_mean")) +
                figures.interval(model_path(m, "kl_ci95"));
       }},
      {"p99 &#8595;", "kl_p99", true,
       [](const Figures& figures, size_t m) {
         return figures.significant(model_path(m, "kl_p99"));
       }},
      plain("same first choice % &#8593;", "top1_agreement", false, 2, 100),
      plain("perplexity &#8595;", "perplexity", true, 3),
      plain("prefill tok/s &#8593;", "prefill_tok_s", false, 0),
      plain("decode tok/s &#8593;", "decode_tok_s", false, 1),
      plain("peak MB &#8595;", "peak_rss_bytes", true, 0, 1e-6)};
  std::vector<std::string> head = {"model"};
  for (const Column& column : columns) head.push_back(column.head);
  const Figures figures(result);
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < models.size(); ++i) {
    rows.push_back(
        {model_name(result, i) + (i == 0 ? " <span class=\"quiet\">reference</span>" : "")});
    for (const Column& column : columns) {
      bool best =
          i > 0 && models.size() > 2 && has_number(models[i], column.key);  // among candidates
      for (size_t k = 1; best && k < models.size(); ++k) {
        const double mine = number(models[i], column.key), other = number(models[k], column.key);
        best = column.lower_is_better ? mine <= other : mine >= other;
      }
      const std::string cell = column.cell(figures, i);
      rows.back().push_back(best ? "<span class=\"best\">* " + cell + "</span>" : cell);
    }
  }
  return html_table("all figures", head, rows);
}

// The candidate that loses least, in words.
std::string frontier_in_words(const Json& result, size_t best) {
  const Json &row = result["models"][best], &reference = result["models"][0];
  if (!(number(row, "bytes") > 0)) return {};
  return "<p>" + model_name(result, best) + " is " +
         fixed(number(reference, "bytes") / number(row, "bytes"), 2) + " times smaller at KL " +
         significant(number(row, "kl_mean")) +
         (result["models"].size() > 2 ? "; no other candidate is as close.</p>" : ".</p>");
}

std::string figures_of(const Json& result, size_t best, const std::string& quality) {
  const Figures figures(result);
  const Json& row = result["models"][best];
  const std::string none = result["windows"] == 1 ? "one window: no interval" : "";
  const auto interval = [&](const char* key, int digits, double factor) {
    const Json::json_pointer low(std::string("/") + key + "/0"),
        high(std::string("/") + key + "/1");
    if (!none.empty() || !row.contains(low) || !row.at(low).is_number()) return none;
    const std::string path = model_path(best, key);
    const auto end = [&](const char* which) {
      return digits < 0 ? figures.significant(path + which, factor)
                        : figures.fixed(path + which, digits, factor);
    };
    return "95 % [" + end("/0") + ", " + end("/1") + "]";
  };
  std::string out = "<div class=\"figures\">";
  out += figure("size", figures.fixed(model_path(best, "bytes"), 1, 1e-6) + " MB",
                "before " + figures.fixed("/models/0/bytes", 1, 1e-6) + " MB");
  out += has_number(row, "decode_tok_s")
             ? figure("speed, decode (mode int8)",
                      figures.fixed(model_path(best, "decode_tok_s"), 1) + " tok/s",
                      "before " + figures.fixed("/models/0/decode_tok_s", 1))
             : figure("bits per weight", figures.fixed(model_path(best, "bits_per_weight"), 2),
                      "before " + figures.fixed("/models/0/bits_per_weight", 2));
  out += figure("KL (" + quality + ")", figures.significant(model_path(best, "kl_mean")),
                "nats per token, " + interval("kl_ci95", -1, 1));
  out += figure("same first choice (" + quality + ")",
                figures.fixed(model_path(best, "top1_agreement"), 1, 100) + " %",
                interval("top1_ci95", 1, 100));
  return out + "</div>";
}

std::string speed_section(const Json& result) {
  const Json& models = result["models"];
  if (!has_number(models[0], "decode_tok_s")) return {};
  const Figures figures(result);
  std::vector<std::vector<std::string>> rows;
  std::string source;
  for (size_t m = 0; m < models.size(); ++m) {
    rows.push_back({model_name(result, m), figures.significant(model_path(m, "load_ms")),
                    figures.significant(model_path(m, "energy/decode_j_per_token"), 1e3)});
    if (const Json* energy = at(models[m], "energy"))
      source = energy->at("source").get<std::string>();
  }
  return section("speed", "Speed",
                 chart_place("speed") +
                     html_table("load time and energy",
                                {"model", "load, ms &#8595;", "energy, mJ a token &#8595;"}, rows) +
                     "<p class=\"quiet\">Mode int8, each model in a process of its own; tokens a "
                     "second are in the table above.</p>" +
                     (source.empty() ? ""
                                     : "<p class=\"quiet\">Energy of a token of decoding: " +
                                           escape_html(source) + ".</p>"));
}

// What a reader may look for in vain, and how to get it.
std::string not_here(const Json& result) {
  std::string out;
  const auto add = [&](bool there, const char* what, const char* how) {
    if (!there) out += std::string(out.empty() ? "" : "; ") + what + " (<code>" + how + "</code>)";
  };
  add(any_model_has(result, "tasks"), "tasks", "--tasks piqa,arc_easy");
  add(result.contains("prompts"), "answers side by side", "--prompts FILE");
  add(result.contains("sweep"), "a generation study", "--sweep DIR, of halftone sweep");
  add(any_model_has(result, "units"), "what each part costs", "--damage, or halftone check MODEL");
  return out.empty() ? "" : "<p class=\"quiet\">Not on this page: " + out + ".</p>";
}

std::string method_section(const Json& result, const Json& facts, const std::string& quality) {
  std::string out = "<dl>";
  const auto fact = [&](const std::string& key, const std::string& value) {
    out += "<dt>" + escape_html(key) + "</dt><dd>" + escape_html(value) + "</dd>";
  };
  fact("text", result["data"].get<std::string>() + ", " + result["protocol"].get<std::string>() +
                   ", " + result["windows"].dump() + " windows, " + result["positions"].dump() +
                   " positions");
  fact("quality", result.value("simulated", false)
                      ? "simulated in float by libtorch (--engine torch)"
                      : "numeric " + quality + ", real kernels (nothing simulated)");
  if (result.contains("noise_floor") && has_number(result["noise_floor"], "kl_mean"))
    fact("noise floor", "KL " + significant(number(result["noise_floor"], "kl_mean")) + ": " +
                            result["noise_floor"].value("what", ""));
  if (has_number(result["models"][0], "decode_tok_s"))
    fact("speed", "numeric mode int8, " + result["threads"].dump() + " threads, " +
                      result["isa"].get<std::string>());
  for (const auto& [key, value] : facts.items())
    fact(key, value.is_string() ? value.get<std::string>() : value.dump());
  return section("method", "Method", out + "</dl>" + not_here(result) + "<p id=\"download\"></p>");
}

// A page tells no more than four digits.
void round_all(Json& value) {
  if (value.is_structured())
    for (Json& part : value) round_all(part);
  else if (value.is_number_float())
    value = rounded(value.get<double>(), 4);
}

// The sections that are there, linked in a line that stays in sight.
std::string navigation(const std::vector<std::pair<std::string, std::string>>& links) {
  std::string out = "<nav aria-label=\"sections\"><ul>";
  for (const auto& [id, title] : links) out += "<li><a href=\"#" + id + "\">" + title + "</a></li>";
  return out + "</ul></nav>";
}

}  // namespace

std::string model_path(size_t model, const std::string& key) {
  return "/models/" + std::to_string(model) + "/" + key;
}

std::string model_name(const Json& result, size_t model) {
  return "<bdi>" + escape_html(result["models"][model]["name"].get<std::string>()) + "</bdi>";
}

bool any_model_has(const Json& result, const char* key) {
  const Json& models = result["models"];
  return std::any_of(models.begin(), models.end(),
                     [&](const Json& model) { return model.contains(key) && !model[key].empty(); });
}

std::string_view closeness(double low) {
  if (low >= 0.99) return "nearly identical";
  if (low >= 0.96) return "close";
  if (low >= 0.90) return "noticeable";
  if (low >= 0.80) return "strong change";
  return "broken";
}

std::string first_choices(double same_top) {
  const double share = 1 - same_top;
  if (share <= 0) return "no token gets another first choice";
  if (share >= 1) return "every token gets another first choice";
  return (share > 0.5 ? std::to_string(std::lround(100 * share)) + " of 100 tokens get"
                      : "1 token in " + std::to_string(std::lround(1 / share)) + " gets") +
         " another first choice";
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

std::string comparison_page(const Json& whole, const Json& facts) {
  Json result = whole;
  if (result.contains("sweep")) round_all(result["sweep"]);
  for (Json& model : result["models"])
    for (const char* key : {"weights", "units", "advice"})
      if (model.contains(key)) round_all(model[key]);
  const Json& models = result["models"];
  const size_t best = best_of(models);
  const std::string reference = models[0]["name"].get<std::string>();
  const std::string quality = result.value("simulated", false)
                                  ? "simulated by torch"
                                  : "mode " + result["mode"].get<std::string>();
  std::string top = "<h1>" + model_name(result, 0) + " &#8594; " + model_name(result, best) +
                    "</h1><p class=\"verdict\">" + verdict(result, best) + "</p>" +
                    figures_of(result, best, quality);
  if (models.size() > 2) {
    top += "<ul class=\"candidates\">";
    for (size_t i = 1; i < models.size(); ++i)
      top += "<li>" + model_name(result, i) + (i == best ? " <b>*</b>" : "") + ": " +
             verdict(result, i) + "</li>";
    top += "</ul><p class=\"quiet\">* the closest candidate, the one above</p>";
  }
  std::vector<std::pair<std::string, std::string>> links;
  std::string body;
  const auto add = [&](const char* id, const char* link, const std::string& html) {
    if (html.empty()) return;
    links.emplace_back(id, link);
    body += html;
  };
  add("frontier", "Size and loss",
      section(
          "frontier", "Size against loss",
          frontier_in_words(result, best) + chart_place("frontier") + table_of(result) +
              "<p class=\"quiet\">* best candidate. KL, first choice and perplexity: " + quality +
              (has_number(models[0], "decode_tok_s") ? "; speed and memory: mode int8" : "") +
              ". Intervals: 95 %, bootstrap over windows.</p>"));
  add("tasks", "Tasks", tasks_section(result));
  add("damage", "Damage", layers_section(result));
  add("answers", "Text", answers_section(result));
  add("sweep", "Generation", sweep_section(result));
  add("ranges", "Channels", ranges_section(result));
  add("speed", "Speed", speed_section(result));
  add("recipes", "Recipes", recipes_section(result));
  add("method", "Method", method_section(result, facts, quality));
  result["facts"] = facts;
  return "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
         "content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" "
         "content=\"light dark\"><meta http-equiv=\"Content-Security-Policy\" content=\"" +
         std::string(page_policy()) + "\"><title>" + escape_html(reference) +
         ": what was lost</title><style>" + std::string(page_style()) +
         "</style></head><body><a class=\"skip\" href=\"#main\">Skip to the verdict</a>" +
         navigation(links) + "<main id=\"main\" tabindex=\"-1\"><section id=\"verdict\">" + top +
         "</section>" + body + "</main><p id=\"live\" class=\"unseen\" aria-live=\"polite\"></p>" +
         "<script type=\"application/json\" id=\"data\">" + script_json(packed_lists(result)) +
         "</script><script>" + std::string(page_script()) + "</script></body></html>\n";
}

}  // namespace halftone::report
