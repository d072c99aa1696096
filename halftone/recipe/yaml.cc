#include "halftone/recipe/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <charconv>
#include <cmath>
#include <map>
#include <sstream>
#include <vector>

#include "halftone/base/bytes.h"
#include "halftone/base/error.h"

namespace halftone::recipe {
namespace {

constexpr size_t kMaxBytes = 1 << 20, kMaxDepth = 32, kMaxValues = 20'000;

Json plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null") return nullptr;
  if (text == "true") return true;
  if (text == "false") return false;
  const char *first = text.data() + (text[0] == '+' ? 1 : 0), *last = text.data() + text.size();
  int64_t whole = 0;
  if (const auto r = std::from_chars(first, last, whole); r.ec == std::errc() && r.ptr == last)
    return whole;
  // from_chars would also take "inf" and "nan"
  if (text.find_first_not_of("+-.0123456789eE") == std::string::npos) {
    double number = 0;
    if (const auto r = std::from_chars(first, last, number);
        r.ec == std::errc() && r.ptr == last && std::isfinite(number))
      return number;
  }
  return text;
}

// Builds the value from parser events, so that nothing recursive of ours runs on the input.
class Builder : public YAML::EventHandler {
 public:
  explicit Builder(const std::string& path) : path_(path) {}
  Json take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) fail(mark, "a second document");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    leaf(mark, nullptr, anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto it = anchors_.find(anchor);
    if (it == anchors_.end()) fail(mark, "an alias inside its own anchor");
    count(mark, it->second.second);
    place(mark, it->second.first, it->second.second);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (!tag.empty() && tag != "?" && tag != "!" && tag != "tag:yaml.org,2002:str")
      fail(mark, "tag " + quote(tag) + " is not supported");
    if (!valid_utf8(value)) fail(mark, "not valid UTF-8");
    if (wants_key()) {
      Frame& top = stack_.back();
      if (top.value.contains(value)) fail(mark, "key " + quote(value) + " appears twice");
      top.key = value;
      top.has_key = true;
      return;
    }
    leaf(mark, tag == "?" ? plain_scalar(value) : Json(value), anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, Json::array(), anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, Json::object(), anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    Json value;
    std::string key;
    bool has_key = false;
    YAML::anchor_t anchor = 0;
    size_t values = 1;
    YAML::Mark mark;
  };
  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& fact) const {
    throw InputError(path_, "line " + std::to_string(mark.line + 1) + ", column " +
                                std::to_string(mark.column + 1) + ": " + fact);
  }
  bool wants_key() const {
    return !stack_.empty() && stack_.back().value.is_object() && !stack_.back().has_key;
  }
  void count(const YAML::Mark& mark, size_t values) {
    total_ += values;
    if (total_ > kMaxValues) fail(mark, "more than " + std::to_string(kMaxValues) + " values");
  }
  void leaf(const YAML::Mark& mark, Json value, YAML::anchor_t anchor) {
    count(mark, 1);
    if (anchor) anchors_[anchor] = {value, 1};
    place(mark, std::move(value), 1);
  }
  void open(const YAML::Mark& mark, Json value, YAML::anchor_t anchor) {
    if (stack_.size() >= kMaxDepth) fail(mark, "nested deeper than " + std::to_string(kMaxDepth));
    if (wants_key()) fail(mark, "a list or map as a key");
    count(mark, 1);
    stack_.push_back({.value = std::move(value), .key = {}, .anchor = anchor, .mark = mark});
  }
  void close() {
    Frame done = std::move(stack_.back());
    stack_.pop_back();
    if (done.anchor) anchors_[done.anchor] = {done.value, done.values};
    place(done.mark, std::move(done.value), done.values);
  }
  void place(const YAML::Mark& mark, Json value, size_t values) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return;
    }
    Frame& top = stack_.back();
    top.values += values;
    if (top.value.is_array()) {
      top.value.push_back(std::move(value));
      return;
    }
    if (!top.has_key) fail(mark, "a key that is not text");
    top.value[top.key] = std::move(value);
    top.has_key = false;
  }

  const std::string& path_;
  Json root_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, std::pair<Json, size_t>> anchors_;
  size_t total_ = 0;
  int documents_ = 0;
};

}  // namespace

Json parse_yaml(std::string_view text, const std::string& path) {
  if (text.size() > kMaxBytes)
    throw InputError(path, "has " + std::to_string(text.size()) + " bytes, a recipe has at most " +
                               std::to_string(kMaxBytes));
  if (!valid_utf8(text)) throw InputError(path, "not valid UTF-8");
  Builder builder(path);
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& e) {
    throw InputError(path, "line " + std::to_string(e.mark.line + 1) + ", column " +
                               std::to_string(e.mark.column + 1) +
                               ": not valid YAML: " + quote(e.msg));
  }
  return builder.take();
}

}  // namespace halftone::recipe
