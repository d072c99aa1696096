// halftone.json of a folder we wrote: what its tensors and its config.json must hash to, so that a
// byte that changed on the way is found, and which layers were quantized how.
//
// `tensors` {name: xxh3 of the stored bytes, 128 bit}, `config` (the hash of config.json), and last
// `hash`, of halftone.json itself without that key. A tensor is compared when it is first read.
// Deleting halftone.json makes a folder that was changed on purpose usable again.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "halftone/base/context.h"
#include "halftone/base/json.h"
#include "halftone/files/tensor_source.h"
#include "halftone/format/plan.h"

namespace halftone::pack {

using TensorHashes = std::map<std::string, std::string>;

constexpr int64_t kReceiptSchema = 1;

// The text of halftone.json: `body` (an object with "schema", "layers") and the hashes.
std::string receipt_text(Json body, const TensorHashes& tensors, const std::string& config_text);

// Checks halftone.json in `folder` against itself, against the hash of config.json (a difference is
// a warning: people edit it), against the plan that config.json states and against the names of
// `tensors`. Returns the hashes of
// tensors; none when there is no such file, or one that names none. Errors: FileError naming the
// file and the reason.
TensorHashes check_receipt(const std::string& folder, const files::TensorSource& tensors,
                           const format::Plan& plan, const Context& context);

// `source` with every tensor compared on its first read, whole or in rows. Errors on reading:
// FileError{mismatch} naming the tensor and `folder`.
std::shared_ptr<const files::TensorSource> verified(
    std::shared_ptr<const files::TensorSource> source, TensorHashes hashes, std::string folder);

}  // namespace halftone::pack
