#include "halftone/base/json_shape.h"

#include "halftone/base/error.h"

namespace halftone {
namespace {

class Walk {
 public:
  Walk(const std::string& path, const std::string& remedy) : path_(path), remedy_(remedy) {}

  void check(const Json& value, const Json& shape, const std::string& key) const {
    switch (shape.type()) {
      case Json::value_t::object:
        wants(value.is_object(), key, "an object");
        for (const auto& [name, inner] : shape.items()) member(value, name, inner, key);
        break;
      case Json::value_t::array:
        wants(value.is_array() && (shape.size() == 1 || shape.size() == value.size()), key,
              shape.size() == 1 ? "a list" : "a list of " + std::to_string(shape.size()));
        for (size_t i = 0; i < value.size(); ++i)
          check(value.at(i), shape.at(shape.size() == 1 ? 0 : i), key + "/" + std::to_string(i));
        break;
      case Json::value_t::string:
        wants(value.is_string(), key, "a string");
        break;
      case Json::value_t::boolean:
        wants(value.is_boolean(), key, "true or false");
        break;
      case Json::value_t::number_float:
        wants(value.is_number(), key, "a number");
        break;
      default:
        wants(value.is_number_integer(), key, "an integer");
    }
  }

 private:
  void member(const Json& value, std::string name, const Json& shape,
              const std::string& key) const {
    const bool optional = name.ends_with('?');
    if (optional) name.pop_back();
    const auto found = value.find(name);
    if (optional && (found == value.end() || found->is_null())) return;
    const std::string inner = key.empty() ? name : key + "/" + name;
    if (found == value.end())
      throw FileError(Code::value, path_, "key " + quote(inner) + " is missing", {}, remedy_);
    check(*found, shape, inner);
  }
  void wants(bool right, const std::string& key, const std::string& what) const {
    if (!right)
      throw FileError(Code::value, path_,
                      (key.empty() ? "it is not " : "key " + quote(key) + " is not ") + what, {},
                      remedy_);
  }
  const std::string &path_, &remedy_;
};

}  // namespace

void check_shape(const Json& document, const Json& shape, const std::string& path,
                 const std::string& remedy) {
  Walk(path, remedy).check(document, shape, "");
}

}  // namespace halftone
