// Tables of parts. `collect_entries()` in cmake/ lists a slot folder and generates
// `std::span<const Named<T>> entries()`, sorted by name; the file name is the name that users type.
// Programs that embed the library add their own through `Table::add`.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "halftone/base/error.h"

namespace halftone {

template <class T>
struct Named {
  std::string name;
  T entry;
};

template <class T>
class Table {
 public:
  Table(std::string kind, std::span<const Named<T>> generated)
      : kind_(std::move(kind)), rows_(generated.begin(), generated.end()) {}
  void add(Named<T> row) { rows_.push_back(std::move(row)); }
  std::span<const Named<T>> rows() const { return rows_; }
  const T* find(std::string_view name) const {
    for (const auto& row : rows_)
      if (row.name == name) return &row.entry;
    return nullptr;
  }
  // Throws InputError that names the nearest entry, or all of them.
  const T& at(std::string_view name) const {
    if (const T* entry = find(name)) return *entry;
    std::vector<std::string> names;
    for (const auto& row : rows_) names.push_back(row.name);
    throw InputError(kind_, "unknown " + kind_ + " " + quote(name),
                     names.empty() ? "none is built in yet" : did_you_mean(name, names));
  }

 private:
  std::string kind_;
  std::vector<Named<T>> rows_;
};

}  // namespace halftone
