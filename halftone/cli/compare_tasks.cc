#include "halftone/cli/compare_tasks.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "halftone/base/error.h"
#include "halftone/base/numbers.h"
#include "halftone/eval/paired.h"

namespace halftone::cli {
namespace {

constexpr size_t kMostFlipped = 100;  // listed; all are counted

// "200", "hellaswag:1000": items of every task, of that one.
std::map<std::string, int64_t> limits_of(const std::vector<std::string>& words,
                                         const std::vector<std::string>& tasks) {
  std::map<std::string, int64_t> out;
  for (const std::string& word : words) {
    const size_t colon = word.rfind(':');
    const std::string task = colon == word.npos ? "" : word.substr(0, colon);
    const char *begin = word.data() + (colon == word.npos ? 0 : colon + 1),
               *end = word.data() + word.size();
    int64_t limit = 0;
    const auto [stop, error] = std::from_chars(begin, end, limit);
    if (error != std::errc() || stop != end || limit < 1)
      throw InputError("--limit " + word, "is no limit", "write 200, or hellaswag:1000,mmlu:20");
    if (!task.empty() && std::find(tasks.begin(), tasks.end(), task) == tasks.end())
      throw InputError("--limit " + word, task + " is none of the tasks",
                       "tasks: " + listed(tasks));
    out[task] = limit;
  }
  return out;
}

std::string percent(const Json& share, int digits = 1) {
  return share.is_null() ? "-" : fixed(100 * share.get<double>(), digits);
}
std::string signed_percent(const Json& share) {
  const std::string text = percent(share);
  return text.starts_with('-') ? text : "+" + text;
}

}  // namespace

void TaskOptions::declare_tasks(CLI::App& app) {
  not_full = {app.add_option("--tasks", tasks,
                             "also let all models answer these tasks (as eval --tasks does) and "
                             "test each change, comma-separated")
                  ->delimiter(','),
              app.add_option("--limit", limits,
                             "at most N items a task (of mmlu: a subject), or TASK:N, "
                             "comma-separated")
                  ->delimiter(',')};
  of_tasks = {not_full[1],
              app.add_option("--num-fewshot", shots,
                             "examples before each question, chosen as lm-eval does (default 0)")
                  ->check(CLI::Range(int64_t{0}, int64_t{1} << 20))};
}

void TaskOptions::declare(CLI::App& app) {
  declare_tasks(app);
  app.add_flag(
      "--full", full,
      "the whole protocol: 20 windows; piqa, arc_easy, arc_challenge and winogrande, 1,000 "
      "items of hellaswag, 20 a subject of mmlu");
}

void TaskOptions::settle(int64_t& windows) {
  if (full) {
    for (const CLI::Option* option : not_full)
      if (option->count() > 0)
        throw InputError(option->get_name(), "is what --full decides", "leave one of them out");
    windows = 20;
    tasks = {"piqa", "arc_easy", "arc_challenge", "winogrande", "hellaswag", "mmlu"};
    limits = {"hellaswag:1000", "mmlu:20"};
  }
  check();
}

void TaskOptions::check() const {
  if (!tasks.empty()) return;
  for (const CLI::Option* option : of_tasks)
    if (option->count() > 0)
      throw InputError(option->get_name(), "is for tasks",
                       "add --tasks, or leave it out (--windows limits the text)");
}

TaskComparison::TaskComparison(const TaskOptions& options, const Session& session)
    : session_(session) {
  const auto limits = limits_of(options.limits, options.tasks);
  for (const std::string& name : options.tasks) {
    One one{.chosen = choose_task(table_, name)};
    const auto& [_, part, task] = one.chosen;
    if (task->compared.empty())
      throw InputError(name, "has no items that are right or wrong",
                       "compare measures perplexity over windows already; leave it out");
    if (std::count(options.tasks.begin(), options.tasks.end(), name) > 1)
      throw InputError("--tasks", name + " is named twice", "name each task once");
    for (const std::string& key : {std::string(), name})
      if (const auto found = limits.find(key); found != limits.end()) one.limit = found->second;
    for (std::string& path : eval::check_data(*task, session.places, *session.env, part))
      inputs_.push_back(std::move(path));
    tasks_.push_back(std::move(one));
  }
  if (options.shots > 0) shots_ = options.shots;
  for (const auto& [chosen, limit, work] : tasks_)
    if (chosen.task->check)
      chosen.task->check(session.context, session.places.data_dir, chosen.part);
}

eval::TaskInput TaskComparison::input_of(const One& one, eval::LogitSource& source,
                                         const ModelText& text, const Context& context) const {
  return {.source = source,
          .encode = [&text](std::string_view s) { return text.tokenizer.encode(s); },
          .places = session_.places,
          .limit = one.limit,
          .log_sample = {},
          .context = context,
          .codec = codec_of(text.tokenizer),
          .part = one.chosen.part,
          .shots = shots_};
}

void TaskComparison::plan(eval::LogitSource& source, const ModelText& text, size_t models) {
  Context silent = session_.context;  // what there is to warn of is said when the task runs
  silent.log = [](Level, std::string_view) {};
  for (One& one : tasks_) {
    one.work = one.chosen.task->work(input_of(one, source, text, silent));
    for (const eval::StageWork& stage : one.work)
      total_ += stage.bytes * static_cast<double>(models);
  }
}

TaskComparison::Answers TaskComparison::answers_of(const Model& model, eval::LogitSource& source,
                                                   const ModelText& text, eval::RunMemory memory,
                                                   Json& facts) {
  Answers out;
  for (const One& one : tasks_) {
    const auto& [name, part, task] = one.chosen;
    const std::string detail = model.name + " " + name;
    Context inner = session_.context;
    inner.progress = [&](const Progress& p) {
      double done = done_;
      for (const eval::StageWork& stage : one.work) {
        if (stage.stage == p.stage) {
          done += stage.bytes * p.done / std::max(1.0, p.total);
          break;
        }
        done += stage.bytes;
      }
      // What an earlier run left was no work: a rate that counted it would promise too much.
      if (!known_) known_ = done;
      session_.context.progress({"tasks", detail, done - *known_, total_ - *known_, ""});
    };
    std::vector<Answer>& answers = out.emplace_back();
    eval::TaskInput input = input_of(one, source, text, inner);
    const bool normed = task->compared == "acc_norm";
    input.memory = memory;
    input.take_outcome = [&](const eval::ItemOutcome& o) {
      answers.push_back({std::string(o.task), o.id, o.label, normed ? o.choice_norm : o.choice});
    };
    const eval::TaskResult result = task->run(input);
    facts[name] = {{"metric", task->compared},
                   {"n", result.json["n"]},
                   {"skipped", result.json["skipped"]},
                   {"truncated", result.json["truncated"]},
                   {"num_fewshot", result.json["num_fewshot"]},
                   {"data", result.json["data"]},
                   {"limit", one.limit > 0 ? Json(one.limit) : Json()}};
    for (const char* key : {"skipped_items", "blank_lines"})
      if (result.json.contains(key)) facts[name][key] = result.json[key];
    for (const eval::StageWork& stage : one.work) done_ += stage.bytes;
  }
  return out;
}

Json TaskComparison::compared(const Answers& reference, const Answers& candidate) const {
  Json rows = Json::array();
  std::vector<double> p;
  for (size_t t = 0; t < tasks_.size(); ++t) {
    const auto &before = reference[t], &after = candidate[t];
    check(before.size() == after.size(), "all models answer the same items");
    std::vector<uint8_t> right_before, right_after;
    Json flipped = Json::array();
    int64_t skipped = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      const Answer &a = before[i], &b = after[i];
      if (a.choice < 0 || b.choice < 0) {
        ++skipped;
        continue;
      }
      right_before.push_back(a.choice == a.label);
      right_after.push_back(b.choice == b.label);
      if (right_before.back() != right_after.back() && flipped.size() < kMostFlipped)
        flipped.push_back({{"task", a.task},
                           {"doc_id", a.id},
                           {"reference_choice", a.choice},
                           {"choice", b.choice},
                           {"label", a.label}});
    }
    const eval::PairedChange change = eval::paired_change(right_before, right_after);
    p.push_back(change.p);
    const auto left_off = change.lost + change.won - std::ssize(flipped);
    rows.push_back({{"task", tasks_[t].chosen.name},
                    {"metric", tasks_[t].chosen.task->compared},
                    {"n", change.n},
                    {"skipped", skipped},
                    {"reference", change.reference},
                    {"value", change.value},
                    {"change", change.change},
                    {"change_ci95", change.ci95 ? Json(*change.ci95) : Json()},
                    {"lost", change.lost},
                    {"won", change.won},
                    {"p_mcnemar", change.p},
                    {"flipped", std::move(flipped)},
                    {"flipped_left_off", left_off}});
  }
  const auto adjusted = eval::holm(p);
  for (size_t t = 0; t < rows.size(); ++t) {
    rows[t]["p_holm"] = adjusted[t];
    rows[t]["verdict"] = eval::verdict(rows[t]["change"].get<double>(), adjusted[t]);
  }
  return rows;
}

void TaskComparison::run(const std::vector<Model>& models, const ModelText& text,
                         RunJournals& journals, Json& result) {
  Answers reference;
  for (size_t m = 0; m < models.size(); ++m) {
    const Context& context = session_.context;
    context.throw_if_stopped();
    const LogitModel model = models[m].load();
    if (m == 0) plan(*model.source, text, models.size());
    Json facts = Json::object();
    Answers answers =
        answers_of(models[m], *model.source, text,
                   journals.of(models[m].path, logit_settings(*model.source, session_)), facts);
    if (m == 0) {
      reference = std::move(answers);
      result["tasks"] = std::move(facts);
    } else {
      result["models"][m]["tasks"] = compared(reference, answers);
    }
  }
}

void print_tasks(Terminal& t, const Json& result) {
  const std::string reference = result["models"][0]["name"].get<std::string>();
  for (const Json& model : result["models"]) {
    if (!model.contains("tasks")) continue;
    t.out("");
    t.out("tasks, " + reference + " -> " + model["name"].get<std::string>());
    TextTable table{
        {"task", "before", "after", "change", "95 % paired", "lost/won", "n", "verdict"}, {}};
    for (const Json& row : model["tasks"]) {
      const Json& ci = row["change_ci95"];
      table.rows.push_back(
          {row["task"].get<std::string>(), percent(row["reference"]), percent(row["value"]),
           signed_percent(row["change"]),
           ci.is_null() ? "-" : "[" + signed_percent(ci[0]) + ", " + signed_percent(ci[1]) + "]",
           row["lost"].dump() + "/" + row["won"].dump(), row["n"].dump(),
           row["verdict"].get<std::string>()});
    }
    t.out(table.text());
    for (const Json& row : model["tasks"])
      if (row["skipped"] > 0)
        t.out(row["task"].get<std::string>() + ": " + row["skipped"].dump() +
              " items have no score and are left out");
  }
  std::string norms;
  for (const auto& [name, facts] : result["tasks"].items()) {
    if (facts["metric"] == "acc_norm") norms += (norms.empty() ? "" : ", ") + name;
    if (facts.contains("blank_lines"))
      t.out(name + ": blank lines passed over: " + facts["blank_lines"].dump());
  }
  t.out("% right (" + (norms.empty() ? "acc" : "acc; acc_norm of " + norms) + "), " +
        result["tasks"].begin().value()["num_fewshot"].dump() +
        "-shot; 95 %: paired bootstrap over items; verdict: exact McNemar, 0.05 after Holm over " +
        counted(std::ssize(result["tasks"]), "task"));
}

}  // namespace halftone::cli
