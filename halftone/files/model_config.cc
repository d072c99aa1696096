#include "halftone/files/model_config.h"

#include <cmath>

namespace halftone::files {
namespace {
const Json kEmptyObject = Json::object();

std::string shortest(double x) { return Json(x).dump(); }
}  // namespace

ConfigReader::ConfigReader(const Json& json, const std::string& path) : json_(json), path_(path) {
  if (!json.is_object()) throw FileError(Code::type, path, "is not a JSON object");
}

void ConfigReader::fail(Code code, std::string_view key, const std::string& fact) const {
  throw FileError(code, path_, std::string(key) + " " + fact);
}

const Json* ConfigReader::value(std::string_view key, bool required) const {
  const auto it = json_.find(std::string(key));
  if (it != json_.end() && !it->is_null()) return &*it;
  if (required) fail(Code::missing, key, "is missing");
  return nullptr;
}

bool ConfigReader::has(std::string_view key) const { return value(key, false) != nullptr; }

int64_t ConfigReader::integer(std::string_view key, int64_t low, int64_t high,
                              std::optional<int64_t> absent) const {
  const Json* v = value(key, !absent);
  if (v == nullptr) return *absent;
  if (!v->is_number_integer())
    fail(Code::type, key, "is " + quote(v->dump()) + ", wanted a whole number");
  const bool too_large =
      v->is_number_unsigned() && v->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  if (too_large || v->get<int64_t>() < low || v->get<int64_t>() > high)
    fail(Code::value, key,
         "is " + v->dump() + ", wanted " + std::to_string(low) + " to " + std::to_string(high));
  return v->get<int64_t>();
}

double ConfigReader::number(std::string_view key, double low, double high,
                            std::optional<double> absent) const {
  const Json* v = value(key, !absent);
  if (v == nullptr) return *absent;
  if (!v->is_number()) fail(Code::type, key, "is " + quote(v->dump()) + ", wanted a number");
  const double x = v->get<double>();
  if (!(x > low && x <= high))
    fail(Code::value, key,
         "is " + v->dump() + ", wanted more than " + shortest(low) + " and at most " +
             shortest(high));
  return x;
}

bool ConfigReader::boolean(std::string_view key, std::optional<bool> absent) const {
  const Json* v = value(key, !absent);
  if (v == nullptr) return *absent;
  if (!v->is_boolean()) fail(Code::type, key, "is " + quote(v->dump()) + ", wanted true or false");
  return v->get<bool>();
}

std::string ConfigReader::text(std::string_view key, std::optional<std::string> absent) const {
  const Json* v = value(key, !absent);
  if (v == nullptr) return *absent;
  if (!v->is_string()) fail(Code::type, key, "is " + quote(v->dump()) + ", wanted text");
  return v->get<std::string>();
}

const Json& ConfigReader::object(std::string_view key) const {
  const Json* v = value(key, false);
  if (v == nullptr) return kEmptyObject;
  if (!v->is_object()) fail(Code::type, key, "is " + quote(v->dump()) + ", wanted an object");
  return *v;
}

}  // namespace halftone::files
