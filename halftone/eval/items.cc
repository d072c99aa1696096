#include "halftone/eval/items.h"

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/eval/python_text.h"

namespace halftone::eval {

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

}  // namespace halftone::eval
