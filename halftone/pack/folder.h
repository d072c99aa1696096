// A Hugging Face folder, written whole: shards, index and side files, synced and read back. Callers
// write into a temporary folder and rename it once this returned.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/tensor.h"
#include "halftone/pack/receipt.h"

namespace halftone::pack {

struct FolderTensor {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  // Hands the tensor's bytes to `sink`, in any pieces. Called once, when its turn comes, so that a
  // whole model is never in memory.
  std::function<void(const std::function<void(std::span<const std::byte>)>& sink)> stream;
};

struct FolderContents {
  std::vector<FolderTensor> tensors;  // in model order: shards are filled in this order
  std::vector<std::pair<std::string, std::string>> texts;  // file name, contents
  // One more side file, made once the hash of every tensor is known: file name, contents.
  std::function<std::pair<std::string, std::string>(const TensorHashes& hashes)> receipt;
  std::vector<std::pair<std::string, std::string>> copies;  // file name, path to copy from
};

struct FolderSummary {
  uint64_t tensor_bytes = 0, file_bytes = 0;
  int64_t shards = 0;
  std::string hash;  // of every file name and content
};

// `folder` is emptied first when it exists. One shard is model.safetensors; more are
// model-00001-of-0000N.safetensors with an index, each of at most `shard_bytes` tensor bytes (a
// larger tensor gets a shard of its own). Files are synced, then read back from the disk and
// compared with what was meant. Errors: IoError of the disk; FileError{mismatch} when the disk
// gives back other bytes.
FolderSummary write_folder(const std::string& folder, const FolderContents& contents,
                           const Context& context, uint64_t shard_bytes = 5'000'000'000);

}  // namespace halftone::pack
