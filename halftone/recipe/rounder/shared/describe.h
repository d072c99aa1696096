// The lean half of an entry out of its options struct.
#pragma once

#include <string>

#include "halftone/base/fields.h"
#include "halftone/recipe/rounder.h"

namespace halftone::rounder {

// Options that were resolved before, or written by a test.
template <class Options>
Options read_options(const Json& json, const std::string& name) {
  Options options = read_fields<Options>(json, "rounder " + name);
  validate(options, "rounder " + name);  // InputError naming the option
  return options;
}

template <class Options>
Entry describe(const std::string& name) {
  Entry entry;
  entry.options = describe_fields<Options>();
  entry.resolve = [name](const Json& json) {
    return write_fields(read_options<Options>(json, name));
  };
  entry.clash = [](const format::Format&, const Json&) { return std::string(); };
  return entry;
}

}  // namespace halftone::rounder
