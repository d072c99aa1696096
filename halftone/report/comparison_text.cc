#include <algorithm>
#include <numeric>

#include "halftone/base/numbers.h"
#include "halftone/report/comparison_sections.h"
#include "halftone/report/html.h"

namespace halftone::report {
namespace {

// Bins of the KL of a token, as the page colours and underlines them.
constexpr double kBins[] = {0.01, 0.1, 0.5, 2};

std::string token_class(const Json& kl) {
  if (!kl.is_number()) return "t b0";
  size_t bin = 0;
  while (bin < std::size(kBins) && kl.get<double>() >= kBins[bin]) ++bin;
  return "t b" + std::to_string(bin);
}

std::string token_text(const Json& token) {
  const std::string text = token.value("text", "");
  return escape_html(text) + (text.find('\n') == text.npos ? "" : "<br>");
}

double mean_kl(const Json& answer) {
  double sum = 0;
  for (const Json& token : answer["tokens"])
    sum += token.contains("kl") && token["kl"].is_number() ? token["kl"].get<double>() : 0;
  return answer["tokens"].empty() ? 0 : sum / static_cast<double>(answer["tokens"].size());
}

// What either model found likeliest where their answers part.
std::string parting(const Json& result, size_t m, size_t i, const std::string& reference,
                    const std::string& name) {
  const Json& answer = result["models"][m]["answers"][i];
  if (!answer.contains("parts")) return {};
  const Figures figures(result);
  const std::string path = model_path(m, "answers/" + std::to_string(i) + "/parts/");
  std::vector<std::vector<std::string>> rows;
  const Json &left = answer["parts"]["reference"], &right = answer["parts"]["candidate"];
  for (size_t k = 0; k < std::min(left.size(), right.size()); ++k) {
    rows.push_back({std::to_string(k + 1)});
    for (const auto& [side, list] :
         {std::pair("reference/", &left), std::pair("candidate/", &right)}) {
      // Quoted: a token's space is part of it.
      rows.back().push_back(
          "<bdi>" +
          escape_html((*list)[k]["text"].dump(-1, ' ', false, Json::error_handler_t::replace)) +
          "</bdi>");
      rows.back().push_back(figures.fixed(path + side + std::to_string(k) + "/p", 1, 100));
    }
  }
  return "<div class=\"parting\" id=\"parting-" + std::to_string(m) + "-" + std::to_string(i) +
         "\"><h4>Where they part: the likeliest next tokens</h4>" +
         html_table(
             "likeliest tokens where they part, prompt " + std::to_string(i + 1) + ", " + name,
             {"place", reference, "%", name, "%"}, rows) +
         "</div>";
}

std::string two_columns(const Json& result, size_t m, size_t row, const std::string& reference,
                        const std::string& name) {
  const Json& answer = result["models"][m]["answers"][row];
  std::string left, right;
  const Json& at = answer["parts_at"];
  const auto parts = at.is_number() ? at.get<size_t>() : SIZE_MAX;
  const std::string likeliest = parting(result, m, row, reference, name);
  const std::string mark =
      likeliest.empty()
          ? "<b class=\"part\" title=\"here they part\">&#9660;</b>"
          : "<a class=\"part\" title=\"here they part\" aria-label=\"Here they part: the "
            "likeliest tokens\" href=\"#parting-" +
                std::to_string(m) + "-" + std::to_string(row) + "\">&#9660;</a>";
  const auto part_mark = [&](size_t i) { return i == parts ? mark : ""; };
  const Json &tokens = answer["tokens"], &own = answer["candidate_tokens"];
  for (size_t i = 0; i < tokens.size(); ++i)
    left += part_mark(i) + ("<span class=\"" + token_class(tokens[i].value("kl", Json())) + "\">" +
                            token_text(tokens[i]) + "</span>");
  for (size_t i = 0; i < own.size(); ++i)
    right += part_mark(i) + (i < parts ? token_text(own[i])
                                       : "<span class=\"own\">" + token_text(own[i]) + "</span>");
  // One has ended there.
  if (parts == tokens.size()) left += mark;
  if (parts == own.size()) right += mark;
  return "<p class=\"prompt\"><span class=\"quiet\">Prompt:</span> <bdi>" +
         escape_html(answer["prompt"].get<std::string>()) +
         "</bdi></p><div class=\"columns\"><div><h4>" + reference +
         " <span class=\"quiet\">its text, coloured by what " + name +
         " thinks of it</span></h4><p class=\"text\" dir=\"auto\">" + left + "</p></div><div><h4>" +
         name + " <span class=\"quiet\">on its own</span></h4><p class=\"text\" dir=\"auto\">" +
         right + "</p></div></div>" + likeliest;
}

// Open where the divergence is the median one; the prompts in their order.
std::string side_by_side(const Json& result, size_t m) {
  const Json& answers = result["models"][m]["answers"];
  std::vector<size_t> order(answers.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return mean_kl(answers[a]) < mean_kl(answers[b]); });
  const size_t median = order[order.size() / 2];
  const std::string reference = model_name(result, 0), name = model_name(result, m);
  std::string out = "<h3>" + name + "</h3>";
  for (size_t i = 0; i < answers.size(); ++i) {
    const Json& at = answers[i]["parts_at"];
    out += "<details class=\"answer\" id=\"answer-" + std::to_string(m) + "-" + std::to_string(i) +
           "\"" + (i == median && m == 1 ? " open" : "") + "><summary>Prompt " +
           std::to_string(i + 1) + ": mean KL " + significant(mean_kl(answers[i])) + ", " +
           (at.is_number() ? "parts at token " + std::to_string(at.get<int64_t>() + 1)
                           : "the same text") +
           (i == order.front() && order.size() > 1  ? " (closest)"
            : i == order.back() && order.size() > 1 ? " (furthest)"
                                                    : "") +
           "</summary>" +
           chart_place("answer", "data-model=\"" + std::to_string(m) + "\" data-answer=\"" +
                                     std::to_string(i) + "\"") +
           two_columns(result, m, i, reference, name) + "</details>";
  }
  return out;
}

std::string fidelity_table(const Json& result) {
  const Figures figures(result);
  std::vector<std::string> head = {"model", "same answer % &#8593;",
                                   "tokens until they part &#8593;"};
  std::vector<std::vector<std::string>> rows;
  for (size_t m = 1; m < result["models"].size(); ++m) {
    if (!result["models"][m].contains("fidelity")) continue;
    const auto cell = [&](const std::string& key, double factor) {
      const std::string path = model_path(m, "fidelity/" + key + "/");
      return figures.significant(path + "value", factor) +
             figures.interval(path + "ci95", -1, factor);
    };
    rows.push_back({model_name(result, m), cell("exact", 100), cell("common_prefix", 1)});
    for (const auto& [name, score] : result["models"][m]["fidelity"]["scores"].items()) {
      if (rows.size() == 1)
        head.push_back(escape_html(score["title"].get<std::string>()) + " &#8593;");
      rows.back().push_back(cell("scores/" + name, 1));
    }
  }
  const Json& prompts = result["prompts"];
  return html_table("answers against the reference's", head, rows) +
         "<p class=\"quiet\">Greedy answers of at most " + prompts["tokens"].dump() +
         " tokens to " + prompts["count"].dump() + " prompts of " +
         escape_html(prompts["file"].get<std::string>()) +
         ", scored against the reference's answers. Intervals: 95 %, bootstrap over prompts.</p>";
}

// Duplicates of one model by temperature (down) and top_k (across), as an example of what the maps
// show; the whole study has a page of its own.
std::string sweep_table(const Json& sweep, size_t m, const std::string& measure) {
  const Json &model = sweep["models"][m], &grid = sweep["grid"];
  std::vector<std::string> head = {"temperature"};
  for (const Json& k : grid["top_ks"]) head.push_back("top_k " + k.dump());
  std::vector<std::vector<std::string>> rows;
  const Json& values = model["summary"]["temperature_top_k"][measure];
  for (size_t t = 0; t < values.size(); ++t) {
    rows.push_back({grid["temperatures"][t].dump()});
    for (const Json& value : values[t]) rows.back().push_back(shown(value));
  }
  const std::string name = escape_html(model["name"].get<std::string>());
  return folded(name + ", as a table", html_table("generation study, " + name, head, rows));
}

// A measure over length, a row a model.
std::string length_table(const Json& sweep, const std::string& measure) {
  std::vector<std::string> head = {"model"};
  for (const Json& length : sweep["grid"]["lengths"]) head.push_back(length.dump());
  std::vector<std::vector<std::string>> rows;
  for (const Json& model : sweep["models"]) {
    rows.push_back({escape_html(model["name"].get<std::string>())});
    for (const Json& value : model["summary"]["by_length"][measure])
      rows.back().push_back(shown(value));
  }
  return html_table("by the most new tokens", head, rows);
}

std::string cost_table(const Json& sweep) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& model : sweep["models"]) {
    const Json solo = model.value("one_at_a_time", Json()),
               batched = model.value("batched", Json());
    const auto of = [](const Json& object, const char* key, int digits = 4) {
      return shown(object.is_object() ? object.value(key, Json()) : Json(), digits);
    };
    const Json peak = model.value("peak_rss_bytes", Json());
    rows.push_back({escape_html(model["name"].get<std::string>()), of(model, "bits_per_weight", 3),
                    peak.is_number() ? significant(peak.get<double>() / 1e6, 4) : "&#8211;",
                    of(solo, "min_tok_s"), of(solo, "mean_tok_s"), of(solo, "max_tok_s"),
                    of(batched, "tok_s")});
  }
  return html_table("speed and memory of the study",
                    {"model", "bits/weight", "peak MB &#8595;", "min tok/s", "mean tok/s &#8593;",
                     "max tok/s", "batched tok/s &#8593;"},
                    rows);
}

}  // namespace

std::string answers_section(const Json& result) {
  if (!result.contains("prompts")) return {};
  std::string body = fidelity_table(result);
  if (any_model_has(result, "answers")) {
    body += "<p class=\"key\">KL of a token, nats: ";
    const char* names[] = {"below 0.01", "0.01", "0.1", "0.5", "2 and more"};
    for (size_t b = 0; b < std::size(names); ++b)
      body += "<span class=\"t b" + std::to_string(b) + "\">" + names[b] + "</span> ";
    body +=
        "<span class=\"quiet\">&#9660; here free runs part; key n: the next token above "
        "0.5</span></p>";
    for (size_t m = 1; m < result["models"].size(); ++m)
      if (result["models"][m].contains("answers") && !result["models"][m]["answers"].empty())
        body += side_by_side(result, m);
  }
  return section("answers", "Do they say the same?", body);
}

std::string sweep_section(const Json& result) {
  if (!result.contains("sweep") || !result["sweep"].is_object()) return {};
  const Json& sweep = result["sweep"];
  if (sweep["models"].empty() || sweep["measures"].empty()) return {};
  const std::string measure = sweep["measures"][0][0].get<std::string>();
  std::string body = chart_place("sweep"), line;
  for (size_t m = 0; m < sweep["models"].size(); ++m) {
    const Json& mean = sweep["models"][m]["summary"]["mean"][measure]["mean"];
    line += (m == 0 ? "" : ", ") + escape_html(sweep["models"][m]["name"].get<std::string>()) +
            " " + shown(mean);
    body += sweep_table(sweep, m, measure);
  }
  const std::string title = escape_html(sweep["measures"][0][1].get<std::string>());
  if (sweep["grid"]["lengths"].size() > 1)
    body += chart_place("lengths") +
            folded(title + " by length, as a table", length_table(sweep, measure));
  body += chart_place("cost") + folded("Speed and memory, as a table", cost_table(sweep)) +
          "<p class=\"quiet\">Speed: one text at a time; batched, many.</p>";
  return folded_section("sweep", "Generation study", title + ": " + line, body);
}

}  // namespace halftone::report
