// Errors: typed, few, and readable by the person who can act on them.
//
// An Error carries facts (a code, the file or part it speaks of, a sentence) and, where there is
// one, the remedy. While it travels up, callers add context with `note()` ("layer
// model.layers.3.mlp.down_proj"). `line()` is what a terminal shows, always one line:
//     error[E_BOUNDS] model.safetensors: tensor "a.b": range 40..80 ends past the data (44 bytes)
// Text that came out of a file must pass `quote()` first: control bytes escaped, cut at 120 bytes.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

namespace halftone {

enum class Code : uint8_t {
  truncated,
  magic,
  version,
  limit,
  overflow,
  bounds,
  overlap,
  hole,
  duplicate,
  type,
  value,
  utf8,
  json,
  depth,
  mismatch,
  missing,
  unsafe,
  path,
  nonfinite,
  budget,  // facts about a file
  usage,
  unsupported,
  io,
  interrupted,
  internal,  // facts about the call or the machine
};
std::string_view code_name(Code code);  // Code::truncated -> "E_TRUNC"

// The documented exit codes (docs/exit-codes.md).
enum class Exit : int {
  ok = 0,
  internal = 1,
  usage = 2,
  bad_input = 3,
  io = 4,
  limit = 5,
  numeric = 6,
  interrupted = 7
};
Exit exit_for(Code code);

class Error : public std::exception {
 public:
  Error(Code code, std::string subject, std::string fact, std::string remedy = {},
        std::source_location where = std::source_location::current());

  Code code() const { return code_; }
  const std::string& subject() const { return subject_; }  // file, layer, flag; may be empty
  const std::string& fact() const { return fact_; }
  const std::string& remedy() const { return remedy_; }
  const std::source_location& where() const { return where_; }
  Exit exit() const { return exit_for(code_); }

  Error& note(std::string context);  // outermost context is added last, printed first
  Error& set_subject(
      std::string subject);  // names the file once a reader of bytes is wrapped by one of files
  std::string line() const;  // error[E_X] subject: notes: fact; remedy
  const char* what() const noexcept override { return what_.c_str(); }

 private:
  void compose();
  Code code_;
  std::string subject_, fact_, remedy_, what_;
  std::vector<std::string> notes_;
  std::source_location where_;
};

// A file (or bytes that stand for one) is not what it should be. `offset` is a byte position where
// known.
struct FileError : Error {
  FileError(Code code, std::string path, std::string fact, std::optional<uint64_t> offset = {},
            std::string remedy = {}, std::source_location where = std::source_location::current());
};
// A flag, recipe or other input that the user wrote.
struct InputError : Error {
  InputError(std::string subject, std::string fact, std::string remedy = {},
             std::source_location where = std::source_location::current());
};
struct ShapeError : Error {
  ShapeError(std::string subject, std::string fact,
             std::source_location where = std::source_location::current());
};
// What was asked exists elsewhere but not here; `remedy` names the nearest thing that works.
struct UnsupportedError : Error {
  UnsupportedError(std::string subject, std::string fact, std::string remedy = {},
                   std::source_location where = std::source_location::current());
};
struct NumericError : Error {
  NumericError(std::string subject, std::string fact, std::string remedy = {},
               std::source_location where = std::source_location::current());
};
// The operating system refused (open, read, write, fsync, rename, no space).
struct IoError : Error {
  IoError(std::string path, std::string_view operation, int error_number, std::string remedy = {},
          std::source_location where = std::source_location::current());
  int error_number;
};

// For our own bugs only: user input can never reach it.
void check(bool condition, std::string_view what_went_wrong,
           std::source_location where = std::source_location::current());

// `text` as a terminal may show it: control bytes (and bytes that are no UTF-8) become \xNN, so
// that a name out of a file can neither move the cursor nor forge a second line. `keep_lines` lets
// newlines and tabs pass.
std::string printable(std::string_view text, bool keep_lines = false);

// `text` in double quotes, control and non-ASCII-unsafe bytes escaped, cut at `max` bytes with
// "...".
std::string quote(std::string_view text, size_t max = 120);

// The member of `names` nearest to `word` by edit distance, if any is near enough to be a likely
// slip.
std::optional<std::string> nearest_name(std::string_view word,
                                        const std::vector<std::string>& names);

// "a, b, c", of names or of what `name` makes of each value.
template <class Values, class Name>
std::string listed(const Values& values, const Name& name) {
  std::string all;
  for (const auto& value : values) all.append(all.empty() ? "" : ", ").append(name(value));
  return all;
}
template <class Names>
std::string listed(const Names& names) {
  return listed(
      names, [](const auto& name) -> const auto& { return name; });
}

// The remedy for a word that is none of `names`: "did you mean b?" where one is near, else
// `otherwise`, or "known: a, b, c" when that is not given.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& names,
                         const std::optional<std::string>& otherwise = std::nullopt);

}  // namespace halftone
