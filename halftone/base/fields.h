// The field visitor: a part lists its options once, and that list serves recipe keys, help, reports
// and files.
//
//   struct Options { int64_t block = 128; double damping = 0.01; };
//   void fields(auto& visit, Options& o) {
//     visit("block", o.block, "columns updated together (B)");
//     visit("damping", o.damping, "lambda as a fraction of mean diag(H)");
//   }
//   Options o = read_fields<Options>(json, "rounder gptq");   // a third argument: other defaults
//   Json j = write_fields(o);                                 // every field, defaults resolved
//   std::vector<FieldInfo> help = describe_fields<Options>();
//
// An unknown key is an InputError with the nearest name. `fields` must be visible by
// argument-dependent look-up (same namespace as the options).
// Field types: bool, int64_t, double, std::string.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "halftone/base/error.h"
#include "halftone/base/json.h"

namespace halftone {

struct FieldInfo {
  std::string name, type, default_value, help;
};

namespace field_detail {
template <class T>
std::string_view type_name() {
  if constexpr (std::is_same_v<T, bool>)
    return "true or false";
  else if constexpr (std::is_same_v<T, int64_t>)
    return "whole number";
  else if constexpr (std::is_same_v<T, double>)
    return "number";
  else
    return "text";
}

struct Reader {
  const Json& in;
  const std::string& subject;
  std::vector<std::string> known;
  template <class T>
  void operator()(std::string_view name, T& value, std::string_view) {
    known.emplace_back(name);
    const auto it = in.find(std::string(name));
    if (it == in.end()) return;
    const bool fits = std::is_same_v<T, bool>      ? it->is_boolean()
                      : std::is_same_v<T, int64_t> ? it->is_number_integer()
                      : std::is_same_v<T, double>  ? it->is_number()
                                                   : it->is_string();
    if (!fits)
      throw InputError(subject, std::string(name) + " is " + quote(it->dump()) + ", wanted " +
                                    (std::is_same_v<T, bool> ? "" : "a ") +
                                    std::string(type_name<T>()));
    value = it->template get<T>();
  }
};
struct Writer {
  Json out = Json::object();
  template <class T>
  void operator()(std::string_view name, T& value, std::string_view) {
    out[std::string(name)] = value;
  }
};
struct Describer {
  std::vector<FieldInfo> out;
  template <class T>
  void operator()(std::string_view name, T& value, std::string_view help) {
    out.push_back(
        {std::string(name), std::string(type_name<T>()), Json(value).dump(), std::string(help)});
  }
};
}  // namespace field_detail

template <class Options>
Options read_fields(const Json& in, const std::string& subject, Options options = {}) {
  if (in.is_null()) return options;
  if (!in.is_object()) throw InputError(subject, "wanted a map of options");
  field_detail::Reader reader{in, subject, {}};
  fields(reader, options);
  for (const auto& [key, value] : in.items()) {
    if (std::find(reader.known.begin(), reader.known.end(), key) != reader.known.end()) continue;
    throw InputError(
        subject, "unknown key " + quote(key),
        reader.known.empty() ? "it takes no options" : did_you_mean(key, reader.known));
  }
  return options;
}

template <class Options>
Json write_fields(Options options) {
  field_detail::Writer writer;
  fields(writer, options);
  return writer.out;
}

template <class Options>
std::vector<FieldInfo> describe_fields() {
  field_detail::Describer describer;
  Options options;
  fields(describer, options);
  return describer.out;
}

}  // namespace halftone
