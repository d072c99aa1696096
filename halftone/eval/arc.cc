#include "halftone/eval/arc.h"

#include <algorithm>

#include "halftone/base/error.h"
#include "halftone/eval/choice_task.h"
#include "halftone/eval/items.h"

namespace halftone::eval {
namespace {

Item item_of(files::Document row) {
  Item item{.where = row.where};
  std::vector<std::string> labels;
  if (row.at("question").is_object()) {
    const files::Document question{row.at("question"), row.where};
    item.question = question.text("stem");
    if (!question.at("choices").is_array())
      throw FileError(Code::type, row.where, "field \"choices\" is not a list", {},
                      "mend or remove the line");
    for (const Json& entry : question.at("choices")) {
      const files::Document choice{entry.is_object() ? entry : Json::object(), row.where};
      item.choices.push_back(choice.text("text"));
      labels.push_back(choice.text("label"));
    }
  } else {
    item.question = row.text("question");
    const files::Document choices{row.at("choices"), row.where};
    item.choices = choices.texts("text");
    labels = choices.texts("label");
  }
  const std::string key = row.text("answerKey");
  const auto found = std::find(labels.begin(), labels.end(), key);
  if (found == labels.end() || labels.size() != item.choices.size())
    throw FileError(Code::value, row.where,
                    "the right answer " + quote(key) + " is none of the choices " +
                        listed(labels, [](const std::string& l) { return quote(l, 20); }),
                    {}, "mend or remove the line");
  item.gold = found - labels.begin();
  item.question = "Question: " + item.question + "\nAnswer:";
  item.doc = std::move(row.fields);
  return item;
}

Items read(const Context& context, std::span<const std::string> paths) {
  files::Documents documents = files::read_jsonl(*context.env, paths[0], context.limits);
  Items items{.blank_lines = documents.blank_lines};
  for (files::Document& row : documents.rows) items.all.push_back(item_of(std::move(row)));
  return items;
}

}  // namespace

Task arc(const std::string& name, const std::string& set, const std::string& compared) {
  const std::string before = "arc/" + set;
  return choice_task({.name = name,
                      .summary = "acc, acc_norm on " + set + ", test",
                      .data = {.splits = {{files::Split::test, {before + "-Test.jsonl"}},
                                          {files::Split::validation, {before + "-Dev.jsonl"}},
                                          {files::Split::train, {before + "-Train.jsonl"}}},
                               .evaluated = files::Split::test,
                               .read = read},
                      .compared = compared});
}

}  // namespace halftone::eval
