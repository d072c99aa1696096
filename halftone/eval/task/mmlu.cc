// MMLU: four choices on 57 subjects in four groups. Hendrycks et al. 2020, arXiv:2009.03300.
// Data: mmlu/test/SUBJECT_test.csv and mmlu/dev/SUBJECT_dev.csv (question, A, B, C, D, letter). The
// answer scored is the letter; --num-fewshot 5 puts the first five of dev before each question.
// Parts: a subject (mmlu_anatomy) or a group (mmlu_stem). --limit is per subject.
#include <chrono>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/numbers.h"
#include "halftone/eval/accuracy.h"
#include "halftone/eval/choice.h"
#include "halftone/eval/items.h"
#include "halftone/eval/python_text.h"

namespace halftone::eval {
namespace {

struct Group {
  std::string name;
  std::vector<std::string> subjects;
};

const std::vector<Group>& groups() {
  static const std::vector<Group> all = {
      {"humanities",
       {"formal_logic", "high_school_european_history", "high_school_us_history",
        "high_school_world_history", "international_law", "jurisprudence", "logical_fallacies",
        "moral_disputes", "moral_scenarios", "philosophy", "prehistory", "professional_law",
        "world_religions"}},
      {"other",
       {"business_ethics", "clinical_knowledge", "college_medicine", "global_facts", "human_aging",
        "management", "marketing", "medical_genetics", "miscellaneous", "nutrition",
        "professional_accounting", "professional_medicine", "virology"}},
      {"social_sciences",
       {"econometrics", "high_school_geography", "high_school_government_and_politics",
        "high_school_macroeconomics", "high_school_microeconomics", "high_school_psychology",
        "human_sexuality", "professional_psychology", "public_relations", "security_studies",
        "sociology", "us_foreign_policy"}},
      {"stem",
       {"abstract_algebra", "anatomy", "astronomy", "college_biology", "college_chemistry",
        "college_computer_science", "college_mathematics", "college_physics", "computer_security",
        "conceptual_physics", "electrical_engineering", "elementary_mathematics",
        "high_school_biology", "high_school_chemistry", "high_school_computer_science",
        "high_school_mathematics", "high_school_physics", "high_school_statistics",
        "machine_learning"}}};
  return all;
}

// The groups of a part, cut down to it: a subject alone has its group's name before it all the
// same.
std::vector<Group> groups_of(const std::string& part) {
  std::vector<Group> out;
  for (Group group : groups()) {
    if (!part.empty() && group.name != part)
      std::erase_if(group.subjects, [&](const std::string& s) { return s != part; });
    if (!group.subjects.empty()) out.push_back(std::move(group));
  }
  return out;
}

std::string test_file(const std::string& subject) { return "mmlu/test/" + subject + "_test.csv"; }
std::string dev_file(const std::string& subject) { return "mmlu/dev/" + subject + "_dev.csv"; }

Item item_of(const files::CsvRow& row, const std::string& subject) {
  if (row.fields.size() != 6)
    throw FileError(Code::value, row.where,
                    "has " + std::to_string(row.fields.size()) +
                        " fields instead of 6 (question, A, B, C, D, letter)",
                    {}, "mend or remove the row");
  const std::string& letter = row.fields[5];
  if (letter.size() != 1 || letter[0] < 'A' || letter[0] > 'D')
    throw FileError(Code::value, row.where,
                    "the right answer " + quote(letter) + " is none of A, B, C, D", {},
                    "mend or remove the row");
  Item item{.where = row.where, .choices = {"A", "B", "C", "D"}, .gold = letter[0] - 'A'};
  item.question = std::string(strip(row.fields[0]));
  for (size_t c = 0; c < 4; ++c) item.question += "\n" + item.choices[c] + ". " + row.fields[c + 1];
  item.question += "\nAnswer:";
  item.doc = {{"question", row.fields[0]},
              {"subject", subject},
              {"choices", std::vector<std::string>(row.fields.begin() + 1, row.fields.begin() + 5)},
              {"answer", item.gold}};
  return item;
}

Items read(const Context& context, const std::string& data_dir, const std::string& file,
           const std::string& subject) {
  const auto [rows, blank_lines] = files::read_csv(*context.env, join_path(data_dir, file));
  Items items{.blank_lines = blank_lines};
  for (const files::CsvRow& row : rows) items.all.push_back(item_of(row, subject));
  return items;
}

ChoiceRun run_of(const TaskInput& input, const std::string& subject) {
  const std::string& data = input.places.data_dir;
  auto [items, blank_lines] = read(input.context, data, test_file(subject), subject);
  Items examples = read(input.context, data, dev_file(subject), subject);
  if (input.limit > 0 && std::ssize(items) > input.limit)
    items.erase(items.begin() + input.limit, items.end());
  return {
      .name = "mmlu_" + subject,
      .description = "The following are multiple choice questions (with answers) about " +
                     replace_all(subject, "_", " ") + ".\n\n",
      .items = std::move(items),
      .shots = {.count = input.shots.value_or(0), .pool = std::move(examples.all), .first = true},
      .normed = false,
      .blank_lines = blank_lines};
}

TaskResult run(const TaskInput& input) {
  const auto start = std::chrono::steady_clock::now();
  TaskResult out;
  Json by_group = Json::object(), by_subject = Json::object();
  Pool all;
  ChoiceScores counts;
  std::vector<Metric> ignored, group_metrics;
  const int64_t shots = input.shots.value_or(0);
  for (const Group& group : groups_of(input.part)) {
    Pool of_group;
    for (const std::string& subject : group.subjects) {
      const ChoiceScores scores = run_choices(input, run_of(input, subject));
      of_group.add(scores.acc);
      all.add(scores.acc);
      counts += scores;
      report("acc", accuracy(scores.acc), by_subject[subject], ignored);
      by_subject[subject]["n"] = scores.acc.size();
    }
    report("acc", of_group.value(), by_group[group.name], ignored);
    by_group[group.name]["n"] = of_group.values().size();
    group_metrics.push_back({group.name, of_group.value().value});
  }
  out.json = Json::object();
  report("acc", all.value(), out.json, out.metrics);
  if (group_metrics.size() > 1)
    out.metrics.insert(out.metrics.end(), group_metrics.begin(), group_metrics.end());
  report_counts(input, counts, out.json);
  out.json["groups"] = by_group;
  out.json["subjects"] = by_subject;
  out.basis = std::to_string(shots) + "-shot, " + std::to_string(counts.acc.size()) + " items of " +
              counted(std::ssize(by_subject), "subject") + " of mmlu test" + counts_text(counts);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  out.json["seconds"] = out.seconds;
  out.json["protocol"] = "lm-eval-0.4";
  out.json["data"] = "mmlu test";
  return out;
}

}  // namespace

Task mmlu() {
  Task task{.summary = "acc on MMLU, test: 57 subjects, four groups", .run = run};
  task.files = [](const std::string& part) {
    std::vector<std::string> files;
    for (const Group& group : groups_of(part))
      for (const std::string& subject : group.subjects) {
        files.push_back(test_file(subject));
        files.push_back(dev_file(subject));
      }
    return files;
  };
  task.check = [](const Context& context, const std::string& data_dir, const std::string& part) {
    for (const Group& group : groups_of(part))
      for (const std::string& subject : group.subjects) {
        read(context, data_dir, test_file(subject), subject);
        read(context, data_dir, dev_file(subject), subject);
      }
  };
  for (const Group& group : groups()) {
    task.parts.push_back(group.name);
    task.parts.insert(task.parts.end(), group.subjects.begin(), group.subjects.end());
  }
  task.of_items = true;
  task.compared = "acc";
  task.work = [](const TaskInput& input) {
    std::vector<StageWork> out;
    for (const Group& group : groups_of(input.part))
      for (const std::string& subject : group.subjects)
        out.push_back(choice_work(input, run_of(input, subject)));
    return out;
  };
  return task;
}

}  // namespace halftone::eval
