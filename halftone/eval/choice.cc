#include "halftone/eval/choice.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/numbers.h"
#include "halftone/base/rng.h"
#include "halftone/eval/python_text.h"
#include "halftone/eval/sample_log.h"

namespace halftone::eval {
namespace {

constexpr uint64_t kShotSeed = 1234;  // lm-eval's fewshot_random_seed

// The examples of each item. Items are served in order from one generator, as in lm-eval, so that a
// limit changes nothing for those before it.
class ShotPicker {
 public:
  ShotPicker(const Shots& shots, const std::string& name) : shots_(shots), random_(kShotSeed) {
    const int64_t wanted = shots.count + (shots.drop_itself && !shots.first ? 1 : 0);
    if (shots.count > 0 && wanted > std::ssize(shots.pool))
      throw InputError(
          "--num-fewshot " + std::to_string(shots.count),
          name + " has " + std::to_string(shots.pool.size()) + " examples to choose from",
          "ask for fewer");
  }

  std::vector<const Item*> of(const Item& item) {
    std::vector<const Item*> out;
    if (shots_.count == 0) return out;
    if (shots_.first) {
      for (int64_t i = 0; i < shots_.count; ++i)
        out.push_back(&shots_.pool[static_cast<size_t>(i)]);
      return out;
    }
    const int64_t population = std::ssize(shots_.pool);
    for (const int64_t i : random_.sample(population, shots_.count + shots_.drop_itself)) {
      const Item& drawn = shots_.pool[static_cast<size_t>(i)];
      if (!shots_.drop_itself || drawn.doc != item.doc) out.push_back(&drawn);
    }
    if (std::ssize(out) < shots_.count) {  // drawn twice: lm-eval draws anew from all the others
      std::vector<const Item*> others;
      for (const Item& other : shots_.pool)
        if (other.doc != item.doc) others.push_back(&other);
      if (std::ssize(others) < shots_.count)
        throw FileError(Code::value, item.where, "too few examples differ from this item", {},
                        "ask for fewer examples");
      out.clear();
      for (const int64_t i : random_.sample(std::ssize(others), shots_.count))
        out.push_back(others[static_cast<size_t>(i)]);
    }
    out.resize(static_cast<size_t>(shots_.count));
    return out;
  }

 private:
  const Shots& shots_;
  PythonRandom random_;
};

const std::string& answer_of(const Item& item) {
  return item.ending ? *item.ending : item.choices[static_cast<size_t>(item.gold)];
}
const std::string& question_of(const Item& item) {
  return item.ending ? item.choices[static_cast<size_t>(item.gold)] : item.question;
}

// The contexts of one item: one, or with `ending` one for each choice.
std::vector<std::string> contexts_of(const TaskInput& input, const std::string& description,
                                     std::span<const Item* const> shots, const Item& item) {
  const std::vector<std::string> own =
      item.ending ? item.choices : std::vector<std::string>{item.question};
  std::vector<std::string> out;
  if (!input.chat) {
    std::string before = description;
    for (const Item* shot : shots) before += question_of(*shot) + " " + answer_of(*shot) + "\n\n";
    for (const std::string& question : own) out.push_back(before + question);
    return out;
  }
  Json before = Json::array();
  const auto say = [](Json& messages, std::string_view role, const std::string& content) {
    messages.push_back({{"role", role}, {"content", content}});
  };
  if (!description.empty()) say(before, "system", description);
  for (const Item* shot : shots) {
    say(before, "user", question_of(*shot));
    say(before, "assistant", answer_of(*shot));
  }
  for (const std::string& question : own) {
    Json messages = before;
    say(messages, "user", question);
    out.push_back(input.chat(messages));
  }
  return out;
}

int64_t first_largest(std::span<const double> values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

}  // namespace

void check_item(const Item& item) {
  if (item.choices.empty())
    throw FileError(Code::value, item.where, "has no choices", {}, "mend or remove the line");
  if (item.gold < 0 || item.gold >= std::ssize(item.choices))
    throw FileError(Code::value, item.where,
                    "the right answer is choice " + std::to_string(item.gold) + ", and there are " +
                        std::to_string(item.choices.size()) + " (counted from 0)",
                    {}, "mend or remove the line");
  for (size_t c = 0; c < item.choices.size(); ++c)
    if (strip(item.choices[c]).empty())
      throw FileError(Code::value, item.where,
                      "choice " + std::to_string(c) + " has no text (counted from 0)", {},
                      "mend or remove the line");
  if (item.ending && strip(*item.ending).empty())
    throw FileError(Code::value, item.where, "nothing follows the gap, so nothing is scored", {},
                    "mend or remove the line");
}

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

namespace {
double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}
// Of the mean: sample standard deviation / sqrt(n).
std::optional<double> standard_error(std::span<const double> values) {
  if (values.size() < 2) return std::nullopt;
  const auto n = static_cast<double>(values.size());
  const double mean = mean_of(values);
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  return std::sqrt(squares / (n - 1)) / std::sqrt(n);
}
}  // namespace

void Pool::add(const std::vector<double>& values) {
  if (values.empty()) return;
  const auto n = static_cast<double>(values.size());
  values_.insert(values_.end(), values.begin(), values.end());
  ++sets_;
  const auto error = standard_error(values);
  every_error_ &= error.has_value();
  if (error) squares_ += (n - 1) * *error * *error * n;
}

Accuracy Pool::value() const {
  Accuracy out = accuracy(values_);
  if (sets_ < 2) return out;
  const auto n = static_cast<double>(values_.size());
  out.standard_error.reset();
  if (every_error_) out.standard_error = std::sqrt(squares_ / (n - static_cast<double>(sets_)) / n);
  return out;
}

Accuracy accuracy(std::span<const double> values) {
  Accuracy out;
  const auto n = static_cast<double>(values.size());
  if (values.empty()) return out;
  out.value = mean_of(values);
  if (values.size() < 2) return out;
  out.standard_error = standard_error(values);
  out.ci95 = bootstrap(std::ssize(values), [&](std::span<const double> multiplicity) {
    return std::inner_product(values.begin(), values.end(), multiplicity.begin(), 0.0) / n;
  });
  return out;
}

void report(const std::string& name, const Accuracy& value, Json& json,
            std::vector<Metric>& metrics) {
  json[name] = value.value;
  json[name + "_stderr"] = value.standard_error ? Json(*value.standard_error) : Json();
  json[name + "_ci95"] = value.ci95 ? Json(*value.ci95) : Json();
  metrics.push_back({name, value.value, value.ci95, value.standard_error});
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

std::optional<std::vector<std::string>> split_paths(const Context& context,
                                                    const std::string& data_dir,
                                                    const ChoiceData& data, files::Split split) {
  const auto found = data.splits.find(split);
  if (found == data.splits.end()) return std::nullopt;
  std::vector<std::string> paths;
  for (const std::string& file : found->second) {
    paths.push_back(join_path(data_dir, file));
    if (!context.env->stat(paths.back())) return std::nullopt;
  }
  return paths;
}

void add_labels(const Context& context, std::vector<files::Document>& rows,
                const std::string& rows_path, const std::string& labels_path) {
  const std::string text = files::read_text_of(*context.env, labels_path);
  const auto labels = files::split_lines(text);
  if (labels.size() != rows.size())
    throw FileError(Code::mismatch, labels_path,
                    "has " + std::to_string(labels.size()) + " labels for the " +
                        std::to_string(rows.size()) + " items of " + rows_path,
                    {}, "the two files belong together: one label for each item");
  for (size_t i = 0; i < rows.size(); ++i) {
    const files::Document label{{{"label", std::string(rstrip(labels[i]))}},
                                labels_path + ":" + std::to_string(i + 1)};
    rows[i].fields["label"] = label.number("label");
  }
}

Items read_items(const Context& context, const std::string& data_dir, const ChoiceData& data,
                 files::Split split) {
  const auto paths = split_paths(context, data_dir, data, split);
  if (!paths)
    throw FileError(Code::missing, data.splits.at(split)[0], "is not in the data folder", {},
                    "set HALFTONE_DATA or --data to the folder that holds it");
  Items items = data.read(context, *paths);
  for (const Item& item : items.all) check_item(item);
  return items;
}

namespace {

// lm-eval takes the training part, else the validation part, else the test part.
Shots shots_of(const TaskInput& input, const ChoiceTask& task, const std::vector<Item>& evaluated) {
  Shots shots{.count = input.shots.value_or(0)};
  if (shots.count == 0) return shots;
  // Its yaml names a test part for the others.
  shots.drop_itself = task.data.evaluated == files::Split::validation;
  for (const files::Split split :
       {files::Split::train, files::Split::validation, files::Split::test}) {
    if (!split_paths(input.context, input.places.data_dir, task.data, split)) continue;
    shots.pool = split == task.data.evaluated
                     ? evaluated
                     : read_items(input.context, input.places.data_dir, task.data, split).all;
    if (split != files::Split::train)
      input.context.warn(task.name + ": examples come from the " +
                         std::string(files::split_name(split)) +
                         " part, as in lm-eval without a training part (there is no " +
                         task.data.splits.at(files::Split::train)[0] + ")");
    return shots;
  }
  return shots;
}

ChoiceRun run_of(const TaskInput& input, const ChoiceTask& task) {
  Items items = read_items(input.context, input.places.data_dir, task.data, task.data.evaluated);
  ChoiceRun run{.name = task.name, .items = std::move(items.all), .blank_lines = items.blank_lines};
  run.normed = task.normed;
  run.shots = shots_of(input, task, run.items);
  if (input.limit > 0 && std::ssize(run.items) > input.limit)
    run.items.erase(run.items.begin() + input.limit, run.items.end());
  return run;
}

TaskResult run_task(const TaskInput& input, const ChoiceTask& task) {
  const auto start = std::chrono::steady_clock::now();
  const ChoiceRun run = run_of(input, task);
  const ChoiceScores scores = run_choices(input, run);
  const std::string label = task.name + " " + std::string(files::split_name(task.data.evaluated));
  TaskResult out;
  out.json = Json::object();
  report("acc", accuracy(scores.acc), out.json, out.metrics);
  if (task.normed) report("acc_norm", accuracy(scores.acc_norm), out.json, out.metrics);
  report_counts(input, scores, out.json);
  out.basis = std::to_string(input.shots.value_or(0)) + "-shot, " +
              std::to_string(scores.acc.size()) + " items of " + label + counts_text(scores);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  out.json["seconds"] = out.seconds;
  out.json["protocol"] = "lm-eval-0.4";
  out.json["data"] = label;
  return out;
}

}  // namespace

Task choice_task(ChoiceTask task) {
  Task out;
  out.summary = task.summary;
  out.files = [files = task.data.splits.at(task.data.evaluated)](const std::string&) {
    return files;
  };
  out.of_items = true;
  out.compared = task.compared;
  out.work = [task](const TaskInput& input) {
    return std::vector{choice_work(input, run_of(input, task))};
  };
  out.check = [data = task.data](const Context& context, const std::string& data_dir,
                                 const std::string&) {
    read_items(context, data_dir, data, data.evaluated);
  };
  out.run = [task = std::move(task)](const TaskInput& input) { return run_task(input, task); };
  return out;
}

}  // namespace halftone::eval
