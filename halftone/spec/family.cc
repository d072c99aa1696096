#include "halftone/spec/family.h"

#include <algorithm>

#include "halftone/files/model_config.h"

namespace halftone::spec {
namespace {

bool holds(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

const Named<Family>& family_for(const Json& json, const std::string& path) {
  const files::ConfigReader config(json, path);
  std::string asked;
  if (config.has("architectures")) {
    const Json& list = json.at("architectures");
    if (!list.is_array() || list.size() != 1 || !list[0].is_string())
      config.fail(Code::type, "architectures",
                  "is " + quote(list.dump()) + ", wanted a list of one name");
    asked = list[0].get<std::string>();
    for (const auto& row : entries())
      if (holds(row.entry.architectures, asked)) return row;
  } else {
    asked = config.text("model_type");
    for (const auto& row : entries())
      if (holds(row.entry.model_types, asked)) return row;
  }
  std::vector<std::string> known;
  for (const auto& row : entries())
    known.insert(known.end(), row.entry.architectures.begin(), row.entry.architectures.end());
  throw UnsupportedError(path, "architecture " + quote(asked) + " is not known",
                         "known: " + listed(known));
}

}  // namespace halftone::spec
