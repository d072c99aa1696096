// The seeds of tests/corpus: the good ones are accepted, each of the others is refused. (Crashes
// are looked for by fuzz/, over the same files.)
#include <gtest/gtest.h>

#include <set>

#include "halftone/base/json.h"
#include "halftone/files/gguf.h"
#include "halftone/files/memory_file.h"
#include "halftone/files/pickle.h"
#include "halftone/files/pytorch_bin.h"
#include "halftone/files/safetensors.h"
#include "halftone/files/test_files.h"

namespace halftone::files {
namespace {
using namespace testing_files;

using Reader = std::function<void(std::span<const std::byte>, const Context&)>;

void check_corpus(const std::string& format, const std::set<std::string>& good,
                  const Reader& reader) {
  TempFolder folder;
  const std::string root = std::string(HALFTONE_SOURCE_DIR) + "/tests/corpus/" + format;
  std::set<std::string> accepted;
  int64_t refused = 0;
  for (const std::string& name : folder.env().list(root)) {
    const std::string text = folder.env().read_text(join_path(root, name), 2 << 20);
    if (!name.starts_with("seed_")) continue;
    if (code_of([&] { reader(std::as_bytes(std::span(text)), folder.context); }) ==
        Code::internal) {
      accepted.insert(name.substr(5));
    } else {
      ++refused;
    }
  }
  EXPECT_EQ(accepted, good) << format;
  EXPECT_GT(refused, 0);
}

TEST(Corpus, Safetensors) {
  check_corpus("safetensors", {"empty", "good", "padded"}, [](auto bytes, const Context&) {
    parse_safetensors_header(bytes, bytes.size(), "f");
  });
}

TEST(Corpus, Gguf) {
  check_corpus("gguf", {"aligned64", "every_type", "kinds", "model", "split", "version_2"},
               [](auto bytes, const Context& context) {
                 uint64_t need = 0;
                 const auto file =
                     parse_gguf_header(bytes, bytes.size(), "f", context.limits, &need);
                 check_gguf_metadata(*file, context.limits);
                 file->parts.push_back(std::make_shared<MemoryFile>(bytes, "f"));
                 const auto source = gguf_tensors(file);
                 for (const auto& info : source->tensors()) source->read(info.name);
               });
}

TEST(Corpus, Pickle) {
  check_corpus(
      "pickle",
      {"good", "metadata", "module", "nested", "parameter", "protocol4", "size_and_device",
       "strided", "v3"},
      [](auto bytes, const Context& context) { read_state_dict(bytes, "f", context.limits); });
}

TEST(Corpus, Pytorch) {
  check_corpus("pytorch", {"good", "module", "nested", "strided", "v3"},
               [](auto bytes, const Context& context) {
                 const auto source =
                     open_pytorch(std::make_shared<MemoryFile>(bytes, "f"), context);
                 for (const auto& info : source->tensors()) source->read(info.name);
               });
}

}  // namespace
}  // namespace halftone::files
