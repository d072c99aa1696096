// WinoGrande XL, validation: whom a pronoun means. Sakaguchi et al. 2019, arXiv:1907.10641.
// Partial evaluation (Trinh, Le 2018): the sentence up to the gap with each option is a context,
// and the rest of the sentence is scored behind each.
#include "halftone/base/error.h"
#include "halftone/eval/choice_task.h"
#include "halftone/eval/items.h"
#include "halftone/eval/python_text.h"

namespace halftone::eval {
namespace {

Items read(const Context& context, std::span<const std::string> paths) {
  files::Documents documents = files::read_jsonl(*context.env, paths[0], context.limits);
  Items items{.blank_lines = documents.blank_lines};
  for (files::Document& row : documents.rows) {
    const std::string sentence = row.text("sentence");
    const size_t gap = sentence.find('_');
    if (gap == std::string::npos)
      throw FileError(Code::value, row.where, "the sentence has no gap \"_\"", {},
                      "mend or remove the line");
    const std::string before = sentence.substr(0, gap);
    Item item{.where = row.where,
              .choices = {before + row.text("option1"), before + row.text("option2")},
              .gold = row.number("answer") - 1,
              .ending = std::string(strip(sentence.substr(gap + 1)))};
    item.doc = std::move(row.fields);
    items.all.push_back(std::move(item));
  }
  return items;
}

}  // namespace

Task winogrande() {
  return choice_task({.name = "winogrande",
                      .summary = "acc on WinoGrande XL, validation (partial evaluation)",
                      .data = {.splits = {{files::Split::validation, {"winogrande/dev.jsonl"}},
                                          {files::Split::train, {"winogrande/train_xl.jsonl"}}},
                               .read = read},
                      .normed = false});
}

}  // namespace halftone::eval
