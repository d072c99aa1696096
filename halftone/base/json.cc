#include "halftone/base/json.h"

#include <unordered_set>

#include "halftone/base/bytes.h"
#include "halftone/base/error.h"

template class nlohmann::basic_json<nlohmann::ordered_map>;

namespace halftone {
namespace {

// Builds the value while counting depth and watching for repeated keys.
class StrictSax : public nlohmann::json_sax<Json> {
 public:
  StrictSax(const std::string& path, const Limits& limits) : path_(path), limits_(limits) {}
  Json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool v) override { return put(v); }
  bool number_integer(number_integer_t v) override { return put(v); }
  bool number_unsigned(number_unsigned_t v) override { return put(v); }
  bool number_float(number_float_t v, const string_t&) override { return put(v); }
  bool string(string_t& v) override { return put(std::move(v)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override {
    open(Json::object());
    keys_.emplace_back();
    return true;
  }
  bool end_object() override {
    keys_.pop_back();
    stack_.pop_back();
    return true;
  }
  bool start_array(std::size_t) override {
    open(Json::array());
    return true;
  }
  bool end_array() override {
    stack_.pop_back();
    return true;
  }
  bool key(string_t& v) override {
    if (!keys_.back().insert(v).second)
      throw FileError(Code::duplicate, path_, "key " + quote(v) + " appears twice");
    key_ = std::move(v);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& e) override {
    std::string why = e.what();
    if (const auto at = why.find(": "); at != std::string::npos) why = why.substr(at + 2);
    throw FileError(Code::json, path_, "not valid JSON: " + quote(why), position);
  }

 private:
  template <class T>
  bool put(T&& v) {
    place(Json(std::forward<T>(v)));
    return true;
  }
  Json* place(Json v) {
    if (stack_.empty()) {
      root_ = std::move(v);
      return &root_;
    }
    Json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(v));
      return &parent.back();
    }
    // The key is known to be new, so append without ordered_json's linear search (a vocabulary has
    // 10^5 keys).
    auto& object = parent.get_ref<Json::object_t&>();
    object.push_back(typename Json::object_t::value_type(std::move(key_), std::move(v)));
    return &object.back().second;
  }
  void open(Json v) {
    if (stack_.size() >= limits_.json_depth)
      throw FileError(Code::depth, path_,
                      "JSON nested deeper than " + std::to_string(limits_.json_depth));
    stack_.push_back(place(std::move(v)));
  }
  const std::string& path_;
  const Limits& limits_;
  Json root_;
  std::vector<Json*> stack_;
  std::vector<std::unordered_set<std::string>> keys_;
  std::string key_;
};

nlohmann::json sorted(const Json& value) {
  if (value.is_object()) {
    nlohmann::json out = nlohmann::json::object();
    for (const auto& [key, item] : value.items()) out[key] = sorted(item);
    return out;
  }
  if (value.is_array()) {
    nlohmann::json out = nlohmann::json::array();
    for (const auto& item : value) out.push_back(sorted(item));
    return out;
  }
  return nlohmann::json(value);
}

}  // namespace

Json parse_json(std::string_view text, const std::string& path, const Limits& limits) {
  if (text.size() > limits.json_file_bytes)
    throw FileError(Code::limit, path,
                    "JSON of " + std::to_string(text.size()) + " bytes, the limit is " +
                        std::to_string(limits.json_file_bytes));
  if (!valid_utf8(text)) throw FileError(Code::utf8, path, "not valid UTF-8");
  if (text.starts_with("\xEF\xBB\xBF"))
    throw FileError(Code::json, path, "starts with a byte order mark");
  StrictSax sax(path, limits);
  Json::sax_parse(text, &sax);
  return sax.take();
}

std::string canonical(const Json& value) { return sorted(value).dump(); }

}  // namespace halftone
