#include "halftone/cli/compare_answers.h"

#include "halftone/base/error.h"
#include "halftone/cli/answers.h"
#include "halftone/cli/side_by_side.h"
#include "halftone/eval/fidelity.h"

namespace halftone::cli {
namespace {

Json json_of(const eval::Mean& mean) {
  return {{"value", mean.value}, {"ci95", mean.ci95 ? Json(*mean.ci95) : Json()}};
}

// Of the answers to --prompts.
Json json_of(const eval::Fidelity& f, const PromptFile& prompts, const ModelText& text) {
  const auto token = [&](std::optional<int32_t> id) {
    return id ? Json(text.tokenizer.token_bytes(*id)) : Json();
  };
  Json scores = Json::object(), partings = Json::array();
  for (const auto& [metric, score] : f.scores)
    scores[metric.name] = {{"title", metric.title},
                           {"value", score.value},
                           {"ci95", score.ci95 ? Json(*score.ci95) : Json()},
                           {"signature", "nrefs:1|" + metric.signature}};
  for (size_t i = 0; i < f.partings.size(); ++i) {
    const eval::Parting& p = f.partings[i];
    partings.push_back({{"line", prompts.prompts[i].line},
                        {"parted", p.parted()},
                        {"common_prefix", p.at},
                        {"reference", token(p.reference)},
                        {"model", token(p.model)}});
  }
  const auto first = f.earliest();
  return {{"exact", json_of(f.exact)},
          {"common_prefix", json_of(f.common_prefix)},
          {"tokens", json_of(f.tokens)},
          {"reference_tokens", json_of(f.reference_tokens)},
          {"median_parting", f.median_parting ? Json(*f.median_parting) : Json()},
          {"first_parting", first ? partings[static_cast<size_t>(*first)] : Json()},
          {"scores", scores},
          {"partings", partings}};
}

}  // namespace

void AnswerOptions::declare(CLI::App& app) {
  app.add_option("--prompts", prompts,
                 "also let all models answer this file (a prompt a line, or JSONL with "
                 "\"prompt\"), and score answers against the reference's");
  of_prompts = {
      app.add_option("--tokens", tokens, "at most this many new tokens an answer (default 64)")
          ->check(CLI::Range(int64_t{1}, int64_t{1} << 31)),
      app.add_flag("--no-template", no_template, "feed prompts as they are")};
}

void AnswerOptions::check(const LogitOptions& logits) const {
  if (!prompts.empty()) {
    if (logits.engine == "torch")
      throw InputError("--prompts", "the torch engine writes no text",
                       "leave it out, or use --engine runtime");
    return;
  }
  for (const CLI::Option* option : of_prompts)
    if (option->count() > 0)
      throw InputError(option->get_name(), "is for answers to prompts",
                       "add --prompts FILE, or leave it out");
}

Answers::Answers(const AnswerOptions& options, const Context& context)
    : options_(options), context_(context), prompts_(read_prompts(options.prompts, context)) {
  prompts_.say_skipped(context);
}

void Answers::encode(const pack::PackedModel& reference, int64_t shortest_context) {
  text_.emplace(open_text(reference.checkpoint(), context_));
  templated_ = text_->chat && !options_.no_template;
  for (const Prompt& prompt : prompts_.prompts)
    naming_line(options_.prompts, prompt, [&] {
      ids_.push_back(encode_prompt(*text_, prompt.text, templated_));
      if (ids_.back().empty())
        throw InputError("--prompts", "the prompt has no tokens, and the tokenizer adds no BOS",
                         "write at least one word, or take the line out");
      if (std::ssize(ids_.back()) >= shortest_context)
        throw InputError("--prompts",
                         "the prompt has " + std::to_string(ids_.back().size()) +
                             " tokens, the shortest context of the models is " +
                             std::to_string(shortest_context),
                         "shorten or remove the line");
    });
}

Json Answers::facts() const {
  return {{"file", options_.prompts},
          {"count", prompts_.prompts.size()},
          {"skipped", prompts_.empty_lines},
          {"tokens", options_.tokens},
          {"template", templated_}};
}

void Answers::run(const std::vector<LogitModel>& models, std::span<const eval::RunMemory> memory,
                  Json& rows) const {
  std::vector<eval::Answer> reference;
  for (size_t i = 0; i < models.size(); ++i) {
    context_.throw_if_stopped();
    std::vector<eval::Answer> answers = greedy_answers(models[i].model, *text_, ids_, templated_,
                                                       options_.tokens, memory[i], context_);
    if (i == 0) {
      reference = std::move(answers);
      continue;
    }
    rows[i]["fidelity"] = json_of(eval::fidelity(reference, answers, context_), prompts_, *text_);
    rows[i]["answers"] = side_by_side(models[0], models[i], *text_, prompts_.prompts, ids_,
                                      reference, answers, memory[i], context_);
  }
}

void print_answers(Terminal& t, const Json& result) {
  const Json& prompts = result["prompts"];
  TextTable table{{"answers", "same %", "95 %", "common prefix", "95 %"}, {}};
  for (const auto& [name, score] : result["models"][1]["fidelity"]["scores"].items()) {
    table.head.push_back(score["title"].get<std::string>());
    table.head.push_back("95 %");
  }
  std::vector<std::string> partings;
  for (const Json& row : result["models"]) {
    if (!row.contains("fidelity")) continue;
    const Json& f = row["fidelity"];
    const std::string name = row["name"].get<std::string>();
    std::vector<std::string> cells = {name};
    const auto add = [&](const Json& value, double factor) {
      cells.push_back(significant(factor * value["value"].get<double>()));
      const Json& ci = value["ci95"];
      cells.push_back(ci.is_null() ? "-"
                                   : significant(factor * ci[0].get<double>(), 2) + ".." +
                                         significant(factor * ci[1].get<double>(), 2));
    };
    add(f["exact"], 100);
    add(f["common_prefix"], 1);
    for (const auto& [metric, score] : f["scores"].items()) add(score, 1);
    table.rows.push_back(std::move(cells));
    const Json& first = f["first_parting"];
    if (first.is_null()) continue;
    const auto token = [](const Json& text) {
      return text.is_null() ? std::string("its end") : quote(text.get<std::string>());
    };
    partings.push_back(name + " parts first at token " +
                       std::to_string(first["common_prefix"].get<int64_t>() + 1) + " of line " +
                       first["line"].dump() + ": " + token(first["model"]) + ", the reference " +
                       token(first["reference"]) + "; half part by token " +
                       fixed(f["median_parting"].get<double>() + 1, 0));
  }
  t.out("");
  t.out(table.text());
  for (const std::string& line : partings) t.out(line);
  t.out("greedy answers of at most " + prompts["tokens"].dump() + " tokens to " +
        prompts["count"].dump() + " prompts of " + prompts["file"].get<std::string>() +
        (prompts["skipped"] == 0 ? "" : ", empty lines skipped: " + prompts["skipped"].dump()) +
        (prompts["template"] ? ", in the chat template" : "") +
        "; against the reference's answers, intervals over prompts");
}

}  // namespace halftone::cli
