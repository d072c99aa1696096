#include "halftone/eval/choice.h"

#include <algorithm>

#include "halftone/base/numbers.h"
#include "halftone/eval/python_text.h"
#include "halftone/eval/sample_log.h"

namespace halftone::eval {
namespace {

int64_t first_largest(std::span<const double> values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

}  // namespace

std::vector<std::vector<Request>> choice_requests(const TaskInput& input, const ChoiceRun& run) {
  ShotPicker picker(run.shots, run.name);
  // Templates end where the answer begins.
  const std::string space = input.chat ? "" : " ";
  std::vector<std::vector<Request>> out;
  for (const Item& item : run.items) {
    const auto shots = picker.of(item);
    const auto contexts = contexts_of(input, run.description, shots, item);
    std::vector<Request>& requests = out.emplace_back();
    if (item.ending)
      for (const std::string& context : contexts)
        requests.push_back({context, space + *item.ending});
    else
      for (const std::string& choice : item.choices)
        requests.push_back({contexts[0], space + choice});
  }
  return out;
}

StageWork choice_work(const TaskInput& input, const ChoiceRun& run) {
  StageWork out{run.name, 0};
  std::string before;
  for (auto& requests : choice_requests(input, run))
    for (Request& request : requests) {
      const auto same = std::mismatch(before.begin(), before.end(), request.context.begin(),
                                      request.context.end())
                            .second -
                        request.context.begin();
      out.bytes += static_cast<double>(std::ssize(request.context) - same +
                                       std::ssize(request.continuation));
      before = std::move(request.context);
    }
  return out;
}

ChoiceScores run_choices(const TaskInput& input, const ChoiceRun& run) {
  const auto by_item = choice_requests(input, run);
  std::vector<Request> requests;
  std::vector<size_t> item_of;  // by request
  for (const auto& item : by_item) {
    item_of.insert(item_of.end(), item.size(), static_cast<size_t>(&item - by_item.data()));
    requests.insert(requests.end(), item.begin(), item.end());
  }
  const std::vector<Score> all =
      score(input.source, input.codec, requests, input.context,
            {.stage = run.name, .memory = input.memory, .where = [&](size_t i) {
               return run.items[item_of[i]].where;
             }});
  ChoiceScores out{.requests = std::ssize(requests), .blank_lines = run.blank_lines};
  size_t first = 0;
  for (size_t i = 0; i < run.items.size(); ++i) {
    const Item& item = run.items[i];
    const auto scores = std::span(all).subspan(first, by_item[i].size());
    first += by_item[i].size();
    std::string skipped;
    ItemOutcome outcome{.task = run.name, .id = static_cast<int64_t>(i), .label = item.gold};
    std::vector<double> likely, normed;
    for (size_t c = 0; c < scores.size(); ++c) {
      out.truncated += scores[c].truncated;
      if (!scores[c].skipped.empty())
        skipped = "choice " + std::to_string(c) + ": " + scores[c].skipped;
      likely.push_back(scores[c].log_likelihood);
      normed.push_back(scores[c].log_likelihood /
                       static_cast<double>(code_points(item.choices[c])));
    }
    if (!skipped.empty()) {
      out.skipped_items.push_back(item.where + ": not scored: " + skipped);
    } else {
      outcome.choice = first_largest(likely);
      outcome.choice_norm = first_largest(normed);
      out.acc.push_back(outcome.choice == item.gold);
      out.acc_norm.push_back(outcome.choice_norm == item.gold);
    }
    if (input.take_outcome) input.take_outcome(outcome);
    if (!input.log_sample) continue;
    std::vector<std::pair<std::string, double>> metrics;
    if (skipped.empty()) metrics = {{"acc", out.acc.back()}};
    if (skipped.empty() && run.normed) metrics.emplace_back("acc_norm", out.acc_norm.back());
    input.log_sample(sample_line({.task = run.name,
                                  .id = static_cast<int64_t>(i),
                                  .doc = item.doc,
                                  .target = item.ending ? *item.ending : std::to_string(item.gold),
                                  .requests = by_item[i],
                                  .scores = scores,
                                  .metrics = metrics,
                                  .skipped = skipped}));
  }
  warn_of_skipped(out, input.context);
  if (out.truncated > 0)
    input.context.warn(
        run.name + ": " + std::to_string(out.truncated) + " of " + std::to_string(out.requests) +
        " texts are longer than the model's context of " + std::to_string(input.source.context()) +
        " tokens: they lost their beginning, as in lm-eval");
  return out;
}

ChoiceScores& ChoiceScores::operator+=(const ChoiceScores& other) {
  acc.insert(acc.end(), other.acc.begin(), other.acc.end());
  acc_norm.insert(acc_norm.end(), other.acc_norm.begin(), other.acc_norm.end());
  requests += other.requests;
  truncated += other.truncated;
  skipped_items.insert(skipped_items.end(), other.skipped_items.begin(), other.skipped_items.end());
  blank_lines += other.blank_lines;
  return *this;
}

void report_counts(const TaskInput& input, const ChoiceScores& scores, Json& json) {
  json["n"] = scores.acc.size();
  json["skipped"] = scores.skipped_items.size();
  if (!scores.skipped_items.empty()) json["skipped_items"] = scores.skipped_items;
  if (scores.blank_lines > 0) json["blank_lines"] = scores.blank_lines;
  json["truncated"] = scores.truncated;
  json["requests"] = scores.requests;
  json["num_fewshot"] = input.shots.value_or(0);
  json["chat_template"] = static_cast<bool>(input.chat);
}

std::string counts_text(const ChoiceScores& scores) {
  std::string out;
  if (!scores.skipped_items.empty())
    out += ", " + counted(std::ssize(scores.skipped_items), "item") + " skipped";
  if (scores.truncated > 0) out += ", " + counted(scores.truncated, "text") + " truncated";
  if (scores.blank_lines > 0) out += ", " + counted(scores.blank_lines, "blank line");
  return out;
}

void warn_of_skipped(const ChoiceScores& scores, const Context& context) {
  constexpr size_t kNamed = 10;
  const auto& all = scores.skipped_items;
  for (size_t i = 0; i < std::min(kNamed, all.size()); ++i) context.warn(all[i]);
  if (all.size() > kNamed)
    context.warn(std::to_string(all.size() - kNamed) +
                 " more items are not scored: skipped_items of --json names all");
}

}  // namespace halftone::eval
