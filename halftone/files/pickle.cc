#include "halftone/files/pickle.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "halftone/base/bytes.h"

namespace halftone::files {
namespace {

enum class Tag : uint8_t {
  ordered_dict,
  rebuild_tensor,
  rebuild_tensor_v2,
  rebuild_tensor_v3,
  rebuild_parameter,
  size,
  device,
  storage,
  untyped_storage,
  dtype
};
struct Global {
  std::string_view name;  // module.qualname
  Tag tag;
  DType dtype = DType::u8;  // of storages and dtypes
};
constexpr std::array kGlobals = {
    Global{"collections.OrderedDict", Tag::ordered_dict},
    Global{"torch._utils._rebuild_tensor", Tag::rebuild_tensor},
    Global{"torch._utils._rebuild_tensor_v2", Tag::rebuild_tensor_v2},
    Global{"torch._utils._rebuild_tensor_v3", Tag::rebuild_tensor_v3},
    Global{"torch._utils._rebuild_parameter", Tag::rebuild_parameter},
    Global{"torch.Size", Tag::size},
    Global{"torch.device", Tag::device},
    Global{"torch.storage.UntypedStorage", Tag::untyped_storage},
    Global{"torch.FloatStorage", Tag::storage, DType::f32},
    Global{"torch.HalfStorage", Tag::storage, DType::f16},
    Global{"torch.BFloat16Storage", Tag::storage, DType::bf16},
    Global{"torch.DoubleStorage", Tag::storage, DType::f64},
    Global{"torch.LongStorage", Tag::storage, DType::i64},
    Global{"torch.IntStorage", Tag::storage, DType::i32},
    Global{"torch.ShortStorage", Tag::storage, DType::i16},
    Global{"torch.CharStorage", Tag::storage, DType::i8},
    Global{"torch.ByteStorage", Tag::storage, DType::u8},
    Global{"torch.BoolStorage", Tag::storage, DType::boolean},
    Global{"torch.float32", Tag::dtype, DType::f32},
    Global{"torch.float16", Tag::dtype, DType::f16},
    Global{"torch.bfloat16", Tag::dtype, DType::bf16},
    Global{"torch.float64", Tag::dtype, DType::f64},
    Global{"torch.int64", Tag::dtype, DType::i64},
    Global{"torch.int32", Tag::dtype, DType::i32},
    Global{"torch.int16", Tag::dtype, DType::i16},
    Global{"torch.int8", Tag::dtype, DType::i8},
    Global{"torch.uint64", Tag::dtype, DType::u64},
    Global{"torch.uint32", Tag::dtype, DType::u32},
    Global{"torch.uint16", Tag::dtype, DType::u16},
    Global{"torch.uint8", Tag::dtype, DType::u8},
    Global{"torch.bool", Tag::dtype, DType::boolean},
    Global{"torch.float8_e4m3fn", Tag::dtype, DType::f8_e4m3},
    Global{"torch.float8_e5m2", Tag::dtype, DType::f8_e5m2},
    Global{"torch.float8_e8m0fnu", Tag::dtype, DType::f8_e8m0},
};

enum class Kind : uint8_t {
  mark,
  none,
  boolean,
  integer,
  real,
  text,
  global,
  tuple,
  list,
  dict,
  ordered_dict,
  set,
  storage,
  tensor,
  device
};
constexpr std::array<std::string_view, 15> kKindNames = {
    "a mark",         "None",     "a boolean", "a whole number", "a number",
    "text",           "a global", "a tuple",   "a list",         "a dict",
    "an OrderedDict", "a set",    "a storage", "a tensor",       "a device"};
// `at` counts into the machine's table for the kind: texts_, items_, storages_, tensors_, or
// kGlobals. Dicts keep key, value, key, value.
struct Value {
  Kind kind = Kind::none;
  uint32_t at = 0;
  int64_t number = 0;
};
struct Storage {
  std::string_view key;
  DType dtype;
  bool untyped;
  uint64_t bytes;
};
using Index = uint32_t;  // into values_

class Machine {
 public:
  Machine(std::span<const std::byte> pickle, const std::string& path, const Limits& limits)
      : in_(pickle, path), path_(path), limits_(limits) {}

  StateDict run() {
    if (in_.u8() != 0x80)
      in_.fail(Code::magic, "data.pkl does not begin a pickle of protocol 2 or later");
    if (const uint8_t protocol = in_.u8(); protocol < 2 || protocol > 5)
      in_.fail(Code::version, "data.pkl is a pickle of protocol " + std::to_string(protocol) +
                                  ", halftone reads 2 to 5");
    for (uint64_t steps = 0;; ++steps) {
      if (steps >= limits_.pickle_opcodes)
        in_.fail(Code::limit,
                 "data.pkl has more than " + std::to_string(limits_.pickle_opcodes) + " opcodes");
      const uint8_t op = in_.u8();
      if (op == '.') break;
      step(op);
    }
    if (in_.left() != 0) in_.fail(Code::unsafe, "data.pkl goes on after its end");
    const Index top = pop();
    if (!stack_.empty()) in_.fail(Code::value, "data.pkl leaves values behind");
    return state_dict(top);
  }

 private:
  [[noreturn]] void type_error(std::string_view what, Kind kind) const {
    in_.fail(Code::type, "data.pkl: " + std::string(what) + " is " +
                             std::string(kKindNames[static_cast<size_t>(kind)]));
  }

  Index make(Value value) {
    values_.push_back(value);
    return static_cast<Index>(values_.size() - 1);
  }
  void push(Value value) { stack_.push_back(make(value)); }
  void push_number(Kind kind, int64_t number) { push({kind, 0, number}); }
  void push_text(std::string_view text) {
    if (!valid_utf8(text)) in_.fail(Code::utf8, "data.pkl: a string is not valid UTF-8");
    texts_.push_back(text);
    push({Kind::text, static_cast<uint32_t>(texts_.size() - 1), 0});
  }
  void push_container(Kind kind, std::vector<Index> items) {
    items_.push_back(std::move(items));
    push({kind, static_cast<uint32_t>(items_.size() - 1), 0});
  }
  // The topmost value; a mark does not count as one.
  Index pop() {
    if (stack_.empty() || values_[stack_.back()].kind == Kind::mark)
      in_.fail(Code::value, "data.pkl takes a value from an empty stack");
    const Index i = stack_.back();
    stack_.pop_back();
    return i;
  }
  Index top() const {
    if (stack_.empty() || values_[stack_.back()].kind == Kind::mark)
      in_.fail(Code::value, "data.pkl uses a value of an empty stack");
    return stack_.back();
  }
  std::vector<Index> pop_to_mark() {
    auto it = std::find_if(stack_.rbegin(), stack_.rend(),
                           [&](Index i) { return values_[i].kind == Kind::mark; });
    if (it == stack_.rend()) in_.fail(Code::value, "data.pkl has no mark where one is needed");
    std::vector<Index> out(it.base(), stack_.end());
    stack_.erase(it.base() - 1, stack_.end());
    return out;
  }
  std::vector<Index> pop_n(size_t n) {
    std::vector<Index> out(n);
    for (size_t i = n; i-- > 0;) out[i] = pop();
    return out;
  }
  const Value& value(Index i) const { return values_[i]; }
  const std::vector<Index>& items(const Value& v) const { return items_[v.at]; }
  std::string_view text(Index i, std::string_view what) const {
    if (value(i).kind != Kind::text) type_error(what, value(i).kind);
    return texts_[value(i).at];
  }
  int64_t integer(Index i, std::string_view what) const {
    if (value(i).kind != Kind::integer) type_error(what, value(i).kind);
    return value(i).number;
  }

  void step(uint8_t op) {
    switch (op) {
      case '(':
        return push({Kind::mark, 0, 0});
      case '0':  // POP: a mark counts
        if (stack_.empty()) in_.fail(Code::value, "data.pkl takes a value from an empty stack");
        stack_.pop_back();
        return;
      case '1':
        pop_to_mark();
        return;
      case 'N':
        return push({Kind::none, 0, 0});
      case 0x88:
        return push_number(Kind::boolean, 1);
      case 0x89:
        return push_number(Kind::boolean, 0);
      case 'J':
        return push_number(Kind::integer, in_.i32());
      case 'K':
        return push_number(Kind::integer, in_.u8());
      case 'M':
        return push_number(Kind::integer, in_.u16());
      case 0x8a:
        return push_number(Kind::integer, long1());
      case 'G':
        in_.skip(8);
        return push({Kind::real, 0, 0});
      case 'X':
        return push_text(in_.str(in_.u32(), limits_.string_bytes, "a string of data.pkl"));
      case 0x8c:
      case 'U':
        return push_text(in_.str(in_.u8(), 255, "a string of data.pkl"));
      case 't':
        return push_container(Kind::tuple, pop_to_mark());
      case ')':
        return push_container(Kind::tuple, {});
      case 0x85:
        return push_container(Kind::tuple, pop_n(1));
      case 0x86:
        return push_container(Kind::tuple, pop_n(2));
      case 0x87:
        return push_container(Kind::tuple, pop_n(3));
      case ']':
        return push_container(Kind::list, {});
      case '}':
        return push_container(Kind::dict, {});
      case 0x8f:
        return push_container(Kind::set, {});
      case 'a':
        return append(pop_n(1));
      case 'e':
        return append(pop_to_mark());
      case 's':
        return set_items(pop_n(2));
      case 'u':
        return set_items(pop_to_mark());
      case 'q':
        return memoize(in_.u8());
      case 'r':
        return memoize(in_.u32());
      case 0x94:
        return memoize(memo_.size());
      case 'h':
        return recall(in_.u8());
      case 'j':
        return recall(in_.u32());
      case 'c': {
        const std::string_view module = line();
        return global(std::string(module) + "." + std::string(line()));
      }
      case 0x93: {
        const auto names = pop_n(2);
        return global(std::string(text(names[0], "a module name")) + "." +
                      std::string(text(names[1], "a global's name")));
      }
      case 'Q':
        return persistent(pop());
      case 'R':
        return reduce();
      case 'b':
        return build();
      case 0x95: {
        const uint64_t frame = in_.u64();
        if (frame > in_.left())
          in_.fail(Code::truncated,
                   "data.pkl declares a frame of " + std::to_string(frame) + " bytes");
        return;
      }
      default:
        throw FileError(
            Code::unsafe, path_,
            "data.pkl uses pickle opcode " + std::to_string(op) + ", which halftone never runs",
            in_.offset() - 1, "re-save the checkpoint as safetensors");
    }
  }

  int64_t long1() {
    const auto raw = in_.bytes(in_.u8());
    if (raw.size() > 8) in_.fail(Code::overflow, "data.pkl: a whole number does not fit 64 bits");
    if (raw.empty()) return 0;
    uint64_t bits = (static_cast<uint8_t>(raw.back()) & 0x80) ? ~0ull : 0;
    for (size_t i = raw.size(); i-- > 0;) bits = bits << 8 | static_cast<uint8_t>(raw[i]);
    return static_cast<int64_t>(bits);
  }

  std::string_view line() {
    std::string_view out;
    const uint64_t start = in_.position();
    for (uint64_t n = 0; n <= limits_.name_bytes; ++n) {
      if (in_.u8() != '\n') continue;
      in_.seek(start);
      out = in_.str(n, limits_.name_bytes, "a global's name");
      in_.skip(1);
      return out;
    }
    in_.fail(Code::limit, "data.pkl: a global's name is longer than " +
                              std::to_string(limits_.name_bytes) + " bytes");
  }

  void global(const std::string& name) {
    for (size_t i = 0; i < kGlobals.size(); ++i)
      if (kGlobals[i].name == name) return push({Kind::global, static_cast<uint32_t>(i), 0});
    throw FileError(Code::unsafe, path_,
                    "data.pkl names " + quote(name) + ", which is not on halftone's list",
                    in_.offset(), "if you trust the file, re-save it as safetensors");
  }

  // Tags have their places in calls and persistent ids; as data they would be the start of
  // something else.
  void refuse_global(Index i) const {
    if (value(i).kind == Kind::global)
      in_.fail(Code::unsafe,
               "data.pkl stores " + quote(kGlobals[value(i).at].name) + " as a value");
  }
  void append(const std::vector<Index>& added) {
    const Value& target = value(top());
    if (target.kind != Kind::list) type_error("the target of APPEND", target.kind);
    for (Index i : added) refuse_global(i);
    auto& list = items_[target.at];
    list.insert(list.end(), added.begin(), added.end());
  }
  void set_items(const std::vector<Index>& added) {
    const Value& target = value(top());
    if (target.kind != Kind::dict && target.kind != Kind::ordered_dict)
      type_error("the target of SETITEM", target.kind);
    if (added.size() % 2 != 0) in_.fail(Code::value, "data.pkl: a key without a value");
    for (Index i : added) refuse_global(i);
    auto& dict = items_[target.at];
    dict.insert(dict.end(), added.begin(), added.end());
  }

  void memoize(uint64_t slot) {
    if (slot >= limits_.pickle_memo || memo_.size() >= limits_.pickle_memo)
      in_.fail(Code::limit, "data.pkl uses memo slot " + std::to_string(slot) + ", the limit is " +
                                std::to_string(limits_.pickle_memo));
    memo_[static_cast<uint32_t>(slot)] = top();
  }
  void recall(uint32_t slot) {
    const auto it = memo_.find(slot);
    if (it == memo_.end())
      in_.fail(Code::value, "data.pkl uses memo slot " + std::to_string(slot) + ", which is empty");
    stack_.push_back(it->second);
  }

  void persistent(Index id) {
    if (value(id).kind != Kind::tuple)
      in_.fail(Code::unsafe, "data.pkl: a persistent id is not a tuple");
    const auto& parts = items(value(id));
    if (parts.size() != 5 || value(parts[0]).kind != Kind::text ||
        texts_[value(parts[0]).at] != "storage")
      in_.fail(Code::unsafe, "data.pkl: a persistent id is not that of a storage");
    const Value& type = value(parts[1]);
    if (type.kind != Kind::global) type_error("a storage's type", type.kind);
    const Global& tag = kGlobals[type.at];
    if (tag.tag != Tag::storage && tag.tag != Tag::untyped_storage)
      in_.fail(Code::type, "data.pkl: " + quote(tag.name) + " is no storage type");
    Storage storage;
    storage.key = text(parts[2], "a storage's key");
    if (storage.key.empty() || storage.key.size() > limits_.name_bytes ||
        storage.key.find('/') != std::string_view::npos ||
        storage.key.find('\\') != std::string_view::npos || storage.key == "." ||
        storage.key == "..")
      in_.fail(Code::path, "data.pkl: " + quote(storage.key) + " is no key of a storage");
    text(parts[3], "a storage's location");
    const int64_t count = integer(parts[4], "a storage's size");
    if (count < 0) in_.fail(Code::value, "data.pkl: a storage has a negative size");
    storage.dtype = tag.dtype;
    storage.untyped = tag.tag == Tag::untyped_storage;
    const auto size = static_cast<uint64_t>(storage.untyped ? 1 : dtype_bytes(tag.dtype));
    if (__builtin_mul_overflow(static_cast<uint64_t>(count), size, &storage.bytes) ||
        storage.bytes > INT64_MAX)
      in_.fail(Code::overflow,
               "data.pkl: the size of storage " + quote(storage.key) + " overflows 64 bits");
    storages_.push_back(storage);
    push({Kind::storage, static_cast<uint32_t>(storages_.size() - 1), 0});
  }

  void reduce() {
    const Index args_at = pop(), callee_at = pop();
    const Value &args = value(args_at), &callee = value(callee_at);
    if (callee.kind != Kind::global)
      in_.fail(Code::unsafe, "data.pkl calls something that is not on halftone's list");
    if (args.kind != Kind::tuple) type_error("the argument list of a call", args.kind);
    const std::vector<Index> a = items(args);  // a copy: making values moves the tables
    const Global& tag = kGlobals[callee.at];
    const auto count = [&](size_t low, size_t high) {
      if (a.size() < low || a.size() > high)
        in_.fail(Code::type, "data.pkl calls " + std::string(tag.name) + " with " +
                                 std::to_string(a.size()) + " arguments");
    };
    switch (tag.tag) {
      case Tag::ordered_dict:
        count(0, 0);
        return push_container(Kind::ordered_dict, {});
      case Tag::rebuild_tensor:
        count(4, 4);
        return rebuild(a, {});
      case Tag::rebuild_tensor_v2:
        count(6, 7);
        check_flags(a, 4);
        if (a.size() == 7) check_metadata(a[6]);
        return rebuild(a, {});
      case Tag::rebuild_tensor_v3: {
        count(7, 8);
        check_flags(a, 4);
        const Value& dtype = value(a[6]);
        if (dtype.kind != Kind::global || kGlobals[dtype.at].tag != Tag::dtype)
          type_error("a tensor's dtype", dtype.kind);
        if (a.size() == 8) check_metadata(a[7]);
        return rebuild(a, kGlobals[dtype.at].dtype);
      }
      case Tag::rebuild_parameter:
        count(3, 3);
        if (value(a[0]).kind != Kind::tensor) type_error("a parameter's data", value(a[0]).kind);
        check_flags(a, 1);
        stack_.push_back(a[0]);
        return;
      case Tag::size:
        count(1, 1);
        if (value(a[0]).kind != Kind::tuple && value(a[0]).kind != Kind::list)
          type_error("the argument of torch.Size", value(a[0]).kind);
        stack_.push_back(a[0]);
        return;
      case Tag::device:
        count(1, 2);
        text(a[0], "a device's type");
        return push({Kind::device, 0, 0});
      default:
        in_.fail(Code::unsafe, "data.pkl calls " + quote(tag.name));
    }
  }

  // requires_grad, backward_hooks
  void check_flags(const std::vector<Index>& a, size_t at) const {
    if (value(a[at]).kind != Kind::boolean) type_error("requires_grad", value(a[at]).kind);
    const Value& hooks = value(a[at + 1]);
    if (hooks.kind == Kind::none) return;
    if (hooks.kind != Kind::ordered_dict && hooks.kind != Kind::dict)
      type_error("a tensor's hooks", hooks.kind);
    if (!items(hooks).empty()) in_.fail(Code::unsafe, "data.pkl: a tensor carries hooks");
  }
  void check_metadata(Index i) const {
    const Value& v = value(i);
    if (v.kind == Kind::none) return;
    if (v.kind != Kind::dict && v.kind != Kind::ordered_dict)
      type_error("a tensor's metadata", v.kind);
    if (!items(v).empty())
      throw FileError(Code::unsupported, path_,
                      "data.pkl: a tensor is marked conjugate or negative", in_.offset(),
                      "re-save it as safetensors");
  }

  std::vector<int64_t> whole_numbers(Index i, std::string_view what) const {
    const Value& v = value(i);
    if (v.kind != Kind::tuple && v.kind != Kind::list) type_error(what, v.kind);
    if (items(v).size() > limits_.rank)
      in_.fail(Code::limit, "data.pkl: a tensor of rank " + std::to_string(items(v).size()) +
                                ", the limit is " + std::to_string(limits_.rank));
    std::vector<int64_t> out;
    for (Index item : items(v)) {
      out.push_back(integer(item, what));
      if (out.back() < 0) in_.fail(Code::value, "data.pkl: " + std::string(what) + " is negative");
    }
    return out;
  }

  void rebuild(const std::vector<Index>& a, std::optional<DType> dtype) {
    const Value& source = value(a[0]);
    if (source.kind != Kind::storage) type_error("a tensor's storage", source.kind);
    const Storage& storage = storages_[source.at];
    if (!dtype && storage.untyped)
      in_.fail(Code::type, "data.pkl: a tensor over an untyped storage has no dtype");
    PickledTensor tensor;
    tensor.storage = storage.key;
    tensor.storage_bytes = storage.bytes;
    tensor.dtype = dtype.value_or(storage.dtype);
    tensor.offset = integer(a[1], "a tensor's offset");
    if (tensor.offset < 0) in_.fail(Code::value, "data.pkl: a tensor's offset is negative");
    tensor.shape = whole_numbers(a[2], "a tensor's size");
    tensor.stride = whole_numbers(a[3], "a tensor's stride");
    if (tensor.shape.size() != tensor.stride.size())
      in_.fail(Code::mismatch, "data.pkl: a tensor's size and stride differ in rank");
    const auto available =
        static_cast<int64_t>(storage.bytes / static_cast<uint64_t>(dtype_bytes(tensor.dtype)));
    int64_t count = 1, last = tensor.offset;
    bool overflow = false;
    for (const int64_t dim : tensor.shape) overflow |= __builtin_mul_overflow(count, dim, &count);
    if (!overflow && count > 0) {
      for (size_t i = 0; i < tensor.shape.size(); ++i) {
        int64_t reach;
        overflow |= __builtin_mul_overflow(tensor.shape[i] - 1, tensor.stride[i], &reach) ||
                    __builtin_add_overflow(last, reach, &last);
      }
    }
    if (overflow) in_.fail(Code::overflow, "data.pkl: the extent of a tensor overflows 64 bits");
    if (count > 0 && last >= available)
      in_.fail(Code::bounds, "data.pkl: a tensor reaches element " + std::to_string(last) +
                                 " of storage " + quote(storage.key) + ", which has " +
                                 std::to_string(available));
    if (count > available)  // stride 0: a few bytes that claim to be many
      in_.fail(Code::limit,
               "data.pkl: a tensor repeats the elements of storage " + quote(storage.key));
    tensors_.push_back(std::move(tensor));
    push({Kind::tensor, static_cast<uint32_t>(tensors_.size() - 1), 0});
  }

  // The state of a module's OrderedDict is its _metadata: dropped.
  void build() {
    pop();
    if (value(top()).kind != Kind::ordered_dict)
      type_error("the target of BUILD", value(top()).kind);
  }

  StateDict state_dict(Index top_index) {
    refuse_global(top_index);
    const Value* root = &value(top_index);
    StateDict out;
    if (root->kind != Kind::dict && root->kind != Kind::ordered_dict)
      type_error("what data.pkl describes", root->kind);
    // Training checkpoints keep the weights one level down.
    for (size_t i = 0; i + 1 < items(*root).size(); i += 2) {
      const Value &key = value(items(*root)[i]), &inner = value(items(*root)[i + 1]);
      if (key.kind == Kind::text && texts_[key.at] == "state_dict" &&
          (inner.kind == Kind::dict || inner.kind == Kind::ordered_dict)) {
        out.skipped = static_cast<int64_t>(items(*root).size() / 2) - 1;
        root = &inner;
        break;
      }
    }
    std::unordered_set<std::string_view> names;
    const auto& rows = items(*root);
    for (size_t i = 0; i + 1 < rows.size(); i += 2) {
      const std::string_view name = text(rows[i], "a key of the state dict");
      const Value& v = value(rows[i + 1]);
      if (!names.insert(name).second)
        in_.fail(Code::duplicate, "data.pkl: tensor " + quote(name) + " appears twice");
      if (v.kind != Kind::tensor) {
        if (v.kind == Kind::tuple)
          for (Index item : items(v)) refuse_global(item);
        ++out.skipped;
        continue;
      }
      if (name.size() > limits_.name_bytes || name.empty())
        in_.fail(Code::limit, "data.pkl: a tensor's name has " + std::to_string(name.size()) +
                                  " bytes, wanted 1 to " + std::to_string(limits_.name_bytes));
      if (out.tensors.size() >= limits_.tensors)
        in_.fail(Code::limit,
                 "data.pkl has more than " + std::to_string(limits_.tensors) + " tensors");
      out.tensors.push_back(tensors_[v.at]);
      out.tensors.back().name = name;
    }
    return out;
  }

  ByteReader in_;
  const std::string& path_;
  const Limits& limits_;
  std::vector<Value> values_;
  std::vector<Index> stack_;
  std::unordered_map<uint32_t, Index> memo_;
  std::vector<std::string_view> texts_;
  std::vector<std::vector<Index>> items_;
  std::vector<Storage> storages_;
  std::vector<PickledTensor> tensors_;
};

}  // namespace

StateDict read_state_dict(std::span<const std::byte> pickle, const std::string& path,
                          const Limits& limits) {
  return Machine(pickle, path, limits).run();
}

}  // namespace halftone::files
