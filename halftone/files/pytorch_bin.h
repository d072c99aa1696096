// pytorch_model.bin: PyTorch's zip of a pickle and raw storages (torch 1.6 and later), read without
// Python and without running anything.
//
// Views of shared storages are materialised row-major. Each record's CRC-32 is checked when it is
// first read. Refused by name: the format before torch 1.6, TorchScript, big-endian files,
// everything outside pickle.h's lists.
#pragma once

#include <memory>
#include <string>

#include "halftone/base/context.h"
#include "halftone/base/env.h"
#include "halftone/files/tensor_source.h"

namespace halftone::files {

std::shared_ptr<const TensorSource> open_pytorch(const std::string& path, const Context& context);
std::shared_ptr<const TensorSource> open_pytorch(std::shared_ptr<const ReadFile> file,
                                                 const Context& context);
// The shards that pytorch_model.bin.index.json names, as one source.
std::shared_ptr<const TensorSource> open_pytorch_index(const std::string& index_path,
                                                       const Context& context);

}  // namespace halftone::files
