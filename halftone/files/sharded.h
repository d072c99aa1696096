// Several weight files read as one, by an index that names the file of each tensor.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "halftone/base/context.h"
#include "halftone/files/tensor_source.h"

namespace halftone::files {

using OpenShard = std::function<std::shared_ptr<const TensorSource>(const std::string& path)>;

// `index_path`: {"weight_map": {"tensor": "model-00001-of-00002.safetensors"}}. Every shard is
// opened (headers only) and every name is looked up in its shard. Shard names are plain names; a
// symlink may point only into the folder or the hub cache it belongs to. Errors: E_MISSING, E_TYPE,
// E_PATH, E_MISMATCH (a tensor is in another shard), E_DUP (in two), and those of the shards.
std::shared_ptr<const TensorSource> open_sharded(const std::string& index_path,
                                                 const Context& context,
                                                 const OpenShard& open_shard);

// E_PATH unless `name`, found in a file, is one plain name of a file: no slash, no "..", nothing
// absolute.
void check_plain_name(const std::string& name, const std::string& path);

}  // namespace halftone::files
