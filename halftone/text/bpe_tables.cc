#include "halftone/text/bpe_tables.h"

#include <algorithm>

#include "halftone/base/bytes.h"

namespace halftone::text {
namespace {

// Thrown where the text is not what this reader knows; never leaves this file.
struct Odd {};

class Reader {
 public:
  Reader(std::string_view json, const Limits& limits)
      : begin_(json.data()), at_(begin_), end_(at_ + json.size()), limits_(limits) {}

  BpeTables run() {
    BpeTables out;
    Range vocab, merges;
    members([&](std::string_view key) {
      if (key != "model") return skip(1);
      if (vocab.from != nullptr || merges.from != nullptr) throw Odd();
      members([&](std::string_view name) {
        space();
        Range* range = name == "vocab" ? &vocab : name == "merges" ? &merges : nullptr;
        if (range != nullptr && range->from != nullptr) throw Odd();
        if (range != nullptr) range->from = at_;
        skip(2);
        if (range != nullptr) range->to = at_;
      });
    });
    space();
    if (at_ != end_ || vocab.from == nullptr || merges.from == nullptr) throw Odd();
    read_vocabulary(vocab, out.tokens);
    read_merges(merges, out.tokens, out.merges);
    Range first = vocab, second = merges;
    const bool swapped = merges.from < vocab.from;
    if (swapped) std::swap(first, second);
    out.rest.assign(begin_, first.from);
    out.rest += swapped ? "[]" : "{}";
    out.rest.append(first.to, second.from);
    out.rest += swapped ? "{}" : "[]";
    out.rest.append(second.to, end_);
    return out;
  }

 private:
  struct Range {
    const char* from = nullptr;
    const char* to = nullptr;
  };

  void space() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
  }
  char next() {
    space();
    if (at_ == end_) throw Odd();
    return *at_;
  }
  void take(char c) {
    if (next() != c) throw Odd();
    ++at_;
  }

  // The contents of a string, as written; `plain` when it has no escapes.
  std::string_view raw(bool& plain) {
    take('"');
    const char* from = at_;
    plain = true;
    for (; at_ != end_; ++at_) {
      if (*at_ == '"') return {from, static_cast<size_t>(at_++ - from)};
      if (static_cast<unsigned char>(*at_) < 0x20) throw Odd();
      if (*at_ == '\\') {
        plain = false;
        if (++at_ == end_) throw Odd();
      }
    }
    throw Odd();
  }

  // The value of a string: a view of the file, or of `room`.
  std::string_view string(std::string& room) {
    bool plain = true;
    const std::string_view s = raw(plain);
    if (plain) return s;
    room.clear();
    for (size_t i = 0; i < s.size(); ++i) {
      if (s[i] != '\\') {
        room += s[i];
        continue;
      }
      constexpr std::string_view kEscapes = "\"\\/bfnrt", kMeant = "\"\\/\b\f\n\r\t";
      const char c = s[++i];
      if (const size_t k = kEscapes.find(c); k != kEscapes.npos) {
        room += kMeant[k];
      } else if (c == 'u' && s.size() - i > 4) {
        append_unit(s.substr(i + 1, 4), room);
        i += 4;
      } else {
        throw Odd();
      }
    }
    return room;
  }

  static void append_unit(std::string_view hex, std::string& out) {
    uint32_t u = 0;
    for (const char c : hex) {
      const uint32_t digit = c >= '0' && c <= '9'   ? static_cast<uint32_t>(c - '0')
                             : c >= 'a' && c <= 'f' ? static_cast<uint32_t>(c - 'a' + 10)
                             : c >= 'A' && c <= 'F' ? static_cast<uint32_t>(c - 'A' + 10)
                                                    : throw Odd();
      u = u << 4 | digit;
    }
    if (u >= 0xD800 && u < 0xE000) throw Odd();  // halves of a pair: rare enough for the long way
    if (u < 0x80) {
      out += static_cast<char>(u);
    } else if (u < 0x800) {
      out += static_cast<char>(0xC0 | u >> 6);
      out += static_cast<char>(0x80 | (u & 0x3F));
    } else {
      out += static_cast<char>(0xE0 | u >> 12);
      out += static_cast<char>(0x80 | (u >> 6 & 0x3F));
      out += static_cast<char>(0x80 | (u & 0x3F));
    }
  }

  // Calls `member` at the value of each key of the object that begins here. A key with escapes is
  // none that is looked for: whether it stands for one, parse_json finds out when it reads the rest.
  template <class Member>
  void members(const Member& member) {
    take('{');
    if (next() == '}') {
      ++at_;
      return;
    }
    while (true) {
      space();
      bool plain = true;
      const std::string_view key = raw(plain);
      take(':');
      member(key);
      if (next() == '}') break;
      take(',');
    }
    ++at_;
  }

  // Over a value, as far as strings and brackets tell where it ends; the rest is parsed properly
  // afterwards, the members that are not are read below.
  void skip(uint64_t depth) {
    if (depth > limits_.json_depth) throw Odd();
    const char c = next();
    bool plain = true;
    if (c == '"') {
      raw(plain);
    } else if (c == '{') {
      members([&](std::string_view) { skip(depth + 1); });
    } else if (c == '[') {
      ++at_;
      if (next() == ']') {
        ++at_;
        return;
      }
      while (true) {
        skip(depth + 1);
        if (next() == ']') break;
        take(',');
      }
      ++at_;
    } else {
      const char* from = at_;
      while (at_ != end_ && *at_ != ',' && *at_ != '}' && *at_ != ']' && *at_ > ' ') ++at_;
      if (at_ == from) throw Odd();
    }
  }

  int32_t number() {
    next();
    const char* from = at_;
    int32_t n = 0;
    for (; at_ != end_ && *at_ >= '0' && *at_ <= '9'; ++at_) {
      n = n * 10 + (*at_ - '0');
      if (at_ - from > 7) throw Odd();
    }
    if (at_ == from || (*from == '0' && at_ - from > 1)) throw Odd();
    if (static_cast<uint64_t>(n) >= limits_.vocabulary) throw Odd();
    return n;
  }

  void read_vocabulary(const Range& range, TokenTable& out) {
    at_ = range.from;
    // A token and its id take some 20 bytes of text.
    const auto bytes = static_cast<size_t>(range.to - range.from);
    out.reserve(std::min<size_t>(bytes / 20, limits_.vocabulary), bytes / 2);
    std::string room;
    int64_t count = 0;
    take('{');
    while (true) {
      next();
      const std::string_view token = string(room);
      take(':');
      const int32_t id = number();
      if (token.empty() || token.size() > limits_.token_bytes || !out[id].empty() ||
          !out.add(id, token))
        throw Odd();
      ++count;
      if (next() == '}') break;
      take(',');
    }
    if (out.size() > 8 * count + 65536) throw Odd();
  }

  void read_merges(const Range& range, const TokenTable& tokens, std::vector<uint32_t>& out) {
    at_ = range.from;
    take('[');
    if (next() == ']') return;
    out.reserve(3 * static_cast<size_t>(tokens.used()));
    std::string room_a, room_b, both;
    uint64_t count = 0;
    const auto id = [&](std::string_view token) {
      const auto found = tokens.find(token);
      if (!found) throw Odd();
      out.push_back(static_cast<uint32_t>(*found));
    };
    const bool lines = next() == '"';  // all of one kind, or the crate refuses the file
    while (true) {
      std::string_view a, b;
      if (lines) {
        next();
        const std::string_view line = string(room_a);
        const size_t gap = line.find(' ');
        if (gap == line.npos || line.find(' ', gap + 1) != line.npos ||
            line.starts_with("#version"))
          throw Odd();
        a = line.substr(0, gap);
        b = line.substr(gap + 1);
      } else {
        take('[');
        next();
        a = string(room_a);
        take(',');
        next();
        b = string(room_b);
        take(']');
      }
      id(a);
      id(b);
      both.assign(a);
      both += b;
      id(both);
      if (++count > limits_.array_elements) throw Odd();
      if (next() == ']') break;
      take(',');
    }
  }

  const char* begin_;
  const char* at_;
  const char* end_;
  const Limits& limits_;
};

}  // namespace

std::optional<BpeTables> read_bpe_tables(std::string_view json, const Limits& limits) {
  if (json.size() > limits.json_file_bytes || json.size() > UINT32_MAX || !valid_utf8(json))
    return {};
  try {
    return Reader(json, limits).run();
  } catch (const Odd&) {
    return {};
  }
}

}  // namespace halftone::text
