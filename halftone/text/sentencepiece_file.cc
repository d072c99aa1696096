// The protobuf side of sentencepiece.h: a bounded reader of the few fields that matter. Unknown
// fields are skipped by their wire type, as the format asks; groups (deprecated) are refused.
#include <cmath>
#include <cstring>

#include "halftone/base/bytes.h"
#include "halftone/base/error.h"
#include "halftone/text/sentencepiece.h"

namespace halftone::text {
namespace {

struct Field {
  uint32_t number = 0;
  uint32_t wire = 0;
  uint64_t value = 0;                     // wire 0, 1, 5
  std::span<const std::byte> bytes = {};  // wire 2
};

class Message {
 public:
  Message(std::span<const std::byte> data, const std::string& path, uint64_t base)
      : reader_(data, path, base) {}

  bool next(Field& out) {
    if (reader_.left() == 0) return false;
    const uint64_t key = varint();
    out.number = narrow<uint32_t>(key >> 3, "protobuf field number");
    out.wire = static_cast<uint32_t>(key & 7);
    switch (out.wire) {
      case 0:
        out.value = varint();
        break;
      case 1:
        out.value = reader_.u64();
        break;
      case 2:
        out.bytes = reader_.bytes(varint());
        break;
      case 5:
        out.value = reader_.u32();
        break;
      default:
        reader_.fail(Code::value,
                     "protobuf wire type " + std::to_string(out.wire) + " is not known");
    }
    return true;
  }
  uint64_t offset() const { return reader_.offset(); }
  [[noreturn]] void fail(Code code, std::string fact) const { reader_.fail(code, std::move(fact)); }

 private:
  uint64_t varint() {
    uint64_t out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t b = reader_.u8();
      out |= static_cast<uint64_t>(b & 0x7F) << shift;
      if (b < 0x80) return out;
    }
    reader_.fail(Code::value, "a protobuf number has more than ten bytes");
  }
  ByteReader reader_;
};

std::string text_of(const Field& f, const Message& m, uint64_t max, const char* what) {
  if (f.wire != 2) m.fail(Code::type, std::string(what) + " is not text");
  if (f.bytes.size() > max)
    m.fail(Code::limit, std::string(what) + " is longer than " + std::to_string(max) + " bytes");
  return {reinterpret_cast<const char*>(f.bytes.data()), f.bytes.size()};
}

bool flag_of(const Field& f, const Message& m, const char* what) {
  if (f.wire != 0) m.fail(Code::type, std::string(what) + " is not true or false");
  return f.value != 0;
}

Piece read_piece(const Field& field, const Message& outer, const std::string& path,
                 const Limits& limits) {
  Message m(field.bytes, path, outer.offset() - field.bytes.size());
  Piece out;
  for (Field f; m.next(f);) {
    if (f.number == 1) {
      out.text = text_of(f, m, limits.token_bytes, "a piece");
      if (!valid_utf8(out.text)) m.fail(Code::utf8, "a piece is not UTF-8");
    } else if (f.number == 2) {
      if (f.wire != 5) m.fail(Code::type, "a score is not a float");
      const auto bits = static_cast<uint32_t>(f.value);
      std::memcpy(&out.score, &bits, sizeof bits);
      if (!std::isfinite(out.score)) m.fail(Code::nonfinite, "a score is not finite");
    } else if (f.number == 3) {
      if (f.wire != 0 || f.value < 1 || f.value > 6)
        m.fail(Code::value, "a piece type is not known");
      out.type = static_cast<PieceType>(f.value);
    }
  }
  if (out.text.empty()) m.fail(Code::value, "a piece is empty");
  return out;
}

void read_trainer(const Field& field, const Message& outer, const std::string& path,
                  SentencePieceModel& out) {
  Message m(field.bytes, path, outer.offset() - field.bytes.size());
  const auto id = [&](const Field& f) {
    if (f.wire != 0) m.fail(Code::type, "a token id is not a number");
    return static_cast<int32_t>(
        static_cast<uint32_t>(f.value));  // negative ids are sign-extended: -1 means none
  };
  for (Field f; m.next(f);) {
    switch (f.number) {
      case 3:
        if (f.wire != 0 || (f.value != 1 && f.value != 2))
          throw UnsupportedError(
              path,
              "SentencePiece model type " + std::to_string(f.value) + " is neither unigram nor BPE",
              "use a model with tokenizer.json");
        out.kind = static_cast<SentencePieceModel::Kind>(f.value);
        break;
      case 24:
        if (flag_of(f, m, "treat_whitespace_as_suffix"))
          throw UnsupportedError(path, "whitespace as a suffix is not supported",
                                 "use a model with tokenizer.json");
        break;
      case 35:
        out.byte_fallback = flag_of(f, m, "byte_fallback");
        break;
      case 40:
        out.unk = id(f);
        break;
      case 41:
        out.bos = id(f);
        break;
      case 42:
        out.eos = id(f);
        break;
      case 43:
        out.pad = id(f);
        break;
      default:
        break;
    }
  }
}

void read_normalizer(const Field& field, const Message& outer, const std::string& path,
                     const Limits& limits, SentencePieceModel& out) {
  Message m(field.bytes, path, outer.offset() - field.bytes.size());
  for (Field f; m.next(f);) {
    switch (f.number) {
      case 2:
        out.charsmap = text_of(f, m, limits.string_bytes, "the character map");
        break;
      case 3:
        out.add_dummy_prefix = flag_of(f, m, "add_dummy_prefix");
        break;
      case 4:
        out.remove_extra_whitespaces = flag_of(f, m, "remove_extra_whitespaces");
        break;
      case 5:
        out.escape_whitespaces = flag_of(f, m, "escape_whitespaces");
        break;
      default:
        break;
    }
  }
}

}  // namespace

SentencePieceModel read_sentencepiece(std::span<const std::byte> file, const std::string& path,
                                      const Limits& limits) {
  SentencePieceModel out;
  Message m(file, path, 0);
  for (Field f; m.next(f);) {
    if (f.number >= 1 && f.number <= 3 && f.wire != 2)
      m.fail(Code::type, "not a SentencePiece model");
    if (f.number == 1) {
      if (out.pieces.size() >= limits.vocabulary)
        m.fail(Code::limit, "more than " + std::to_string(limits.vocabulary) + " pieces");
      out.pieces.push_back(read_piece(f, m, path, limits));
    } else if (f.number == 2) {
      read_trainer(f, m, path, out);
    } else if (f.number == 3) {
      read_normalizer(f, m, path, limits, out);
    }
  }
  if (out.pieces.empty()) m.fail(Code::value, "a SentencePiece model without pieces");
  return out;
}

}  // namespace halftone::text
