// pytorch_model.bin as a whole: zip directory, pickle, records. Whatever is accepted can be read,
// and rows agree with the whole.
#include <algorithm>

#include "fuzz/fuzz.h"
#include "halftone/files/memory_file.h"
#include "halftone/files/pytorch_bin.h"
#include "halftone/files/zip.h"

using namespace halftone;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = fuzz::as_span(data, size);
  Context context;
  context.limits.pickle_opcodes = 100'000;
  const auto file = std::make_shared<files::MemoryFile>(bytes, "input");
  fuzz::accepts([&] {
    for (const auto& e : files::read_zip_directory(*file, context.limits))
      fuzz::require(e.offset <= size && e.size <= size - e.offset,
                    "every entry lies inside the file");
  });
  std::shared_ptr<const files::TensorSource> source;
  if (!fuzz::accepts([&] { source = files::open_pytorch(file, context); })) return 0;
  for (const auto& info : source->tensors()) {
    fuzz::accepts([&] {
      const HostTensor whole = source->read(info.name);
      fuzz::require(whole.bytes().size() == info.stored_bytes && whole.bytes().size() <= size,
                    "a tensor is no larger than the file");
      source->mapped(info.name);
      if (info.shape.empty() || info.shape[0] == 0) return;
      const HostTensor row = source->read_rows(info.name, info.shape[0] - 1, info.shape[0]);
      const auto tail = whole.bytes().last(row.bytes().size());
      fuzz::require(std::equal(tail.begin(), tail.end(), row.bytes().begin()),
                    "the last row is the last row");
    });
  }
  return 0;
}
