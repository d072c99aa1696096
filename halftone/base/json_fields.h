// Rows of figures as the commands print them and the reports read them. A member that is missing or
// null was not measured.
#pragma once

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "halftone/base/json.h"

namespace halftone {

// A member that is there and not null; nullptr where there is none, and of what is no object.
inline const Json* at(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}
inline bool has_number(const Json& row, const char* key) {
  const Json* value = at(row, key);
  return value != nullptr && value->is_number();
}
// 0 where there is none.
inline double number(const Json& row, const char* key) {
  return has_number(row, key) ? row.at(key).get<double>() : 0;
}
// NaN where there is none.
inline std::vector<double> numbers(const Json& rows, const char* key) {
  std::vector<double> out;
  for (const Json& row : rows)
    out.push_back(has_number(row, key) ? number(row, key)
                                       : std::numeric_limits<double>::quiet_NaN());
  return out;
}
// Places of the rows in which `key` is a number, the largest first.
inline std::vector<size_t> largest(const Json& rows, const Json::json_pointer& key) {
  std::vector<size_t> out;
  for (size_t i = 0; i < rows.size(); ++i)
    if (rows[i].contains(key) && rows[i].at(key).is_number()) out.push_back(i);
  std::stable_sort(out.begin(), out.end(), [&](size_t a, size_t b) {
    return rows[a].at(key).get<double>() > rows[b].at(key).get<double>();
  });
  return out;
}

}  // namespace halftone
