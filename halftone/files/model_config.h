// Reading config.json: typed, ranged, one clear line per mistake. `auto_map` is never run.
//
//   const files::ConfigReader config(json, "model/config.json");
//   int64_t heads = config.integer("num_attention_heads", 1, 65536);
//   double eps = config.number("rms_norm_eps", 0, 1, 1e-6);   // (low, high], default if absent
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "halftone/base/error.h"
#include "halftone/base/json.h"

namespace halftone::files {

class ConfigReader {
 public:
  // `json` and `path` must outlive the reader. E_TYPE when json is not an object.
  ConfigReader(const Json& json, const std::string& path);

  bool has(std::string_view key) const;  // present and not null
  // Whole number in [low, high]; without `absent` the key is required (E_MISSING). 32.5, "32",
  // true, 2^63: E_TYPE / E_VALUE.
  int64_t integer(std::string_view key, int64_t low, int64_t high,
                  std::optional<int64_t> absent = {}) const;
  // Finite number in (low, high].
  double number(std::string_view key, double low, double high,
                std::optional<double> absent = {}) const;
  bool boolean(std::string_view key, std::optional<bool> absent = {}) const;
  std::string text(std::string_view key, std::optional<std::string> absent = {}) const;
  // The object under `key`; an empty reader's json (object) when absent or null.
  const Json& object(std::string_view key) const;

  const Json& json() const { return json_; }
  const std::string& path() const { return path_; }
  [[noreturn]] void fail(Code code, std::string_view key, const std::string& fact) const;

 private:
  const Json* value(std::string_view key, bool required) const;
  const Json& json_;
  const std::string& path_;
};

}  // namespace halftone::files
